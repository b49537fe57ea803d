"""Files in which bytes were changed, cut and put together at random, run through the command line.

No error but ours, none that takes more than five seconds of work, none that takes two gigabytes. The command runs in a
process that stays for the next file, since most of a command's time is its beginning.
"""

import bz2
import gzip
import io
import json
import os
import random
import select
import subprocess
import sys
import zipfile

import numpy as np
import pyarrow as pa
import pytest

SECONDS = 5.0  # of a processor
STUCK = 120.0  # on a clock: machines are shared
BYTES = 2 << 30

WORKER = """
import contextlib, io, json, sys
from pathlib import Path
from time import process_time
from gammabeta.cli import main
answers, sys.stdout = sys.stdout, io.StringIO()
for line in sys.stdin:
    told, start = io.StringIO(), process_time()
    sys.stdout = io.StringIO()
    with contextlib.redirect_stderr(told):
        status = main(json.loads(line))
    known = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    most = int(known["VmHWM"].split()[0]) << 10  # ru_maxrss begins with the parent's
    print(json.dumps([status, told.getvalue(), process_time() - start, most]), file=answers, flush=True)
"""


class Worker:
    """A process in which commands run, one after the other."""

    def __init__(self, folder):
        self._folder = folder
        self._begin()

    def _begin(self):
        environment = os.environ | {"OMP_NUM_THREADS": "2"}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self._folder,
            env=environment,
        )

    def run(self, arguments):
        """The exit status, what was said of an error, seconds of work, bytes of memory at most so far."""
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], STUCK)
        line = self._process.stdout.readline() if ready else ""
        if line:
            return json.loads(line)
        self.close()
        status = self._process.returncode
        self._begin()
        return [status, "it was stuck, or it died", STUCK, 0]

    def close(self):
        self._process.kill()
        self._process.communicate()


def npy_bytes(rng):
    shapes = [(5,), (4, 3), (2, 3, 2), (0, 3), (3, 0)]
    kinds = ["<f8", ">f4", "<i2", "|u1", "<f2", "|b1"]
    x = np.zeros(rng.choice(shapes)) + rng.random()
    file = io.BytesIO()
    np.save(file, np.asarray(x.astype(rng.choice(kinds)), order=rng.choice("CF")))
    return file.getvalue()


def npz_bytes(rng):
    file = io.BytesIO()
    methods = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2]
    with zipfile.ZipFile(file, "w") as archive:
        for i in range(rng.randint(1, 3)):
            content = npy_bytes(rng)
            if rng.random() < 0.5:
                content = mutated(content, rng)
            archive.writestr(f"{'xÿ'[i % 2]}{i}.npy", content, rng.choice(methods))
    return file.getvalue()


def csv_bytes(rng):
    cells = ["1", "2.5", "-3e300", "", "NA", "x", '"a,b"', '"a\n""b"', "inf", "\ufeff", "9" * 40, "0x10", " 7 ", "\0"]
    width, end = rng.randint(1, 4), rng.choice(["\n", "\r\n", "\r"])
    kept = cells if rng.random() < 0.3 else cells[: rng.choice([2, 5])]
    rows = [[rng.choice(kept) for _ in range(width)] for _ in range(30)]
    begun = ["a", "b", "é", '"c,d"', "1.5", ""] if rng.random() < 0.3 else ["a"]
    names = [rng.choice(begun) + str(i) for i in range(width)]
    return end.join(map(rng.choice([",", ";", "\t"]).join, [names, *rows])).encode()


def zst_bytes(rng):
    found = pa.BufferOutputStream()
    with pa.CompressedOutputStream(found, "zstd") as stream:
        stream.write(csv_bytes(rng))
    return found.getvalue().to_pybytes()


FILES = {
    ".npy": npy_bytes,
    ".npz": npz_bytes,
    ".csv": csv_bytes,
    ".csv.gz": lambda rng: gzip.compress(csv_bytes(rng)),
    ".csv.bz2": lambda rng: bz2.compress(csv_bytes(rng)),
    ".csv.zst": zst_bytes,
}
WORDS = [
    b"(",
    b")",
    b"{",
    b"-",
    b"0, 20000000",
    b"9" * 19,
    b"'",
    b'"',
    b"\n",
    b",",
    b"\0",
    b"\xff\xff\xff\xff",
    b"[" * 200,
]


def mutated(content, rng):
    """The bytes with up to four changes of some kind."""
    found = bytearray(content)
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        at = rng.randrange(len(found) + 1)
        kind = rng.randrange(7)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(found):
            found[at] = rng.choice([0, 1, 127, 128, 255])
        elif kind == 2:
            del found[at:]
        elif kind == 3:
            del found[at : at + rng.randint(1, 16)]
        elif kind == 4:
            found[at:at] = rng.choice(WORDS)
        elif kind == 5:
            word = rng.choice(WORDS)
            found[at : at + len(word)] = word
        else:
            found[at:at] = found[at : at + rng.randint(1, 64)]
    return bytes(found)


COMMANDS = [
    lambda name, suffix: ["stats", name],
    lambda name, suffix: ["stats", name, "--json"],
    lambda name, suffix: ["scale", name],
    lambda name, suffix: ["scale", name, "-o", f"out{suffix if suffix != '.npz' else '.npy'}"],
    lambda name, suffix: ["scale", name, "-o", "out.csv", "--method", "minmax"],
    lambda name, suffix: ["apply", "known.json", name, "-o", f"out{suffix if suffix != '.npz' else '.npy'}"],
]


def fuzzed(folder, count, seed):
    """How often each exit status came, of `count` files; what must not be is asserted at once."""
    rng, told = random.Random(seed), {}
    worker = Worker(folder)
    try:
        (folder / "known.csv").write_text("a0\n1\n3\n")
        assert worker.run(["stats", "known.csv", "-o", "known.json"])[0] == 0
        for number in range(count):
            suffix, make = rng.choice(list(FILES.items()))
            name = f"x{suffix}"
            content = mutated(make(rng), rng)
            (folder / name).write_bytes(content)
            arguments = rng.choice(COMMANDS)(name, suffix)
            status, said, seconds, most = worker.run(arguments)
            case = (
                f"file {number} of seed {seed}: {arguments} of {content[:300]!r}: {status}, {said!r}, {seconds:.1f} s"
            )
            assert status in (0, 2), case
            lines = [line for line in said.splitlines() if not line.startswith("gammabeta: note: ")]
            assert len(lines) == (status == 2), case
            assert seconds < SECONDS, case
            assert most < BYTES, case
            assert not list(folder.glob(".*.part")), case
            if status:
                assert not list(folder.glob("out.*")), case
            for out in folder.glob("out.*"):
                out.unlink()
            told[status] = told.get(status, 0) + 1
    finally:
        worker.close()
    return told


@pytest.mark.skipif(os.name == "nt", reason="pipes are waited for with select")
@pytest.mark.parametrize(
    ("count", "seed"), [(150, 1), pytest.param(4000, 2, marks=pytest.mark.long)], ids=["some", "thousands"]
)
def test_no_file_brings_the_command_down(tmp_path, count, seed):
    told = fuzzed(tmp_path, count, seed)
    assert told[0] > count // 8 and told[2] > count // 4  # neither all that is read nor all that is refused


@pytest.mark.skipif(os.name == "nt", reason="pipes are waited for with select")
@pytest.mark.parametrize(
    "answer",
    [
        [1, "gammabeta: an error in gammabeta\n", 0.1, 1],
        [2, "Traceback:\n  a\n", 0.1, 1],
        [-11, "it was stuck, or it died", STUCK, 0],
        [0, "", SECONDS + 1, 1],
        [0, "", 0.1, BYTES + 1],
    ],
)
def test_the_fuzzer_finds_what_it_should(tmp_path, monkeypatch, answer):
    known = [0, "", 0.1, 1]
    answers = iter([known, answer])
    monkeypatch.setattr(Worker, "run", lambda self, arguments: next(answers))
    with pytest.raises(AssertionError, match="file 0 of seed 1"):
        fuzzed(tmp_path, 1, 1)
