"""The ledger: a data set's statistics are those of a fresh scan, whatever was read when; and nothing is lost."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gammabeta import Extrema, Moments, data
from gammabeta.cli import main
from gammabeta.data.core.file_stamp import FileStamp
from gammabeta.data.dataset import ledger as journals
from gammabeta.data.dataset.ledger import LedgerFile
from gammabeta.data.formats import registry
from gammabeta.errors import DataError, FileError, StateError
from gammabeta.statistics.binary import packed, unpacked

CODE = "import sys; from gammabeta.cli import main; sys.exit(main())"


def write(path: Path, seed: int, rows: int = 30) -> None:
    """A file of two columns, one with gaps; the time that it says it was written goes by its seed."""
    rng = np.random.default_rng(seed)
    x = rng.normal(1e6, 1, rows) * 10.0 ** rng.integers(-3, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"x": pa.array(x, mask=rng.random(rows) < 0.2), "n": rng.integers(-99, 99, rows), "s": ["w"] * rows}
    pq.write_table(pa.table(columns), path)
    os.utime(path, ns=(seed, 10**9 * (seed + 1)))


@pytest.fixture(name="folder")
def _folder(tmp_path, monkeypatch):
    """A data set `d` of eight files, in the folder where the test is."""
    monkeypatch.chdir(tmp_path)
    for i in range(8):
        write(tmp_path / f"d/k={i % 2}/{i}.parquet", i)
    return tmp_path


def names(*numbers: int) -> tuple[str, ...]:
    return tuple(sorted(f"k={i % 2}/{i}.parquet" for i in numbers))


def lines(path: str = "s.ledger") -> list[bytes]:
    return Path(path).read_bytes().splitlines(keepends=True)


def reads(monkeypatch) -> list[str]:
    """The names of the files that are read from now on."""
    from gammabeta.data.dataset import file_statistics

    seen = []

    def open_source(path, **named):
        seen.append(Path(path).name)
        return registry.open_source(path, **named)

    monkeypatch.setattr(file_statistics, "open_source", open_source)
    return seen


def test_only_new_and_changed_files_are_read(folder, monkeypatch):
    seen = reads(monkeypatch)
    first = data.update("s.json", "d")
    assert (first.read, first.unchanged, first.gone, first.bad) == (names(*range(8)), 0, (), {})
    assert len(seen) == 8
    seen.clear()
    again = data.update("s.json", "d")
    assert (again.read, again.unchanged, seen) == ((), 8, [])
    write(folder / "d/k=0/2.parquet", 100)
    write(folder / "d/k=0/8.parquet", 101)
    (folder / "d/k=1/3.parquet").unlink()
    third = data.update("s.json", "d", recipe=data.Recipe("minmax"))
    assert (third.read, third.unchanged, third.gone) == (names(2, 8), 6, names(3))
    assert sorted(seen) == ["2.parquet", "8.parquet"]
    assert data.load("s.json") == third.statistics == data.measure("d", recipe=data.Recipe("minmax"))
    assert first.statistics == again.statistics != third.statistics


EDITS = st.lists(
    st.tuples(st.sampled_from(["write", "remove", "touch", "move"]), st.integers(0, 5), st.integers(0, 5)), max_size=6
)


@given(st.lists(EDITS, min_size=1, max_size=4))
@settings(max_examples=15)
def test_the_total_is_that_of_a_fresh_scan(rounds):
    with tempfile.TemporaryDirectory() as place:
        folder, clock = Path(place) / "d", 0
        for i in range(2):
            write(folder / f"{i}.parquet", i)
        known: dict[str, tuple[int, int]] = {}
        for edits in rounds:
            for kind, a, b in edits:
                clock += 1
                _edit(folder, kind, a, b, clock + 10)
            write(folder / "always.parquet", 5)
            found = data.update(folder / "s.json", folder)
            stamps = {path.name: path.stat() for path in folder.glob("*.parquet")}
            now = {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stamps.items()}
            assert found.statistics == data.load(folder / "s.json") == data.measure(folder)
            assert set(found.read) == {name for name, stamp in now.items() if known.get(name) != stamp}
            known |= now


def _edit(folder: Path, kind: str, a: int, b: int, clock: int) -> None:
    path, other = folder / f"{a}.parquet", folder / f"{b}.parquet"
    if kind == "write":
        write(path, clock, rows=20 + b)
    elif kind == "remove":
        path.unlink(missing_ok=True)
    elif path.exists() and kind == "touch":
        os.utime(path, ns=(0, clock))
    elif path.exists():
        path.replace(other)


def test_columns_that_were_not_meant_before_are_read(folder, monkeypatch):
    data.update("s.json", "d", ["x"])
    seen = reads(monkeypatch)
    assert data.update("s.json", "d", ["x"]).unchanged == 8
    wide = data.update("s.json", "d")
    assert (wide.unchanged, len(seen)) == (0, 8)
    assert wide.statistics == data.measure("d")
    seen.clear()
    assert data.update("s.json", "d", exclude=["x"]).statistics == wide.statistics.select(["n"])
    assert data.update("s.json", "d").statistics == wide.statistics
    assert seen == []


def test_the_ledger_moves_with_its_data(folder):
    data.update("s.json", "d")
    for name, new in (("s.json", "t.json"), ("s.ledger", "t.ledger"), ("d", "e")):
        (folder / name).rename(folder / new)
    assert data.update("t.json", "e").unchanged == 8


def test_schemas_may_change_from_file_to_file(folder):
    pq.write_table(pa.table({"n": pa.array([1], pa.int8()), "x": [2.0], "more": ["w"]}), "d/z.parquet")
    found = data.update("s.json", "d")
    assert found.statistics == data.measure("d")
    assert sum(b'"layout"' in line and b'"file"' not in line for line in lines()) == 2
    assert data.update("s.json", "d").unchanged == 9


def test_a_column_that_is_missing_loses_nothing(folder):
    pq.write_table(pa.table({"n": [1]}), "d/z.parquet")
    with pytest.raises(DataError, match=r"'x' of .* is missing in 'd.z.parquet'"):
        data.update("s.json", "d")
    assert not Path("s.json").exists()
    known = sum(b'"sums"' in line for line in lines())
    assert data.update("s.json", "d", exclude=["x"]).unchanged == known >= 1


def test_bad_files(folder):
    bad = folder / "d/k=0/4.parquet"
    bad.write_bytes(bad.read_bytes()[:99])
    (folder / "d/k=1/5.parquet").write_bytes(b"")
    with pytest.raises(FileError) as error:
        data.update("s.json", "d")
    assert "nor can 'k=" in str(error.value) and str(error.value).endswith("or go on without: --skip-bad")
    assert "the other files' statistics are kept in 's.ledger'" in str(error.value)
    assert not Path("s.json").exists()
    found = data.update("s.json", "d", skip_bad=True)
    assert (found.read, found.unchanged, sorted(found.bad)) == ((), 6, ["k=0/4.parquet", "k=1/5.parquet"])
    assert "cannot be read as Parquet" in found.bad["k=0/4.parquet"]
    assert "is empty: it has 0 bytes" in found.bad["k=1/5.parquet"]
    assert sum(b'"bad": "' in line for line in lines()) == 4
    files = [f"d/k={i % 2}/{i}.parquet" for i in range(8) if i not in (4, 5)]
    assert found.statistics == data.measure(files)
    for i in (4, 5):
        write(folder / f"d/k={i % 2}/{i}.parquet", i)
    assert data.update("s.json", "d").read == names(4, 5)


def test_nothing_but_bad_files(folder):
    (folder / "e").mkdir()
    (folder / "e/a.parquet").write_bytes(b"none")
    with pytest.raises(FileError, match=r"'e.a.parquet' cannot be read as Parquet"):
        data.update("s.json", "e", skip_bad=True)


def test_check_finds_what_size_and_time_hide(folder):
    data.update("s.json", "d")
    found = data.update("s.json", "d", check=3)
    assert len(found.checked) == 5 and found.unchanged == 8
    assert data.update("s.json", "d", check=3).checked == found.checked
    assert any(data.update("s.json", "d", check=seed).checked != found.checked for seed in range(4, 9))
    for i in range(8):
        path = folder / f"d/k={i % 2}/{i}.parquet"
        before = path.stat()
        content = bytearray(path.read_bytes())
        at = content.find(np.float64(pq.read_table(path)["x"].drop_null()[0].as_py()).tobytes())
        content[at] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(0, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size
    assert data.update("s.json", "d").unchanged == 8
    with pytest.raises(StateError, match="it was changed, though its size and time are as they were; touch the file"):
        data.update("s.json", "d", check=3)
    for i in range(8):
        (folder / f"d/k={i % 2}/{i}.parquet").touch()
    assert data.update("s.json", "d", check=3).statistics == data.measure("d")


def test_a_last_line_that_was_cut_off(folder):
    data.update("s.json", "d")
    whole = Path("s.ledger").read_bytes()
    last = len(lines()[-1])
    for cut in (1, 5, last // 2, last - 1, last):
        Path("s.ledger").write_bytes(whole[:-cut])
        found = data.update("s.json", "d")
        assert len(found.read) == 1 and found.statistics == data.measure("d")
        assert sorted(lines()) == sorted(whole.splitlines(keepends=True))
    for size in (0, 1, 20, len(lines()[0]) - 1):
        Path("s.ledger").write_bytes(whole[:size])
        assert len(data.update("s.json", "d").read) == 8


def test_every_line_that_is_damaged_is_named_and_can_be_taken_out(folder):
    data.update("s.json", "d")
    good = lines()
    for i in range(1, len(good)):
        bad = good.copy()
        bad[i] = bad[i].replace(b'": ', b'"; ', 1)
        Path("s.ledger").write_bytes(b"".join(bad))
        with pytest.raises(StateError, match=f"line {i + 1} of 's.ledger' is damaged; take the line out"):
            data.update("s.json", "d")
        assert lines() == bad
        Path("s.ledger").write_bytes(b"".join(good[:i] + good[i + 1 :]))
        found = data.update("s.json", "d")
        assert len(found.read) == (8 if i == 1 else 1)  # the second line says which columns the files have
        assert found.statistics == data.measure("d")


@pytest.mark.parametrize(
    "told",
    [
        {"file": "k=0/0.parquet"},
        {"layout": "a", "columns": 3},
        {"layout": "a", "columns": [["x"]]},
        {"file": "k=0/0.parquet", "size": 1, "mtime_ns": 1, "layout": [], "rows": 1, "of": [0], "sums": ""},
        [],
        3,
    ],
)
def test_whole_lines_that_say_nonsense(folder, told):
    data.update("s.json", "d")
    stat = (folder / "d/k=0/0.parquet").stat()
    if isinstance(told, dict) and "size" in told:
        told = told | {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    count = len(lines())
    with Path("s.ledger").open("ab") as file:
        file.write(journals._line(told))
    with pytest.raises(StateError, match=f"line {count + 1} of 's.ledger' is damaged"):
        data.update("s.json", "d")


def test_sums_that_are_none(folder):
    data.update("s.json", "d")
    good = lines()
    told = json.loads(good[-1][9:])
    for sums in ("", "AAAA", "é", 3):
        Path("s.ledger").write_bytes(b"".join([*good[:-1], journals._line(told | {"sums": sums})]))
        with pytest.raises(StateError, match=f"line {len(good)} of 's.ledger' is damaged"):
            data.update("s.json", "d")


def test_other_versions_and_other_files(folder, capsys):
    data.update("s.json", "d")
    rest = lines()[1:]
    newer = journals._line({"format": "gammabeta.ledger", "version": 2})
    Path("s.ledger").write_bytes(b"".join([newer, *rest]))
    assert main(["stats", "d", "-o", "s.json"]) == 2
    told = capsys.readouterr().err
    assert "'s.ledger' is not a ledger to be used: this release reads gammabeta.ledger version 1, got 2; use" in told
    assert len(told.splitlines()) == 1
    assert lines() == [newer, *rest]
    for content in (b"my own notes\n", b"notes", b"\0" * 99, b"{}\n"):
        Path("s.ledger").write_bytes(content)
        assert main(["stats", "d", "-o", "s.json"]) == 2
        assert "'s.ledger' is not a ledger to be used" in capsys.readouterr().err
        assert Path("s.ledger").read_bytes() == content


def test_one_process_at_a_time(folder, capsys):
    pytest.importorskip("fcntl", reason="Windows knows no such locks")
    data.update("s.json", "d")
    with LedgerFile(folder / "s.ledger"):
        assert main(["stats", "d", "-o", "s.json"]) == 2
        assert "another process is at work with 's.ledger'; run again when it is done" in capsys.readouterr().err
        assert main(["stats", "d", "-o", "t.json"]) == 0
    assert main(["stats", "d", "-o", "s.json"]) == 0


def test_what_no_longer_holds_is_thrown_away(folder, monkeypatch):
    monkeypatch.setattr(journals, "WASTE", 4000)
    sizes = []
    for i in range(30):
        write(folder / "d/k=0/0.parquet", 1000 + i)
        assert data.update("s.json", "d").unchanged == (7 if i else 0)
        sizes.append(Path("s.ledger").stat().st_size)
    assert max(sizes) < 2 * sizes[0] + 8000
    assert sum(a > b for a, b in pairwise(sizes)) >= 2
    assert data.update("s.json", "d").statistics == data.measure("d")


def test_a_disk_that_is_full(folder):
    pytest.importorskip("resource", reason="Windows limits no file's size")
    limits = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0})); "
    for size in (10, 1500):
        command = [sys.executable, "-c", limits.format(size) + CODE, "stats", "d", "-o", "s.json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 2, done.stderr
        told = done.stderr.splitlines()[-1]
        assert told.startswith(
            "gammabeta: cannot write 's.ledger': File too large; what is in it is kept, and the same"
        )
        assert not Path("s.json").exists()
    known = sum(line.endswith(b"\n") and b'"sums"' in line for line in lines())
    found = data.update("s.json", "d")
    assert found.unchanged == known >= 1 and found.statistics == data.measure("d")


def test_no_permission(folder, monkeypatch):
    data.update("s.json", "d")
    before = lines()

    def refuse(path, flags, *given):  # a file's mode does not stop root, whom tests may run as
        if str(path).endswith(".ledger"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, flags, *given)

    opened = os.open
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FileError, match=r"cannot write 's.ledger': Permission denied; the old file is as it was"):
        data.update("s.json", "d")
    monkeypatch.undo()
    assert lines("s.ledger" if Path("s.ledger").exists() else folder / "s.ledger") == before


def test_places_that_cannot_be(folder):
    with pytest.raises(FileError, match="there is no folder 'none'; make it first"):
        data.update("none/s.json", "d")
    with pytest.raises(
        FileError, match=r"update\(stats, where\), got 's.csv' and 'd'; the first must .* end.* in .json"
    ):
        data.update("s.csv", "d")
    Path("s.ledger").mkdir()
    with pytest.raises(FileError, match=r"cannot write 's.ledger': Is a directory"):
        data.update("s.json", "d")


def test_packed_statistics_are_the_same_bits():
    hostile = np.array(
        [[0.0, 1e30, -5e-324], [1e-30, 1e308, np.nan], [-1.0, -1e308, 3.0], [np.inf, np.nan, 2.0**-1070]]
    )
    moments, extrema = Moments.of(hostile), Extrema.of(hostile)
    assert unpacked(packed(moments, extrema)) == (moments, extrema)
    empty = Moments.of(np.empty((0, 3))), Extrema.of(np.empty((0, 3)))
    assert unpacked(packed(*empty)) == empty
    with pytest.raises(StateError, match="packed statistics must be as they were written"):
        unpacked(packed(moments, extrema)[:-1])


def run(capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_the_command(folder, capsys):
    told = run(capsys, "stats", "d", "-o", "s.json")
    assert "d: 240 rows" in told and "8 files read, 0 as before\n" in told and "kept in s.json" in told
    write(folder / "d/k=0/2.parquet", 50)
    (folder / "d/k=0/6.parquet").unlink()
    assert "1 file read, 6 as before, 1 gone" in run(capsys, "stats", "d/**/*.parquet", "-o", "s.json")
    told = run(capsys, "stats", "d", "-o", "s.json", "--check", "--seed", "5")
    assert "read again and found the same: k=" in told
    (folder / "d/x.parquet").write_bytes(b"none")
    assert main(["stats", "d", "-o", "s.json", "--skip-bad", "--json"]) == 0
    said = capsys.readouterr()
    files = json.loads(said.out)["files"]
    assert (files["unchanged"], files["read"], files["bad"][0]["file"]) == (7, [], "x.parquet")
    assert "note: left out: 'd/x.parquet' cannot be read as Parquet" in said.err
    (folder / "d/x.parquet").unlink()
    (folder / "d/README").touch()
    assert main(["stats", "d"]) == 0
    assert "note: left out, their names are not those of data: 'README'" in capsys.readouterr().err
    for option in ("--skip-bad", "--check"):
        assert main(["stats", "d", option]) == 2
        assert f"{option} goes with a folder" in capsys.readouterr().err


def test_the_command_with_other_arguments(folder, capsys):
    files = [str(path) for path in sorted(Path("d").rglob("*.parquet"))]
    assert "8 files read" in run(capsys, "stats", *files, "-o", "list.json")
    assert "8 as before" in run(capsys, "stats", *files, "-o", "list.json")
    run(capsys, "stats", files[0], files[0], "-o", "twice.json")
    run(capsys, "stats", files[0], "-o", "one.json")
    run(capsys, "stats", "d/k=0", "-o", "even.json")
    run(capsys, "stats", "d/k=1", "-o", "odd.json")
    run(capsys, "stats", "even.json", "odd.json", "-o", "all.json")
    run(capsys, "stats", "even.json", "d/k=1", "-o", "mixed.json")
    assert data.load("all.json") == data.load("mixed.json") == data.load("list.json") == data.measure("d")
    assert data.load("twice.json").rows == 60
    assert sorted(path.name for path in folder.glob("*.ledger")) == ["even.ledger", "list.ledger", "odd.ledger"]


def test_progress_is_told(folder):
    told, files = [], []
    data.update(
        "s.json",
        "d",
        progress=lambda done, size: told.append((done, size)),
        on_file_done=lambda *given: files.append(given),
    )
    size = sum(path.stat().st_size for path in Path("d").rglob("*.parquet"))
    assert told[-1] == (size, size)
    assert files == [(i, 8, 30 * i) for i in range(9)]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_what_can_go_on(folder, number, status):
    if os.name == "nt":
        pytest.skip("Windows has no such signals")
    hold = (
        "import os, signal; from gammabeta.data.dataset import update; each = update.each\n"
        "def some(*given):\n"
        "    for i, outcome in enumerate(each(*given)):\n"
        f"        if i == 3: os.kill(os.getpid(), {int(number)})\n"
        "        yield outcome\n"
        "update.each = some\n"
    )
    command = [sys.executable, "-c", hold + CODE, "stats", "d", "-o", "s.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == status
    assert (
        done.stderr == "gammabeta: interrupted; 3 of 8 files are in 's.ledger': the same command goes on from there\n"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["d", "s.ledger"]
    found = data.update("s.json", "d")
    assert found.unchanged == 3 and found.statistics == data.measure("d")


def test_a_stamp_is_of_size_and_time(folder):
    path = folder / "d/k=0/0.parquet"
    with LedgerFile(folder / "s.ledger") as journal:
        assert journal.entry("k=0/0.parquet", FileStamp(path.stat().st_size, 1)) is None
    data.update("s.json", "d")
    stat = path.stat()
    with LedgerFile(folder / "s.ledger") as journal:
        assert journal.entry("k=0/0.parquet", FileStamp(stat.st_size, stat.st_mtime_ns)) is not None
        assert journal.entry("k=0/0.parquet", FileStamp(stat.st_size, stat.st_mtime_ns + 1)) is None
        assert journal.entry("k=0/0.parquet", FileStamp(stat.st_size + 1, stat.st_mtime_ns)) is None


def test_the_data_first_and_then_the_stats_file_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0, 2.0]}), tmp_path / "a.parquet")
    stats = tmp_path / "stats.json"
    for _ in range(2):  # without a stats file, and with one
        for where in (tmp_path, str(tmp_path), [tmp_path / "a.parquet"], str(tmp_path / "*.parquet")):
            with pytest.raises(FileError, match=r"the stats file first and then the data, update\(stats, where\)"):
                data.update(where, stats)  # type: ignore[arg-type]
        data.update(stats, tmp_path)
