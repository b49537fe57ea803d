"""Scaling a folder, killed at any moment and begun again: nothing is lost, and nothing is to be seen of it."""

import os
import random
import subprocess
import sys
from pathlib import Path
from time import monotonic

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

FILES, ROWS = 24, 20_000

# says that it begins: a kill while Python starts up would test nothing
CODE = (
    "import sys; from gammabeta import data; from gammabeta.cli import main; import gammabeta.data.folder\n"
    "print('begins', flush=True); sys.exit(main(sys.argv[1:]))"
)


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


def begun(out):
    """A run that has come to its work."""
    command = [sys.executable, "-c", CODE, "scale", "in", "-o", out, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begins\n"
    return process


def ended(process):
    """Wait for a run to end well."""
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def outputs(out):
    """What a user sees in a folder."""
    paths = [path for path in Path(out).rglob("*.parquet") if path.name[0] != "."]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


def killed(folder, kills, seed):
    """Kill runs at random moments; all the while every file that is to be seen must be as without."""
    before, choice = outputs("in"), random.Random(seed)
    process, start = begun("undisturbed"), monotonic()
    ended(process)
    length = monotonic() - start
    expected = outputs("undisturbed")
    assert len(expected) == FILES
    moments = []
    while len(moments) < kills:
        out = f"out{len(moments) // 8}"  # a run that is often killed has little left to do
        process = begun(out)
        try:
            process.wait(choice.uniform(0, length))
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        found = outputs(out)
        assert all(content == expected[name] for name, content in found.items())
        moments.append(len(found))
    for out in {f"out{i // 8}" for i in range(kills)}:
        ended(begun(out))
        assert outputs(out) == expected
        assert not [path for path in Path(out).rglob(".*") if path.name.endswith(".part")]
    assert outputs("in") == before
    return moments


def test_a_few_kills(folder):
    moments = killed(folder, 6, seed=os.getpid())
    assert any(0 < found < FILES for found in moments) or len(set(moments)) > 1


@pytest.mark.slow
def test_a_hundred_kills(folder):
    moments = killed(folder, 100, seed=7)
    assert len({found for found in moments if 0 < found < FILES}) > 5  # they came in mid-work
