"""Batch norm of NumPy arrays of any layout, split over threads: forward, in evaluation, and backward.

An array is a block (a, f, b) as in `layout`: with b > 1 features are runs of contiguous values (`runs`), else lanes of
a table (`rows`). Statistics are float64. Values are mapped in float64, those of 16 bits in float32, and rounded once. A
result has its input's memory layout, so that a framework's tensor, shown as a NumPy view, is neither copied nor
transposed; any other layout is copied once.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammabeta import axes
from gammabeta.kernels import layout, plain, rows, runs, threads
from gammabeta.kernels.layout import Array
from gammabeta.kernels.storage import mapping, stored

Floats = NDArray[np.float64]
Axes = tuple[int, ...]


class Batch(NamedTuple):
    """The statistics of a batch per feature, each (f,)."""

    mean: Floats
    rest: Floats
    """What rounding took from the mean: mean + rest has twice a float64's digits."""
    var: Floats
    """Biased."""
    values: int


def forward(x: Array, away: Axes, gamma: Floats, beta: Floats, eps: float) -> tuple[Array, Batch]:
    """y = γ · (x − mean) / √(var + eps) + β with x's own statistics over the axes `away`. gamma, beta: (f,)."""
    block = _Block(x, away)
    y = block.new()
    if block.by_feature:
        mean, rest, var = np.empty((3, block.features))
        block.split_features(
            lambda first, last: runs.forward(
                block.flat, y.flat, *block.shape, first, last, gamma, beta, eps, mean, rest, var
            )
        )
        batch = Batch(mean, rest, var, block.count)
    else:
        batch = block.moments()
        with np.errstate(invalid="ignore"):
            scale = gamma / np.sqrt(batch.var + eps)
        block.apply(y.flat, batch.mean, batch.rest, scale, beta)
    if x.dtype.itemsize == 8 and not np.isfinite(batch.var).all():
        # Squares left the range of float64, or there are NaN and infinities: the plain way takes powers of two out.
        shape = axes.parameter_shape(away, x.shape)
        y_, mean, _, _ = plain.forward(x, away, gamma.reshape(shape), beta.reshape(shape), eps)
        return y_, batch._replace(mean=mean.reshape(-1), rest=np.zeros(block.features))
    return y.array, batch


def moments(x: Array, away: Axes) -> Batch:
    """The statistics of x over the axes `away`."""
    return _Block(x, away).moments()


def applied(x: Array, away: Axes, mean: Floats, rest: Floats, scale: Floats, shift: Floats) -> Array:
    """((x − mean) − rest) · scale + shift. The parameters, (f,), vary along the axes that are not `away`."""
    block = _Block(x, away)
    y = block.new()
    block.apply(y.flat, mean, rest, scale, shift)
    return y.array


def backward(dy: Array, x: Array, away: Axes, batch: Batch, gamma: Floats, eps: float) -> tuple[Array, Floats, Floats]:
    """The gradients of x, γ and β, given that of `forward`'s y.

    With x̂ = (x − mean) / √(var + eps): dβ = Σdy, dγ = Σdy·x̂, dx = γ / √(var + eps) · (dy − dβ/n − x̂·dγ/n).
    """
    block = _Block(x, away)
    slopes, dx = block.beside(dy), block.new()
    if block.by_feature:
        dgamma, dbeta = np.empty((2, block.features))
        block.split_features(
            lambda first, last: runs.backward(
                *(block.flat, slopes, dx.flat, *block.shape, first, last),
                *(gamma, eps, batch.mean, batch.rest, batch.var, dgamma, dbeta),
            )
        )
        return dx.array, dgamma, dbeta
    dbeta, product = block.products(slopes, batch)
    inverse = 1 / np.sqrt(batch.var + eps)
    dgamma, a = product * inverse, gamma * inverse
    block.slope(
        slopes, dx.flat, batch.mean, batch.rest, a, -a * inverse * dgamma / batch.values, -a * dbeta / batch.values
    )
    return dx.array, dgamma, dbeta


class _New(NamedTuple):
    """A result, and its memory as the kernels take it."""

    array: Array
    flat: Array


class _Block:
    """x as contiguous memory (runs, features, width), and the kernels over it."""

    def __init__(self, x: Array, away: Axes) -> None:
        x = x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))
        grouped = layout.groups(x, away)
        try:
            block = layout.block(x, grouped, copy=False)
        except ValueError:
            block = None
        if block is None or not block.flags.c_contiguous:
            x = np.ascontiguousarray(x)
            grouped = layout.groups(x, away)
            block = np.ascontiguousarray(layout.block(x, grouped))
        self.dtype = x.dtype
        self.order = [i for group in grouped for i in group]
        self.lengths = [x.shape[i] for i in self.order]
        self.runs, self.features, self.width = block.shape
        self.count = self.runs * self.width
        self.flat = layout.readable(stored(block.reshape(-1)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """As the kernels of runs take it."""
        return self.features, self.width, self.runs

    def new(self) -> _New:
        """An array like x, with x's layout in memory."""
        # `np.empty` asks for huge pages, frameworks do not: 11 ms for 100 MB instead of 29.
        memory = np.empty(self.flat.size, self.dtype)
        return _New(memory.reshape(self.lengths).transpose(np.argsort(self.order)), stored(memory))

    def beside(self, other: Array) -> Array:
        """The memory of another array of x's shape, in x's layout."""
        moved = np.ascontiguousarray(other.transpose(self.order), self.dtype)
        return layout.readable(stored(moved.reshape(-1)))

    @property
    def by_feature(self) -> bool:
        """Whether each thread does whole features: its second look at one then finds it in the cache."""
        return self.width > 1 and (self.features >= 2 * threads.count() or self.flat.size < layout.SPLIT)

    def split_features(self, work: Callable[[int, int], None]) -> None:
        """Run the work over ranges of features."""
        threads.run(lambda r: work(*r), threads.ranges(self.features, layout.SPLIT // self.count))

    def split_runs(self, work: Callable[[int, int], Any]) -> list[Any]:
        """Run the work over ranges of runs."""
        least = layout.SPLIT // (self.features * self.width)
        return threads.run(lambda r: work(*r), threads.ranges(self.runs, least))

    def split_tables(self, work: Callable[[slice, int, int], Any]) -> list[Any]:
        """Run the work over parts of the table that this block is: its place in memory, lanes and rows.

        Several rows of a narrow table lie side by side as one, so that its lanes are 64 or more.
        """
        several = layout.lanes(self.runs, self.features, int(rows.LANES) // 4)
        lanes, whole = several * self.features, self.runs // several
        parts = [
            (slice(first * lanes, last * lanes), lanes, last - first)
            for first, last in threads.ranges(whole, layout.SPLIT // lanes)
        ]
        if left := self.runs % several:
            parts.append((slice(whole * lanes, None), self.features, left))
        if self.flat.size < layout.SPLIT:
            return [work(*part) for part in parts]
        return threads.run(lambda part: work(*part), parts)

    def moments(self) -> Batch:
        """The statistics."""

        def of_runs(first: int, last: int) -> Floats:
            part = np.empty((4, self.features))
            runs.moments(self.flat, self.features, self.width, first, last, *part[1:])
            part[0] = (last - first) * self.width
            return part[:, None]

        def of_table(place: slice, lanes: int, height: int) -> Floats:
            state = _state((), lanes, self.features)
            rows.moments(self.flat[place], lanes, 0, height, 0, len(state) // rows.STATE, state)
            part = _lanes(state, lanes)[:4].reshape(4, -1, self.features)
            mean = part[0] + part[1]
            with np.errstate(invalid="ignore"):  # beside infinity nothing rests
                rest = (part[0] - mean) + part[1]
            return np.stack([np.full(mean.shape, float(height)), mean, rest, part[2]])

        parts = self.split_runs(of_runs) if self.width > 1 else self.split_tables(of_table)
        return _joined(np.concatenate(parts, axis=1))

    def apply(self, y: Array, *parameters: Floats) -> None:
        """Write ((x − mean) − rest) · scale + shift."""

        def to_table(place: slice, lanes: int, height: int) -> None:
            state = _state(parameters, lanes, self.features, mapping(self.flat))
            rows.apply(self.flat[place], y[place], lanes, 0, height, 0, len(state) // rows.STATE, state)

        if self.width > 1:
            self.split_runs(lambda *r: runs.apply(self.flat, y, self.features, self.width, *r, *parameters))
        else:
            self.split_tables(to_table)

    def products(self, dy: Array, batch: Batch) -> Floats:
        """Σdy and Σdy · (x − mean), (2, features)."""

        def of_runs(first: int, last: int) -> Floats:
            part = np.empty((2, self.features))
            runs.products(self.flat, dy, self.features, self.width, first, last, batch.mean, batch.rest, *part)
            return part

        def of_table(place: slice, lanes: int, height: int) -> Floats:
            state = _state((batch.mean, batch.rest), lanes, self.features)
            rows.products(self.flat[place], dy[place], lanes, 0, height, 0, len(state) // rows.STATE, state)
            return _lanes(state, lanes)[3:].reshape(2, -1, self.features).sum(axis=1)

        return np.sum(self.split_runs(of_runs) if self.width > 1 else self.split_tables(of_table), axis=0)

    def slope(self, dy: Array, dx: Array, *parameters: Floats) -> None:
        """Write dy · a + (((x − mean) − rest) · b + c), the parameters being mean, rest, a, b and c."""

        def of_table(place: slice, lanes: int, height: int) -> None:
            state = _state(parameters, lanes, self.features, mapping(self.flat))
            rows.slope(self.flat[place], dy[place], dx[place], lanes, 0, height, 0, len(state) // rows.STATE, state)

        if self.width > 1:
            self.split_runs(lambda *r: runs.slope(self.flat, dy, dx, self.features, self.width, *r, *parameters))
        else:
            self.split_tables(of_table)


def _state(parameters: Sequence[Floats], lanes: int, features: int, dtype: Any = np.float64) -> Array:
    """The state of a table's lanes, flat: lane i has those of feature i mod `features`, mean and rest first."""
    groups = -(-lanes // int(rows.LANES))
    state = np.zeros((5, groups * int(rows.LANES)), dtype)
    if dtype is np.float32:
        mean, rest, *others = parameters
        with np.errstate(over="ignore", invalid="ignore"):
            parameters = (mean, (mean - mean.astype(dtype)) + rest, *others)
    for i, parameter in enumerate(parameters):
        state[i, :lanes].reshape(-1, features)[:] = parameter
    return state.reshape(5, groups, -1).transpose(1, 0, 2).reshape(-1)


def _lanes(state: Floats, lanes: int) -> Floats:
    """The five quantities of each lane, (5, lanes)."""
    return state.reshape(-1, 5, int(rows.LANES)).transpose(1, 0, 2).reshape(5, -1)[:, :lanes]


def _joined(parts: Floats) -> Batch:
    """The statistics of parts together. parts: count, mean, rest and Σ(x − mean)² of each, (4, parts ≥ 1, features)."""
    count, mean, rest, squares = parts
    total = count.sum(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        high = (count * mean).sum(axis=0) / total
        apart = (mean - high) + rest
        low = (count * apart).sum(axis=0) / total
        var = (squares + count * (apart - low) ** 2).sum(axis=0) / total
    return Batch(high, low, var, int(total[0]))
