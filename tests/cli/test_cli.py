"""The command line: what it says, what it writes, and what machines read."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

import gammabeta
from gammabeta import data
from gammabeta.cli import main, output


@pytest.fixture(name="people")
def _people(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f'{i},"Doe, {i}",{20 + i if i % 9 else ""},{1000.5 * i}' for i in range(50)]
    (tmp_path / "people.csv").write_text("\n".join(["id,name,age,income", *rows, ""]))
    return tmp_path


@pytest.fixture(name="run")
def _run(capsys):
    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert status == 0, captured.err
        return captured.out

    return run


@pytest.fixture(name="run_wrong")
def _run_wrong(capsys):
    """What a command that is refused says."""

    def run(*arguments):
        assert main([str(argument) for argument in arguments]) == 2
        return capsys.readouterr().err

    return run


def entry(*arguments, **options):
    """The command in a process of its own, as its entry point starts it."""
    code = "import sys; from gammabeta.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def test_the_example_needs_no_file(run):
    told = run("scale", "--example")
    lines = told.splitlines()
    assert "569 rows, 30 columns to scale by y = (x − mean) / std" in lines[0]
    row = next(line for line in lines if "mean radius" in line)
    assert row.split()[:5] == ["mean", "radius", "14.13", "3.521", "6.981"]
    assert "passed through untouched: diagnosis (string)" in told
    assert "The same shape before and after" in told
    assert "Nothing was written" in told


def test_before_and_after_have_the_same_shape(run):
    found = json.loads(run("scale", "--example", "--json"))
    assert len(found["columns"]) == 30
    for column in found["columns"]:
        assert sum(column["before"]) == sum(column["after"]) == 569
        # values with few decimals lie on the edges of bins, and rounding may push them over: few, and one bin further
        moved = np.cumsum(np.subtract(column["before"], column["after"]))
        assert np.abs(moved).sum() <= len(moved)
    assert found["output"] is None


def test_the_example_can_be_written(run, people):
    run("scale", "--example", "-o", "cancer.parquet")
    result = pq.read_table(people / "cancer.parquet")
    expected = StandardScaler().fit_transform(load_breast_cancer().data)
    found = np.stack([column.to_numpy() for column in result.columns[:30]], axis=1)
    # scikit-learn's mean of 569 values may be √569 half-ULPs off: 2.6e-15 of a mean that is at most 12 deviations
    np.testing.assert_allclose(found, expected, rtol=0, atol=4e-14)
    assert set(result["diagnosis"].to_pylist()) == {"malignant", "benign"}


def test_scale_apply_and_invert(run, people):
    told = run("scale", "people.csv", "-o", "scaled.csv", "--exclude", "id", "--stats", "s.json")
    assert told.splitlines() == [
        "people.csv: 50 rows, 2 columns scaled → scaled.csv",
        "passed through untouched: id (int64), name (string, 'Doe, 0' in row 1)",
        "float64 once scaled: age (int64)",
        "statistics kept in s.json, for: gammabeta apply s.json IN -o OUT",
    ]
    told = run("apply", "s.json", "people.csv", "-o", "again.csv")
    assert "people.csv: 50 rows, 2 columns scaled → again.csv" in told
    assert (people / "again.csv").read_bytes() == (people / "scaled.csv").read_bytes()
    told = run("invert", "s.json", "scaled.csv", "-o", "back.csv")
    assert "scaled.csv: 50 rows, 2 columns taken back → back.csv" in told
    back, original = (data.measure(people / name).moments.mean for name in ("back.csv", "people.csv"))
    np.testing.assert_allclose(back, original, rtol=1e-14)


def test_options_reach_the_statistics(run, people):
    found = json.loads(run("scale", "people.csv", "-o", "o.csv", "--columns", "age,income", "--ddof", "1", "--json"))
    assert found["scaling"] == {"method": "standard", "ddof": 1}
    assert [column["name"] for column in found["columns"]] == ["age", "income"]
    assert found["columns"][1]["std"] == pytest.approx(np.std(1000.5 * np.arange(50), ddof=1), rel=1e-15)
    assert found["passed_through"][0] == {"name": "id", "type": "int64", "reason": "not selected"}
    assert found["converted_to_float64"] == ["age"]
    assert found["output"] == "o.csv"
    arguments = ["--method", "minmax", "--feature-range", "-1", "1", "--columns", "age", "--columns", "in*"]
    found = json.loads(run("scale", "people.csv", "-o", "o.csv", *arguments, "--json"))
    assert found["scaling"] == {"method": "minmax", "feature_range": [-1.0, 1.0]}
    assert data.measure(people / "o.csv", ["income"]).extrema.min == [-1.0]


def test_names_with_commas_go_in_quotes(run, people):
    (people / "odd.csv").write_text('"a,b",c\n1,2\n3,4\n')
    found = json.loads(run("stats", "odd.csv", "--columns", '"a,b"', "--json"))
    assert [column["name"] for column in found["columns"]] == ["a,b"]


def test_stats_add_up(run, people):
    told = run("stats", "people.csv")
    assert told.startswith("people.csv: 50 rows")
    row = next(line for line in told.splitlines() if "age" in line)
    assert row.split()[:2] == ["age", "int64"]
    assert row.split()[-1] == "6"
    run("stats", "people.csv", "people.csv", "-o", "two.json", "--method", "minmax")
    told = run("stats", "two.json", "people.csv", "-o", "three.json")
    assert "kept in three.json, for: gammabeta apply three.json IN -o OUT" in told
    three = data.load(people / "three.json")
    assert three.rows == 150
    assert three.recipe.method == "minmax"
    assert json.loads(run("stats", "three.json", "--json"))["rows"] == 150


def test_json_is_all_there_is_on_stdout(people):
    for arguments in (
        ["scale", "people.csv"],
        ["scale", "people.csv", "-o", "out.csv", "--stats", "s.json"],
        ["stats", "people.csv"],
        ["apply", "s.json", "people.csv", "-o", "o.parquet"],
        ["invert", "s.json", "out.csv", "-o", "o.parquet"],
    ):
        result = entry(*arguments, "--json", cwd=people)
        assert result.returncode == 0
        assert result.stderr == ""
        found = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert found["rows"] == 50


def test_json_has_null_where_there_is_no_number(run, people):
    pq.write_table(pa.table({"x": [None, float("nan")], "y": [1.0, 2.0]}), people / "n.parquet")
    for arguments in (["scale", "n.parquet"], ["stats", "n.parquet"]):
        found = json.loads(run(*arguments, "--json"))
        assert found["columns"][0]["mean"] is None
        assert found["columns"][0]["count"] == 0
    assert "–" in run("scale", "n.parquet")


def test_wide_tables_are_cut_and_say_so(run, people):
    pq.write_table(pa.table({f"column {i}": [1.0, 2.0] for i in range(100)}), people / "wide.parquet")
    told = run("scale", "wide.parquet")
    assert "column 39" in told
    assert "column 40" not in told
    assert "… and 60 more columns (--json shows all)" in told
    assert len(json.loads(run("scale", "wide.parquet", "--json"))["columns"]) == 100


def test_names_that_look_like_markup_are_shown(run, people):
    pq.write_table(pa.table({"[bold]x[/bold]": [1.0, 2.0], "[/red]": ["a", "b"]}), people / "m.parquet")
    told = run("scale", "m.parquet")
    assert "[bold]x[/bold]" in told
    assert "[/red] (string)" in told


@pytest.mark.parametrize("width", [70, 80, 100, 200])
def test_the_table_fits_the_terminal(run, people, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    told = run("scale", "--example")
    import re

    plain = re.sub(r"\x1b\[[0-9;]*m", "", told)
    rows = [line for line in plain.splitlines() if "█" in line]
    assert len(rows) == 30
    assert all(len(row) <= width for row in rows)
    assert all(row.count("█") >= (1 if width == 80 else 2) for row in rows)
    assert not any("…" in row[width // 3 :] for row in rows)
    if width >= 80:
        assert re.search(r"mean +std +min", plain)
        assert rows[0].startswith(" mean radius ") and rows[29].startswith(" worst")


def test_the_swapped_files_of_apply_are_told(people, run_wrong):
    for verb in ("apply", "invert"):
        told = run_wrong(verb, "people.csv", "s.json", "-o", "out.csv")
        assert told == (
            "gammabeta: the statistics come first, the data second: are 'people.csv' and 's.json' the other way round? "
            f"gammabeta {verb} s.json people.csv -o OUT\n"
        )


@pytest.mark.parametrize(("name", "meant"), [("hight", "height"), ("HEIGHT", "height"), ("nothing of the kind", None)])
def test_a_name_that_is_nearly_a_column_s_is_named(tmp_path, monkeypatch, run_wrong, name, meant):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("height,age\n1,2\n3,4\n")
    for arguments in (("stats", "t.csv", "--columns", name), ("stats", "t.csv", "--by", name)):
        end = f"; did you mean {meant!r}?" if meant else ""
        assert run_wrong(*arguments) == (
            f"gammabeta: there is no column {name!r} in 't.csv'; it has 'height', 'age'{end}\n"
        )


def test_counts_are_integers_and_whole_numbers_are_whole(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("id,kind\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(100_000, 105_000)))
    assert '"count": 5000,' in run("stats", "t.csv", "--json")
    assert '"count": 2500,' in run("stats", "t.csv", "--by", "kind", "--json")
    assert " ".join(run("stats", "t.csv").splitlines()[4].split()) == "id int64 102500 1443 100000 104999"


def test_a_shell_completes_commands(monkeypatch, capsys):
    for name, value in {
        "_GAMMABETA_COMPLETE": "complete_bash",
        "COMP_WORDS": "gammabeta sc",
        "COMP_CWORD": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    assert capsys.readouterr().out.split() == ["scale"]


def test_a_table_without_header_is_noticed(people, capsys):
    (people / "h.csv").write_text("5.1,3.5\n4.9,3.0\n4.7,3.2\n")
    assert main(["scale", "h.csv"]) == 0
    assert "the first line is taken for the columns' names, but it holds numbers" in capsys.readouterr().err


def test_no_progress_bar_off_a_terminal(people, capsys, monkeypatch):
    monkeypatch.setattr("gammabeta.cli.progress.PATIENCE", 0.0)
    assert main(["scale", "people.csv", "-o", "o.csv"]) == 0
    assert capsys.readouterr().err == ""


def test_a_progress_bar_on_a_terminal(monkeypatch, capsys):
    from gammabeta.cli.progress import Meter

    monkeypatch.setattr("gammabeta.cli.progress.PATIENCE", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Meter() as meter:
        for done in range(0, 101, 10):
            meter(done * 10**6, 100 * 10**6)
        shown = meter._bar
    assert shown is not None
    assert shown.finished
    assert "100.0/100.0 MB" in capsys.readouterr().err


def test_short_work_shows_no_bar(monkeypatch, capsys):
    from gammabeta.cli.progress import Meter

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Meter() as meter:
        meter(1, 2)
    assert capsys.readouterr().err == ""


def test_version_and_help(run):
    assert run("--version") == f"gammabeta {gammabeta.__version__}\n"
    assert run() == run("--help")
    for verb in ("scale", "stats", "apply", "invert"):
        told = run(verb, "--help")
        assert f"  gammabeta {verb} " in told or f"gammabeta {verb}" in told.split("Arguments", 1)[0]
        assert "-h, --help" in told


def test_help_and_version_load_little():
    code = (
        "import sys; from gammabeta.cli import main; main(['--version']); main(['scale', '--help'])\n"
        "heavy = {'pyarrow', 'sklearn', 'pandas', 'torch', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_files_load_no_framework(people):
    code = (
        "import sys, gammabeta.data as data; data.scale('people.csv', 'o.parquet')\n"
        "heavy = {'sklearn', 'pandas', 'polars', 'torch', 'jax', 'tensorflow', 'rich', 'typer'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=people)
    assert result.returncode == 0, result.stderr


def test_a_pipe_that_closes_early(people):
    code = (
        "import sys; from gammabeta.cli import main\n"
        "class Shut:\n"
        "    def __getattr__(self, name): return getattr(sys.__stdout__, name)\n"
        "    def write(self, text): raise BrokenPipeError\n"
        "sys.stdout = Shut(); sys.exit(main(['scale', 'people.csv', '--json']))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=people)
    assert result.returncode == 141
    assert result.stderr == ""


def test_sparks():
    assert output.spark([]) == ""
    assert output.spark([0, 0]) == "  "
    assert output.spark([1, 1000]) == "▁█"
    assert output.spark(range(9)) == " ▁▂▃▄▅▆▇█"


def test_only_a_process_of_its_own_changes_the_collector(run):
    before = gc.get_threshold(), gc.get_freeze_count()
    run("--version")
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
    code = "import gc; from gammabeta.cli import main; main(); print(gc.get_threshold()[0], gc.get_freeze_count())"
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True)
    young, kept = map(int, done.stdout.split()[-2:])
    assert young > 10_000 and kept > 10_000
