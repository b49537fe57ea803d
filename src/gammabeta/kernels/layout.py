"""From an array of any layout and type to tables that a kernel takes, split over threads.

An array is seen as blocks (a, f, b): reduced axes, feature axes, reduced axes. With b = 1 a block is a table, whose
rows are reduced; otherwise each feature is a column of its own. What the kernels take, contiguous float32 and float64,
is read where it lies; anything else is copied in pieces that fit a core's cache.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammabeta import axes
from gammabeta.errors import KindError
from gammabeta.kernels import thread_pool
from gammabeta.kernels.dtypes import Array, widened

LANES = 64  # a multiple of every processor's vector, and of a cache line
LINE = 64  # bytes of a cache line
PANEL = 2048  # lanes whose state stays in a core's L2 cache: 137 bytes each
PIECE = 2**18  # elements copied at a time: some take a core's cache, but fewer leave their sums less often
SPLIT = 2**20  # elements worth a thread where kernels run at the speed of memory: waking one may take 0.1 ms
COSTLY = 2**16  # the same where an element takes nanoseconds, or threads are awake anyway
EVEN = 16  # features for each thread from which these are its share, not values: uneven by a 16th at most
WORTH, LENGTH = 2**8, 2**5  # values of a feature, and of a run, from which a kernel for runs costs less than a table

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
LARGEST_EXACT = 2**53


class Runs(NamedTuple):
    """Features whose values lie in stretches of memory: as many of each, equally far apart."""

    memory: Array
    """1-d, float32 or float64: from the first value to the last, whatever lies between; read, never written."""
    starts: NDArray[np.int64]
    """Where in it each feature's first run begins, (f,)."""
    lengths: NDArray[np.int64]
    """How long a feature's runs are, (f,)."""
    many: int = 1
    """How many runs each feature has."""
    step: int = 0
    """How far it is from one to the next."""


_RunGeometry = tuple[int, NDArray[np.int64], NDArray[np.int64], int, int]
"""The size of the memory of `Runs`, and its other fields."""


class Reduction(NamedTuple):
    """What `reduced` needs to know of a statistic."""

    table: Callable[[Array], Any]
    """The statistic of a contiguous table (n, f), n ≥ 1, of a dtype that `plain` gives."""
    runs: Callable[[Runs], Any]
    """The statistic of features in runs."""
    added: Callable[[Iterable[Any], int], Any]
    """The statistic of parts, perhaps none, of the same features, given how many features these are."""
    concatenated: Callable[[list[Any]], Any]
    """The statistic of parts with different features."""


def features(x: Array, axis: axes.Axis) -> int:
    """How many features x has."""
    return prod(x.shape[i] for i in axes.feature_axes(axis, x.ndim))


def reduced(x: Array, axis: axes.Axis, statistic: Reduction) -> Any:
    """A statistic of every feature of x, an array of any layout and type, over threads."""
    check(x)
    return statistic.added([_split(block, statistic) for block in blocks(x, axis)], features(x, axis))


def as_table(x: Array, axis: axes.Axis) -> Array | None:
    """x as a table (n, f), a view, if it is of floats that kernels take, its rows one after another, and f > 1."""
    if x.dtype not in _FLOATS or not x.size or not (x.flags.c_contiguous and x.flags.aligned):
        return None
    if axis == 0:
        return x.reshape(len(x), -1) if x.size > len(x) else None
    reduced_axes = axes.reduced(axis, x.ndim)
    in_front = reduced_axes == tuple(range(len(reduced_axes)))
    features = prod(x.shape[len(reduced_axes) :])
    return x.reshape(-1, features) if in_front and features > 1 else None


def check(x: Array) -> None:
    """Raise `KindError` for a dtype whose values have no exact value in 64 bits."""
    if (x.dtype.kind not in "biuf" and x.dtype.name != "bfloat16") or x.dtype.itemsize > 8:
        raise KindError(f"statistics take real numbers of at most 64 bits, got dtype {x.dtype}; convert them first")


def groups(x: Array, reduced_axes: tuple[int, ...]) -> tuple[list[int], list[int], list[int]]:
    """The axes of x as a block has them: reduced ones in front, features, reduced ones behind them in memory."""
    feature_axes = [i for i in range(x.ndim) if i not in reduced_axes]
    finest = min((abs(x.strides[i]) for i in feature_axes if x.shape[i] > 1), default=0)
    down = sorted(reduced_axes, key=lambda i: -abs(x.strides[i]))
    behind = [i for i in down if abs(x.strides[i]) < finest]
    return [i for i in down if i not in behind], feature_axes, behind


def block(x: Array, grouped: tuple[list[int], list[int], list[int]], copy: bool | None = None) -> Array:
    """x as (a, f, b); a view with copy=False, or `ValueError`."""
    shape = [prod(x.shape[i] for i in group) for group in grouped]
    return x.transpose([i for group in grouped for i in group]).reshape(shape, copy=copy)


def blocks(x: Array, axis: axes.Axis) -> Iterator[Array]:
    """x as one block, a view, if its memory allows, else as copies of cuts of it."""
    grouped = groups(x, axes.reduced(axis, x.ndim))
    try:
        yield block(x, grouped, copy=False)
    except ValueError:
        for part in cuts(x, axis):
            yield block(part, grouped)


def longest(x: Array, axis: axes.Axis) -> int:
    """The longest reduced axis: the one to cut along."""
    return max(axes.reduced(axis, x.ndim), key=lambda i: x.shape[i])


def cuts(x: Array, axis: axes.Axis, start: int = 0, stop: int | None = None) -> Iterator[Array]:
    """x from start to stop along its longest reduced axis, in views of about `PIECE` elements."""
    along = longest(x, axis)
    stop = x.shape[along] if stop is None else stop
    step = max(1, PIECE * x.shape[along] // max(1, x.size))
    for at in range(start, stop, step):
        yield x[(slice(None),) * along + (slice(at, min(at + step, stop)),)]


def plain(x: Array) -> Array:
    """x contiguous, in the first of float32, float64, int64 and uint64 that holds it exactly; x itself if it is so."""
    native, size = x.dtype.newbyteorder("="), x.dtype.itemsize
    if not x.flags.aligned:
        x = x.copy()
    if native in _FLOATS:
        return np.ascontiguousarray(x, native)
    if native == np.float16:
        return widened(np.ascontiguousarray(x, native))
    if size <= 2:
        return np.ascontiguousarray(x, np.float32)
    if size <= 4 or x.size == 0 or (x.max() <= LARGEST_EXACT and x.min() >= -LARGEST_EXACT):
        return np.ascontiguousarray(x, np.float64)
    return np.ascontiguousarray(x, native)


class _Readable:
    """Memory at an address, shown as writable because kernels ask for that; `owner` is kept alive."""

    def __init__(self, owner: Any, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": (address, False)}
        self.owner = owner


def lanes(rows: int, columns: int, tile: int) -> int:
    """The number of rows of a narrow table to lay side by side, so that its lanes fill blocks of 64."""
    common = LANES // gcd(LANES, columns)
    several = common if common * columns <= 2 * PANEL else max(1, 1024 // columns)
    return several if rows >= tile * several else max(1, LANES // columns)


def _split(x: Array, statistic: Reduction) -> Any:
    """The statistic of a block, over threads: by its features, or cut along its longest axis."""
    many = x.shape[2] > 1 and x.shape[1] >= EVEN * thread_pool.count()
    if many and _lies_in_runs(x):
        return statistic.runs(_runs(x))
    along = 1 if many else int(np.argmax(x.shape))
    ranges = thread_pool.ranges(x.shape[along], SPLIT * x.shape[along] // max(1, x.size))
    parts = thread_pool.run(lambda r: _block(x[(slice(None),) * along + (slice(*r),)], statistic), ranges)
    return statistic.concatenated(parts) if along == 1 and len(parts) > 1 else statistic.added(parts, x.shape[1])


def _block(x: Array, statistic: Reduction) -> Any:
    """The statistic of a block, on this thread."""
    if x.size == 0:
        return statistic.added([], x.shape[1])
    if x.shape[1:] == (1, 1) and x.dtype == np.float32 and _lies_in_runs(column := x.transpose(1, 2, 0)):
        return statistic.runs(_runs(column))  # float32 of one feature take fewer operations there
    if x.shape[2] == 1:
        return statistic.added((statistic.table(piece) for piece in _pieces(x[:, :, 0])), x.shape[1])
    if _lies_in_runs(x):
        return statistic.runs(_runs(x))
    many, features, length = x.shape
    wide, high, long = max(1, PIECE // (many * length)), max(1, PIECE // length), PIECE
    parts = []
    for feature in range(0, features, wide):
        some = x[:, feature : feature + wide]
        cut = [some[at : at + high, :, to : to + long] for at in range(0, many, high) for to in range(0, length, long)]
        parts.append(statistic.added([_copied(piece, statistic) for piece in cut], some.shape[1]))
    return statistic.concatenated(parts)


def _copied(x: Array, statistic: Reduction) -> Any:
    """The statistic of a piece of a block, of a copy of it."""
    if _long(x):
        x = plain(x)
        if x.dtype in _FLOATS:
            return statistic.runs(_runs(x))
    return statistic.table(plain(x.transpose(0, 2, 1).reshape(-1, x.shape[1])))


def _long(x: Array) -> bool:
    """Whether runs as long as a block's are worth a kernel for runs."""
    return x.shape[0] * x.shape[2] >= WORTH and x.shape[2] >= LENGTH


def _lies_in_runs(x: Array) -> bool:
    """Whether a block's features are long enough, and lie in runs that kernels take, each in one piece."""
    if not _long(x) or x.dtype not in _FLOATS:
        return False
    whole = x.flags.aligned and x.strides[2] == x.itemsize and (x.shape[0] == 1 or x.strides[0] > 0)
    return whole and all(step >= 0 and step % x.itemsize == 0 for step in x.strides)


def runs(x: Array, axis: axes.Axis) -> Runs | None:
    """The runs in which the features of x lie, if they lie so."""
    if x.dtype not in _FLOATS or not x.flags.aligned:
        return None
    found = _cached_run_geometry(x.shape, x.strides, x.dtype, axes.reduced(axis, x.ndim))
    return found and Runs(_stretch(x, found[0]), *found[1:])


def _runs(x: Array) -> Runs:
    """The runs of a block that lies in runs."""
    found = _run_geometry(x)
    return Runs(_stretch(x, found[0]), *found[1:])


def _stretch(x: Array, size: int) -> Array:
    """A view of `size` values from the first of x on, as they lie in memory; read only, whatever its flags say."""
    if x.flags.c_contiguous and x.flags.writeable:
        return x.reshape(-1)
    return np.asarray(_Readable(x, x.ctypes.data, (size,), x.dtype))


def _run_geometry(x: Array) -> _RunGeometry:
    """Where the runs of a block lie that lies in runs."""
    many, features, length = x.shape
    step, across = x.strides[0] // x.itemsize, x.strides[1] // x.itemsize
    size = (many - 1) * step + (features - 1) * across + length
    return size, np.arange(features) * across, np.full(features, length), many, step


@lru_cache(maxsize=64)
def _cached_run_geometry(
    shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any], reduced_axes: tuple[int, ...]
) -> _RunGeometry | None:
    """The `_run_geometry` of arrays of this form, if they lie in runs; cached: layers see few forms again and again."""
    x = np.lib.stride_tricks.as_strided(np.empty(0, dtype), shape, strides)
    try:
        whole = block(x, groups(x, reduced_axes), copy=False)
    except ValueError:
        return None
    return _run_geometry(whole) if whole.shape[2] > 1 and _lies_in_runs(whole) else None


def side_by_side(columns: Sequence[Array]) -> Runs:
    """Vectors of one dtype, float32 or float64, as one `Runs` over their memory; only unaligned ones are copied."""
    size = columns[0].itemsize
    vectors = [column if column.ctypes.data % size == 0 else column.copy() for column in columns]
    places, lengths = (
        np.array([column.ctypes.data for column in vectors]),
        np.array([len(column) for column in vectors]),
    )
    starts = (places - places.min()) // size
    memory = np.asarray(_Readable(vectors, int(places.min()), (int((starts + lengths).max()),), columns[0].dtype))
    return Runs(memory, starts, lengths)


def shares(given: Runs, split: int) -> list[tuple[int, int]]:
    """Ranges of features, for the threads that there are; `split` values are worth one."""
    features = len(given.lengths)
    if len(given.memory) < 2 * split:
        return [(0, features)]
    values = int(given.lengths.sum()) * given.many
    return thread_pool.ranges(features, split * features // max(1, values))


def _pieces(x: Array) -> Iterator[Array]:
    """A matrix in parts that a kernel takes: itself where it can be read as it lies, else copies; none of no values."""
    if x.size == 0:
        return
    if x.dtype in _FLOATS and x.flags.c_contiguous and x.flags.aligned:
        yield x
        return
    height = PIECE // x.shape[1]
    height = max(1, height // LANES * LANES or height)  # rows that go side by side leave none over
    for row in range(0, len(x), height):
        yield plain(x[row : row + height])
