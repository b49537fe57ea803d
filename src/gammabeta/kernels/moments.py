"""Exact sums per feature, of an array of any layout and type."""

import threading
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta import axes
from gammabeta.kernels import exact, layout, limbs, singly, threads, tile
from gammabeta.kernels.layout import Array
from gammabeta.kernels.limbs import Limbs

Sums = tuple[Limbs, Limbs, Limbs, NDArray[np.int64]]
"""Σw, Σw·x and Σw·x² per feature, w being 1 where there are no weights; how many NaN, +inf and −inf: int64 (3, f)."""

_SUM = int(singly.SUM_BASE), singly.SUM_HEIGHT
_SQUARES = int(singly.SQUARES_BASE), singly.SQUARES_HEIGHT
_CUBES = int(singly.CUBES_BASE), singly.CUBES_HEIGHT

_spare = threading.local()

ROWS = 2**20  # rows that go into limbs at a time: of 64 lanes together they leave digits below 2⁶²


def sums(x: Array, axis: axes.Axis, omit: bool) -> Sums:
    """The exact sums of x over `axis`, NaN counted in Σw unless `omit`."""
    _, total, squares, specials = layout.reduced(x, axis, _REDUCTION)
    rows = x.size // max(1, layout.features(x, axis))
    counts = rows - specials[singly.NAN] * omit
    return limbs.from_counts(counts), total, squares, specials


def columns(given: layout.Runs) -> Sums:
    """The exact sums of vectors, NaN left out."""
    _, total, squares, specials = _runs(given)
    return limbs.from_counts(given.lengths - specials[singly.NAN]), total, squares, specials


def weighted_sums(x: Array, weights: Array, axis: axes.Axis, omit: bool) -> Sums:
    """The exact sums of x under `weights`, which have x's shape, are finite and not negative."""
    layout.check(x)
    features = layout.features(x, axis)
    order = axes.reduced(axis, x.ndim) + axes.kept(axis, x.ndim)

    def part(between: tuple[int, int]) -> Sums:
        parts = []
        for pair in zip(layout.cuts(x, axis, *between), layout.cuts(weights, axis, *between), strict=True):
            values, factors = (
                piece.transpose(order).reshape(piece.size // max(1, features), features) for piece in pair
            )
            parts.append(_weighted(layout.plain(values), factors, omit))
        return added(parts, features)

    long = x.shape[layout.longest(x, axis)]
    ranges = threads.ranges(long, layout.SPLIT * long // max(1, x.size))
    return added(threads.run(part, ranges), features)


def added(parts: list[Sums], features: int) -> Sums:
    """The total of parts over the same features."""
    nothing = limbs.zeros(features), limbs.zeros(features), limbs.zeros(features), np.zeros((3, features), np.int64)

    def plus(a: Sums, b: Sums) -> Sums:
        return limbs.add(a[0], b[0]), limbs.add(a[1], b[1]), limbs.add(a[2], b[2]), a[3] + b[3]

    return reduce(plus, parts) if parts else nothing


def concatenated(parts: list[Sums]) -> Sums:
    """The sums of parts over different features."""
    if len(parts) == 1:
        return parts[0]
    counts, totals, squares, specials = (list(column) for column in zip(*parts, strict=True))
    together = limbs.concatenate(counts), limbs.concatenate(totals), limbs.concatenate(squares)
    return *together, np.concatenate(specials, axis=1)


def _window(kernel: Callable[..., None], lanes: int, rows: tuple[tuple[int, int], ...], *more: Any) -> list[Limbs]:
    """Run a kernel on empty limbs of each (base, height), and take the rows that it touched."""
    digits = [_empty(place, height, lanes) for place, (_, height) in enumerate(rows)]
    touched = np.array([(height, 0) for _, height in rows])
    kernel(*digits, *more, touched)
    taken = []
    for (base, _), d, (first, last) in zip(rows, digits, touched, strict=True):
        taken.append((base + int(first), d[first:last].copy()) if last else limbs.zeros(lanes))
        d[first:last] = 0
    for place, d in enumerate(digits):
        _spare.__dict__[str(place)] = d.reshape(-1)
    return taken


def _empty(place: int, height: int, lanes: int) -> NDArray[np.int64]:
    """Zeros, those of this thread's last call if they suffice: getting 100 KB anew takes longer than a small table.

    They leave `_spare` here and come back once they are zero again: what an interrupt stops is never seen by anyone.
    """
    size = height * lanes
    kept = _spare.__dict__.pop(str(place), None)
    zeros = kept if kept is not None and kept.size >= size else np.zeros(size, np.int64)
    return zeros[:size].reshape(height, lanes)


def _table(x: Array) -> Sums:
    """The sums of a contiguous table (n, f) of what `layout.plain` gives."""
    n, features = x.shape
    if x.dtype.kind != "f":
        return _integers(x)
    several = layout.lanes(n, features, tile.ROWS)
    lanes, whole = several * features, n // several * several
    flat = layout.readable(x.reshape(-1))
    step = ROWS * several
    cuts = [(at * features, min(at + step, whole) * features) for at in range(0, whole, step)]
    parts = [[flat[first:last]] for first, last in cuts]
    if whole < n:
        rest = np.zeros(lanes, x.dtype)
        rest[: (n - whole) * features] = flat[whole * features :]
        parts = [*parts[:-1], [*(parts[-1] if parts else []), rest]]
    return added([_lanes(part, lanes, features) for part in parts], features)


def _lanes(tables: list[Array], lanes: int, features: int) -> Sums:
    """The sums of whole rows of lanes, one table of them after another, lane i being of feature i mod `features`."""
    panel = lanes if lanes > features else layout.PANEL
    return concatenated([_panel(tables, lanes, at, min(panel, lanes - at), features) for at in range(0, lanes, panel)])


def _panel(tables: list[Array], lanes: int, first: int, width: int, features: int) -> Sums:
    """The sums of the lanes from `first` on, `width` of them."""
    known, several = tile.state(width, tables[0].dtype), min(width, features)
    to = np.arange(-(-width // layout.LANES) * layout.LANES) % several

    def run(*out: Any) -> None:
        for flat in tables:
            exact.accumulate(flat, first, lanes, len(flat) // lanes, width, known, to, *out)

    return _canonical(run, several)


def _runs(given: layout.Runs) -> Sums:
    """The sums of features that lie in runs."""
    memory, starts, lengths = given
    runs, longest = starts.shape[1], int(lengths.max(initial=0))
    if runs > 1 and runs * longest > ROWS * layout.LANES:
        halves = starts[:, : runs // 2], starts[:, runs // 2 :]
        return added([_runs(layout.Runs(memory, np.ascontiguousarray(half), lengths)) for half in halves], len(lengths))
    if longest > ROWS * layout.LANES:
        first = np.minimum(lengths, longest // 2)
        parts = layout.Runs(memory, starts, first), layout.Runs(memory, starts + first[:, None], lengths - first)
        return added([_runs(part) for part in parts], len(lengths))

    def run(sum_limbs: Array, square_limbs: Array, specials: Array, touched: Array) -> None:
        def some(between: tuple[int, int]) -> Array:
            mine, room = touched.copy(), np.empty(tile.TILE, memory.dtype)
            state, to = tile.state(layout.LANES, memory.dtype), np.empty(layout.LANES, np.int64)
            out = sum_limbs, square_limbs, specials, mine
            exact.accumulate_runs(memory, starts, lengths, *between, state, to, room, *out)
            return mine

        ends = np.array(threads.run(some, layout.shares(given)))
        touched[:, 0], touched[:, 1] = ends[:, :, 0].min(axis=0), ends[:, :, 1].max(axis=0)

    return _canonical(run, len(lengths))


def _canonical(run: Callable[..., None], features: int) -> Sums:
    """The sums that a kernel leaves in the limbs, specials and rows touched that it is given."""
    specials = np.zeros((3, features), np.int64)
    total, squares = _window(run, features, (_SUM, _SQUARES), specials)
    return limbs.zeros(features), limbs.canonical(*total), limbs.canonical(*squares), specials


def _integers(x: Array) -> Sums:
    """The sums of a contiguous table of int64 or uint64."""
    features = x.shape[1]
    run = partial(singly.accumulate_integers, layout.readable(x.reshape(-1)), features)
    total, squares = _window(run, features, (_SUM, _SQUARES))
    specials = np.zeros((3, features), np.int64)
    return limbs.zeros(features), limbs.canonical(*total), limbs.canonical(*squares), specials


def _weighted(x: Array, weights: Array, omit: bool) -> Sums:
    """The sums of a contiguous table under weights of its shape."""
    features = x.shape[1]
    values = layout.readable(x.reshape(-1) if x.dtype.kind != "f" else x.reshape(-1).astype(np.float64, copy=False))
    factors = layout.readable(np.ascontiguousarray(weights, np.float64).reshape(-1))
    specials = np.zeros((3, features), np.int64)
    run = partial(singly.accumulate_weighted, values, factors, features, omit)
    counts, total, squares = _window(run, features, (_SUM, _SQUARES, _CUBES), specials)
    return limbs.canonical(*counts), limbs.canonical(*total), limbs.canonical(*squares), specials


_REDUCTION = layout.Reduction(_table, _runs, added, concatenated)
