"""Count, mean and variance of every feature, exactly."""

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from math import inf, nan, prod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gammabeta import axes
from gammabeta._util import charts, html
from gammabeta._util.immutable import Immutable, frozen, short
from gammabeta.backends import arrays
from gammabeta.errors import DataError, KindError
from gammabeta.kernels import limbs, rounding, rounding_reference
from gammabeta.kernels import moments as kernel
from gammabeta.kernels.limbs import Limbs
from gammabeta.statistics import serialization, state_check
from gammabeta.statistics.summaries import sums_of_statistics
from gammabeta.statistics.validation import (
    Counts,
    Floats,
    MissingRule,
    added,
    check_ddof,
    checked,
    chosen,
    full_weights,
    plus,
    refuse_nan,
    same_features,
    without_mask,
)

if TYPE_CHECKING:
    from gammabeta.statistics.grouped import GroupedMoments

_KIND = "gammabeta.moments"
_SUMS = ("weight", "sum", "squares")
_SPECIALS = ("nan", "plus_infinity", "minus_infinity")
_FIELDS = ("shape", *_SUMS, *_SPECIALS)


def _of_infinities(plus: bool, minus: bool) -> float:
    """The mean of a feature with infinities of these signs."""
    return nan if plus and minus else inf if plus else -inf


class Estimates(NamedTuple):
    """Mean, variance and standard deviation of every feature: float64, of the features' shape."""

    mean: Floats
    var: Floats
    std: Floats


class Moments(Immutable):
    """Count, mean and variance of every feature, exactly.

        mean = Σw·x / Σw,    var = Σw·(x − mean)² / Σw = (Σw · Σw·x² − (Σw·x)²) / (Σw)²

    The sums are integers; `mean`, `var` and `std` are the correctly rounded float64 values of the exact ones, within
    half an ULP. The divisor of `var` and `std` is Σw, the population's; those of `with_ddof(ddof)` have Σw − ddof.

    Make one with `Moments.of`. Moments of the same features add up (`+`, `sum`) and can be taken away (`-`), exactly.

    >>> import numpy as np
    >>> whole = Moments.of(np.array([[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]]))
    >>> whole.mean
    array([ 3., 30.])
    >>> first, rest = Moments.of(np.array([[1.0, 10.0]])), Moments.of(np.array([[2.0, 20.0], [6.0, 60.0]]))
    >>> first + rest == whole and whole - first == rest
    True
    """

    _shape: tuple[int, ...]
    _weight: Limbs
    _sum: Limbs
    _squares: Limbs
    _specials: Counts

    _grouped: "ClassVar[type[GroupedMoments]]"  # set by `grouped`, which builds on this file

    def __init__(self, *given: Any, **named: Any) -> None:
        raise KindError("Moments must be made by Moments.of(x) or Moments.from_json(text), not by Moments()")

    @classmethod
    def _of_limbs(cls, shape: tuple[int, ...], weight: Limbs, total: Limbs, squares: Limbs, specials: Counts) -> Self:
        """Moments of features of a shape, f in all, from their sums.

        weight, total, squares: canonical limbs of Σw, Σw·x and Σw·x², (height, f) each; specials: how many values are
        NaN, +inf and −inf, int64 (3, f). The arrays are taken over and can no longer be written to.
        """
        if not (weight[1].flags.aligned and total[1].flags.aligned and squares[1].flags.aligned):
            # A pickle whose memory came over a network lies anywhere.
            weight, total, squares = ((base, digits.copy()) for base, digits in (weight, total, squares))
        for array in (weight[1], total[1], squares[1], specials):
            array.flags.writeable = False
        made = cls.__new__(cls)
        made.__dict__.update(_shape=shape, _weight=weight, _sum=total, _squares=squares, _specials=specials)
        return made

    @overload
    @classmethod
    def of(
        cls,
        x: ArrayLike,
        axis: axes.Axis = 0,
        *,
        groups: None = None,
        weights: ArrayLike | None = None,
        nan: MissingRule = "omit",
    ) -> Self: ...

    @overload
    @classmethod
    def of(
        cls,
        x: ArrayLike,
        axis: axes.Axis = 0,
        *,
        groups: ArrayLike,
        weights: ArrayLike | None = None,
        nan: MissingRule = "omit",
    ) -> "GroupedMoments": ...

    @classmethod
    def of(
        cls,
        x: ArrayLike,
        axis: axes.Axis = 0,
        *,
        groups: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        nan: MissingRule = "omit",
    ) -> "Self | GroupedMoments":
        """The moments of x over `axis`, the reduced axes; the others are the features.

        Args:
            x: real numbers, of any shape, strides and byte order: float16, bfloat16, float32, float64, integers, bool.
                A torch tensor on a GPU is read where it lies. What a masked array hides is left out, whatever `nan`.
            axis: an axis or several, as in NumPy; None for all.
            groups: a label for each row, or for each place along the reduced axes: the result is then `GroupedMoments`,
                the moments of each group. Integers, text, dates or what else has an order; None or NaN is a group too.
            weights: how much each value counts, finite and ≥ 0, exact too: of x's shape, or one for each place along
                the reduced axes. Where a weight is 0, x is not looked at.
            nan: "omit" leaves NaN out, feature by feature; "propagate" makes the feature's mean NaN; "raise" refuses.

        Infinities are counted apart: the mean is then ±inf, or NaN if both signs are there, and the variance NaN.

        Raises:
            DataError: a wrong axis, weights that are negative, not finite or of another shape, or NaN with "raise".
            KindError: x is not of real numbers of at most 64 bits.

        After Demmel and Nguyen, "Parallel Reproducible Summation" (2015), with integers for accumulators.
        """
        if groups is not None:
            return cls._grouped.of(x, axis, groups=groups, weights=weights, nan=nan)
        place = arrays.elsewhere(x) if weights is None else None
        array = checked(x, nan, stays=place is not None)
        shape = tuple(array.shape[i] for i in axes.feature_axes(axis, array.ndim))
        array, present = without_mask(array, fill=weights is None and nan == "omit")
        if weights is None and present is None:
            sums = (place or kernel).sums(array, axis, nan == "omit")
        else:
            given: ArrayLike = np.broadcast_to(1.0, array.shape) if weights is None else weights
            factors = full_weights(given, axis, array.shape, present)
            sums = kernel.weighted_sums(array, factors, axis, nan == "omit")
        weight, total, squares, specials = sums
        if nan == "raise":
            refuse_nan(specials[0].reshape(shape))
        if nan == "omit" and np.count_nonzero(specials[0]):
            specials[0] = 0
        return cls._of_limbs(shape, weight, total, squares, specials)

    @classmethod
    def from_statistics(cls, count: ArrayLike, mean: ArrayLike, var: ArrayLike, *, ddof: float = 0) -> Self:
        """The moments of data of which only a summary is left: another tool's JSON, a client's, a layer's.

        They are exactly those of the numbers given, Σw = count, Σw·x = count · mean and
        Σw·x² = (count − ddof) · var + count · mean², so that `mean` and, with a ddof of 0, `var` are the same bits,
        and they add up with all others. What was rounded before is not found again.

        Args:
            count: how many values each feature has, or the sum of their weights; finite and ≥ 0.
            mean, var: finite, var ≥ 0; not looked at where the count is 0.
            ddof: the divisor of `var` is count − ddof; 0 is the population's variance, 1 a sample's.

        All three are real numbers, taken as float64, of one shape or broadcast to one: that of the features.

        Raises:
            DataError: a count, mean or variance that no data has, or shapes that do not go together.
            KindError: they are not real numbers.

        >>> clients = Moments.from_statistics(2, 1.0, 1.0) + Moments.from_statistics(6, 5.0, 1.0)
        >>> clients
        Moments(shape=(), count=8., mean=4., std=2.)
        """
        check_ddof(ddof)
        return cls._of_limbs(*sums_of_statistics(count, mean, var, float(ddof)))

    @classmethod
    def stack(cls, parts: Sequence["Moments"]) -> Self:
        """Moments of the same shape as one of a shape with one more axis, the first: columns become a table."""
        same_features(parts)
        return cls._of_limbs(
            (len(parts), *parts[0]._shape),
            limbs.concatenate([part._weight for part in parts]),
            limbs.concatenate([part._sum for part in parts]),
            limbs.concatenate([part._squares for part in parts]),
            np.concatenate([part._specials for part in parts], axis=1),
        )

    def scatter(self, places: NDArray[Any], n: int) -> "Moments":
        """These moments at some places of the first axis of n, those of no values at the others."""
        each = prod(self._shape[1:])
        at = (places[:, None] * each + np.arange(each)).reshape(-1)
        specials = np.zeros((3, n * each), np.int64)
        specials[:, at] = self._specials
        weight, total, squares = (limbs.scatter(part, at, n * each) for part in self._limbs)
        return Moments._of_limbs((n, *self._shape[1:]), weight, total, squares, specials)

    def total(self) -> "Moments":
        """All along the first axis together: the sum of self[0], self[1], …

        >>> Moments.of([[1.0, 2.0, 6.0]]).total() == Moments.of([1.0, 2.0, 6.0])
        True
        """
        if not self._shape:
            raise DataError("moments must have an axis to be added up along, got those of one feature")
        each = prod(self._shape[1:])
        weight, total, squares = (limbs.across(part, each) for part in self._limbs)
        specials = added(self._specials.reshape(3, self._shape[0], each))
        return Moments._of_limbs(self._shape[1:], weight, total, squares, specials)

    def __getitem__(self, index: Any) -> "Moments":
        """The moments of some features, chosen as NumPy would choose from an array of the features' shape."""
        shape, at = chosen(self._shape, index)
        weight, total, squares = (limbs.take(part, at) for part in self._limbs)
        return Moments._of_limbs(shape, weight, total, squares, self._specials[:, at])

    @property
    def shape(self) -> tuple[int, ...]:
        """The features' shape: that of the array, without the reduced axes."""
        return self._shape

    @cached_property
    def _integers(self) -> tuple[list[int], list[int], list[int], int, int]:
        """Σw, Σw·x, Σw · Σw·x² − (Σw·x)² as integers, and the exponents of mean's and variance's units."""
        return rounding_reference.integers(*self._limbs)

    @cached_property
    def _population(self) -> Floats:
        """Mean, variance and deviation of the finite values, (3, f), by the divisor Σw."""
        return self._rounded(0.0)

    def _rounded(self, ddof: float) -> Floats:
        """Mean, variance and deviation of the finite values, (3, f), by the divisor Σw − ddof."""
        check_ddof(ddof)
        return rounding.population(*self._limbs, ddof)

    def _shaped(self, values: Floats, of_infinities: Callable[[bool, bool], float]) -> Floats:
        """Values (f,) in the features' shape, read-only, with those of features with NaN or infinities replaced."""
        if not self._ordinary:
            values = values.copy()
            nans, plus, minus = self._specials
            for i in np.flatnonzero(self._specials.any(axis=0)):
                values[i] = nan if nans[i] else of_infinities(bool(plus[i]), bool(minus[i]))
        return frozen(values, self._shape)

    @cached_property
    def _ordinary(self) -> bool:
        """Whether no feature has NaN or infinities."""
        return not np.count_nonzero(self._specials)

    @cached_property
    def count(self) -> Floats:
        """How many values each feature has, or the sum of their weights: float64."""
        base, digits = self._weight
        if base == 0 and len(digits) == 1:
            return frozen(digits[0].astype(np.float64), self._shape)
        weights, exponent = limbs.to_integers(self._weight)
        return frozen(np.array([rounding_reference.ratio(w, 1, exponent) for w in weights]), self._shape)

    @cached_property
    def infinities(self) -> Counts:
        """How many values of each feature are +inf or −inf: int64."""
        return frozen(self._specials[1:].sum(axis=0), self._shape)

    @cached_property
    def mean(self) -> Floats:
        """Σw·x / Σw, correctly rounded; NaN where there are no values."""
        return self._shaped(self._population[0], _of_infinities)

    @cached_property
    def var(self) -> Floats:
        """The population's variance, Σw·(x − mean)² / Σw, correctly rounded; NaN where there are no values."""
        return self._shaped(self._population[1], lambda plus, minus: nan)

    @cached_property
    def std(self) -> Floats:
        """The population's standard deviation: the root of the exact variance, rounded once, not that of `var`."""
        return self._shaped(self._population[2], lambda plus, minus: nan)

    def with_ddof(self, ddof: float) -> Estimates:
        """Mean, variance and deviation with the divisor Σw − ddof: 1 is a sample's, as in pandas; 0 that of `var`.

        The variance Σw·(x − mean)² / (Σw − ddof) and its root, taken of the exact variance, are correctly rounded; they
        are NaN where the divisor is not positive.

        >>> Moments.of([1.0, 2.0, 6.0]).with_ddof(1)
        Estimates(mean=array(3.), var=array(7.), std=array(2.64575131))
        """
        mean, var, std = self._population if ddof == 0 else self._rounded(ddof)
        return Estimates(
            self._shaped(mean, _of_infinities),
            self._shaped(var, lambda plus, minus: nan),
            self._shaped(std, lambda plus, minus: nan),
        )

    def __add__(self, other: object) -> "Moments":
        if not isinstance(other, Moments):
            return NotImplemented
        same_features((self, other))
        weight, total, squares = map(limbs.add, self._limbs, other._limbs)
        return Moments._of_limbs(self._shape, weight, total, squares, plus(self._specials, other._specials))

    def __radd__(self, other: object) -> "Moments":
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __sub__(self, other: object) -> "Moments":
        if not isinstance(other, Moments):
            return NotImplemented
        return self._minus(other)._possible("what is taken away must have been added before")

    def _minus(self, other: "Moments") -> "Moments":
        """The difference of the sums, not checked as `_possible` does: no data may have it."""
        same_features((self, other))
        weight, total, squares = map(limbs.subtract, self._limbs, other._limbs)
        return Moments._of_limbs(self._shape, weight, total, squares, self._specials - other._specials)

    def _possible(self, invariant: str) -> Self:
        """Self, if some data could have these sums; `StateError` if not."""
        state_check.moments(self, invariant)
        return self

    @property
    def _limbs(self) -> tuple[Limbs, Limbs, Limbs]:
        return self._weight, self._sum, self._squares

    def _key(self) -> tuple[Any, ...]:
        return self._shape, *((base, digits.tobytes()) for base, digits in self._limbs), self._specials.tobytes()

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Moments) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return Moments._of_limbs, (self._shape, *self._limbs, self._specials)

    def __repr__(self) -> str:
        return f"Moments(shape={self.shape}, count={short(self.count)}, mean={short(self.mean)}, std={short(self.std)})"

    def _repr_html_(self) -> str:
        return html.features("Moments", self._shape, {"count": self.count, "mean": self.mean, "std": self.std})

    def plot(self) -> Any:
        """An Altair chart of each feature's mean, with one standard deviation to both sides; of the first 50.

        Raises:
            DataError: Altair is not installed.
        """
        return charts.mean_and_std(self.mean, self.std)

    def to_json(self) -> str:
        """A JSON document of the exact integers, as text, which `from_json` reads back to the same bits.

        >>> Moments.of([1.5, 2.5]).to_json()
        '{"format": "gammabeta.moments", "version": 1, "shape": [], "weight": ["0x1p+1"], "sum": ["0x1p+2"], \
"squares": ["0x11p-1"], "nan": [0], "plus_infinity": [0], "minus_infinity": [0]}'
        """
        return json.dumps(self._document(), allow_nan=False)

    def _document(self) -> dict[str, Any]:
        fields = {name: serialization.integers_to_text(part) for name, part in zip(_SUMS, self._limbs, strict=True)}
        counts = {name: row.tolist() for name, row in zip(_SPECIALS, self._specials, strict=True)}
        return serialization.document(_KIND, {"shape": list(self._shape), **fields, **counts})

    @classmethod
    def from_json(cls, text: str | bytes) -> "Moments":
        """The moments in a document that `to_json` wrote.

        Raises:
            StateError: it is damaged, cut short, of another kind or version, or no data could have these sums.
        """
        return cls._of_document(serialization.load(text, _KIND, _FIELDS))

    @classmethod
    def _of_document(cls, value: Any) -> "Moments":
        """The moments in a parsed document."""
        document = serialization.fields(value, _KIND, _FIELDS)
        shape = serialization.shape(document["shape"])
        weight, total, squares = [serialization.integers_from_text(document[name], prod(shape), name) for name in _SUMS]
        counts = [serialization.counts(document[name], prod(shape), name) for name in _SPECIALS]
        found = cls._of_limbs(shape, weight, total, squares, np.array(counts, np.int64))
        return found._possible("the document must hold sums of some data")
