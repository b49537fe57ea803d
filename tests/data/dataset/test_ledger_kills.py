"""A process that keeps a ledger is killed at random moments: nothing that was read is lost, nothing is half-written."""

import os
import subprocess
import sys

import pytest

FILES = 30

# Imports once and forks for every run, so that a kill takes milliseconds: what is killed is the command itself.
CODE = f"""
import os, random, signal, sys, time
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from gammabeta import data
from gammabeta.cli import main
from gammabeta.data.dataset.ledger import LedgerFile
from gammabeta.kernels import thread_pool

kills, seed, folder = int(sys.argv[1]), int(sys.argv[2]), Path("d")
draw, clock = random.Random(seed), 0

def write(i):
    global clock
    clock += 1
    rng, path, rows = np.random.default_rng(clock), folder / f"{{i}}.parquet", 2000 + i
    pq.write_table(pa.table({{"x": rng.normal(1e6, 1, rows), "n": rng.integers(0, 9, rows)}}), path)
    os.utime(path, ns=(0, clock))

def begun():
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(main(["stats", "d", "-o", "s.json"]))
    return child

def known():
    with LedgerFile(Path("s.ledger")) as journal:
        return set(journal.names)

folder.mkdir()
for i in range({FILES}):
    write(i)
with thread_pool.limit(1):  # all that is imported and compiled is, and no thread stays that a fork would miss
    data.measure("d")
    main(["stats", "--help"])
start = time.monotonic()
assert os.waitpid(begun(), 0)[1] == 0
longest = time.monotonic() - start
hits = runs = 0
while hits < kills:
    runs += 1
    if runs % 5 == 1:
        Path("s.ledger").unlink()
        before = set()
    else:
        for i in draw.sample(range({FILES}), 10):
            write(i)
        before = known()
    child = begun()
    time.sleep(draw.random() * longest)
    os.kill(child, signal.SIGKILL)
    if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
        hits += 1
    else:  # it was done before: the machine has become quicker than it was when the first run was timed
        longest *= 0.8
    after = known()
    assert before <= after, "what was known is no more"
    data.load("s.json")
    assert len(list(Path().glob("*.json"))) == 1
assert os.waitpid(begun(), 0)[1] == 0
assert data.load("s.json") == data.measure("d")
assert data.update("s.json", "d").unchanged == {FILES}
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the test forks, which Windows cannot")
@pytest.mark.parametrize("kills", [15, pytest.param(100, marks=pytest.mark.long)])
def test_kills_lose_nothing(tmp_path, kills):
    command = [sys.executable, "-c", CODE, str(kills), str(kills)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
