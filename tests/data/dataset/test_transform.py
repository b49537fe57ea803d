"""Folders are scaled: every file by the statistics of all, into a folder of the same shape, and nothing twice."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from gammabeta import data
from gammabeta.cli import main
from gammabeta.data.core.file_stamp import stamp_if_there
from gammabeta.data.dataset.manifest import FOLDER, Manifest, fingerprint, locked
from gammabeta.data.formats.parquet import ParquetSink
from gammabeta.errors import DataError, FileError, KindError, StateError

NAMES = ["a.parquet", "year=2023/b.parquet", "year=2024/month=1/c.parquet"]
MINMAX = data.Recipe("minmax")


def table(seed, rows=500):
    rng = np.random.default_rng(seed)
    columns = {"x": rng.normal(seed, 1, rows), "n": rng.integers(0, 9, rows), "w": [f"w{i % 3}" for i in range(rows)]}
    return pa.table(columns).replace_schema_metadata({"made by": f"file {seed}"})


@pytest.fixture(name="folder")
def _folder(tmp_path, monkeypatch):
    """A folder `in` of three files, one with small row groups and another codec."""
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(NAMES):
        path = Path("in") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table(i), path, compression=["snappy", "zstd", "gzip"][i], row_group_size=[500, 100, 500][i])
    return tmp_path


def contents(folder):
    """All that a user sees in a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and FOLDER not in path.parts
    }


def read(folder):
    return pa.concat_tables([pq.ParquetFile(Path(folder) / name).read() for name in NAMES])


def written(monkeypatch):
    """The names of the files that are written from now on."""
    names, close = [], ParquetSink.close

    def noted(self):
        close(self)
        names.append(self._schema.metadata[b"made by"].decode())

    monkeypatch.setattr(ParquetSink, "close", noted)
    return names


def test_all_files_are_scaled_by_the_statistics_of_all(folder):
    done = data.scale("in", "out")
    assert list(contents("out")) == NAMES
    assert (done.path, done.rows, done.statistics.names) == (Path("out"), 1500, ("x", "n"))
    assert [column.name for column in done.converted] == ["n"] and [column.name for column in done.passed] == ["w"]
    assert done.files == data.Files(written=3, unchanged=0, bad={}, stale=(), left_out=())
    assert done.statistics == data.gather([f"in/{name}" for name in NAMES])
    out = data.gather([f"out/{name}" for name in NAMES])
    # the mean of 1500 rounded values of size about 1 is off by less than an ULP of 1
    assert np.abs(out.moments.mean).max() < 2**-52 and np.abs(out.moments.std - 1).max() < 2**-51
    assert read("out")["w"] == read("in")["w"]


def test_a_file_comes_out_as_it_would_alone(folder):
    done = data.scale("in", "out")
    for name in NAMES:
        data.apply(done.statistics, f"in/{name}", "alone.parquet")
        assert Path("alone.parquet").read_bytes() == (Path("out") / name).read_bytes()
    file = pq.ParquetFile("out/year=2023/b.parquet")
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert file.metadata.num_row_groups == 5
    assert file.schema_arrow.metadata[b"made by"] == b"file 1"


@pytest.mark.parametrize("workers", [1, 3])
def test_the_way_back(folder, workers):
    done = data.scale("in", "out")
    data.save(done.statistics, "s.json")
    data.apply("s.json", "in", "applied", workers=workers)
    assert contents("applied") == contents("out")
    data.invert("s.json", "out", "back", workers=workers)
    x, back = (read(name)["x"].to_numpy() for name in ("in", "back"))
    # y is rounded at |y| < 8, then y·std and the sum with the mean at |x| < 8: three roundings, each below 4 ULPs of 1
    np.testing.assert_allclose(back, x, rtol=0, atol=3 * 8 * 2**-53 * max(1, float(done.statistics.moments.std[0])))


def test_minmax_by_footers(folder, monkeypatch):
    read_ = data.scale("in", "read", recipe=MINMAX, footers=False)
    monkeypatch.setattr("gammabeta.data.passes.measure._parts", lambda *a, **k: pytest.fail("values were read"))
    told = data.scale("in", "told", recipe=MINMAX)
    assert isinstance(told.statistics, data.Ranges) and told.statistics.affine() == read_.statistics.affine()
    assert contents("told") == contents("read")


@pytest.mark.parametrize("form", ["csv", "npy", "feather"])
def test_other_formats(tmp_path, form):
    (tmp_path / "in").mkdir()
    for i in range(3):
        path = tmp_path / f"in/{i}.{form}"
        if form == "npy":
            np.save(path, np.arange(4.0)[:, None] + i)
        elif form == "csv":
            path.write_text("a\n" + "".join(f"{i + j}.0\n" for j in range(4)))
        else:
            pa.feather.write_feather(pa.table({"a": np.arange(4.0) + i}), path)
    done = data.scale(tmp_path / "in", tmp_path / "out", recipe=MINMAX)
    assert done.rows == 12
    out = data.gather([tmp_path / f"out/{i}.{form}" for i in range(3)])
    assert (out.extrema.min, out.extrema.max) == (0, 1)


def test_a_pattern_and_a_list(folder):
    data.scale("in/**/*.parquet", "out")
    data.scale([f"in/{name}" for name in NAMES], "out2")
    data.scale("in", "out3")
    assert contents("out") == contents("out2") == contents("out3")


def test_statistics_kept_elsewhere(folder, monkeypatch):
    data.scale("in", "out", stats="s.json")
    assert data.load("s.json") == data.measure("in") and Path("s.ledger").exists()
    assert {path.name for path in (Path("out") / FOLDER).iterdir()} == {"lock", "written.jsonl"}
    monkeypatch.setattr(
        "gammabeta.data.dataset.file_statistics.measured", lambda *a, **k: pytest.fail("values were read")
    )
    data.scale("in", "again", stats="s.json")
    assert contents("again") == contents("out")


def test_a_second_run_does_nothing(folder, monkeypatch):
    data.scale("in", "out")
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.parquet")}
    names = written(monkeypatch)
    done = data.scale("in", "out")
    assert names == [] and done.files.unchanged == 3 and done.files.written == 0 and done.rows == 1500
    assert before == {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.parquet")}


def change_source(folder):
    pq.write_table(table(1, 400), f"in/{NAMES[1]}")


def touch_source(folder):
    os.utime(f"in/{NAMES[1]}", ns=(0, 0))


def change_output(folder):
    path = Path("out") / NAMES[1]
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def remove_output(folder):
    (Path("out") / NAMES[1]).unlink()


def empty_output(folder):
    (Path("out") / NAMES[1]).write_bytes(b"")


def forge_line(folder):
    path = Path("out") / FOLDER / "written.jsonl"
    lines = path.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if "month" not in line and "year" in line)
    lines[at] = lines[at][:-20]
    path.write_text("\n".join([*lines, '{"file": 3}', "[]", "", "\x00", lines[at]]))


@pytest.mark.parametrize("change", [touch_source, change_output, remove_output, empty_output, forge_line])
def test_what_is_not_as_it_was_is_written_again(folder, monkeypatch, change):
    data.scale("in", "out")
    expected = contents("out")
    change(folder)
    names = written(monkeypatch)
    done = data.scale("in", "out")
    assert names == ["file 1"] and done.files.unchanged == 2
    assert contents("out") == expected


def test_other_statistics_write_all_again(folder, monkeypatch):
    data.scale("in", "out")
    names = written(monkeypatch)
    change_source(folder)
    assert data.scale("in", "out").files.written == 3
    data.scale("in", "out", recipe=data.Recipe(ddof=1))
    data.scale("in", "out", columns=["x"])
    assert len(names) == 9
    data.scale("in", "fresh", columns=["x"])
    assert contents("out") == contents("fresh")


def test_the_map_is_told_from_others():
    affine = data.measure(pa.table({"a": [1.0, 2.0], "b": [1.0, 2.0]})).affine()
    keys = {fingerprint(names, affine) for names in [("a", "b"), ("b", "a"), ("a, b", ""), ("a", "c")]}
    keys |= {fingerprint(("a", "b"), affine.inverse())}
    assert len(keys) == 5


def test_what_is_no_data_is_left_out_and_told(folder, capsys):
    for name in "_metadata", "_common_metadata", "_SUCCESS", "READ.me", ".hidden":
        (Path("in") / name).write_text("x")
    assert main(["scale", "in", "-o", "out"]) == 0
    told = capsys.readouterr().out
    assert "3 files, 1,500 rows, 2 columns scaled → out" in told
    assert "no data, left out: READ.me, _SUCCESS, _common_metadata, _metadata" in told
    assert list(contents("out")) == NAMES


def test_what_killed_runs_left_is_removed_and_nothing_else(folder):
    data.scale("in", "out")
    expected = contents("out")
    ours = ["out/.a.parquet.0123abcd.part", "out/year=2024/month=1/.c.parquet.00000000.part"]
    others = ["out/.other.parquet.0123abcd.part", "out/.a.parquet.part", "out/.a.parquet.xyz.part", "out/mine.parquet"]
    for name in ours + others:
        Path(name).write_bytes(b"half")
    data.scale("in", "out")
    assert not any(Path(name).exists() for name in ours)
    assert contents("out") == expected | {name[4:]: b"half" for name in others}


def test_an_output_whose_source_is_gone_is_told_and_stays(folder, capsys):
    data.scale("in", "out", recipe=MINMAX)
    (Path("in") / NAMES[0]).unlink()
    assert data.scale("in", "out", recipe=MINMAX).files.stale == ("a.parquet",)
    assert main(["scale", "in", "-o", "out", "--method", "minmax"]) == 0
    assert "left over from earlier runs, of files that were not scaled now: a.parquet" in capsys.readouterr().out
    (Path("out") / NAMES[0]).unlink()
    assert data.scale("in", "out", recipe=MINMAX).files.stale == ()


def cut(path):
    path.write_bytes(path.read_bytes()[:200])


def infinite(path):
    pq.write_table(pa.table({"x": [np.inf], "n": [1], "w": ["a"]}), path)


def short(path):
    pq.write_table(table(1).drop_columns("n"), path)


def words(path):
    pq.write_table(table(1).set_column(1, "n", pa.array(["a"] * 500)), path)


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (cut, FileError, "b.parquet' cannot be read as Parquet"),
        (infinite, DataError, r"column 'x' of 'in.year=2023.b.parquet' holds inf in row 1 "),
        (short, DataError, r"every column that has statistics must be in 'in.year=2023.b.parquet', 'n' not"),
        (
            words,
            KindError,
            r"column 'n' must be of numbers as it was \(int64\), in 'in.year=2023.b.parquet' it is stri",
        ),
    ],
)
def test_a_bad_file_is_named_and_the_rest_kept(folder, capsys, spoil, kind, message):
    data.save(data.measure("in"), "s.json")
    spoil(Path("in") / NAMES[1])
    with pytest.raises(kind, match=message):
        data.apply("s.json", "in", "out", workers=1)
    assert list(contents("out")) == NAMES[:1]
    capsys.readouterr()
    assert main(["apply", "s.json", "in", "-o", "out"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    (Path("in") / NAMES[1]).unlink()
    assert data.apply("s.json", "in", "out").files.unchanged >= 1
    assert list(contents("out")) == [NAMES[0], NAMES[2]]


@pytest.mark.parametrize("recipe", [MINMAX, data.Recipe()])
def test_files_that_cannot_be_read_are_skipped(folder, capsys, recipe):
    cut(Path("in") / NAMES[1])
    with pytest.raises(FileError, match=r"b.parquet' cannot be read as Parquet"):
        data.scale("in", "out", recipe=recipe)
    assert contents("out") == {}
    done = data.scale("in", "out", recipe=recipe, skip_bad=True)
    assert list(done.files.bad) == [NAMES[1]] and (done.files.written, done.files.unchanged, done.rows) == (2, 0, 1000)
    data.save(data.measure("in/**/[ac].parquet", recipe=recipe), "s.json")
    assert data.apply("s.json", "in", "applied", skip_bad=True).files == done.files
    assert contents("applied") == contents("out")
    capsys.readouterr()
    assert main(["apply", "s.json", "in", "-o", "out", "--skip-bad"]) == 0
    told = capsys.readouterr()
    assert told.err == f"gammabeta: note: left out: {done.files.bad[NAMES[1]]}\n"
    assert "2 files of an earlier run as before, 0 written" in told.out
    assert main(["apply", "s.json", "in", "-o", "out", "--skip-bad", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["files"]
    bad = [{"file": NAMES[1], "reason": done.files.bad[NAMES[1]]}]
    assert told == {"written": 0, "unchanged": 2, "bad": bad, "stale": [], "left_out": []}
    (Path("in") / NAMES[1]).unlink()
    data.scale("in", "rest", recipe=recipe)
    assert contents("out") == contents("rest")


@pytest.mark.parametrize("spoil", [infinite, short, words])
@pytest.mark.parametrize("recipe", [MINMAX, data.Recipe()])
def test_what_is_wrong_with_the_data_is_not_skipped(folder, spoil, recipe):
    spoil(Path("in") / NAMES[1])
    with pytest.raises(DataError, match=r"year=2023.b\.parquet"):
        data.scale("in", "out", recipe=recipe, skip_bad=True)
    assert contents("out") == {}


@pytest.mark.parametrize("recipe", [MINMAX, data.Recipe()])
def test_no_good_file(folder, recipe):
    data.save(data.measure("in"), "s.json")
    for name in NAMES:
        cut(Path("in") / name)
    with pytest.raises(FileError, match=r"'in.a\.parquet' cannot be read as Parquet"):
        data.scale("in", "out", recipe=recipe, skip_bad=True)
    with pytest.raises(
        FileError, match=r"one file at least must be fit to be read, none of 3 is: 'in.a\.parquet' cannot"
    ):
        data.apply("s.json", "in", "out", skip_bad=True)


def test_a_file_that_changes_while_it_is_read(folder, monkeypatch):
    close = ParquetSink.close

    def late(self):
        close(self)
        os.utime(f"in/{NAMES[0]}", ns=(1, 1))

    monkeypatch.setattr(ParquetSink, "close", late)
    with pytest.raises(FileError, match=r"'in.a.parquet' was changed meanwhile; run again when nothing writes to it"):
        data.scale("in", "out", workers=1)
    assert contents("out") == {}


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("in", "the output must be a folder apart from 'in', 'in' is not; take another"),
        ("in/scaled", "the output must be a folder apart from 'in'"),
        (".", "the output must be a folder apart from 'in'"),
        ("link", "the output must be a folder apart from 'in'"),
        ("file", "the output of a folder must be a folder, 'file' is a file"),
        ("none/out", "cannot write 'none/out': there is no folder '.*none'; make it first"),
    ],
)
def test_outputs_that_cannot_be_are_refused_before_any_work(folder, monkeypatch, out, message):
    Path("link").symlink_to("in/year=2023")
    Path("file").touch()
    before = contents(".")
    monkeypatch.setattr("gammabeta.data.passes.measure._parts", lambda *a, **k: pytest.fail("work began"))
    with pytest.raises(FileError, match=message):
        data.scale("in", out)
    assert contents(".") == before and not list(folder.rglob(FOLDER))


def test_an_output_that_leads_to_its_source_is_refused(folder):
    Path("out").mkdir()
    Path("out/year=2023").symlink_to(folder / "in/year=2023")
    before = contents("in")
    with pytest.raises(
        FileError, match=r"in the output folder no link is followed, 'out.year=2023' is one; remove it, or take another"
    ):
        data.scale("in", "out", skip_bad=True)
    assert contents("in") == before


def test_one_run_at_a_time(folder):
    Path("out").mkdir()
    with (
        locked(Path("out")),
        pytest.raises(FileError, match=r"another process is at work with .*lock'; run again when it is done"),
    ):
        data.scale("in", "out")
    data.scale("in", "out")


def test_a_journal_of_a_newer_version_is_not_touched(folder):
    data.scale("in", "out")
    path = Path("out") / FOLDER / "written.jsonl"
    text = path.read_text().replace('"version": 1', '"version": 2')
    path.write_text(text)
    with pytest.raises(
        StateError, match=r"written.jsonl' does not say what .*: this release reads .* got 2; .*remove it"
    ):
        data.scale("in", "out")
    assert path.read_text() == text


def test_a_journal_leads_nowhere_else(folder):
    data.scale("in", "out")
    Path("victim").write_text("x")
    path = Path("out") / FOLDER / "written.jsonl"
    line = {"file": "../victim", "source": [1, 1], "map": "", "output": stamp_if_there(Path("victim")), "rows": 1}
    path.write_text(path.read_text() + json.dumps(line))
    assert "../victim" not in Manifest(Path("out")).lines


def test_no_permission(folder, monkeypatch, capsys):
    opened = os.open

    def refuse(path, flags, *given, **options):  # chmod does not stop root, whom tests may run as
        if flags & os.O_CREAT and "c.parquet" in str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, flags, *given, **options)

    monkeypatch.setattr(os, "open", refuse)
    # the place is at fault, not the file: it is not skipped
    assert main(["scale", "in", "-o", "out", "--skip-bad"]) == 2
    err = capsys.readouterr().err
    assert "c.parquet': Permission denied; nothing was written" in err and len(err.splitlines()) == 1
    assert list(contents("out")) == NAMES[:2]


def test_a_full_disk(folder):
    # the limit on a file's size acts as a full disk does: write fails in mid-file
    pq.write_table(table(9, 100_000), f"in/{NAMES[2]}")
    code = (
        "import resource, sys; from gammabeta.cli import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "scale", "in", "-o", "out", "--skip-bad"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2, result.stderr
    assert f"cannot write 'out/{NAMES[2]}': {os.strerror(errno.EFBIG)}; nothing was written" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(contents("out")) == NAMES[:2]
    done = data.scale("in", "out")
    assert done.files.unchanged == 2
    data.scale("in", "fresh")
    assert contents("out") == contents("fresh")


@pytest.mark.parametrize(("kind", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_says_how_to_go_on(folder, kind, status):
    code = (
        "import os, sys, time, gammabeta.data.formats.parquet as module; from gammabeta.cli import main\n"
        "close, done = module.ParquetSink.close, []\n"
        "def die(self):\n"
        f"    if done: os.kill(os.getpid(), {int(kind)}); time.sleep(1)\n"
        "    close(self); done.append(1)\n"
        "module.ParquetSink.close = die\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "scale", "in", "-o", "out", "--workers", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == status
    assert result.stderr == (
        "gammabeta: interrupted; what is done is kept in 'out': the same command goes on from there\n"
    )
    assert NAMES[0] in contents("out") and not list(folder.rglob("*.part"))
    assert data.scale("in", "out").files.unchanged >= 1
    data.scale("in", "fresh")
    assert contents("out") == contents("fresh")


def test_a_bad_file_stops_the_others(folder):
    for i in range(40):
        pq.write_table(table(i), f"in/z{i:02}.parquet")
    data.save(data.gather(["in/z00.parquet"]), "s.json")
    cut(Path("in") / NAMES[0])
    before = threading.active_count()
    with pytest.raises(FileError):
        data.apply("s.json", "in", "out", workers=2)
    assert len(contents("out")) < 40
    assert threading.active_count() == before
    assert not list(folder.rglob("*.part"))


def test_progress_goes_from_nothing_to_all(folder):
    told = []
    data.scale("in", "out", progress=lambda done, size: told.append((done, size)))
    assert told == sorted(told)
    sizes = {size for _, size in told}
    assert len(sizes) == 1 and told[-1][0] == told[-1][1] == 2 * sum((Path("in") / n).stat().st_size for n in NAMES)


def test_every_file_is_told(folder):
    data.scale("in/a.*", "out")
    told = []
    data.scale("in", "out", workers=1, on_file_done=lambda *given: told.append(given))
    assert told[:3] == [(1, 3, 0), (2, 3, 500), (3, 3, 1000)]  # for the statistics, which knew a.parquet
    assert told[3:] == [(1, 3, 500), (2, 3, 1000), (3, 3, 1500)]  # they are others now: it is written again
    told.clear()
    (Path("out") / NAMES[1]).unlink()
    data.scale("in", "out", on_file_done=lambda *given: told.append(given))
    assert told == [(3, 3, 0), (3, 3, 500)]


def test_the_extrema_of_a_folder(folder):
    told, read = data.extrema("in"), data.extrema("in", footers=False)
    assert (told.min == read.min).all() and (told.max == read.max).all()
    np.testing.assert_array_equal(told.count, [np.nan, 1500])
    assert read.count.tolist() == [1500, 1500]
    pq.write_table(table(1).set_column(1, "n", pa.nulls(500)), f"in/{NAMES[1]}")  # a column of no type
    assert data.extrema("in").count[1] == 1000


def test_the_command_refuses_a_folder_without_a_place_for_it(folder, capsys):
    assert main(["scale", "in"]) == 2
    assert "a folder is scaled into another: gammabeta scale in -o OUT" in capsys.readouterr().err
