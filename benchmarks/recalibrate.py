"""Recalibration against torch's update_bn: what it does to a network's accuracy and to a variance, and what it costs.

    python benchmarks/recalibrate.py [--quick]

A residual network learns scikit-learn's digits (1,200 of 1,797) in batches of two, so that its running statistics are
noise; the other digits tell the accuracy. Overhead: the time beyond the bare forward passes just before and after, of
larger pictures, and of networks that others wrote, weights random; the median of 25 or 8, since the passes themselves
waver by a third: glibc gives the memory of activations back to the system and gets it anew, as the heap's end happens
to lie. So the passes are timed once more in a process that keeps it, where they waver little and take half the time.
Beside it what `update_bn` takes, and what it takes that torch's `var_mean` looks at every layer's input.
"""

import argparse
import copy
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from statistics import median, quantiles

import numpy as np
import results
import torch
import transformers
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

import gammabeta as gb
from gammabeta.torch import BatchNorm, recalibrate

Batches = Sequence[torch.Tensor]
TRAINED = 1200
RUNS = 25


class Block(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x))))))"""

    def __init__(self, width: int, norm: type[nn.Module]) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), norm(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), norm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(x + self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x))))))


def network(channels: int, width: int, norm: type[nn.Module] = nn.BatchNorm2d) -> nn.Sequential:
    """A residual network of ten convolutions, in two resolutions."""

    def stage(inside: int, outside: int, stride: int) -> list[nn.Module]:
        first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        return [first, norm(outside), nn.ReLU(), Block(outside, norm), Block(outside, norm)]

    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10)
    return nn.Sequential(*stage(channels, width, 1), *stage(width, 2 * width, 2), *head)


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """(1797, 1, 8, 8) from 0 to 1, shuffled, and their classes."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    return torch.tensor(found.images[order], dtype=torch.float32)[:, None] / 16, torch.tensor(found.target[order])


@cache
def trained(steps: int) -> nn.Module:
    """The network after some steps with two pictures each."""
    torch.manual_seed(0)
    x, y = digits()
    model = network(1, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(steps):
        at = torch.randint(0, TRAINED, (2,))
        optimizer.zero_grad()
        functional.cross_entropy(model(x[at]), y[at]).backward()
        optimizer.step()
    return model


@torch.no_grad()
def accuracy(model: nn.Module) -> str:
    """The share of the other digits that a model gets right, in percent."""
    x, y = digits()
    return f"{100 * (model.eval()(x[TRAINED:]).argmax(1) == y[TRAINED:]).double().mean().item():.1f} %"


def accuracies(steps: int) -> list[list[str]]:
    """For each way to cut the digits: stale, update_bn, ours in one pass, ours layer after layer."""
    x, y = digits()
    model = trained(steps)
    by_class = x[:TRAINED][y[:TRAINED].argsort()]
    ways: dict[str, Batches] = {
        "batches of 2": x[:TRAINED].split(2),
        "batches of 100": x[:TRAINED].split(100),
        "batches of 100, sorted by class": by_class.split(100),
    }
    rows = []
    for name, batches in ways.items():
        row = [name, accuracy(copy.deepcopy(model))]
        changes: list[Callable[[nn.Module], object]] = [
            lambda m, b=batches: update_bn(b, m),
            lambda m, b=batches: recalibrate(m, b),
        ]
        if len(batches) < 100:  # a pass for each of ten layers
            changes.append(lambda m, b=batches: recalibrate(m, b, sequential=True))
        for change in changes:
            change(changed := copy.deepcopy(model))
            row.append(accuracy(changed))
        rows.append(row + ["–"] * (5 - len(row)))
    return rows


@torch.no_grad()
def under_the_old(model: nn.Module, batches: Batches) -> None:
    """One pass in which each layer goes on normalizing by the statistics that it had."""
    total: dict[nn.Module, gb.Moments] = {}

    def add(layer: nn.Module, given: tuple[torch.Tensor]) -> None:
        part = gb.Moments.of(given[0], axis=(0, 2, 3))
        total[layer] = total[layer] + part if layer in total else part

    layers = [m for m in model.eval().modules() if isinstance(m, nn.BatchNorm2d)]
    handles = [layer.register_forward_pre_hook(add) for layer in layers]
    for batch in batches:
        model(batch)
    for layer, handle in zip(layers, handles, strict=True):
        handle.remove()
        layer.running_mean.copy_(torch.as_tensor(total[layer].mean.copy()))
        layer.running_var.copy_(torch.as_tensor(total[layer].with_ddof(1).var.copy()))


def from_nothing(steps: int) -> list[list[str]]:
    """The network with fresh statistics, as after averaging weights, and what one pass makes of it."""
    batches, model = digits()[0][:TRAINED].split(100), copy.deepcopy(trained(steps))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
    row = [accuracy(copy.deepcopy(model))]
    for change in (under_the_old, recalibrate):
        change(changed := copy.deepcopy(model), batches)
        row.append(accuracy(changed))
    return [["mean 0 and variance 1 at first", *row]]


def variances() -> list[list[str]]:
    """A sorted column's variance, in batches of which the last is short."""
    x = torch.from_numpy(np.sort(np.random.default_rng(0).normal(0, 2, 1000))).float()[:, None]
    truth = float(gb.Moments.of(x.numpy()).with_ddof(1).var[0])
    rows = []
    for size in (500, 300, 64):
        update_bn(x.split(size), theirs := nn.BatchNorm1d(1))
        recalibrate(ours := nn.BatchNorm1d(1), x.split(size))
        assert ours.running_var.item() == np.float32(truth)
        rows.append(
            [f"batches of {size}", *(f"{v:.4f}" for v in (truth, theirs.running_var.item(), ours.running_var.item()))]
        )
    return rows


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def overhead(name: str, model: nn.Module, batches: Batches, runs: int) -> list[str]:
    """Median times, and the medians of what is taken beyond the passes just before and after.

    By `recalibrate`, by `update_bn`, which measures each layer's batches in training, and by `torch.var_mean` of every
    layer's input in the place of our statistics.
    """
    layers = [layer for layer in model.eval().modules() if hasattr(layer, "running_mean")]

    @torch.no_grad()
    def forward() -> None:
        for batch in batches:
            model(batch)

    def measured() -> None:
        def measure(layer: nn.Module, given: tuple[torch.Tensor]) -> None:
            torch.var_mean(given[0], (0, 2, 3))

        hooks = [layer.register_forward_pre_hook(measure) for layer in layers]
        forward()
        for hook in hooks:
            hook.remove()

    ways = [lambda: recalibrate(model, batches), lambda: update_bn(batches, model), measured]
    for work in (forward, *ways):
        work()
    cells, bare = [], []
    for way in ways:
        times = [(timed(forward), timed(way), timed(forward)) for _ in range(runs)]
        bare += [before for before, _, _ in times]
        low, middle, high = quantiles((2 * here / (before + after) - 1 for before, here, after in times), n=4)
        cells.append(f"{middle:.0%} ({low:.0%} to {high:.0%})")
    return [name, f"{1e3 * median(bare):.0f}", *cells]


def overheads(quick: bool) -> Iterator[list[str]]:
    """The network above in two sizes with torch's layers and ours, and networks that others wrote."""
    for width, size in [(8, 8)] if quick else [(32, 64), (64, 32)]:
        for norm in (nn.BatchNorm2d, BatchNorm):
            name = f"{width} and {2 * width} channels, {size} × 32 × 32, {norm.__module__.split('.')[0]}'s layers"
            batches = [torch.randn(size, 3, 32, 32) for _ in range(4)]
            yield overhead(name, network(3, width, norm), batches, 2 if quick else RUNS)
    if quick:
        return
    basic = transformers.ResNetConfig(
        embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic"
    )
    others = {
        "ResNet-18": transformers.ResNetModel(basic),
        "ResNet-50": transformers.ResNetModel(transformers.ResNetConfig()),
        "MobileNetV2": transformers.MobileNetV2Model(transformers.MobileNetV2Config()),
    }
    for name, model in others.items():
        yield overhead(f"{name}, 8 × 224 × 224", model, [torch.randn(8, 3, 224, 224) for _ in range(4)], RUNS // 3)


def main() -> None:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short training, small pictures; nothing is written")
    parser.add_argument("--json", action="store_true", help="the overheads alone, as JSON")
    given = parser.parse_args()
    quick = given.quick
    if given.json:
        print(json.dumps(list(overheads(quick))))
        return
    busy = f"The machine's load was {os.getloadavg()[0]:.1f} when it began; the times want one that is idle."
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # digits are small: threads would wait for one another
    tables = [
        results.table(
            ["test accuracy, trained in batches of 2", "stale", "update_bn", "ours, one pass", "ours, sequential"],
            accuracies(100 if quick else 1500),
        ),
        results.table(
            [
                "test accuracy, one pass from fresh statistics",
                "before",
                "under the old ones",
                "under those so far (ours)",
            ],
            from_nothing(100 if quick else 1500),
        ),
        results.table(["a sorted column's variance", "truth", "update_bn", "ours"], variances()),
    ]
    torch.set_num_threads(threads)
    header = ["overhead over the forward passes (quartiles)", "passes, ms", "recalibrate", "update_bn", "var_mean"]
    if quick:
        tables.append(results.table(header, list(overheads(quick))))
    else:
        tables.append(results.table([header[0], "memory", *header[1:]], results.by_memory(__file__)))
    text = "\n\n".join(tables)
    if quick:
        print(text)
    else:
        note = f"{results.machine('gammabeta', 'torch', 'numpy', 'transformers')} {busy}"
        results.write("Recalibration", f"{note}\n\n{text}")


if __name__ == "__main__":
    main()
