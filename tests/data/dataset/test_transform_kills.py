"""Scaling a folder, killed at any moment and begun again: nothing is lost, and nothing is to be seen of it."""

import random
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

FILES, ROWS = 24, 20_000
KILLS = 100

# Says that it begins, since a kill while Python starts up would test nothing, and kills itself before or after the
# n-th time that something is written; says at the end how often that was.
CODE = """
import os, sys
from pathlib import Path
import gammabeta.data.dataset.transform
from gammabeta.cli import main
from gammabeta.data.dataset import ledger, manifest
from gammabeta.data.formats import parquet
left = steps = int(sys.argv.pop(1))
def step():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)
def counted(owner, name):
    inner = getattr(owner, name)
    def outer(*given):
        step()
        inner(*given)
        step()
    setattr(owner, name, outer)
for owner in (parquet.ParquetSink, manifest.Manifest, ledger.LedgerFile, Path):
    for name in {"write", "close", "add", "replace"} & set(vars(owner)):
        counted(owner, name)
print("begins", flush=True)
status = main(["scale", "in", "-o", sys.argv[1]])
print(steps - left)
sys.exit(status)
"""


@pytest.fixture(name="folder")
def _folder(tmp_path, monkeypatch):
    """A folder `in` of many files in partitions."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    for i in range(FILES):
        path = Path(f"in/part={i % 3}/{i}.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({f"x{j}": rng.normal(i, 1 + j, ROWS).astype(np.float32) for j in range(8)}), path)
    return tmp_path


def begun(out, steps=0):
    """A run that has come to its work, and dies at that step."""
    command = [sys.executable, "-c", CODE, str(steps), out]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begins\n"
    return process


def ended(process):
    """The steps of a run that ends well."""
    told, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return int(told.split()[-1])


def outputs(folder):
    """What a user sees in a folder."""
    paths = [path for path in Path(folder).rglob("*.parquet") if path.name[0] != "."]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


class Undisturbed:
    """A run that nothing happens to: what comes of it, in how many steps, how long it takes."""

    def __init__(self):
        self.before = outputs("in")
        start = monotonic()
        self.steps = ended(begun("undisturbed"))
        self.length = monotonic() - start
        self.outputs = outputs("undisturbed")
        assert len(self.outputs) == FILES

    def check(self, out):
        """Whatever is to be seen is whole. Return how many files are."""
        found = outputs(out)
        assert all(content == self.outputs[name] for name, content in found.items())
        return len(found)

    def check_end(self, out):
        """The next run brings all to its end, and leaves nothing else."""
        ended(begun(out))
        assert outputs(out) == self.outputs
        assert not [path for path in Path(out).rglob("*") if path.name.endswith(".part")]
        assert outputs("in") == self.before


def test_a_few_kills(folder):
    plain = Undisturbed()
    choice = random.Random()
    seen = []
    for _ in range(5):
        # five such stretches are less than all of it, and more than the statistics
        process = begun("out", choice.randint(plain.steps // 8, plain.steps // 6))
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
        seen.append(plain.check("out"))
    assert seen == sorted(seen) and 0 < seen[-1] <= FILES
    plain.check_end("out")


@pytest.mark.long
def test_a_hundred_kills(folder):
    plain = Undisturbed()
    choice = random.Random()
    seen, killed = set(), 0
    while killed < KILLS:
        out = f"out{killed // 5}"  # a run that is often killed has little left to do
        by_time = choice.random() < 0.5
        process = begun(out, 0 if by_time else choice.randint(1, plain.steps))
        try:
            process.wait(choice.uniform(0, plain.length) if by_time else 120)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        seen.add(plain.check(out))
    for i in range(-(-KILLS // 5)):
        plain.check_end(f"out{i}")
    assert len(seen) > 5  # they came at many a moment
