"""Exact statistics: what a normalization is told about its data.

`Moments` keeps Σw, Σw·x and Σw·x² of every feature as integers in units of a power of two, so that nothing is rounded
until a mean or a variance is asked for. Integers form a commutative group: statistics add up and can be taken away
again, and however data is cut, ordered or shared out over threads and machines, the same values give the same bits.
`Extrema` keeps the least and the greatest value, which add up but cannot be taken away.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from math import inf, nan, prod
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gammabeta import axes, states
from gammabeta.errors import DataError, KindError, StateError
from gammabeta.immutable import Immutable, frozen, short
from gammabeta.kernels import limbs, rounding
from gammabeta.kernels.limbs import Limbs

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
MissingRule = Literal["omit", "propagate", "raise"]

_RULES = ("omit", "propagate", "raise")
_MOMENTS, _EXTREMA = "gammabeta.moments", "gammabeta.extrema"
_SUMS = ("weight", "sum", "squares")
_SPECIALS = ("nan", "plus_infinity", "minus_infinity")


def _checked(x: ArrayLike, nan_rule: str) -> NDArray[Any]:
    if nan_rule not in _RULES:
        raise DataError(f"nan must be one of {', '.join(_RULES)}, got {nan_rule!r}")
    array = np.asarray(x)
    if array.ndim == 0:
        raise DataError("statistics need an array of at least one dimension, got a single number; wrap it in a list")
    return array


def _refuse_nan(counts: Counts) -> None:
    if counts.any():
        at = tuple(int(i) for i in np.argwhere(counts)[0])
        raise DataError(f"there must be no NaN with nan='raise', got {counts.sum()}, the first in feature {at}")


class Moments(Immutable):
    """Count, mean and variance of every feature, exactly.

        mean = Σw·x / Σw,    var = Σw·(x − mean)² / Σw = (Σw · Σw·x² − (Σw·x)²) / (Σw)²

    The sums are integers; `mean`, `var`, `std` and `variance` are the correctly rounded float64 values of the exact
    ones, within half an ULP. The divisor of `var` and `std` is Σw, the population's; `variance(ddof)` takes Σw − ddof.

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

    def __init__(self, shape: tuple[int, ...], weight: Limbs, sum_: Limbs, squares: Limbs, specials: Counts) -> None:
        for array in (weight[1], sum_[1], squares[1], specials):
            array.flags.writeable = False
        self.__dict__.update(_shape=shape, _weight=weight, _sum=sum_, _squares=squares, _specials=specials)

    @classmethod
    def of(
        cls, x: ArrayLike, axis: axes.Axis = 0, *, weights: ArrayLike | None = None, nan: MissingRule = "omit"
    ) -> Self:
        """The moments of x over `axis`, the reduced axes; the others are the features.

        Args:
            x: real numbers, of any shape, strides and byte order: float16, bfloat16, float32, float64, integers, bool.
            axis: an axis or several, as in NumPy.
            weights: how much each value counts, finite and ≥ 0, exact too: of x's shape, or one for each place along
                the reduced axes. Where a weight is 0, x is not looked at.
            nan: "omit" leaves NaN out, feature by feature; "propagate" makes the feature's mean NaN; "raise" refuses.

        Infinities are counted apart: the mean is then ±inf, or NaN if both signs are there, and the variance NaN.

        Raises:
            DataError: a wrong axis, weights that are negative, not finite or of another shape, or NaN with "raise".
            KindError: x is not of real numbers of at most 64 bits.

        After Demmel and Nguyen, "Parallel Reproducible Summation" (2015), with integers for accumulators.
        """
        from gammabeta.kernels import moments as kernel

        array = _checked(x, nan)
        shape = tuple(array.shape[i] for i in axes.kept(axis, array.ndim))
        if weights is None:
            sums = kernel.sums(array, axis, nan == "omit")
        else:
            sums = kernel.weighted_sums(array, _full(weights, axis, array.shape), axis, nan == "omit")
        weight, total, squares, specials = sums
        if nan == "raise":
            _refuse_nan(specials[0].reshape(shape))
        if nan == "omit":
            specials[0] = 0
        return cls(shape, weight, total, squares, specials)

    @classmethod
    def stack(cls, parts: Sequence["Moments"]) -> Self:
        """Moments of the same shape as one of a shape with one more axis, the first: columns become a table."""
        _same_shape(parts)
        return cls(
            (len(parts), *parts[0]._shape),
            limbs.concatenate([part._weight for part in parts]),
            limbs.concatenate([part._sum for part in parts]),
            limbs.concatenate([part._squares for part in parts]),
            np.concatenate([part._specials for part in parts], axis=1),
        )

    def __getitem__(self, index: Any) -> "Moments":
        """The moments of some features, chosen as NumPy would choose from an array of the features' shape."""
        shape, at = _chosen(self._shape, index)
        weight, total, squares = (limbs.take(part, at) for part in self._limbs)
        return Moments(shape, weight, total, squares, self._specials[:, at])

    @property
    def shape(self) -> tuple[int, ...]:
        """The features' shape: that of the array, without the reduced axes."""
        return self._shape

    @cached_property
    def _integers(self) -> tuple[list[int], list[int], list[int], int, int]:
        """Σw, Σw·x, Σw · Σw·x² − (Σw·x)² as integers, and the exponents of mean's and var's units beyond Σw's."""
        weights, weight_exponent = limbs.to_integers(self._weight)
        sums, sum_exponent = limbs.to_integers(self._sum)
        squares, square_exponent = limbs.to_integers(self._squares)
        left, right = weight_exponent + square_exponent, 2 * sum_exponent
        exponent = min(left, right)
        left, right = left - exponent, right - exponent
        spreads = [(w * q << left) - (s * s << right) for w, s, q in zip(weights, sums, squares, strict=True)]
        return weights, sums, spreads, sum_exponent - weight_exponent, exponent - 2 * weight_exponent

    def _shaped(self, values: list[float], of_infinities: Callable[[bool, bool], float] | None = None) -> Floats:
        """Values by feature, those of features with NaN or infinities put right."""
        out = np.array(values, np.float64)
        if of_infinities is not None:
            nans, plus, minus = self._specials
            for i in np.flatnonzero(self._specials.any(axis=0)):
                out[i] = nan if nans[i] else of_infinities(bool(plus[i]), bool(minus[i]))
        return frozen(out, self._shape)

    @cached_property
    def count(self) -> Floats:
        """How many values each feature has, or the sum of their weights: float64."""
        weights, exponent = limbs.to_integers(self._weight)
        return self._shaped([rounding.ratio(w, 1, exponent) for w in weights])

    @cached_property
    def infinities(self) -> Counts:
        """How many values of each feature are +inf or −inf: int64."""
        return frozen(self._specials[1:].sum(axis=0), self._shape)

    @cached_property
    def mean(self) -> Floats:
        """Σw·x / Σw, correctly rounded; NaN where there are no values."""
        weights, sums, _, exponent, _ = self._integers
        values = [rounding.ratio(s, w, exponent) for s, w in zip(sums, weights, strict=True)]
        return self._shaped(values, lambda plus, minus: nan if plus and minus else inf if plus else -inf)

    def variance(self, ddof: float = 0) -> Floats:
        """Σw·(x − mean)² / (Σw − ddof), correctly rounded; NaN where the divisor is not positive.

        >>> float(Moments.of([1.0, 2.0, 6.0]).variance(ddof=1))
        7.0
        """
        divisors, spreads, exponent = self._variance(ddof)
        return self._shaped(
            [rounding.ratio(v, d, exponent) if d > 0 else nan for v, d in zip(spreads, divisors, strict=True)],
            lambda plus, minus: nan,
        )

    def deviation(self, ddof: float = 0) -> Floats:
        """√variance(ddof), taken from the exact variance and correctly rounded.

        >>> float(Moments.of([1e200, -1e200]).deviation())
        1e+200
        """
        divisors, spreads, exponent = self._variance(ddof)
        return self._shaped(
            [rounding.root(v, d, exponent) for v, d in zip(spreads, divisors, strict=True)], lambda plus, minus: nan
        )

    def _variance(self, ddof: float) -> tuple[list[int], list[int], int]:
        """The exact variance as integers: divisors, dividends and the exponent of their ratio's unit."""
        if not np.isfinite(ddof):
            raise DataError(f"ddof must be a finite number, got {ddof!r}")
        weights, _, spreads, _, exponent = self._integers
        weight_exponent = limbs.BITS * self._weight[0]
        top, bottom = float(ddof).as_integer_ratio()
        # Σw − ddof = (w·bottom·2^e − top) / bottom, the power of two put on whichever side keeps integers
        up, down = max(weight_exponent, 0), max(-weight_exponent, 0)
        divisors = [w * ((w * bottom << up) - (top << down)) for w in weights]
        dividends = [v * bottom << up for v in spreads]
        return divisors, dividends, exponent

    @cached_property
    def var(self) -> Floats:
        """The population's variance, `variance(ddof=0)`."""
        return self.variance()

    @cached_property
    def std(self) -> Floats:
        """The population's standard deviation, `deviation(ddof=0)`: the root of the exact variance, rounded once."""
        return self.deviation()

    def __add__(self, other: object) -> "Moments":
        if not isinstance(other, Moments):
            return NotImplemented
        _same_shape((self, other))
        weight, total, squares = map(limbs.add, self._limbs, other._limbs)
        return Moments(self._shape, weight, total, squares, self._specials + other._specials)

    def __radd__(self, other: object) -> "Moments":
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __sub__(self, other: object) -> "Moments":
        if not isinstance(other, Moments):
            return NotImplemented
        _same_shape((self, other))
        weight, total, squares = map(limbs.subtract, self._limbs, other._limbs)
        left = Moments(self._shape, weight, total, squares, self._specials - other._specials)
        return left._possible("what is taken away must have been added before")

    def _possible(self, invariant: str) -> Self:
        """Self, if some data could have these sums: no count and no square below zero, nothing left of no values."""
        weights, sums, spreads, _, _ = self._integers
        for i in range(len(weights)):
            empty = weights[i] == 0 and (sums[i] != 0 or self._squares[1][:, i].any())
            if weights[i] < 0 or spreads[i] < 0 or empty or (self._specials[:, i] < 0).any():
                at = tuple(int(j) for j in np.unravel_index(i, self._shape)) if self._shape else ()
                what = "count" if weights[i] < 0 or (self._specials[:, i] < 0).any() else "sum of squares"
                raise StateError(f"{invariant}: feature {at} would be left with an impossible {what}")
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
        return Moments, (self._shape, *self._limbs, self._specials)

    def __repr__(self) -> str:
        return f"Moments(shape={self.shape}, count={short(self.count)}, mean={short(self.mean)}, std={short(self.std)})"

    def to_json(self) -> str:
        """A JSON document of the exact integers, as text, which `from_json` reads back to the same bits.

        >>> Moments.of([1.5, 2.5]).to_json()
        '{"format": "gammabeta.moments", "version": 1, "shape": [], "weight": ["0x1p+1"], "sum": ["0x1p+2"], \
"squares": ["0x11p-1"], "nan": [0], "plus_infinity": [0], "minus_infinity": [0]}'
        """
        fields = {name: states.integers_to_text(part) for name, part in zip(_SUMS, self._limbs, strict=True)}
        counts = {name: row.tolist() for name, row in zip(_SPECIALS, self._specials, strict=True)}
        return states.dump(_MOMENTS, {"shape": list(self._shape), **fields, **counts})

    @classmethod
    def from_json(cls, text: str | bytes) -> "Moments":
        """The moments in a document that `to_json` wrote.

        Raises:
            StateError: it is damaged, cut short, of another kind or version, or no data could have these sums.
        """
        document = states.load(text, _MOMENTS, ("shape", *_SUMS, *_SPECIALS))
        shape = states.shape(document["shape"])
        weight, total, squares = [states.integers_from_text(document[name], prod(shape), name) for name in _SUMS]
        counts = [states.counts(document[name], prod(shape), name) for name in _SPECIALS]
        found = cls(shape, weight, total, squares, np.array(counts, np.int64))
        return found._possible("the document must hold sums of some data")


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

    def __init__(self, shape: tuple[int, ...], low: Floats, high: Floats, counts: Counts) -> None:
        for array in (low, high, counts):
            array.flags.writeable = False
        self.__dict__.update(_shape=shape, _low=low, _high=high, _counts=counts)

    @classmethod
    def of(cls, x: ArrayLike, axis: axes.Axis = 0, *, nan: MissingRule = "omit") -> Self:
        """The extrema of x over `axis`, the reduced axes; the others are the features.

        Args:
            x: real numbers, as for `Moments.of`. 64-bit integers beyond 2⁵³ go to the nearest float64.
            axis: an axis or several, as in NumPy.
            nan: "omit" leaves NaN out, feature by feature; "propagate" makes both extrema NaN; "raise" refuses.

        Raises:
            DataError: a wrong axis, or NaN with "raise".
            KindError: x is not of real numbers of at most 64 bits.
        """
        from gammabeta.kernels import least

        array = _checked(x, nan)
        shape = tuple(array.shape[i] for i in axes.kept(axis, array.ndim))
        low, high, missing = least.extent(array, axis)
        if nan == "raise":
            _refuse_nan(missing.reshape(shape))
        rows = array.size // max(1, prod(shape))
        counts = np.stack([rows - missing * (nan == "omit"), missing * (nan == "propagate")])
        return cls(shape, low, high, counts)

    @classmethod
    def stack(cls, parts: Sequence["Extrema"]) -> Self:
        """Extrema of the same shape as one of a shape with one more axis, the first: columns become a table."""
        _same_shape(parts)
        low, high = (np.concatenate([getattr(part, name) for part in parts]) for name in ("_low", "_high"))
        return cls((len(parts), *parts[0]._shape), low, high, np.concatenate([part._counts for part in parts], axis=1))

    def __getitem__(self, index: Any) -> "Extrema":
        """The extrema of some features, chosen as NumPy would choose from an array of the features' shape."""
        shape, at = _chosen(self._shape, index)
        return Extrema(shape, self._low[at], self._high[at], self._counts[:, at])

    @property
    def shape(self) -> tuple[int, ...]:
        """The features' shape: that of the array, without the reduced axes."""
        return self._shape

    @cached_property
    def count(self) -> Floats:
        """How many values each feature has: float64."""
        return frozen(self._counts[0].astype(np.float64), self._shape)

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
        _same_shape((self, other))
        low, high = np.minimum(self._low, other._low), np.maximum(self._high, other._high)
        return Extrema(self._shape, low, high, self._counts + other._counts)

    def __radd__(self, other: object) -> "Extrema":
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def _key(self) -> tuple[Any, ...]:
        return self._shape, self._low.tobytes(), self._high.tobytes(), self._counts.tobytes()

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Extrema) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return Extrema, (self._shape, self._low, self._high, self._counts)

    def __repr__(self) -> str:
        return f"Extrema(shape={self.shape}, count={short(self.count)}, min={short(self.min)}, max={short(self.max)})"

    def to_json(self) -> str:
        """A JSON document, floats in hexadecimal, which `from_json` reads back to the same bits.

        >>> Extrema.of([1.5, 2.5]).to_json()
        '{"format": "gammabeta.extrema", "version": 1, "shape": [], "min": ["0x1.8000000000000p+0"], \
"max": ["0x1.4000000000000p+1"], "count": [2], "nan": [0]}'
        """
        floats = {"min": states.floats_to_text(self._low), "max": states.floats_to_text(self._high)}
        counts = {"count": self._counts[0].tolist(), "nan": self._counts[1].tolist()}
        return states.dump(_EXTREMA, {"shape": list(self._shape), **floats, **counts})

    @classmethod
    def from_json(cls, text: str | bytes) -> "Extrema":
        """The extrema in a document that `to_json` wrote.

        Raises:
            StateError: it is damaged, cut short, of another kind or version, or no data could have these extrema.
        """
        document = states.load(text, _EXTREMA, ("shape", "min", "max", "count", "nan"))
        shape = states.shape(document["shape"])
        low, high = (states.floats_from_text(document[name], prod(shape), name) for name in ("min", "max"))
        counts = np.array([states.counts(document[name], prod(shape), name) for name in ("count", "nan")], np.int64)
        none = (low == inf) & (high == -inf)
        if not bool(np.where(none, counts[0] == counts[1], (low <= high) & (counts[0] > counts[1])).all()):
            raise StateError("the document must hold extrema of some data, got min above max or a wrong count")
        return cls(shape, low, high, counts)


def _chosen(shape: tuple[int, ...], index: Any) -> tuple[tuple[int, ...], NDArray[np.intp]]:
    """The shape that indexing features of `shape` gives, and the places of those chosen."""
    at = np.asarray(np.arange(prod(shape)).reshape(shape)[index])
    return at.shape, at.reshape(-1)


def _same_shape(parts: Sequence[Moments] | Sequence[Extrema]) -> None:
    """Refuse statistics of different features."""
    shapes = {part.shape for part in parts}
    if len(shapes) != 1:
        raise DataError(f"statistics combine only over the same features, got shapes {sorted(shapes)}")


def _full(weights: ArrayLike, axis: axes.Axis, shape: tuple[int, ...]) -> Floats:
    """Checked weights, in the shape of the data."""
    given = np.asarray(weights)
    if given.dtype.kind not in "biuf":
        raise KindError(f"weights must be real numbers, got dtype {given.dtype}")
    factors = given.astype(np.float64)
    if not np.isfinite(factors).all() or (factors < 0).any():
        raise DataError("weights must be finite and not negative; leave a value out with a weight of 0")
    away = axes.reduced(axis, len(shape))
    along = tuple(shape[i] for i in away)
    if factors.shape == along and factors.shape != shape:
        factors = factors.reshape([n if i in away else 1 for i, n in enumerate(shape)])
    elif factors.shape != shape:
        raise DataError(f"weights must have the data's shape {shape} or its reduced axes' {along}, got {factors.shape}")
    return np.broadcast_to(factors, shape)
