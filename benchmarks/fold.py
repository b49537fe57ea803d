"""What folding gains in evaluation: residual networks on the CPU, with torch's batch norms, folded by torch, and by us.

    python benchmarks/fold.py [--quick]

Each folded network is verified against float64 first. A time is the least of some runs in turn, so that a busy moment
hits all alike. Beside them a plain copy of every norm's input, once: what norms must move at least. All of it once more
in a process that keeps the memory of activations.
"""

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise

import results
import torch
import transformers
from torch import nn

from gammabeta.torch import convert, fold

HEADER = [
    "network, input",
    "norms",
    "torch's norms, ms",
    "ours",
    "torch's fuse",
    "fold",
    "gain",
    "copy",
    "difference, ULPs",
]


class Block(nn.Module):
    """ResNet's basic block (He et al. 2015)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.relu, self.past = nn.ReLU(inplace=True), nn.Identity()
        if inputs != outputs or stride > 1:
            self.past = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(y)) + self.past(x))


def resnet18() -> nn.Module:
    """ResNet-18 as in the paper, its first layer for small pictures."""
    stem = [nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    widths = (64, 64, 128, 256, 512)
    stages = ((Block(a, b, 1 if a == b else 2), Block(b, b, 1)) for a, b in pairwise(widths))
    blocks = [block for stage in stages for block in stage]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def mobilenet() -> nn.Module:
    """MobileNetV2 by transformers, whose output is reduced to the logits."""
    return transformers.MobileNetV2ForImageClassification(transformers.MobileNetV2Config(num_labels=10))


@torch.no_grad()
def settled(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """The model in evaluation, its statistics those of some batches."""
    model.train()
    for _ in range(3):
        model(x)
    return model.eval()


def logits(result: object) -> torch.Tensor:
    return getattr(result, "logits", result)


def fused(model: nn.Module) -> nn.Module | None:
    """torch's own fusion, where it can trace the model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.fx.experimental.optimization import fuse
    try:
        return fuse(model)
    except Exception:
        return None


def copying(model: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    """A copy of every norm's input."""
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    hooks = [
        n.register_forward_pre_hook(lambda _, args: pairs.append((args[0].clone(), args[0].clone()))) for n in norms
    ]
    model(x)
    for hook in hooks:
        hook.remove()

    def copy_all() -> None:
        for target, source in pairs:
            target.copy_(source)

    return copy_all


@torch.no_grad()
def case(name: str, model: nn.Module, shape: tuple[int, ...], runs: int) -> list[str]:
    """One row of the table."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    settled(model, x)
    ours = convert(copy.deepcopy(model))
    folded, report = fold(model, example=x)
    assert not report.skipped, report
    wide = logits(copy.deepcopy(model).double()(x.double()))
    apart = [(logits(m(x)).double() - wide).abs().max() for m in (folded, model)]
    assert apart[0] <= 4 * apart[1]  # both are float32's roundings of one function
    theirs = fused(model)
    models = [model, ours, folded, *([theirs] if theirs is not None else [])]
    moved, before, own, after, *other = results.least(runs, copying(model, x), *(lambda m=m: m(x) for m in models))
    times = f"{before:.3g}", f"{own:.3g}", f"{other[0]:.3g}" if other else "cannot", f"{after:.3g}"
    figures = f"{before / after:.2f}×", f"{moved:.3g}", f"{report.difference.ulps:.3g}"
    return [f"{name}, {shape}", str(len(report.folded)), *times, *figures]


def cases(quick: bool) -> Iterator[list[str]]:
    """The rows, as they are measured."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.manual_seed(0)
    residual, mobile, runs = resnet18(), mobilenet(), 3 if quick else 10
    yield case("ResNet-18", residual, (8, 3, 32, 32), runs)
    yield case("MobileNetV2", mobile, (2, 3, 64, 64), runs)
    if not quick:
        yield case("ResNet-18", residual, (1, 3, 32, 32), runs)
        yield case("MobileNetV2", mobile, (8, 3, 224, 224), runs)


if __name__ == "__main__":
    machine = results.machine("gammabeta", "torch", "transformers")
    note = "Evaluation, float32, the least of 10 runs in turn."
    results.main(__file__, "Folding", HEADER, cases, f"{machine} {note}")
