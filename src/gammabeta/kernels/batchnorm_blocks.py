"""A batch as the core's kernels of batch norm take it, and these kernels, split over threads.

An array is a block (a, f, b) as in `layout`: with b > 1 features are runs of contiguous values, else lanes of a table.
Any other layout is copied once. How a block is cut for threads is the core's matter (`core/batchnorm/plan.hpp`).
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import binding, buffer_cache, layout, thread_pool
from gammabeta.kernels.dtypes import Array, stored

Floats = NDArray[np.float64]
Axes = tuple[int, ...]

SPLIT = 2**17  # values worth a second thread: 20 µs

FORWARD, BACKWARD, APPLY, PRODUCTS = range(4)  # as in core/batchnorm/job.hpp

_KERNELS = binding.by_type("batchnorm", "eHfd")
_SCRATCH = binding.function("batchnorm_scratch")


class Batch(NamedTuple):
    """The statistics of a batch per feature, each (f,)."""

    mean: Floats
    mean_lo: Floats
    """What rounding took from the mean: mean + mean_lo has twice a float64's digits."""
    var: Floats
    """Biased."""
    values: int


class New(NamedTuple):
    """A result, and its memory as the kernels take it."""

    array: Array
    flat: Array


@lru_cache(maxsize=256)
def scratch(many: int, runs: int, features: int, width: int) -> int:
    """How many float64 a kernel needs to work in."""
    return _SCRATCH(many, runs, features, width)


class Block:
    """x as contiguous memory (runs, features, width), and the kernels over it."""

    def __init__(self, x: Array, reduced_axes: Axes) -> None:
        x = x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))
        grouped = layout.groups(x, reduced_axes)
        try:
            block = layout.block(x, grouped, copy=False)
        except ValueError:
            block = None
        if block is None or not block.flags.c_contiguous or not block.flags.aligned:
            x = np.ascontiguousarray(x)
            grouped = layout.groups(x, reduced_axes)
            block = np.require(layout.block(x, grouped), requirements=["C", "A"])
        self.dtype = x.dtype
        self.order = [i for group in grouped for i in group]
        self.lengths = [x.shape[i] for i in self.order]
        self.shape = block.shape
        self.runs, self.features, self.width = block.shape
        self.count = self.runs * self.width
        self.flat = stored(block.reshape(-1))
        self.letter = {"float16": "e", "bfloat16": "H", "float32": "f", "float64": "d"}[x.dtype.name]

    def new(self) -> New:
        """An array like x, with x's layout in memory."""
        place = buffer_cache.empty(self.flat.size, self.dtype)
        return New(place.reshape(self.lengths).transpose(np.argsort(self.order)), stored(place))

    def in_layout(self, other: Array | None) -> Any:
        """The memory of another array of x's shape, in x's layout: a view, or a copy; None for None."""
        if other is None:
            return None
        return stored(np.require(other.transpose(self.order), self.dtype, ["C", "A"]).reshape(-1))

    def statistics(self) -> Floats:
        """Room for mean, mean_lo and var, (3, features)."""
        return np.empty((3, self.features))

    def forward(self, y: Array, gamma: Floats, beta: Floats, eps: float, added: Any, relu: bool) -> Batch:
        """Write γ · (x − mean) / √(var + eps) + β + added to y, with `relu` no less than 0; the batch's statistics."""
        found = self.statistics()
        self._run(FORWARD, added, y, gamma, beta, eps, relu, found, None)
        mean, mean_lo, var = found
        return Batch(mean, mean_lo, var, self.count)

    def apply(
        self, y: Array, mean: Floats, mean_lo: Floats, scale: Floats, shift: Floats, added: Any, relu: bool
    ) -> None:
        """Write ((x − mean) − mean_lo) · scale + shift + added, with `relu` no less than 0."""
        self._run(APPLY, added, y, scale, shift, 0.0, relu, np.stack([mean, mean_lo, mean_lo]), None)

    def products(self, dy: Array, mean: Floats, mean_lo: Floats) -> Floats:
        """Σdy and Σdy · (x − mean), (2, features)."""
        sums = np.empty((2, self.features))
        self._run(PRODUCTS, dy, None, None, None, 0.0, False, np.stack([mean, mean_lo, mean_lo]), sums)
        return sums

    def backward(self, dy: Array, dx: Array, batch: Batch, gamma: Floats, eps: float) -> Floats:
        """Write dx, and give dβ and dγ, (2, features)."""
        sums = np.empty((2, self.features))
        self._run(BACKWARD, dy, dx, gamma, None, eps, False, np.stack(batch[:3]), sums)
        return sums

    def _run(self, operation: int, other: Any, y: Any, gamma: Any, beta: Any, eps: float, *more: Any) -> None:
        """A kernel on as many threads as it is worth."""
        many = thread_pool.count() if self.flat.size >= 2 * SPLIT else 1
        room = np.empty(scratch(many, *self.shape))
        given = (
            operation,
            many,
            self.flat,
            other,
            y,
            *self.shape,
            gamma,
            beta,
            eps,
            *more,
            room,
            np.zeros(4, np.int64),
        )
        kernel = _KERNELS[self.letter]
        thread_pool.run(lambda _: kernel(*given), range(many))
