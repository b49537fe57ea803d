"""Layer, group, instance and RMS norm of gammabeta.torch against torch's own on the CPU.

    python benchmarks/norms.py [--quick]

Each case is verified against float64 first. A time is the least of some runs in turn, so that a busy moment hits all
alike. What torch allocates goes back to the system when it is freed, what our kernels give of 32 MB and more is kept;
so all of it is measured once more in a process whose allocator keeps everything.
"""

from collections.abc import Callable, Iterator
from math import prod

import results
import torch
from torch import nn

import gammabeta.torch

CASES: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
    ("LayerNorm", (768,), (32, 128, 768)),
    ("LayerNorm", (4096,), (1024, 4096)),
    ("LayerNorm", (64,), (4096, 64)),
    ("GroupNorm", (32, 256), (16, 256, 32, 32)),
    ("GroupNorm", (32, 512), (32, 512, 7, 7)),
    ("InstanceNorm2d", (64,), (16, 64, 56, 56)),
    ("RMSNorm", (1024,), (32, 128, 1024)),
    ("LayerNorm", (64,), (8, 64)),
]
HEADER = ["ms, ours / torch (times as fast)", "copy", "forward", "forward + backward"]


def case(kind: str, arguments: tuple[int, ...], shape: tuple[int, ...], dtype: torch.dtype, runs: int) -> list[str]:
    """One row of the table."""
    x, dy = (torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype) for seed in (0, 1))
    layers = [getattr(home, kind)(*arguments, dtype=dtype) for home in (gammabeta.torch, nn)]
    wide = getattr(gammabeta.torch, kind)(*arguments, **({"eps": torch.finfo(dtype).eps} if kind == "RMSNorm" else {}))
    assert (layers[0](x).double() - wide.double()(x.double())).abs().max() <= 8 * torch.finfo(dtype).eps
    leaf = x.clone().requires_grad_()

    def forward(layer: nn.Module) -> Callable[[], None]:
        @torch.no_grad()
        def work() -> None:
            layer(x)

        return work

    def both(layer: nn.Module) -> Callable[[], None]:
        def work() -> None:
            leaf.grad = None
            layer.zero_grad()
            layer(leaf).backward(dy)

        return work

    target = torch.empty_like(x)
    copy, *times = results.least(runs, lambda: target.copy_(x), *map(forward, layers), *map(both, layers))
    cells = [f"{a:.3g} / {b:.3g} ({b / a:.2f}×)" for a, b in zip(times[::2], times[1::2], strict=True)]
    return [f"{kind} {shape} {str(dtype).removeprefix('torch.')}", f"{copy:.3g}", *cells]


def cases(quick: bool) -> Iterator[list[str]]:
    """The rows, as they are measured."""
    for kind, arguments, shape in CASES:
        for dtype in (torch.float32, torch.bfloat16):
            size = prod(shape)
            yield case(kind, arguments, shape, dtype, 5 if quick else 20 if size > 2**20 else 500)


if __name__ == "__main__":
    machine = results.machine("gammabeta", "torch", "numpy")
    results.main(
        __file__, "Other norms in torch", HEADER, cases, f"{machine} The least of 20 runs, of 500 of small ones."
    )
