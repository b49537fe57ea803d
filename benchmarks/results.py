"""Where measurements go: one page, `benchmarks/RESULTS.md`, in which every benchmark keeps its own section."""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import numpy as np

PAGE = Path(__file__).parent / "RESULTS.md"

# glibc gives memory that is freed back to the system: always what is large, the rest as the heap's end happens to lie.
# Getting it anew, page by page, takes longer than many a layer's own work, and whose work that falls on is chance.
MEMORY = {
    "as glibc does": {},
    "kept": {"MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_MMAP_THRESHOLD_": str(2**40)},
}


def by_memory(script: str) -> list[list[str]]:
    """The rows that a benchmark tells with `--json`, in a process of its own for each way to treat freed memory.

    The way is the second cell of each.
    """
    rows = []
    for way, environment in MEMORY.items():
        command = [sys.executable, script, "--json"]
        told = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True)
        rows += [[name, way, *rest] for name, *rest in json.loads(told.stdout)]
    return rows


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, the first column to the left and the others to the right."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(*packages: str) -> str:
    """What was measured on: processor, cores and versions."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text())
        model = found[1] if found else model
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{model}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, {versions}."


def write(section: str, text: str) -> None:
    """Put a section into the page, in place of one of the same title."""
    page = PAGE.read_text() if PAGE.exists() else "# Results\n\nWritten by the programs of this folder.\n"
    parts = re.split(r"(?m)^(?=## )", page)
    new = f"## {section}\n\n{text.strip()}\n\n"
    kept = [part for part in parts if not part.startswith(f"## {section}\n")]
    PAGE.write_text("".join(kept).rstrip() + "\n\n" + new.rstrip() + "\n")
    print(f"\n{new}")


def main(script: str, section: str, header: list[str], cases: Callable[[bool], Iterable[list[str]]], note: str) -> None:
    """The program of a benchmark that is measured with freed memory treated either way. `cases` takes `--quick`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="small inputs alone; nothing is written")
    parser.add_argument("--json", action="store_true", help="the rows alone, as JSON")
    given = parser.parse_args()
    if given.quick or given.json:
        rows = list(cases(given.quick))
        print(json.dumps(rows) if given.json else table(header, rows))
    else:
        write(section, f"{note}\n\n{table([header[0], 'memory', *header[1:]], by_memory(script))}")


def least(runs: int, *functions: Callable[[], object]) -> list[float]:
    """The least time of each function, in milliseconds, run in turn, forth and back.

    Which finds what the one before has just freed still in the cache must not be always the same: it halves a time.
    """
    times, order = [float("inf")] * len(functions), list(range(len(functions)))
    for _ in range(runs):
        for i in order:
            start = perf_counter()
            functions[i]()
            times[i] = min(times[i], (perf_counter() - start) * 1e3)
        order.reverse()
    return times


def gaussian(rows: int, columns: int, dtype: str, seed: int = 0) -> np.ndarray:
    """Columns of unlike means and scales, as in ordinary tables."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, columns), dtype=np.float32)
    x *= rng.uniform(0.5, 20, columns).astype(np.float32)
    x += rng.uniform(-50, 50, columns).astype(np.float32)
    return x.astype(dtype, copy=False)
