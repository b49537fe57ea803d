"""A command that is broken off, and by somebody impatient."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gammabeta import cli, data

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")

IMPATIENT = """
import atexit, os, signal, sys
from gammabeta.cli import main
from gammabeta.data.dataset import update
each, kill = update.each, lambda: os.kill(os.getpid(), signal.{})
def some(*given):
    try:
        for i, outcome in enumerate(each(*given)):
            if i == 2: kill()
            yield outcome
    finally:
        kill()
update.each = some
atexit.register(kill)
sys.exit(main())
"""


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_only_the_first_signal_counts(tmp_path, name, status):
    for i in range(5):
        (tmp_path / f"{i}.csv").write_text(f"x\n{i}\n")
    command = [sys.executable, "-c", IMPATIENT.format(name), "stats", "*.csv", "-o", "s.json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.stderr == (
        "gammabeta: interrupted; 2 of 5 files are in 's.ledger': the same command goes on from there\n"
    )
    assert done.returncode == status
    found = data.update(tmp_path / "s.json", str(tmp_path / "*.csv"))
    assert found.unchanged == 2 and found.statistics == data.measure(tmp_path)


def test_what_the_parent_ignores_stays_ignored(tmp_path):
    """A shell starts `command &` so that Ctrl-C, which is for the foreground, does not reach it."""
    Path(tmp_path / "x.csv").write_text("x\n1\n")
    code = IMPATIENT.replace("i == 2", "i == 0").format("SIGINT")
    code = code.replace("from gammabeta.cli", "signal.signal(signal.SIGINT, signal.SIG_IGN)\nfrom gammabeta.cli", 1)
    command = [sys.executable, "-c", code, "stats", "*.csv", "-o", "s.json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_caller_keeps_its_own_handlers():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert cli.main(["--version"]) == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
