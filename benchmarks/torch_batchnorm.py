"""gammabeta.torch.BatchNorm against torch.nn.BatchNorm on the CPU, beside a plain copy of the same bytes.

    python benchmarks/torch_batchnorm.py [--quick]

Each case is verified against torch in float64 first. A time is the least of some runs in turn, so that a busy moment
hits all alike. The last three columns: torch's time over ours, and of the bound of 8 sweeps (4 times the copy, which
is two) the part that forward + backward reaches.
"""

import argparse
import time
from collections.abc import Callable

import torch

from gammabeta.torch import BatchNorm

KINDS = {2: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}
SHAPES = [
    (32, 64, 112, 112),
    (64, 64, 56, 56),
    (32, 256, 14, 14),
    (65536, 256),
    (1024, 3072),
    (32, 64),
    (8, 16, 32, 64, 64),
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


def verify(ours: BatchNorm, x: torch.Tensor) -> None:
    """Within one rounding of float64's result: half a unit in the last place, of numbers below 8."""
    wide = KINDS[x.ndim](x.shape[1], dtype=torch.float64)(x.double())
    assert (ours(x).double() - wide).abs().max() <= 8 * torch.finfo(x.dtype).eps


def case(shape: tuple[int, ...], dtype: torch.dtype, last: bool, fused: bool, runs: int) -> str:
    """One row of the table."""
    generator = torch.Generator().manual_seed(0)
    x, dy, other = (torch.randn(shape, generator=generator).to(dtype) for _ in range(3))
    if last:
        x, dy, other = (t.contiguous(memory_format=torch.channels_last) for t in (x, dy, other))
    ours, theirs = BatchNorm(shape[1]), KINDS[len(shape)](shape[1])
    verify(ours, x)
    if fused:
        ours.activation = "relu"
    leaf, residual = x.clone().requires_grad_(), other.clone().requires_grad_()

    def run(layer: torch.nn.Module, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        if not fused:
            return layer(x)
        return layer(x, residual=other) if layer is ours else torch.relu(layer(x) + other)

    def both(layer: torch.nn.Module) -> Callable[[], None]:
        def work() -> None:
            leaf.grad = residual.grad = None
            run(layer.train(), leaf, residual).backward(dy)

        return work

    def forward(layer: torch.nn.Module, training: bool) -> Callable[[], None]:
        @torch.no_grad()
        def work() -> None:
            run(layer.train(training), x, other)

        return work

    target = torch.empty_like(x)
    times = least(
        runs,
        lambda: target.copy_(x),
        *(both(layer) for layer in (ours, theirs)),
        *(forward(layer, training) for training in (True, False) for layer in (ours, theirs)),
    )
    copy, both_, theirs_both, train, theirs_train, evaluate, theirs_evaluate = times
    name = f"{shape} {str(dtype).removeprefix('torch.')}{' channels_last' * last}{' + add + ReLU' * fused}"
    return (
        f"| {name} | {copy:.3g} | {both_:.3g} / {theirs_both:.3g} | {train:.3g} / {theirs_train:.3g} "
        f"| {evaluate:.3g} / {theirs_evaluate:.3g} | {theirs_both / both_:.2f} | {theirs_train / train:.2f} "
        f"| {theirs_evaluate / evaluate:.2f} | {4 * copy / both_:.0%} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="small shapes alone")
    quick = parser.parse_args().quick
    print("| shape | copy ms | forward + backward, ours / torch | training | evaluation | × | × | × | of 8 sweeps |")
    print("|---|---|---|---|---|---|---|---|---|")
    for shape in SHAPES:
        size = torch.Size(shape).numel()
        if quick and size > 2_000_000:
            continue
        runs = 5 if size > 2_000_000 else 20 if size > 100_000 else 2000
        for dtype in (torch.float32, torch.bfloat16):
            for last in (False, True) if len(shape) == 4 else (False,):
                print(case(shape, dtype, last, False, runs), flush=True)
        if len(shape) == 4:
            print(case(shape, torch.float32, False, True, runs), flush=True)


if __name__ == "__main__":
    main()
