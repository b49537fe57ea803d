"""Batch norm: the NumPy kernels against torch.nn.BatchNorm on the CPU, beside a plain copy of the same bytes.

    python benchmarks/batchnorm.py [--quick]

Each case is verified against float64 first. A time is the least of a few runs in turn, so that a busy moment hits all
alike; the copy is split over the same threads. `forward` and `both` count new outputs, as torch's do.
"""

import argparse
import time
from collections.abc import Callable
from math import prod

import ml_dtypes
import numpy as np
import torch

from gammabeta.kernels import batchnorm, threads

EPS = 1e-5
SHAPES = [
    ((32, 64, 112, 112), (0, 2, 3)),
    ((64, 64, 56, 56), (0, 2, 3)),
    ((32, 256, 14, 14), (0, 2, 3)),
    ((65536, 256), (0,)),
    ((1024, 3072), (0,)),
    ((32, 64), (0,)),
    ((8, 16, 32, 64, 64), (0, 2, 3, 4)),
]


def least(runs: int, *functions: Callable[[], object]) -> list[float]:
    """The least time of each function, in milliseconds, run in turn."""
    times = [float("inf")] * len(functions)
    for _ in range(runs):
        for i, function in enumerate(functions):
            start = time.perf_counter()
            function()
            times[i] = min(times[i], (time.perf_counter() - start) * 1e3)
    return times


def as_numpy(x: torch.Tensor) -> np.ndarray:
    """A view."""
    return x.view(torch.int16).numpy().view(ml_dtypes.bfloat16) if x.dtype == torch.bfloat16 else x.numpy()


def case(shape: tuple[int, ...], axis: tuple[int, ...], dtype: torch.dtype, last: bool, runs: int) -> str:
    """One row of the table."""
    generator = torch.Generator().manual_seed(0)
    x, dy = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    if last:
        x, dy = (t.contiguous(memory_format=torch.channels_last) for t in (x, dy))
    features = shape[1]
    module = {2: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}[len(shape)](features)
    leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
    a, b = as_numpy(x), as_numpy(dy)
    gamma, beta = np.ones(features), np.zeros(features)
    y, batch = batchnorm.forward(a, axis, gamma, beta, EPS)
    verify(a, y, axis)

    def ours_both() -> None:
        _, batch = batchnorm.forward(a, axis, gamma, beta, EPS)
        batchnorm.backward(b, a, axis, batch, gamma, EPS)

    def theirs_both() -> None:
        leaf.grad = None
        module.train()(leaf).backward(dy)

    @torch.no_grad()
    def theirs(training: bool) -> None:
        module.train(training)(x)

    flat = a.reshape(-1) if a.flags.c_contiguous else np.moveaxis(a, 1, -1).reshape(-1)
    target = np.empty_like(flat)
    ranges = threads.ranges(flat.size, 2**16)

    def copy() -> None:
        threads.run(lambda r: np.copyto(target[slice(*r)], flat[slice(*r)]), ranges)

    scale, zero = gamma / np.sqrt(batch.var + EPS), np.zeros(features)
    times = least(
        runs,
        copy,
        lambda: batchnorm.applied(a, axis, batch.mean, zero, scale, beta),
        lambda: theirs(False),
        lambda: batchnorm.forward(a, axis, gamma, beta, EPS),
        lambda: theirs(True),
        ours_both,
        theirs_both,
    )
    copied, *pairs = times
    cells = [
        f"{ours:.3g} / {other:.3g} ({other / ours:.1f}×)" for ours, other in zip(pairs[::2], pairs[1::2], strict=True)
    ]
    # A copy is two sweeps of memory, forward and backward eight: two reads and a write; four reads and a write.
    bound = f"{4 * copied / pairs[4]:.0%}"
    name = f"{'×'.join(map(str, shape))} {str(dtype).removeprefix('torch.')}{', channels last' if last else ''}"
    return f"| {name} | {copied:.3g} | {' | '.join(cells)} | {bound} |"


def verify(x: np.ndarray, y: np.ndarray, axis: tuple[int, ...]) -> None:
    """y is the formula's, in float64, within a rounding of its type."""
    some = (slice(None), slice(0, 2))
    wide, got = x[some].astype(np.float64), y[some].astype(np.float64)
    want = (wide - wide.mean(axis, keepdims=True)) / np.sqrt(wide.var(axis, keepdims=True) + EPS)
    unit = 2.0**-8 if x.dtype.itemsize == 2 else 2.0**-24
    assert np.abs(got - want).max() <= 1.01 * unit * np.abs(want).max()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    runs = 5 if parser.parse_args().quick else 15
    torch.set_num_threads(threads.count())
    print(f"milliseconds, {threads.count()} threads: gammabeta / torch {torch.__version__} (how many times faster)\n")
    print("| case | copy | evaluation | training, forward | forward + backward | of the bound |")
    print("|---|---|---|---|---|---|")
    for shape, axis in SHAPES:
        for dtype in (torch.float32, torch.bfloat16):
            for last in (False, True) if len(shape) == 4 else (False,):
                many = runs * 20 if prod(shape) < 2**16 else runs
                print(case(shape, axis, dtype, last, many), flush=True)


if __name__ == "__main__":
    main()
