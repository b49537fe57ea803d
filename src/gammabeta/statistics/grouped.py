"""Statistics of many groups at once: one pass, memory for the groups, and the same algebra."""

import json
from collections.abc import Iterator
from contextlib import suppress
from math import prod
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gammabeta import axes
from gammabeta._util.immutable import Immutable
from gammabeta.backends import masked
from gammabeta.errors import DataError, KindError, StateError
from gammabeta.kernels import groupby_partitioned
from gammabeta.kernels.groupby_partitioned import Codes
from gammabeta.statistics import factorize as naming
from gammabeta.statistics import serialization
from gammabeta.statistics.extrema import Extrema
from gammabeta.statistics.factorize import Labels
from gammabeta.statistics.moments import Moments
from gammabeta.statistics.validation import (
    Counts,
    MissingRule,
    checked,
    full_weights,
    plus,
    refuse_nan,
    without_mask,
)

S = TypeVar("S", Moments, Extrema)

_FIELDS = ("labels", "rows", "statistic")


class Grouped(Immutable, Generic[S]):
    """A statistic of each of several groups of rows, found by their labels. Make one with `of(x, groups=labels)`."""

    labels: Labels
    rows: Counts
    each: S

    _class: type[S]
    _kind: str

    def __init__(self, labels: Labels, rows: Counts, each: S) -> None:
        for array in (labels, rows):
            array.flags.writeable = False
        self.__dict__.update(labels=labels, rows=rows, each=each)

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[Any, S]]:
        """Each label and its statistic."""
        times = self.labels.dtype.kind in "mM"  # of which `tolist` may make integers
        return ((label, self.each[i]) for i, label in enumerate(self.labels if times else self.labels.tolist()))

    def __contains__(self, label: Any) -> bool:
        """Whether there is a group of that label."""
        with suppress(DataError, KindError):
            return self[label] is not None
        return False

    def __getitem__(self, label: Any) -> S:
        """The statistic of one group, of the features' shape; `DataError` if there is no such group."""
        wanted = np.empty((), object)
        wanted[()] = label
        return self.each[int(self.find(np.asarray(label) if np.ndim(label) == 0 else wanted))]

    def find(self, labels: ArrayLike) -> NDArray[np.intp]:
        """The place of each label among `self.labels`: what picks each row's own statistic, or its own map.

        Raises:
            DataError: there is no group of that label.
            KindError: labels that cannot be compared with these.
        """
        return naming.found(self.labels, labels)

    def total(self) -> S:
        """The statistic of all groups together."""
        return self.each.total()

    def _joined(self, other: Self) -> tuple[Labels, Counts, Counts, S, S]:
        """The union of both sides' labels, and each side's rows and statistics, (groups, …), for all of them."""
        shapes = self.each.shape[1:], other.each.shape[1:]
        if shapes[0] != shapes[1]:
            raise DataError(f"statistics combine only over the same features, got shapes {sorted(shapes)}")
        both, mine, others = naming.united(self.labels, other.labels)
        rows = np.zeros((2, len(both)), np.int64)
        rows[0, mine], rows[1, others] = self.rows, other.rows
        return both, rows[0], rows[1], self.each.scatter(mine, len(both)), other.each.scatter(others, len(both))

    def __add__(self, other: object) -> Self:
        if type(other) is not type(self):
            return NotImplemented
        labels, rows, more, each, others = self._joined(other)
        return type(self)(labels, plus(rows, more), each + others)

    def __radd__(self, other: object) -> Self:
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def _key(self) -> tuple[Any, ...]:
        return tuple(_comparable(self.labels)), self.rows.tobytes(), self.each

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, type(self)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.labels, self.rows, self.each)

    def __repr__(self) -> str:
        shown = np.array2string(self.labels, threshold=6, edgeitems=2, separator=", ")
        return f"{type(self).__name__}({len(self)} groups: {shown}, features={self.each.shape[1:]})"

    def to_json(self) -> str:
        """A JSON document of labels, rows and exact statistics, which `from_json` reads back to the same bits.

        Raises:
            KindError: labels other than text, numbers and dates.
        """
        return json.dumps(self._document(), allow_nan=False)

    def _document(self) -> dict[str, Any]:
        fields = {"labels": naming.to_document(self.labels), "rows": self.rows.tolist()}
        return serialization.document(self._kind, {**fields, "statistic": self.each._document()})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The grouped statistics in a document that `to_json` wrote.

        Raises:
            StateError: it is damaged, cut short, of another kind or version, or no data could have these statistics.
        """
        return cls._of_document(serialization.load(text, cls._kind, _FIELDS))

    @classmethod
    def _of_document(cls, value: Any) -> Self:
        """The grouped statistics in a parsed document."""
        document = serialization.fields(value, cls._kind, _FIELDS)
        labels = naming.from_document(document["labels"])
        rows = serialization.counts(document["rows"], len(labels), "rows")
        each = cls._class._of_document(document["statistic"])
        if each.shape[:1] != labels.shape or not all(rows):
            raise StateError(f"{cls._kind} must hold rows and a statistic for each of its {len(labels)} labels")
        if sum(rows) > serialization.MOST:
            raise StateError(f"{cls._kind} must be of 2^62 rows at most, got {sum(rows)}")
        found = cls(labels, np.array(rows, np.int64), each)
        most = np.repeat(found.rows, prod(each.shape[1:]))
        if isinstance(each, Extrema) and (most < each.count.reshape(-1)).any():
            raise StateError(f"{cls._kind} cannot count more values in a group than it has rows")
        return found


def _comparable(labels: Labels) -> list[Any]:
    """Labels as Python compares them, None for the missing one."""
    return [None if label != label else label for label in labels.tolist()]


class GroupedMoments(Grouped[Moments]):
    """Count, mean and variance of every feature in each of several groups, exactly.

    Make one with `Moments.of(x, groups=labels)`. Those of the same features add up, whichever groups each has, and can
    be taken away; a group of which no row is left is no longer there.

    Attributes:
        labels: the groups' labels, sorted, the missing one last: (groups,).
        rows: how many rows each group has, those of NaN among them: int64 (groups,).
        moments: their `Moments`, of shape (groups, *features).

    >>> import numpy as np
    >>> g = Moments.of(np.array([1.0, 2.0, 3.0, 10.0]), groups=["a", "b", "a", "b"])
    >>> g.labels.tolist(), g.moments.mean
    (['a', 'b'], array([2., 6.]))
    >>> g["b"] == Moments.of([2.0, 10.0])
    True
    >>> more = Moments.of(np.array([5.0]), groups=["c"])
    >>> (g + more).labels.tolist(), (g + more) - more == g
    (['a', 'b', 'c'], True)
    """

    _class, _kind = Moments, "gammabeta.grouped_moments"

    @classmethod
    def of(
        cls,
        x: ArrayLike,
        axis: axes.Axis = 0,
        *,
        groups: ArrayLike,
        weights: ArrayLike | None = None,
        nan: MissingRule = "omit",
    ) -> Self:
        """The moments of each group of rows of x; arguments and errors are those of `Moments.of`."""
        array = checked(x, nan)
        names, codes, rows, shape = _grouped(array, axis, groups)
        array, present = without_mask(array, fill=weights is None and nan == "omit")
        table = _rows(array, axis)
        if weights is None and present is None:
            sums = groupby_partitioned.sums(table, codes, rows, nan == "omit")
        else:
            given: ArrayLike = np.broadcast_to(1.0, array.shape) if weights is None else weights
            factors = _rows(full_weights(given, axis, array.shape, present), axis)
            sums = groupby_partitioned.weighted_sums(table, factors, codes, nan == "omit")
        specials = sums[3]
        if nan == "raise":
            refuse_nan(specials[0].reshape(shape))
        if nan == "omit":
            specials[0] = 0
        return cls(names, rows, Moments._of_limbs(shape, *sums))

    @property
    def moments(self) -> Moments:
        """The moments of each group, of shape (groups, *features)."""
        return self.each

    def __sub__(self, other: object) -> Self:
        if type(other) is not type(self):
            return NotImplemented
        labels, rows, less, each, others = self._joined(other)
        left, rest = rows - less, each._minus(others)
        rest[np.flatnonzero(less)]._possible("what is taken away must have been added before")
        present = np.flatnonzero(left)
        gone = rest[np.flatnonzero(left == 0)]
        if (left < 0).any() or gone.count.any() or gone.infinities.any():
            raise StateError("what is taken away must have been added before: a group would have too few rows")
        return type(self)(naming.factorized(labels[present])[0], left[present], rest[present])


class GroupedExtrema(Grouped[Extrema]):
    """The least and the greatest value of every feature in each of several groups.

    Make one with `Extrema.of(x, groups=labels)`. Those of the same features add up, whichever groups each has.

    Attributes:
        labels: the groups' labels, sorted, the missing one last: (groups,).
        rows: how many rows each group has, those of NaN among them: int64 (groups,).
        extrema: their `Extrema`, of shape (groups, *features).

    >>> import numpy as np
    >>> g = Extrema.of(np.array([[1.0], [2.0], [3.0]]), groups=[2021, 2020, 2021])
    >>> g.labels, g.extrema.max
    (array([2020, 2021]), array([[2.],
           [3.]]))
    """

    _class, _kind = Extrema, "gammabeta.grouped_extrema"

    @classmethod
    def of(cls, x: ArrayLike, axis: axes.Axis = 0, *, groups: ArrayLike, nan: MissingRule = "omit") -> Self:
        """The extrema of each group of rows of x; arguments and errors are those of `Extrema.of`."""
        array = checked(x, nan)
        names, codes, rows, shape = _grouped(array, axis, groups)
        low, high, missing = groupby_partitioned.extent(_rows(masked.filled(array), axis), codes, rows)
        hidden = _hidden(array, axis, codes, rows)
        missing = missing - hidden
        if nan == "raise":
            refuse_nan(missing.reshape(shape))
        values = np.repeat(rows, prod(shape[1:])) - hidden - missing * (nan == "omit")
        counts = np.stack([values, missing * (nan == "propagate")])
        return cls(names, rows, Extrema._of_arrays(shape, low, high, counts))

    @property
    def extrema(self) -> Extrema:
        """The extrema of each group, of shape (groups, *features)."""
        return self.each


# `Moments.of(x, groups=labels)` and `Extrema.of(x, groups=labels)` hand over to `of` of these classes.
Moments._grouped = GroupedMoments
Extrema._grouped = GroupedExtrema


def _rows(x: NDArray[Any], axis: axes.Axis) -> NDArray[Any]:
    """x as a table (rows, features)."""
    reduced_axes, feature_axes = axes.reduced(axis, x.ndim), axes.feature_axes(axis, x.ndim)
    features = prod(x.shape[i] for i in feature_axes)
    return x.transpose(reduced_axes + feature_axes).reshape(prod(x.shape[i] for i in reduced_axes), features)


def _hidden(x: Any, axis: axes.Axis, codes: Codes, rows: Counts) -> Any:
    """How many values of each feature of each group are masked, group after group; 0 where there is no mask."""
    if not masked.is_masked(x):
        return 0
    hidden = np.where(_rows(masked.mask_of(x), axis), np.float32(np.nan), np.float32(0.0))
    return groupby_partitioned.extent(hidden, codes, rows)[2]


def _grouped(x: NDArray[Any], axis: axes.Axis, labels: ArrayLike) -> tuple[Labels, Codes, Counts, tuple[int, ...]]:
    """The labels, each row's place among them, how many rows each has, and the shape (groups, *features)."""
    along = tuple(x.shape[i] for i in axes.reduced(axis, x.ndim))
    given = naming.as_array(labels)
    if given.shape not in (along, along[:1]):
        wanted = f"{along[:1]}" if len(along) == 1 else f"{along[:1]}, one for each place of the first axis, or {along}"
        raise DataError(f"groups must have a label for each row, of shape {wanted}, got {given.shape}")
    names, codes, rows = naming.factorized(given.reshape(-1) if prod(along) else given.reshape(-1)[:0])
    inner = prod(along) // max(1, given.size)
    if given.shape != along and inner > 1:
        codes, rows = Codes(np.repeat(codes.values, inner), codes.low, codes.size), rows * inner
    return names, codes, rows, (len(names), *(x.shape[i] for i in axes.feature_axes(axis, x.ndim)))
