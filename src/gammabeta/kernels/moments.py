"""Exact sums of x and x² for each feature, of an array of any layout and type."""

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta import axes
from gammabeta.kernels import add_scalar, add_tile, folds, layout, limbs, rounding, thread_pool, wide_table
from gammabeta.kernels.dtypes import Array
from gammabeta.kernels.limbs import Limbs

Sums = tuple[Limbs, Limbs, Limbs, NDArray[np.int64]]
"""Σw, Σw·x and Σw·x² per feature, w being 1 where there are no weights; how many NaN, +inf and −inf: int64 (3, f)."""

_SUM = add_scalar.SUM_BASE, add_scalar.SUM_HEIGHT
_SQUARES = add_scalar.SQUARES_BASE, add_scalar.SQUARES_HEIGHT
_CUBES = add_scalar.CUBES_BASE, add_scalar.CUBES_HEIGHT

_spare = threading.local()

BESIDE = 2**22  # elements worth a thread between a network's own operations, whose threads spin on for milliseconds
ROWS = 2**20  # rows that go into limbs at a time: of 64 lanes together they leave digits below 2⁶²


def sums(x: Array, axis: axes.Axis, omit: bool) -> Sums:
    """The exact sums of x over `axis`, NaN counted in Σw unless `omit`."""
    table = layout.as_table(x, axis)
    if table is None:
        found = layout.reduced(x, axis, _REDUCTION)
    elif table.shape[1] > wide_table.COLUMNS or (table.shape[1] > layout.PANEL and len(table) <= wide_table.ROWS):
        starts = range(0, len(table), wide_table.ROWS)
        found = added((wide_table.sums(table[at : at + wide_table.ROWS]) for at in starts), table.shape[1])
    else:
        found = layout.reduced(table, 0, _REDUCTION) if table.size >= 2 * layout.SPLIT else _table(table)
    _, total, squares, specials = found
    missing = specials[add_scalar.NAN]
    rows = x.size // max(1, len(missing))
    if rows < 2**limbs.BITS and not (omit and np.count_nonzero(missing)):
        return (0, np.full((1, len(missing)), rows)), total, squares, specials
    return limbs.from_counts(rows - missing * omit), total, squares, specials


def columns(given: layout.Runs, add: Callable[..., None]) -> Sums:
    """The exact sums of vectors, NaN left out.

    add: a function with the arguments of `add_tile.accumulate_runs` that adds to the same sums.
    """
    _, total, squares, specials = _runs(given, add)
    return limbs.from_counts(given.lengths - specials[add_scalar.NAN]), total, squares, specials


def weighted_sums(x: Array, weights: Array, axis: axes.Axis, omit: bool) -> Sums:
    """The exact sums of x under `weights`, which have x's shape, are finite and not negative."""
    layout.check(x)
    features = layout.features(x, axis)
    if features == 0:
        return added([], features)
    order = axes.reduced(axis, x.ndim) + axes.feature_axes(axis, x.ndim)

    def pieces(between: tuple[int, int]) -> Iterator[Sums]:
        for pair in zip(layout.cuts(x, axis, *between), layout.cuts(weights, axis, *between), strict=True):
            values, factors = (
                piece.transpose(order).reshape(piece.size // max(1, features), features) for piece in pair
            )
            yield _weighted(layout.plain(values), factors, omit)

    def part(between: tuple[int, int]) -> Sums:
        return added(pieces(between), features)

    long = x.shape[layout.longest(x, axis)]
    ranges = thread_pool.ranges(long, layout.COSTLY * long // max(1, x.size))
    return added(thread_pool.run(part, ranges), features)


def added(parts: Iterable[Sums], features: int) -> Sums:
    """The total of parts over the same features, of which no more than two need be there at a time."""

    def plus(a: Sums, b: Sums) -> Sums:
        return limbs.add(a[0], b[0]), limbs.add(a[1], b[1]), limbs.add(a[2], b[2]), a[3] + b[3]

    waiting = iter(parts)
    first = next(waiting, None)
    if first is None:
        return limbs.zeros(features), limbs.zeros(features), limbs.zeros(features), np.zeros((3, features), np.int64)
    return reduce(plus, waiting, first)


def concatenated(parts: list[Sums]) -> Sums:
    """The sums of parts over different features."""
    if len(parts) == 1:
        return parts[0]
    counts, totals, squares, specials = (list(column) for column in zip(*parts, strict=True))
    together = limbs.concatenate(counts), limbs.concatenate(totals), limbs.concatenate(squares)
    return *together, np.concatenate(specials, axis=1)


class _Window:
    """Limbs of each (base, height), zeros, and what is touched of them, for a kernel to work in.

    Taken from those that a thread has to spare, and given back once they are zero again: what an interrupt stops is
    never seen by anyone. Getting 100 KB anew takes longer than a small table.
    """

    def __init__(self, lanes: int, rows: tuple[tuple[int, int], ...]) -> None:
        self.key = lanes, rows
        self.digits = [np.zeros((height, lanes), np.int64) for _, height in rows]
        self._untouched = np.array([(height, 0) for _, height in rows])
        self.touched = self._untouched.copy()

    @classmethod
    def taken(cls, lanes: int, rows: tuple[tuple[int, int], ...]) -> "_Window":
        """A window for so many lanes: the spare one of this thread, or a new one."""
        spare: _Window | None = _spare.__dict__.pop(f"limbs {len(rows)}", None)
        return spare if spare is not None and spare.key == (lanes, rows) else cls(lanes, rows)

    def emptied(self) -> list[Limbs]:
        """Copies of the limbs that a kernel left here in canonical form; the window is zeros, and spare, again."""
        lanes, rows = self.key
        found = []
        for (base, _), d, (first, last) in zip(rows, self.digits, self.touched.tolist(), strict=True):
            found.append((base + first, d[first:last].copy()) if first < last else limbs.zeros(lanes))
            d[first:last] = 0
        self.touched[:] = self._untouched
        if lanes <= layout.PANEL:
            _spare.__dict__[f"limbs {len(rows)}"] = self
        return found


def _window(kernel: Callable[..., None], lanes: int, rows: tuple[tuple[int, int], ...], *more: Any) -> list[Limbs]:
    """Run a kernel on empty limbs of each (base, height), and take what it leaves there in canonical form."""
    window = _Window.taken(lanes, rows)
    kernel(*window.digits, *more, window.touched)
    return window.emptied()


def _room(name: str, size: int) -> Array:
    """A thread's workspace of at least `size` bytes, zeros: whoever takes it puts it back into `_spare` as it was."""
    spare = _spare.__dict__.pop(name, None)
    return spare if spare is not None and spare.size >= size else folds.room(size)


def _table(x: Array) -> Sums:
    """The sums of a contiguous table (n, f) of what `layout.plain` gives."""
    n, features = x.shape
    if x.dtype.kind != "f":
        return _integers(x)
    several = layout.lanes(n, features, folds.ROWS)
    step = ROWS * several
    return added([_lanes(x[at : at + step], several) for at in range(0, n, step)], features)


def _lanes(x: Array, several: int) -> Sums:
    """The sums of a table of which so many rows lie side by side, all its lanes at a time or a panel of them."""
    features = x.shape[1]
    if several > 1 or features <= layout.PANEL:
        return _panel(x, several, 0, several * features)
    starts = range(0, features, layout.PANEL)
    return concatenated([_panel(x, 1, first, min(layout.PANEL, features - first)) for first in starts])


def _panel(x: Array, several: int, first: int, width: int) -> Sums:
    """The sums of the lanes from `first` on, `width` of them."""
    columns = x.shape[1]
    room = _room("lanes", -(-width // layout.LANES) * folds.FOLDS[x.dtype.char].block)

    def run(total: Array, squares: Array, specials: Array, touched: Array) -> None:
        add_tile.accumulate(x, columns, several, first, width, total, squares, specials, touched, room)

    found = _canonical(run, min(width, columns))
    _spare.__dict__["lanes"] = room
    return found


def _runs(given: layout.Runs, add: Callable[..., None] = add_tile.accumulate_runs) -> Sums:
    """The sums of features that lie in runs."""
    features, split = len(given.lengths), layout.SPLIT

    def run(part: layout.Runs, *out: Any) -> None:
        _accumulate(part, split, add, *out)
        total, squares, _, touched = out
        add_tile.settle(total, touched[0])
        add_tile.settle(squares, touched[1])

    return added([_canonical(partial(run, part), features) for part in _bounded(given)], features)


def at_a_time(given: layout.Runs) -> bool:
    """Whether the values of each feature are few enough to be added to limbs without a carry in between."""
    most = ROWS * layout.LANES
    return given.many * len(given.memory) <= most or given.many * int(given.lengths.max(initial=0)) <= most


def _bounded(given: layout.Runs) -> Iterator[layout.Runs]:
    """The same values in parts, each small enough for `at_a_time`."""
    memory, starts, lengths, many, step = given
    if at_a_time(given):
        yield given
    elif many > 1:
        half = many // 2
        yield from _bounded(layout.Runs(memory, starts, lengths, half, step))
        yield from _bounded(layout.Runs(memory, starts + half * step, lengths, many - half, step))
    else:
        first = np.minimum(lengths, lengths.max() // 2)
        yield from _bounded(layout.Runs(memory, starts, first))
        yield from _bounded(layout.Runs(memory, starts + first, lengths - first))


def _accumulate(given: layout.Runs, split: int, add: Callable[..., None], *out: Any) -> None:
    """Add runs to sums over threads; out: as the last arguments of `add`, without room, which each thread has."""
    *limbs_and_specials, touched = out
    shares, dtype = layout.shares(given, split), given.memory.dtype.char

    def some(between: tuple[int, int]) -> NDArray[np.int64]:
        mine = touched if len(shares) == 1 else touched.copy()
        place = _room(dtype, folds.FOLDS[dtype].workplace)
        add(*given, *between, *limbs_and_specials, mine, place)
        _spare.__dict__[dtype] = place
        return mine

    parts = thread_pool.run(some, shares)
    if len(parts) > 1:
        touched[:, 0] = np.min([mine[:, 0] for mine in parts], axis=0)
        touched[:, 1] = np.max([mine[:, 1] for mine in parts], axis=0)


class SumsAccumulator:
    """The exact sums of features to which runs are added, one array after another."""

    def __init__(self, features: int) -> None:
        self.limbs = [np.zeros((height, features), np.int64) for _, height in (_SUM, _SQUARES)]
        """Of x and of x²."""
        self.counts = np.zeros(features, np.int64)
        """How many values each feature had."""
        self.specials = np.zeros((3, features), np.int64)
        """How many of them were NaN, +inf and −inf."""
        self._noted: list[NDArray[np.int64]] = [np.array([[(height, 0) for _, height in (_SUM, _SQUARES)]])]

    def add(self, given: layout.Runs) -> None:
        """Add each feature's values."""
        touched = self._settle()
        for part in _bounded(given):
            _accumulate(part, BESIDE, add_tile.accumulate_runs, *self.limbs, self.specials, touched)
            self._settle()
        self.counts += given.lengths * given.many

    def follow(self, touched: NDArray[np.int64]) -> None:
        """Let a compiled plan add to limbs, counts and specials too, from now on; at most one plan may.

        touched: int64 (…, 2, 2), where it notes the rows in use; kept, and written to by both.
        """
        touched[:] = self._settle()
        self._noted[1:] = [touched]

    def _settle(self) -> NDArray[np.int64]:
        """Carry all digits; the first and the last-plus-one row in use of either limbs, (2, 2), noted for the plan."""
        every = np.concatenate(self._noted)
        touched = self._noted[0][0]
        touched[:, 0], touched[:, 1] = every[..., 0].min(axis=0), every[..., 1].max(axis=0)
        for digits, rows in zip(self.limbs, touched, strict=True):
            add_tile.carry(digits, rows, 0, len(self.counts))
        for others in self._noted[1:]:
            others[:] = touched
        return touched

    @property
    def finite(self) -> bool:
        """Whether no value was NaN or infinite."""
        return not self.specials.any()

    def sums(self) -> Sums:
        """The exact sums of all values added so far, NaN left out; arrays of the caller's own."""
        total, squares = (limbs.canonical(*part) for part in self._used())
        return limbs.from_counts(self.counts - self.specials[add_scalar.NAN]), total, squares, self.specials.copy()

    def population(self, ddof: float) -> NDArray[np.float64]:
        """Mean, variance and deviation, (3, f), of features without NaN, as `rounding.population` gives them."""
        total, squares = self._used()
        return rounding.population((0, self.counts[None]), total, squares, ddof)

    def _used(self) -> list[Limbs]:
        pairs = zip((_SUM, _SQUARES), self.limbs, self._settle().tolist(), strict=True)
        return [(base + min(a, b), digits[min(a, b) : max(b, 1)]) for (base, _), digits, (a, b) in pairs]


def _canonical(run: Callable[..., None], features: int) -> Sums:
    """The sums that a kernel leaves in the limbs, specials and rows touched that it is given."""
    specials = np.zeros((3, features), np.int64)
    total, squares = _window(run, features, (_SUM, _SQUARES), specials)
    return limbs.zeros(features), total, squares, specials


def _integers(x: Array) -> Sums:
    """The sums of a contiguous table of int64 or uint64."""
    return _canonical(partial(add_scalar.accumulate_integers, x), x.shape[1])


def _weighted(x: Array, weights: Array, omit: bool) -> Sums:
    """The sums of a contiguous table under weights of its shape."""
    features = x.shape[1]
    values = x if x.dtype.kind != "f" else x.astype(np.float64, copy=False)
    specials = np.zeros((3, features), np.int64)
    run = partial(add_scalar.accumulate_weighted, values, np.ascontiguousarray(weights, np.float64), omit)
    counts, total, squares = _window(run, features, (_SUM, _SQUARES, _CUBES), specials)
    return counts, total, squares, specials


_REDUCTION = layout.Reduction(_table, _runs, added, concatenated)
