"""What runs leave that are killed is removed by later ones, and nothing else; hang-ups clean up; no link leads out."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gammabeta import cli, data
from gammabeta.cli import main
from gammabeta.data.dataset.manifest import FOLDER
from gammabeta.data.io import part_files
from gammabeta.data.io.paths import replacing
from gammabeta.errors import FileError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals and locks")

WAITING = """
import sys, time
from pathlib import Path
from gammabeta.data.core import statistics
from gammabeta.data.passes import transform
scaled = transform._scaled
def wait(*given):
    print(*(path.name for path in Path().glob(".*.part")), flush=True)
    time.sleep(600)
transform._scaled = statistics.Statistics.to_json = wait
from gammabeta.cli import main
sys.exit(main())
"""


@pytest.fixture(name="folder")
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x", "y"):
        Path(f"{name}.csv").write_text("x\n1\n3\n")
    return tmp_path


def parts():
    return sorted(path.name for path in Path().rglob(".*.part"))


def waiting(*arguments):
    """A run that has begun its output and waits, and the name of what is not whole."""
    run = subprocess.Popen([sys.executable, "-c", WAITING, *arguments], stdout=subprocess.PIPE, text=True)
    return run, run.stdout.readline().strip()


def ended(run, number):
    run.send_signal(number)
    run.communicate(timeout=60)
    return run.returncode


COMMANDS = {
    "scale": ("scale", "x.csv", "-o", "out.csv"),
    "stats": ("stats", "x.csv", "-o", "s.json"),
}


@pytest.mark.parametrize("arguments", [COMMANDS["scale"], COMMANDS["stats"]], ids=["scale", "stats"])
def test_what_a_killed_run_left_is_removed_by_a_later_one(folder, arguments):
    run, left = waiting(*arguments)
    assert parts() == [left]
    assert main(list(arguments)) == 0  # that run is alive: what it writes stays
    assert parts() == [left]
    assert ended(run, signal.SIGKILL) == -signal.SIGKILL
    assert parts() == [left]
    assert main(list(arguments)) == 0
    assert parts() == []


def test_what_is_not_ours_stays(folder):
    others = [".out.csv.0123abcd.part.gz", ".out.csv.xyz.part", ".other.csv.0123abcd.part", "out.csv.0123abcd.part"]
    for name in others:
        Path(name).write_text("mine")
    Path(".out.csv.00000001.part").mkdir()
    Path("kept").write_text("mine")
    Path(".out.csv.00000002.part").symlink_to("kept")
    Path(".out.csv.00000003.part").write_text("left")
    data.scale("x.csv", "out.csv")
    assert not Path(".out.csv.00000003.part").exists()
    assert Path("kept").read_text() == "mine" and Path(".out.csv.00000002.part").is_symlink()
    assert all(Path(name).read_text() == "mine" for name in others) and Path(".out.csv.00000001.part").is_dir()


def test_names_of_any_kind(folder):
    for name in ("a*[b].csv", "new\nline.csv", "ü" * 100 + ".csv"):
        Path(f".{name[:200]}.0123abcd.part").write_text("left")
        data.scale("x.csv", name)
        assert parts() == []


def test_without_locks_nothing_is_removed(folder, monkeypatch):
    monkeypatch.setattr(part_files, "fcntl", None)
    Path(".out.csv.0123abcd.part").write_text("left")
    data.scale("x.csv", "out.csv")
    assert parts() == [".out.csv.0123abcd.part"] and Path("out.csv").exists()


def test_a_file_that_is_taken_before_it_has_its_lock_is_made_anew(folder, monkeypatch):
    taken = []

    def raced(descriptor):
        if not taken:
            taken.extend(parts())
            Path(taken[0]).unlink()
        return True

    monkeypatch.setattr(part_files, "lock", raced)
    path, descriptor = part_files.begun(Path("out.csv"))
    os.close(descriptor)
    assert path.exists() and path.name not in taken and len(taken) == 1


def test_two_runs_to_one_target_in_one_process(folder):
    with replacing(Path("out.csv")) as first:
        with replacing(Path("out.csv")) as second:
            second.write_text("second")
        assert first.exists()
        first.write_text("first")
    assert Path("out.csv").read_text() == "first" and parts() == []


@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM", "SIGINT"])
def test_a_signal_cleans_up(folder, name):
    number = getattr(signal, name)
    run, _ = waiting(*COMMANDS["scale"])
    assert ended(run, number) == 128 + number
    assert parts() == [] and not Path("out.csv").exists()


def test_nohup_stays_deaf(folder):
    code = WAITING.replace("time.sleep(600)", "time.sleep(3); return scaled(*given)").replace(
        "import sys, time", "import signal, sys, time; signal.signal(signal.SIGHUP, signal.SIG_IGN)", 1
    )
    run = subprocess.Popen([sys.executable, "-c", code, *COMMANDS["scale"]], stdout=subprocess.PIPE, text=True)
    run.stdout.readline()
    assert ended(run, signal.SIGHUP) == 0 and Path("out.csv").exists()


def test_a_terminal_that_is_closed(folder):
    """Its runs get SIGHUP, and can tell nobody anything any more."""
    import pty

    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", WAITING, *COMMANDS["scale"]])
    assert os.read(terminal, 100).startswith(b".out.csv.")
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    assert parts() == []


def test_a_caller_keeps_its_own_handler_of_hang_ups():
    before = signal.getsignal(signal.SIGHUP)
    assert cli.main(["--version"]) == 0
    assert signal.getsignal(signal.SIGHUP) is before


LINKS = {
    "a folder": "out/sub",
    "a file": "out/a.csv",
    "our own folder": f"out/{FOLDER}",
    "the record": f"out/{FOLDER}/written.jsonl",
    "the statistics": f"out/{FOLDER}/stats.json",
    "the ledger": f"out/{FOLDER}/stats.ledger",
    "the lock": f"out/{FOLDER}/lock",
}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
@pytest.mark.parametrize("whole", [True, False])
def test_no_link_in_the_output_is_followed(folder, capsys, link, whole):
    Path("in/sub").mkdir(parents=True)
    for name in ("in/a.csv", "in/sub/b.csv"):
        Path(name).write_text("x\n1\n3\n")
    outside = Path("outside")
    if Path(link).name in ("sub", FOLDER):
        outside.mkdir()
    elif whole:
        outside.write_text("mine")
    Path(link).parent.mkdir(parents=True)
    Path(link).symlink_to(outside.resolve(), target_is_directory=outside.is_dir())
    assert main(["scale", "in", "-o", "out"]) == 2
    told = capsys.readouterr().err
    assert told == (
        f"gammabeta: in the output folder no link is followed, '{link}' is one; remove it, or take another folder\n"
    )
    assert not list(outside.iterdir()) if outside.is_dir() else outside.exists() == whole
    assert not whole or outside.is_dir() or outside.read_text() == "mine"
    assert not [path for path in Path("out").rglob("*.csv") if not path.is_symlink()]


def test_a_record_that_names_what_a_link_leads_to_removes_nothing_there(folder):
    Path("in").mkdir()
    Path("in/a.csv").write_text("x\n1\n3\n")
    data.scale("in", "out")
    record = Path("out") / FOLDER / "written.jsonl"
    line = record.read_text().splitlines()[1].replace('"a.csv"', '"sub/b.csv"')
    Path("outside").mkdir()
    Path("outside/b.csv").write_bytes(Path("out/a.csv").read_bytes())
    os.utime("outside/b.csv", ns=(0, Path("out/a.csv").stat().st_mtime_ns))
    Path("outside/.b.csv.0123abcd.part").write_text("mine")
    Path("out/sub").symlink_to(Path("outside").resolve())
    record.write_text(record.read_text() + line + "\n")
    data.scale("in", "out")
    assert Path("outside/.b.csv.0123abcd.part").read_text() == "mine"


def test_the_output_itself_may_be_a_link(folder):
    Path("in").mkdir()
    Path("in/a.csv").write_text("x\n1\n3\n")
    Path("real").mkdir()
    Path("out").symlink_to("real")
    data.scale("in", "out")
    assert Path("real/a.csv").exists()
    Path("real/b.csv").symlink_to("a.csv")
    Path("in/b.csv").write_text("x\n1\n3\n")
    with pytest.raises(FileError, match="no link is followed"):
        data.scale("in", "out")
