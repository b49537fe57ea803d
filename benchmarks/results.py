"""Where measurements go: one page, `benchmarks/RESULTS.md`, in which every benchmark keeps its own section."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parent / "RESULTS.md"


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


def gaussian(rows: int, columns: int, dtype: str, seed: int = 0) -> np.ndarray:
    """Columns of unlike means and scales, as in ordinary tables."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, columns), dtype=np.float32)
    x *= rng.uniform(0.5, 20, columns).astype(np.float32)
    x += rng.uniform(-50, 50, columns).astype(np.float32)
    return x.astype(dtype, copy=False)
