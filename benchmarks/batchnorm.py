"""gammabeta.torch.BatchNorm against torch.nn.BatchNorm on the CPU, beside a plain copy of the same bytes.

    python benchmarks/batchnorm.py [--quick]

Each case is verified against float64 first. A time is the least of some runs in turn, so that a busy moment hits all
alike. Forward + backward is 8 sweeps of memory, a copy 2: the last column is the part of that bound's speed. What torch
allocates goes back to the system when it is freed, what our kernels give of 32 MB and more is kept; so all of it is
measured once more in a process whose allocator keeps everything.
"""

from collections.abc import Callable, Iterator
from math import prod

import results
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
HEADER = [
    "ms, ours / torch (times as fast)",
    "copy",
    "evaluation",
    "training, forward",
    "forward + backward",
    "of 8 sweeps",
]


def verify(ours: BatchNorm, x: torch.Tensor, other: torch.Tensor | None) -> None:
    """Within one rounding of float64's result: half a unit in the last place, of numbers below 16."""
    wide = KINDS[x.ndim](x.shape[1], dtype=torch.float64)(x.double())
    got = ours(x) if other is None else ours(x, residual=other)
    want = wide if other is None else torch.relu(wide + other.double())
    assert (got.double() - want).abs().max() <= 8 * torch.finfo(x.dtype).eps


def case(shape: tuple[int, ...], dtype: torch.dtype, last: bool, fused: bool, runs: int) -> list[str]:
    """One row of the table."""
    generator = torch.Generator().manual_seed(0)
    x, dy, other = (torch.randn(shape, generator=generator).to(dtype) for _ in range(3))
    if last:
        x, dy, other = (t.contiguous(memory_format=torch.channels_last) for t in (x, dy, other))
    ours, theirs = BatchNorm(shape[1], activation="relu" if fused else None), KINDS[len(shape)](shape[1])
    verify(ours, x, other if fused else None)
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
    copy, *times = results.least(
        runs,
        lambda: target.copy_(x),
        *(forward(layer, training) for training in (False, True) for layer in (ours, theirs)),
        *(both(layer) for layer in (ours, theirs)),
    )
    cells = [f"{a:.3g} / {b:.3g} ({b / a:.2f}×)" for a, b in zip(times[::2], times[1::2], strict=True)]
    name = f"{shape} {str(dtype).removeprefix('torch.')}{', channels last' * last}{' + residual, ReLU' * fused}"
    bound = "" if fused else f"{4 * copy / times[4]:.0%}"
    return [name, f"{copy:.3g}", *cells, bound]


def cases(quick: bool) -> Iterator[list[str]]:
    """The rows, as they are measured."""
    for shape in SHAPES:
        size = prod(shape)
        if quick and size > 2**22:
            continue
        runs = 10 if size > 2**22 else 100 if size > 2**17 else 2000
        layouts = (False, True) if len(shape) == 4 else (False,)
        for dtype in (torch.float32, torch.bfloat16):
            for last in layouts:
                yield case(shape, dtype, last, False, runs)
        if len(shape) == 4:
            yield case(shape, torch.float32, False, True, runs)


if __name__ == "__main__":
    machine = results.machine("gammabeta", "torch", "numpy")
    note = "The least of 10 runs, of 100 below 4 million values, of 2,000 below 131,072."
    results.main(__file__, "Batch norm in torch", HEADER, cases, f"{machine} {note}")
