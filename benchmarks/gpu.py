"""Batch norm, exact statistics and affine maps on a GPU, beside torch's own layers and a plain copy of the same bytes.

    python benchmarks/gpu.py [--check]

Each case is verified against float64 first, then timed: the median of `triton.testing.do_bench`, each call on the next
of some inputs, so that none is found in the cache. --check verifies alone, on small tensors, and takes a CPU with
TRITON_INTERPRET=1. Needs nothing but torch and Triton beside this library.

A copy reads and writes its bytes once: 2 sweeps. Evaluation is 2, training forward 3, backward 5.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import cycle
from math import prod
from typing import Any, NamedTuple

import results
import torch

import gammabeta as gb
from gammabeta.torch import BatchNorm

KINDS = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}
LARGE = [
    (512, 64, 112, 112),
    (1024, 64, 56, 56),
    (512, 256, 14, 14),
    (2**20, 256),
    (2**14, 3072),
    (128, 16, 32, 64, 64),
]
RESNET = [(256, 64, 112, 112), (256, 64, 56, 56), (256, 256, 56, 56), (256, 128, 28, 28), (256, 512, 28, 28)]
RESNET += [(256, 256, 14, 14), (256, 1024, 14, 14), (256, 512, 7, 7), (256, 2048, 7, 7)]
SMALL = [(32, 256, 14, 14)]
CHECKED = [(6, 5, 9, 7), (65, 33)]
BYTES = 2**31  # of all the inputs in turn: more than any cache
HEADER = [
    "",
    "copy, GB/s",
    "evaluation",
    "training",
    "backward",
    "over torch, forward + backward",
    "training over torch",
]


class Case(NamedTuple):
    """A shape in a type and a layout."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    last: bool

    def __str__(self) -> str:
        name = str(self.dtype).rpartition(".")[2]
        return f"({', '.join(map(str, self.shape))}) {name}{', channels last' if self.last else ''}"

    def batch(self, device: str, seed: int) -> torch.Tensor:
        """A batch whose means are some standard deviations from 0."""
        generator = torch.Generator(device).manual_seed(seed)
        x = torch.randn(self.shape, generator=generator, device=device, dtype=self.dtype).mul_(2).add_(3)
        return x.contiguous(memory_format=torch.channels_last) if self.last else x

    def batches(self, device: str) -> list[torch.Tensor]:
        """Enough of them that no cache holds all."""
        many = max(2, min(64, BYTES // (prod(self.shape) * self.dtype.itemsize)))
        return [self.batch(device, seed) for seed in range(many)]


def cases(shapes: list[tuple[int, ...]]) -> Iterator[Case]:
    """Each shape in float32 and bfloat16, images also channels last."""
    for shape in shapes:
        for dtype in (torch.float32, torch.bfloat16):
            for last in (False, True) if len(shape) == 4 else (False,):
                yield Case(shape, dtype, last)


def median(function: Callable[[torch.Tensor], Any], batches: list[torch.Tensor]) -> float:
    """Milliseconds of a call."""
    from triton.testing import do_bench

    turn = cycle(batches)
    found: float = do_bench(lambda: function(next(turn)), return_mode="median")
    return found


def verify(case: Case, device: str) -> None:
    """y and dx within a unit of the type, of a layer in float64; running statistics and statistics of the data too."""
    x = case.batch(device, 0).requires_grad_()
    wide = x.detach().double().requires_grad_()
    ours = BatchNorm(case.shape[1]).to(device)
    plain = KINDS[x.ndim](case.shape[1], dtype=torch.float64, device=device)
    y, want = ours(x), plain(wide)
    slope = torch.randn_like(x)
    y.backward(slope)
    want.backward(slope.double())
    unit = torch.finfo(case.dtype).eps
    for got, expected in ((y, want), (x.grad, wide.grad)):
        assert got is not None and expected is not None
        assert (got.double() - expected).abs().max() <= 8 * unit, case
    assert torch.allclose(ours.running_var.double(), plain.running_var, rtol=1e-6), case
    axes = (0, *range(2, x.ndim))
    values = x.detach().float().cpu().numpy()
    assert gb.Moments.of(x.detach(), axes) == gb.Moments.of(values, axes), case


def together(layer: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], None]:
    """A step: forward, and backward from a slope of ones."""

    def step(x: torch.Tensor) -> None:
        leaf = x.detach().requires_grad_()
        y = layer(leaf)
        y.backward(torch.ones((), dtype=y.dtype, device=y.device).expand_as(y))

    return step


def row(case: Case) -> list[str]:
    """A row of the table: parts of the copy's bandwidth, and times as fast as torch."""
    batches = case.batches("cuda")
    gigabytes = prod(case.shape) * case.dtype.itemsize / 1e6  # per millisecond: GB/s
    copy = 2 * gigabytes / median(torch.clone, batches)
    ours = BatchNorm(case.shape[1]).cuda()
    theirs = KINDS[len(case.shape)](case.shape[1]).cuda()
    forward, both = median(ours, batches), median(together(ours), batches)
    torch_forward, torch_both = median(theirs, batches), median(together(theirs), batches)
    with torch.no_grad():
        evaluation = median(ours.eval(), batches)
    speeds = [2 * gigabytes / evaluation, 3 * gigabytes / forward, 5 * gigabytes / (both - forward)]
    parts = [f"{speed / copy:.0%}" for speed in speeds]
    return [str(case), f"{copy:.0f}", *parts, f"{torch_both / both:.2f}×", f"{torch_forward / forward:.2f}×"]


def fused(case: Case) -> list[str]:
    """Norm, residual and ReLU: beside torch's three, eager and compiled."""
    batches = case.batches("cuda")
    other = case.batch("cuda", 99)
    ours, theirs = (layer(case.shape[1]).cuda() for layer in (lambda c: BatchNorm(c, activation="relu"), KINDS[4]))

    def eager(x: torch.Tensor) -> torch.Tensor:
        return torch.relu(theirs(x) + other)

    mine = median(together(lambda x: ours(x, residual=other)), batches)
    ways = [median(together(way), batches) for way in (eager, torch.compile(eager))]
    return [str(case), f"{mine:.3f}", *(f"{way:.3f} ({way / mine:.2f}×)" for way in ways)]


def exact(case: Case) -> list[str]:
    """Exact statistics and the affine map of a table, of the copy's bandwidth."""
    batches = case.batches("cuda")
    gigabytes = prod(case.shape) * case.dtype.itemsize / 1e6
    copy = 2 * gigabytes / median(torch.clone, batches)
    moments = gb.Moments.of(batches[0])
    affine = gb.Affine.standard(moments)
    reading = gigabytes / median(gb.Moments.of, batches)
    mapping = 2 * gigabytes / median(affine, batches)
    return [str(case), f"{copy:.0f}", f"{reading:.0f} GB/s ({2 * reading / copy:.0%})", f"{mapping / copy:.0%}"]


def main() -> None:
    """Verify, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="verify alone, on small tensors")
    if parser.parse_args().check:
        for case in cases(CHECKED):
            verify(case, "cuda" if torch.cuda.is_available() else "cpu")
        return
    if not torch.cuda.is_available():
        parser.exit(2, "a GPU is needed to measure one: torch.cuda.is_available() says no; --check verifies without\n")
    torch.manual_seed(0)
    everything = list(cases([*LARGE, *RESNET, *SMALL]))
    for case in everything:
        verify(case._replace(shape=(min(case.shape[0], 64), *case.shape[1:])), "cuda")
    text = [f"{torch.cuda.get_device_name()}, {results.machine('gammabeta', 'torch', 'triton', 'numpy')}"]
    text += ["Medians; parts are of the copy's bandwidth.", results.table(HEADER, [row(case) for case in everything])]
    images = [case for case in cases(LARGE[:2]) if case.dtype is torch.bfloat16 or not case.last]
    header = ["norm + residual + ReLU, ms", "ours", "torch", "torch.compile"]
    text.append(results.table(header, [fused(case) for case in images]))
    tables = [Case((2**22, 64), dtype, False) for dtype in (torch.float32, torch.float64)]
    header = ["exact", "copy, GB/s", "Moments.of (of its read half)", "affine map"]
    text.append(results.table(header, [exact(case) for case in tables]))
    results.write("On a GPU", "\n\n".join(text))


if __name__ == "__main__":
    main()
