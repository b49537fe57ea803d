"""The least and the greatest value of every feature."""

import json
from collections.abc import Sequence
from functools import cached_property
from math import inf, nan, prod
from typing import TYPE_CHECKING, Any, ClassVar, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gammabeta import axes
from gammabeta._util import html
from gammabeta._util.immutable import Immutable, frozen, short
from gammabeta.backends import arrays, masked
from gammabeta.errors import DataError, KindError
from gammabeta.kernels import minmax
from gammabeta.statistics import serialization, state_check
from gammabeta.statistics.validation import (
    Counts,
    Floats,
    MissingRule,
    added,
    checked,
    chosen,
    missing_counts,
    plus,
    refuse_nan,
    same_features,
)

if TYPE_CHECKING:
    from gammabeta.statistics.grouped import GroupedExtrema

_KIND = "gammabeta.extrema"
_FIELDS = ("shape", "min", "max", "count", "nan")
_UNKNOWN = -1  # in the place of a count


class Extrema(Immutable):
    """The least and the greatest value of every feature, and how many values there are.

    Make one with `Extrema.of`. Extrema of the same features add up; `Extrema` of no rows is the identity.

    >>> import numpy as np
    >>> e = Extrema.of(np.array([[3.0, -1.0], [5.0, np.nan]])) + Extrema.of(np.array([[4.0, 8.0]]))
    >>> e.min, e.max, e.count
    (array([ 3., -1.]), array([5., 8.]), array([3., 2.]))
    """

    _shape: tuple[int, ...]
    _low: Floats
    _high: Floats
    _counts: Counts

    _grouped: "ClassVar[type[GroupedExtrema]]"  # set by `grouped`, which builds on this file

    def __init__(self, *given: Any, **named: Any) -> None:
        ways = "Extrema.of(x), Extrema.between(low, high) or Extrema.from_json(text)"
        raise KindError(f"Extrema must be made by {ways}, not by Extrema()")

    @classmethod
    def _of_arrays(cls, shape: tuple[int, ...], low: Floats, high: Floats, counts: Counts) -> Self:
        """Extrema of features of a shape, f in all.

        low, high: float64 (f,), +inf and −inf where there is no value; counts: how many values, −1 where that is not
        known, and how many NaN are to show, int64 (2, f). The arrays are taken over and can no longer be written to.
        """
        for array in (low, high, counts):
            array.flags.writeable = False
        made = cls.__new__(cls)
        made.__dict__.update(_shape=shape, _low=low, _high=high, _counts=counts)
        return made

    @overload
    @classmethod
    def of(cls, x: ArrayLike, axis: axes.Axis = 0, *, groups: None = None, nan: MissingRule = "omit") -> Self: ...

    @overload
    @classmethod
    def of(
        cls, x: ArrayLike, axis: axes.Axis = 0, *, groups: ArrayLike, nan: MissingRule = "omit"
    ) -> "GroupedExtrema": ...

    @classmethod
    def of(
        cls, x: ArrayLike, axis: axes.Axis = 0, *, groups: ArrayLike | None = None, nan: MissingRule = "omit"
    ) -> "Self | GroupedExtrema":
        """The extrema of x over `axis`, the reduced axes; the others are the features.

        Args:
            x: real numbers, as for `Moments.of`. 64-bit integers beyond 2⁵³ go to the nearest float64.
            axis: an axis or several, as in NumPy; None for all.
            groups: a label for each row, as for `Moments.of`: the result is then `GroupedExtrema`.
            nan: "omit" leaves NaN out, feature by feature; "propagate" makes both extrema NaN; "raise" refuses.

        Raises:
            DataError: a wrong axis, or NaN with "raise".
            KindError: x is not of real numbers of at most 64 bits.
        """
        if groups is not None:
            return cls._grouped.of(x, axis, groups=groups, nan=nan)
        place = arrays.elsewhere(x)
        array = checked(x, nan, stays=place is not None)
        shape = tuple(array.shape[i] for i in axes.feature_axes(axis, array.ndim))
        hidden: Any = missing_counts(array, axis) if place is None else 0
        low, high, missing = (place or minmax).extent(masked.filled(array), axis)
        missing = missing - hidden
        if nan == "raise":
            refuse_nan(missing.reshape(shape))
        rows = prod(array.shape) // max(1, prod(shape))
        counts = np.stack([rows - hidden - missing * (nan == "omit"), missing * (nan == "propagate")])
        return cls._of_arrays(shape, low, high, counts)

    @classmethod
    def between(cls, low: ArrayLike, high: ArrayLike, count: ArrayLike = nan) -> Self:
        """Extrema that are known without the data: a pixel's 0 and 255, what the footer of a file says.

        Args:
            low, high: the least and the greatest value of each feature, NaN in both where there is none.
            count: how many values there are, NaN where that is not known; so is then the count of every sum.

        All three are real numbers, of one shape or broadcast to one: that of the features.

        Raises:
            DataError: a least value above the greatest, or a count that is none.

        >>> Extrema.between(0, 255)
        Extrema(shape=(), count=nan, min=0., max=255.)
        """
        low, high, count = np.broadcast_arrays(*(np.asarray(p, np.float64) for p in (low, high, count)))
        none = np.isnan(low) & np.isnan(high)
        if not np.where(none, ~(count > 0), (low <= high) & (count != 0)).all():
            raise DataError("low must be at most high, both NaN and the count 0 where there is no value")
        if not (np.isnan(count) | ((count >= 0) & (count == np.floor(count)) & (count < 2**62))).all():
            raise DataError(f"count must be whole numbers, 0 or more, NaN where they are not known, got {short(count)}")
        known = np.where(np.isnan(count), _UNKNOWN, count).astype(np.int64).reshape(-1)
        counts = np.stack([known, np.zeros_like(known)])
        low, high = np.where(none, inf, low + 0.0), np.where(none, -inf, high + 0.0)  # −0.0 + 0.0 = 0.0
        return cls._of_arrays(none.shape, low.reshape(-1), high.reshape(-1), counts)

    @classmethod
    def stack(cls, parts: Sequence["Extrema"]) -> Self:
        """Extrema of the same shape as one of a shape with one more axis, the first: columns become a table."""
        same_features(parts)
        low, high = (np.concatenate([getattr(part, name) for part in parts]) for name in ("_low", "_high"))
        return cls._of_arrays(
            (len(parts), *parts[0]._shape), low, high, np.concatenate([part._counts for part in parts], axis=1)
        )

    def scatter(self, places: NDArray[Any], n: int) -> "Extrema":
        """These extrema at some places of the first axis of n, those of no values at the others."""
        each = prod(self._shape[1:])
        at = (places[:, None] * each + np.arange(each)).reshape(-1)
        low, high, counts = np.full(n * each, inf), np.full(n * each, -inf), np.zeros((2, n * each), np.int64)
        low[at], high[at], counts[:, at] = self._low, self._high, self._counts
        return Extrema._of_arrays((n, *self._shape[1:]), low, high, counts)

    def total(self) -> "Extrema":
        """All along the first axis together: the sum of self[0], self[1], …

        >>> Extrema.of([[1.0, 2.0, 6.0]]).total() == Extrema.of([1.0, 2.0, 6.0])
        True
        """
        if not self._shape:
            raise DataError("extrema must have an axis to be added up along, got those of one feature")
        shape = self._shape[0], prod(self._shape[1:])
        low, high = (
            self._low.reshape(shape).min(axis=0, initial=inf),
            self._high.reshape(shape).max(axis=0, initial=-inf),
        )
        counts = self._counts.reshape(2, *shape)
        unknown = (counts == _UNKNOWN).any(axis=1)
        return Extrema._of_arrays(self._shape[1:], low, high, np.where(unknown, _UNKNOWN, added(counts)))

    def __getitem__(self, index: Any) -> "Extrema":
        """The extrema of some features, chosen as NumPy would choose from an array of the features' shape."""
        shape, at = chosen(self._shape, index)
        return Extrema._of_arrays(shape, self._low[at], self._high[at], self._counts[:, at])

    @property
    def shape(self) -> tuple[int, ...]:
        """The features' shape: that of the array, without the reduced axes."""
        return self._shape

    @cached_property
    def count(self) -> Floats:
        """How many values each feature has, NaN where that is not known: float64."""
        return frozen(np.where(self._counts[0] == _UNKNOWN, nan, self._counts[0]), self._shape)

    @cached_property
    def min(self) -> Floats:
        """The least value of each feature, NaN where there is none: float64."""
        return frozen(np.where((self._low > self._high) | (self._counts[1] > 0), nan, self._low), self._shape)

    @cached_property
    def max(self) -> Floats:
        """The greatest value of each feature, NaN where there is none: float64."""
        return frozen(np.where((self._low > self._high) | (self._counts[1] > 0), nan, self._high), self._shape)

    def __add__(self, other: object) -> "Extrema":
        if not isinstance(other, Extrema):
            return NotImplemented
        same_features((self, other))
        low, high = np.minimum(self._low, other._low), np.maximum(self._high, other._high)
        unknown = (self._counts == _UNKNOWN) | (other._counts == _UNKNOWN)
        return Extrema._of_arrays(
            self._shape, low, high, np.where(unknown, _UNKNOWN, plus(self._counts, other._counts))
        )

    def __radd__(self, other: object) -> "Extrema":
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def _key(self) -> tuple[Any, ...]:
        return self._shape, self._low.tobytes(), self._high.tobytes(), self._counts.tobytes()

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Extrema) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return Extrema._of_arrays, (self._shape, self._low, self._high, self._counts)

    def __repr__(self) -> str:
        return f"Extrema(shape={self.shape}, count={short(self.count)}, min={short(self.min)}, max={short(self.max)})"

    def _repr_html_(self) -> str:
        return html.features("Extrema", self._shape, {"count": self.count, "min": self.min, "max": self.max})

    def to_json(self) -> str:
        """A JSON document, floats in hexadecimal, which `from_json` reads back to the same bits.

        A count that is not known is null.

        >>> Extrema.of([1.5, 2.5]).to_json()
        '{"format": "gammabeta.extrema", "version": 1, "shape": [], "min": ["0x1.8000000000000p+0"], \
"max": ["0x1.4000000000000p+1"], "count": [2], "nan": [0]}'
        """
        return json.dumps(self._document(), allow_nan=False)

    def _document(self) -> dict[str, Any]:
        floats = {"min": serialization.floats_to_text(self._low), "max": serialization.floats_to_text(self._high)}
        known = [None if count == _UNKNOWN else count for count in self._counts[0].tolist()]
        counts = {"count": known, "nan": self._counts[1].tolist()}
        return serialization.document(_KIND, {"shape": list(self._shape), **floats, **counts})

    @classmethod
    def from_json(cls, text: str | bytes) -> "Extrema":
        """The extrema in a document that `to_json` wrote.

        Raises:
            StateError: it is damaged, cut short, of another kind or version, or no data could have these extrema.
        """
        return cls._of_document(serialization.load(text, _KIND, _FIELDS))

    @classmethod
    def _of_document(cls, value: Any) -> "Extrema":
        """The extrema in a parsed document."""
        document = serialization.fields(value, _KIND, _FIELDS)
        shape = serialization.shape(document["shape"])
        low, high = (serialization.floats_from_text(document[name], prod(shape), name) + 0.0 for name in ("min", "max"))
        count = _counted(document["count"], prod(shape))
        counts = np.array([count, serialization.counts(document["nan"], prod(shape), "nan")], np.int64)
        return cls._of_arrays(shape, low, high, counts)._possible()

    def _possible(self) -> Self:
        """Self, if some data could have these extrema; `StateError` if not."""
        state_check.extrema(self, _UNKNOWN)
        return self


def _counted(value: Any, n: int) -> list[int]:
    """The counts in a document, where null stands for what is not known."""
    if not isinstance(value, list):
        return serialization.counts(value, n, "count")
    known = serialization.counts([0 if count is None else count for count in value], n, "count")
    return [_UNKNOWN if count is None else found for count, found in zip(value, known, strict=True)]
