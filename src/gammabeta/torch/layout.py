"""Whether the GPU's kernels can have a tensor, and how they see its memory: as (outer, features, width)."""

import os
from importlib.util import find_spec
from math import prod
from typing import NamedTuple

import torch

TRITON = find_spec("triton") is not None
INTERPRETED = TRITON and os.environ.get("TRITON_INTERPRET") == "1"
"""Whether Triton runs its kernels on the CPU, which is how they are tested; the kernels for a CPU stand aside then."""

WIDE = {torch.float32: "float64", torch.bfloat16: "float32", torch.float16: "float32"}
"""The types of values that the kernels take, and what they compute with."""


def reachable(x: torch.Tensor) -> bool:
    """Whether Triton's kernels run where x is, and take its type."""
    return x.dtype in WIDE and TRITON and (INTERPRETED if x.device.type == "cpu" else x.is_cuda and _runs(x.device))


@torch.compiler.assume_constant_result
def _runs(device: torch.device) -> bool:
    """Whether a GPU is one that Triton compiles for: of compute capability 7.0, or AMD's."""
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (7, 0)


class Dense(NamedTuple):
    """The lengths, in memory's order, of what is reduced, of the features, and of what is reduced within each."""

    outer: int
    features: int
    width: int


def dense(x: torch.Tensor, away: tuple[int, ...]) -> Dense | None:
    """x without gaps as three axes, or None where its memory is not laid out so.

    >>> dense(torch.empty(2, 3, 4, 5), (0, 2, 3)), dense(torch.empty(2, 3, 4, 5).transpose(1, 3), (0, 1, 2))
    (Dense(outer=2, features=3, width=20), Dense(outer=2, features=3, width=20))
    >>> dense(torch.empty(6, 4)[::2], (0,)) is None
    True
    """
    down = sorted((i for i in range(x.ndim) if x.shape[i] != 1), key=lambda i: -x.stride(i))
    step = 1
    for i in reversed(down):
        if x.stride(i) != step:
            return None
        step *= x.shape[i]
    features = [i for i in down if i not in away]
    if features != sorted(features):
        return None
    first = down.index(features[0]) if features else 0
    last = first + len(features)
    if down[first:last] != features:
        return None
    outer, features, width = [prod([x.shape[i] for i in part]) for part in (down[:first], features, down[last:])]
    return Dense(outer, features, width)
