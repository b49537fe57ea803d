"""What a process pays once: importing, its first `fit` and `transform`, and memory beside the data while fitting.

python benchmarks/start.py          # prints the table and writes RESULTS.md
"""

import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from results import machine, table, write

IMPORT = """
import sys, time
start = time.perf_counter()
import gammabeta
taken = time.perf_counter() - start
heavy = [name for name in ("torch", "tensorflow", "jax", "sklearn", "pyarrow") if name in sys.modules]
assert not heavy, heavy
print(taken)
"""

LAYERS = """
import time, {framework}
start = time.perf_counter()
import gammabeta.{name}
print(time.perf_counter() - start)
"""

FIRST = """
import time
start = time.perf_counter()
import numpy as np
from {module} import StandardScaler
x = np.ones((100_000, 8), "{dtype}")
x[0] = 2
StandardScaler().fit(x).transform(x)
print(time.perf_counter() - start)
"""

MEMORY = """
import sys, numpy as np
from pathlib import Path
from {module} import StandardScaler, MinMaxScaler
rng = np.random.default_rng(0)
Scaler = {scaler}
Scaler().fit(rng.standard_normal((1000, {columns})).astype("{dtype}"))
x = rng.standard_normal(({rows}, {columns}), dtype=np.float32).astype("{dtype}")
def kilobytes(name):
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith(name))
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = kilobytes("VmRSS")
Scaler().fit(x)
print((kilobytes("VmHWM") - before) * 1024 / x.nbytes)
"""


def run(program: str, **environment: str) -> float:
    """The number that a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    rows = [["`import gammabeta`, with NumPy, s", f"{min(run(IMPORT) for _ in range(5)):.2f}"]]
    for name, framework in (("torch", "torch"), ("keras", "keras"), ("flax", "flax.nnx")):
        program = LAYERS.format(name=name, framework=framework)
        taken = min(run(program, TF_CPP_MIN_LOG_LEVEL="3") for _ in range(3))
        rows.append([f"`import gammabeta.{name}`, after {framework}, s", f"{taken:.2f}"])
    for dtype in "float64", "float32":
        ours, theirs = [], []
        for _ in range(5):  # in turns
            ours.append(run(FIRST.format(module="gammabeta", dtype=dtype)))
            theirs.append(run(FIRST.format(module="sklearn.preprocessing", dtype=dtype)))
        rows.append(
            [
                f"first `fit` and `transform` of a process, {dtype}, with all that is imported, s",
                f"{min(ours):.2f} (scikit-learn {min(theirs):.2f})",
            ]
        )
    program, taken = Path(sys.executable).with_name("gammabeta"), []
    for _ in range(5):
        start = perf_counter()
        subprocess.run([program, "scale", "--example"], capture_output=True, check=True)
        taken.append(perf_counter() - start)
    rows.append(["`gammabeta scale --example`, the whole process, s", f"{min(taken):.2f}"])
    for scaler in "StandardScaler", "MinMaxScaler":
        for dtype in "float32", "float64":
            for n, c in (1_000_000, 100), (20_000, 4096), (20, 300_000), (5, 1_000_000):
                peak = [
                    run(MEMORY.format(module=module, scaler=scaler, dtype=dtype, rows=n, columns=c))
                    for module in ("gammabeta", "sklearn.preprocessing")
                ]
                name = f"memory beside the data, `{scaler}.fit`, {n:,} × {c:,} {dtype}, of the data"
                rows.append([name, f"{peak[0]:.1%} (scikit-learn {peak[1]:.0%})"])
    write("Start and memory", f"{machine('gammabeta', 'numpy', 'scikit-learn')}\n\n{table(['', ''], rows)}")


if __name__ == "__main__":
    main()
