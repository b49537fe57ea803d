"""Whatever is wrong: one line on stderr that says what, exit status 2, no traceback, nothing half-written."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gammabeta.cli import main


@pytest.fixture(name="folder")
def _folder(tmp_path, monkeypatch):
    """A folder with one file of each kind of trouble."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.csv").write_text("a,b\n1,2\n3,5\n")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "header.csv").write_text("a,b\n")
    (tmp_path / "words.csv").write_text("a,b\nx,y\n")
    (tmp_path / "ragged.csv").write_text("a,b\n1,2\n3\n")
    (tmp_path / "inf.csv").write_text("a,b\n1,2\n3,-inf\n")
    (tmp_path / "data.xlsx").write_text("a")
    (tmp_path / "other.csv").write_text("a,c\n1,2\n")
    (tmp_path / "text.csv").write_text("b,a\nx,1\n")
    (tmp_path / "folder.csv").mkdir()
    pq.write_table(pa.table({"a": np.arange(1000.0)}), tmp_path / "cut.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "cut.parquet").read_bytes()[:3000])
    np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
    assert main(["stats", "good.csv", "-o", "s.json"]) == 0
    document = json.loads((tmp_path / "s.json").read_text())
    (tmp_path / "new.json").write_text(json.dumps(document | {"version": 2}))
    (tmp_path / "cut.json").write_text(json.dumps(document)[:100])
    assert main(["stats", "good.csv", "-o", "m.json", "--method", "minmax"]) == 0
    return tmp_path


TROUBLE = {
    "scale none.csv -o out.csv": "cannot read 'none.csv': no such file",
    "scale empty.csv -o out.csv": "'empty.csv' is empty",
    "scale header.csv -o out.csv": "at least one numeric column is needed",
    "scale words.csv -o out.csv": "at least one numeric column is needed, 'words.csv' has none to scale",
    "scale ragged.csv -o out.csv": "'ragged.csv' cannot be read as CSV: CSV parse error: Row #3: Expected 2 ",
    "scale inf.csv -o out.csv": "column 'b' of 'inf.csv' holds -inf in row 2",
    "scale inf.csv": "column 'b' of 'inf.csv' holds -inf in row 2",
    "scale data.xlsx -o out.csv": "a data file's name must end in .csv",
    "scale folder.csv -o out.csv": "at least one data file is needed, there is none in 'folder.csv'",
    "scale cut.parquet -o out.csv": "'cut.parquet' cannot be read as Parquet",
    "scale object.npy -o out.npy": "holds Python objects, which are never unpickled",
    "scale good.csv -o out.xlsx": "must end in .csv",
    "scale good.csv -o none/out.csv": "there is no folder",
    "scale good.csv -o folder.csv": "the output must be a file",
    "scale good.csv -o out.csv --columns c": "there is no column 'c' in 'good.csv'; it has 'a', 'b'",
    "scale good.csv -o out.csv --exclude c": "there is no column 'c'",
    "scale words.csv -o out.csv --columns a": "columns to scale must be of numbers, 'a' in 'words.csv' is not numeric",
    "scale good.csv -o out.csv --feature-range 0 1": "--feature-range goes with --method minmax",
    "scale good.csv -o out.csv --method minmax --ddof 1": "--ddof goes with --method standard",
    "scale good.csv -o out.csv --method minmax --feature-range 1 0": "feature_range must be two finite numbers",
    "scale good.csv -o out.csv --ddof -1": "ddof must be a finite number, 0 or more",
    "scale good.csv -o out.csv --ddof nan": "ddof must be a finite number",
    "scale good.csv -o out.csv --ddof inf": "ddof must be a finite number",
    "scale good.csv -o out.csv --stats s.txt": "a stats file's name must end in .json",
    "scale good.csv -o out.csv --stats none/s.json": "there is no folder",
    "scale good.csv --stats s.json": "--stats goes with -o OUT",
    "scale good.csv --example": "one file is needed",
    "scale": "one file is needed: gammabeta scale IN, or gammabeta scale --example",
    "scale good.csv more.csv": "unexpected extra argument",
    "scale good.csv --method robust": "'robust' is not one of",
    "scale good.csv --feature-range 1": "requires 2 arguments",
    'scale good.csv --columns "a': "names must be separated by commas, and one that holds a comma",
    "scale good.csv --colums a": "No such option: --colums",
    "scael good.csv": "No such command 'scael'",
    "stats": "Missing argument",
    "stats good.csv other.csv": "these are on one side only: 'b', 'c'",
    "stats s.json m.json": "choose with --method",
    "stats good.csv -o s.csv": "a stats file's name must end in .json",
    "stats new.json": "reads gammabeta.stats version 1, got",
    "stats cut.json": "'cut.json' is not a stats file to be used",
    "apply none.json good.csv -o out.csv": "cannot read 'none.json': no such file",
    "apply new.json good.csv -o out.csv": "reads gammabeta.stats version 1, got",
    "apply good.csv good.csv -o out.csv": "'good.csv' is not a stats file to be used",
    "apply s.json other.csv -o out.csv": "every column that has statistics must be in 'other.csv', 'b' not",
    "apply s.json text.csv -o out.csv": "column 'b' must be of numbers as it was (int64), in 'text.csv' it is string",
    "apply s.json inf.csv -o out.csv": "column 'b' of 'inf.csv' holds -inf in row 2",
    "apply s.json good.csv": "Missing option '--output'",
    "invert s.json other.csv -o out.csv": "every column that has statistics must be in 'other.csv'",
    "invert s.json ragged.csv -o out.csv": "Row #3: Expected 2 columns, got 1",
}


@pytest.mark.parametrize("arguments", TROUBLE)
@pytest.mark.parametrize("old", [None, "old"])
def test_trouble(folder, capsys, arguments, old):
    capsys.readouterr()
    out = folder / "out.csv"
    if old is not None:
        out.write_text(old)
    before = sorted(path.name for path in folder.iterdir())
    assert main(arguments.split()) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert TROUBLE[arguments] in told.err
    assert len(told.err.splitlines()) == 1
    assert told.err.startswith("gammabeta: ")
    assert sorted(path.name for path in folder.iterdir()) == before
    assert old is None or out.read_text() == old


@pytest.mark.parametrize(
    "arguments",
    [
        "scale none.csv",
        "scale ragged.csv -o out.csv",
        "apply new.json good.csv -o out.csv",
        "scale --nonsense",
        "scael",
    ],
)
def test_trouble_through_the_entry_point(folder, arguments):
    code = "import sys; from gammabeta.cli import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments.split()], capture_output=True, text=True, timeout=60, cwd=folder
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("gammabeta: ")
    assert len(result.stderr.splitlines()) == 1
    assert "Traceback" not in result.stderr


def test_the_script_is_this_function():
    from importlib.metadata import PackageNotFoundError, entry_points

    try:
        (script,) = entry_points(group="console_scripts", name="gammabeta")
    except (ValueError, PackageNotFoundError):
        pytest.skip("gammabeta is not installed, so it has no script")
    assert script.value == "gammabeta.cli:main"


def test_running_out_of_memory_is_said(folder, capsys, monkeypatch):
    capsys.readouterr()

    def fail(*given, **options):
        raise MemoryError

    monkeypatch.setattr("gammabeta.data.preview", fail)
    assert main(["scale", "good.csv"]) == 2
    assert capsys.readouterr().err == "gammabeta: there is not enough memory\n"
