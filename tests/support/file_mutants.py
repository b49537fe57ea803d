"""Damaged Arrow and Parquet files, and a process that reads them, so that its death is noticed and survived.

As a program it reads a line for each file, which names the file and what to do with it, and answers in a line.
"""

import json
import select
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

ROWS = 77
SECONDS, BYTES = 5, 2 << 30
USES = ("measure", "by", "arrow", "csv", "parquet", "ranges", "scan")


def numbers() -> dict[str, pa.Array]:
    some = [None if i % 5 == 0 else i for i in range(ROWS)]
    return {
        "x": pa.array(some, pa.float64()),
        "i": pa.array(some, pa.int32()),
        "h": pa.array(np.arange(ROWS), pa.uint8()),
        "f": pa.array(np.arange(ROWS, dtype=np.float16)),
        "d": pa.array([None if v is None else Decimal(v) / 4 for v in some], pa.decimal128(20, 3)),
        "flag": pa.array([None if v is None else v % 2 == 0 for v in some], pa.bool_()),
    }


def words() -> dict[str, pa.Array]:
    some = [None if i % 7 == 0 else f"word {i % 4} and so on" for i in range(ROWS)]
    return {
        "x": pa.array(np.arange(float(ROWS))),
        "s": pa.array(some),
        "large": pa.array(some, pa.large_string()),
        "binary": pa.array(some, pa.large_binary()),
        "fixed": pa.array([b"abc"] * ROWS, pa.binary(3)),
        "when": pa.array(np.arange(ROWS), pa.timestamp("us", "UTC")),
    }


def dictionaries() -> dict[str, pa.Array]:
    plain = pa.array([None if i % 7 == 0 else f"word {i % 4}" for i in range(ROWS)]).dictionary_encode()
    offsets = pa.array(np.arange(ROWS + 1, dtype=np.int32))
    inner = pa.DictionaryArray.from_arrays(pa.array(np.arange(ROWS) % 3, pa.int8()), plain.dictionary)
    return {
        "x": pa.array(np.arange(float(ROWS))),
        "s": plain,
        "list": pa.ListArray.from_arrays(offsets, inner),
        "struct": pa.StructArray.from_arrays([plain, pa.array(np.arange(ROWS))], ["a", "b"]),
        "codes": pa.array(np.arange(ROWS) % 5).dictionary_encode(),
    }


def nested() -> dict[str, pa.Array]:
    lists = [None if i % 9 == 0 else list(range(i % 4)) for i in range(ROWS)]
    return {
        "x": pa.array(np.arange(float(ROWS))),
        "list": pa.array(lists, pa.list_(pa.int64())),
        "large": pa.array(lists, pa.large_list(pa.int16())),
        "pair": pa.array([[i, None] for i in range(ROWS)], pa.list_(pa.float32(), 2)),
        "map": pa.array([[("a", i)] for i in range(ROWS)], pa.map_(pa.string(), pa.int32())),
        "struct": pa.array([{"a": i, "b": [str(i)]} for i in range(ROWS)]),
    }


def rare() -> dict[str, pa.Array]:
    some = [None if i % 7 == 0 else f"a word longer than twelve {i % 4}" for i in range(ROWS)]
    kinds, at = pa.array([i % 2 for i in range(ROWS)], pa.int8()), pa.array([i // 2 for i in range(ROWS)], pa.int32())
    children = [pa.array(np.arange(ROWS)), pa.array([str(i) for i in range(ROWS)])]
    ends = pa.array([10, 40, ROWS], pa.int32())
    return {
        "x": pa.array(np.arange(float(ROWS))),
        "view": pa.array(some, pa.string_view()),
        "bytes": pa.array(some, pa.binary_view()),
        "runs": pa.RunEndEncodedArray.from_arrays(ends, pa.array([1.5, None, 2.5])),
        "dense": pa.UnionArray.from_dense(kinds, at, children),
        "sparse": pa.UnionArray.from_sparse(kinds, children),
        "views": pa.array([[i] for i in range(ROWS)], pa.list_view(pa.int32())),
        "none": pa.nulls(ROWS),
    }


TABLES = {"numbers": numbers, "words": words, "dictionaries": dictionaries, "nested": nested, "rare": rare}


def seeds(folder: Path) -> list[Path]:
    """Good files of every kind: formats, compressions and types."""
    made = []

    def path(name: str) -> Path:
        made.append(folder / name)
        return made[-1]

    for name, make in TABLES.items():
        table = pa.table(make())
        for codec in (None, "lz4", "zstd"):
            options = pa.ipc.IpcWriteOptions(compression=codec)
            with pa.ipc.new_file(path(f"{name}.{codec}.arrow"), table.schema, options=options) as writer:
                writer.write_table(table, 50)
        with pa.ipc.new_stream(path(f"{name}.stream.arrow"), table.schema) as writer:
            writer.write_table(table, 50)
        if name != "rare":
            for codec in ("NONE", "snappy", "zstd"):
                version = "2.0" if codec == "zstd" else "1.0"
                pq.write_table(table, path(f"{name}.{codec}.parquet"), compression=codec, data_page_version=version)
    pa.feather.write_feather(pa.table(dictionaries()), path("dictionaries.feather"))
    large = {"x": pa.array(np.arange(40_000.0)), "s": pa.array(["a", None, "bcd", ""] * 10_000)}
    for name, new in (("large.arrow", pa.ipc.new_file), ("large.stream.arrow", pa.ipc.new_stream)):
        with new(path(name), pa.table(large).schema) as writer:
            writer.write_table(pa.table(large))
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    for name, new in (("delta.arrow", pa.ipc.new_file), ("delta.stream.arrow", pa.ipc.new_stream)):
        with new(path(name), pa.schema([("x", pa.float64()), ("s", WORD)]), options=options) as writer:
            for size in (2, 4, 6):
                writer.write_batch(growing(size))
    return made


WORD = pa.dictionary(pa.int32(), pa.string())


def growing(size: int) -> pa.RecordBatch:
    """A record batch whose dictionary has `size` words: those of the smaller ones first."""
    codes = pa.array(np.arange(ROWS) % size, pa.int32())
    word = pa.DictionaryArray.from_arrays(codes, pa.array([f"word {i}" for i in range(size)]))
    return pa.RecordBatch.from_arrays([pa.array(np.arange(float(ROWS))), word], names=["x", "s"])


HOSTILE = (0, 1, -1, -3, 2, 7, 50, 76, 78, 1000, 2**16, 2**30, 2**31 - 1, -(2**31), 2**40, 2**62, -(2**62))


def mutant(content: bytes, pick: Random) -> bytes:
    """A file with something wrong: some bytes, an integer, a piece cut, doubled or moved."""
    data = bytearray(content)
    for _ in range(pick.choice((1, 1, 1, 2, 5))):
        at, kind = pick.randrange(len(data)), pick.random()
        if kind < 0.2:
            data[at] ^= 1 << pick.randrange(8)
        elif kind < 0.3:
            data[at] = pick.choice((0, 255, 128, pick.randrange(256)))
        elif kind < 0.7:  # lengths, counts, indices and offsets stand at multiples of 4 or 8
            at, size = at & ~3, pick.choice((4, 8))
            value = pick.choice(HOSTILE) & (1 << 8 * size) - 1
            data[at : at + size] = value.to_bytes(size, "little")
        elif kind < 0.9:  # a number of rows or of nulls, wherever it stands
            known = struct.pack("<q", pick.choice((ROWS, 50, ROWS - 50, 16, 11, 40_000)))
            found = [i for i in range(0, len(data) - 8, 4) if data[i : i + 8] == known]
            if found:
                at = pick.choice(found)
                data[at : at + 8] = struct.pack("<q", pick.choice(HOSTILE))
        elif kind < 0.93:
            del data[at:]
        elif kind < 0.96:
            del data[at : at + pick.choice((1, 4, 8, 64))]
        else:
            data[at:at] = data[at : at + pick.choice((1, 8, 64))]
        data = data or bytearray(b"\0")
    return bytes(data)


class Fault(NamedTuple):
    """What must not be: a death, an error that is not ours, a hang, too much memory."""

    path: Path
    use: str
    what: str


class Reader:
    """A process that reads files; a new one takes its place when it dies or hangs."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def read(self, path: Path, use: str) -> str:
        """What came of it: "ok", the name of an error of ours, or "FAULT" and what it is."""
        process = self._process or self._started()
        with suppress(BrokenPipeError):  # it is dead, as is seen below
            process.stdin.write(f"{path}\t{use}\n")
            process.stdin.flush()
        if not select.select([process.stdout], [], [], SECONDS + 5)[0]:
            self.stop()
            return f"FAULT: it hung for {SECONDS} s"
        answer = process.stdout.readline()
        if not answer:
            self.stop()
            return f"FAULT: it died ({process.returncode})"
        told = json.loads(answer)
        if told["seconds"] > SECONDS:
            return f"FAULT: it took {told['seconds']:.1f} s"
        if told["bytes"] > BYTES:
            self.stop()
            return f"FAULT: it took {told['bytes'] >> 20} MB"
        return told["what"]

    def _started(self) -> "subprocess.Popen[str]":
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._process.stdout.readline()  # it is warm
        return self._process

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            with suppress(BrokenPipeError):
                self._process.communicate()
            self._process = None


def faults(folder: Path, count: int, seed: int) -> tuple[list[Fault], dict[str, int]]:
    """Read `count` mutants; what was wrong with that, and how often each outcome was seen."""
    pick, reader = Random(seed), Reader()
    (folder / "seeds").mkdir()
    good = seeds(folder / "seeds")
    found: list[Fault] = []
    seen: dict[str, int] = {}
    try:
        for i in range(count):
            origin, use = good[i % len(good)], pick.choice(USES)
            path = folder / f"{i}.{origin.name}"
            path.write_bytes(mutant(origin.read_bytes(), pick))
            what = reader.read(path, use)
            seen[what] = seen.get(what, 0) + 1
            if what.startswith("FAULT"):
                found.append(Fault(path, use, what))
            else:
                path.unlink()
    finally:
        reader.stop()
    return found, seen


def _used(path: Path, use: str) -> None:
    from gammabeta import data
    from gammabeta.data.formats.registry import open_source

    out = path.with_name(f"out.{path.name}")
    try:
        if use == "measure":
            data.measure(path)
        elif use == "by":
            data.measure_by(path, "s" if "s" in open_source(path).schema.names else "flag")
        elif use == "ranges":
            data.extrema(path)
        elif use == "scan":
            for chunk in data.scan(path):
                chunk.batch.serialize()  # every byte of it is read
        else:
            data.scale(path, out.with_suffix(f".{use}"))
    finally:
        out.with_suffix(f".{use}").unlink(missing_ok=True)


def _peak() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def _answers() -> Iterator[str]:
    import logging

    import gammabeta

    logging.disable()
    with tempfile.TemporaryDirectory() as folder:  # the kernels are loaded, and Arrow's parts
        pq.write_table(pa.table(numbers()), f"{folder}/in.parquet")
        for use in USES:
            _used(Path(folder, "in.parquet"), use)
    yield "warm"
    for line in sys.stdin:
        path, use = line.rstrip("\n").split("\t")
        start = time.monotonic()
        try:
            _used(Path(path), use)
            what = "ok"
        except gammabeta.errors.GammabetaError as error:
            what = type(error).__name__
        except Exception as error:
            what = f"FAULT: {type(error).__name__}: {error}"[:300]
        yield json.dumps({"what": what, "seconds": time.monotonic() - start, "bytes": _peak()})


if __name__ == "__main__":
    for told in _answers():
        print(told, flush=True)  # noqa: T201
