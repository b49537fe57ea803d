"""Layer, group, instance and RMS norm by the compiled core: contiguous rows, each with statistics of its own.

y = γ · (x − mean) / √(var + eps) + β, of RMS norm with a mean of 0 (`core/batchnorm/group.cpp`). Statistics are
float64. Values are mapped in float64, those of 16 bits in float32, and rounded once.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from gammabeta.kernels import binding, buffer_cache, thread_pool
from gammabeta.kernels.batchnorm_blocks import SPLIT, Floats
from gammabeta.kernels.batchnorm_contiguous import KINDS
from gammabeta.kernels.dtypes import Array

_FORWARD, _BACKWARD = (binding.function(f"group_norm_{name}") for name in ("forward", "backward"))
_SETTLE, _ROOM = binding.function("group_norm_settle"), binding.function("group_norm_room")

run = binding.function("group_norm_run")
"""Do one thread's part of the work laid down in a room, its argument."""

RUN = binding.address("group_norm_run")
"""The address of `run` for callers that are not Python: a function of the room's address."""


class Rows(NamedTuple):
    """How a contiguous array is cut into rows, and what is computed of each."""

    height: int
    """How many rows."""
    size: int
    """Values of a row."""
    groups: int
    """Row r has the r mod `groups`-th part of γ and β, which are (groups · size / width,)."""
    width: int
    """How many values, one after the other, have the same γ and β; divides `size`."""
    centred: bool
    """Whether the mean is subtracted: not by RMS norm."""
    eps: float


Together = Callable[[Floats, int], None]
"""Calls `run` with a room on so many threads."""


def _on_pool(room: Floats, many: int) -> None:
    thread_pool.run(lambda _: run(room), range(many))


@lru_cache(maxsize=1024)
def _size(many: int, height: int, size: int, groups: int, width: int, backward: bool) -> int:
    return _ROOM(many, height, size, groups, width, backward)


def _ended(room: Floats, many: int, together: Together) -> None:
    if many > 1:
        together(room, many)
        _SETTLE(room)


def forward_at(
    rows: Rows, kinds: tuple[int, int], many: int, places: tuple[int, ...], together: Together = _on_pool
) -> Floats:
    """Write y, and return the statistics, (3, height): the mean, what its rounding left, the biased variance.

    kinds: of x and y, and of γ and β, in `KINDS`. many: how many threads. places: the addresses of x, y (written), γ
    and β, 0 for none of these. The memory is the caller's, who keeps it until this has ended.
    """
    room, statistics = np.empty(_size(many, *rows[:4], False)), np.empty((3, rows.height))
    _FORWARD(room, *kinds, many, *rows[:5], *places, statistics, rows.eps)
    _ended(room, many, together)
    return statistics


def backward_at(
    rows: Rows,
    kinds: tuple[int, int],
    many: int,
    places: tuple[int, ...],
    statistics: Floats,
    together: Together = _on_pool,
) -> None:
    """Write the gradients of `forward_at`. places: the addresses of x, dy, dx (written), γ, and of dγ and dβ (written,
    or 0)."""
    room = np.empty(_size(many, *rows[:4], True))
    _BACKWARD(room, *kinds, many, *rows[:5], *places, statistics, rows.eps)
    _ended(room, many, together)


def forward(x: Array, rows: Rows, gamma: Array | None = None, beta: Array | None = None) -> tuple[Array, Floats]:
    """y, new, and the statistics, (3, height), of a contiguous array. gamma, beta: float64, contiguous."""
    y = buffer_cache.empty(x.size, x.dtype).reshape(x.shape)
    places = tuple(0 if array is None else array.ctypes.data for array in (x, y, gamma, beta))
    return y, forward_at(rows, (KINDS[x.dtype.name], KINDS["float64"]), _threads(x), places)


def backward(
    dy: Array, x: Array, rows: Rows, statistics: Floats, gamma: Array | None = None
) -> tuple[Array, Floats, Floats]:
    """dx, dγ and dβ, given that of `forward`'s y, contiguous and of x's type."""
    dx = buffer_cache.empty(x.size, x.dtype).reshape(x.shape)
    dgamma, dbeta = np.empty((2, rows.groups * rows.size // rows.width))
    places = tuple(0 if array is None else array.ctypes.data for array in (x, dy, dx, gamma, dgamma, dbeta))
    backward_at(rows, (KINDS[x.dtype.name], KINDS["float64"]), _threads(x), places, statistics)
    return dx, dgamma, dbeta


def _threads(x: Array) -> int:
    return thread_pool.count() if x.size >= 2 * SPLIT else 1
