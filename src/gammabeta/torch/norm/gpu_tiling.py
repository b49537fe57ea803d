"""Whether a tensor can go to the GPU's kernels, and its memory as (outer, features, width) in tiles."""

import os
from functools import cache
from importlib.util import find_spec
from math import prod
from typing import Any, NamedTuple

import torch

WIDTH = 1024  # values of a tile along one feature, or
BESIDE = 128  # features beside each other
PROGRAMS = 4  # for each multiprocessor, where they sum
SHARE = 4  # tiles of a program that maps
MOST = 65535  # programs on a grid's second axis

TRITON = find_spec("triton") is not None
INTERPRETED = TRITON and os.environ.get("TRITON_INTERPRET") == "1"
"""Whether Triton runs its kernels on the CPU, which is how they are tested; the kernels for a CPU stand aside then."""

WIDE = {torch.float32: "float64", torch.bfloat16: "float32", torch.float16: "float32"}
"""The types of values that the kernels take, and what they compute with."""


def reachable(x: torch.Tensor) -> bool:
    """Whether Triton's kernels run where x is, and take its type."""
    return x.dtype in WIDE and TRITON and (INTERPRETED if x.device.type == "cpu" else x.is_cuda and _runs(x.device))


def _runs(device: torch.device) -> bool:
    """Whether a GPU is one that Triton compiles for: of compute capability 7.0, or AMD's.

    Asked in a way that torch.compile sees a constant in. To mark this function as one would load the compiler, in half
    a second, and with it Triton, which ends the process where TensorFlow is loaded already.
    """
    return torch.version.hip is not None or torch.cuda.get_device_properties(device).major >= 7


class Dense(NamedTuple):
    """The lengths, in memory's order, of what is reduced, of the features, and of what is reduced within each."""

    outer: int
    features: int
    width: int


def dense(x: torch.Tensor, reduced_axes: tuple[int, ...]) -> Dense | None:
    """x without gaps as three axes, or None where its memory is not laid out so.

    >>> dense(torch.empty(2, 3, 4, 5), (0, 2, 3)), dense(torch.empty(2, 3, 4, 5).transpose(1, 3), (0, 1, 2))
    (Dense(outer=2, features=3, width=20), Dense(outer=2, features=3, width=20))
    >>> dense(torch.empty(6, 4)[::2], (0,)) is None
    True
    """
    down = sorted((i for i in range(x.ndim) if x.shape[i] != 1), key=x.stride, reverse=True)
    step = 1
    for i in reversed(down):
        if x.stride(i) != step:
            return None
        step *= x.shape[i]
    features = [i for i in down if i not in reduced_axes]
    if features != sorted(features):
        return None
    first = down.index(features[0]) if features else 0
    last = first + len(features)
    if down[first:last] != features:
        return None
    return Dense(*[prod([x.shape[i] for i in part]) for part in (down[:first], features, down[last:])])


class Tiling:
    """How a kernel goes through a dense tensor: its shape, its tiles, and the programs that share them."""

    def __init__(self, x: torch.Tensor, reduced_axes: tuple[int, ...], tile: int) -> None:
        found = dense(x, reduced_axes)
        if found is None:
            raise ValueError(f"kernels take tensors without gaps, got strides {x.stride()}")
        self.shape = outer, features, width = found
        runs = width > 1
        columns = min(_power(width), WIDTH) if runs else min(_power(features), BESIDE)
        rows = min(_power(outer), tile // columns)
        self.blocks = features if runs else -(-features // columns)
        self.tiles = -(-outer // rows) * (-(-width // columns) if runs else 1)
        self.options: dict[str, Any] = {"RUNS": runs, "ROWS": rows, "COLUMNS": columns, "num_warps": 8}
        self._wanted = -(-PROGRAMS * _processors(x.device) // self.blocks)

    def summing(self, max_tiles: int) -> tuple[int, int]:
        """The grid of a kernel that sums at most so many tiles a program: features, and parts of their values."""
        return self.blocks, max(1, min(max(self._wanted, -(-self.tiles // max_tiles)), self.tiles, MOST))

    def mapping(self) -> tuple[int, int]:
        """The grid of a kernel that maps."""
        return self.blocks, min(-(-self.tiles // SHARE), MOST)


def _power(n: int) -> int:
    """The least power of two from n on."""
    return 1 << (n - 1).bit_length()


@cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2
