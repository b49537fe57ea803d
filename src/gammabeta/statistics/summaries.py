"""The exact sums of data of which only count, mean and variance are left."""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gammabeta.backends import arrays, masked
from gammabeta.errors import DataError, KindError
from gammabeta.kernels import limbs
from gammabeta.kernels.limbs import Limbs
from gammabeta.statistics.validation import Counts, Floats

_Binary = tuple[int, int]  # an integer and the exponent of the power of two that multiplies it


def sums_of_statistics(
    count: ArrayLike, mean: ArrayLike, var: ArrayLike, ddof: float
) -> tuple[tuple[int, ...], Limbs, Limbs, Limbs, Counts]:
    """The features' shape, Σw, Σw·x and Σw·x², and no NaN and infinities, for `Moments`. Errors: `from_statistics`."""
    n, middle, spread = _broadcast(count, mean, var)
    none = n == 0
    if not (np.isfinite(n).all() and (n >= 0).all()):
        wrong = n[~(np.isfinite(n) & (n >= 0))].flat[0]
        raise DataError(
            f"count must be finite and 0 or more in every feature, got {wrong:g}; a count of 0 leaves one out"
        )
    middle, spread = np.where(none, 0.0, middle), np.where(none, 0.0, spread)
    if not (np.isfinite(middle).all() and np.isfinite(spread).all() and (spread >= 0).all()):
        at = ~(np.isfinite(middle) & np.isfinite(spread) & (spread >= 0))
        raise DataError(
            "mean and var must be finite, and var 0 or more, where the count is not 0, got mean "
            f"{middle[at].flat[0]:g} with var {spread[at].flat[0]:g}"
        )
    if ddof and (few := ~none & (spread > 0) & (n <= ddof)).any():
        raise DataError(f"count must be above ddof={ddof:g} where var is not 0, got {n[few].flat[0]:g}")
    weights, totals, squares = [], [], []
    for w, m, v in zip(n.flat, middle.flat, spread.flat, strict=True):
        weight, center = _binary(w), _binary(m)
        total = _times(weight, center)
        weights.append(weight)
        totals.append(total)
        divisor = _plus(weight, _binary(-ddof)) if v else (0, 0)
        squares.append(_plus(_times(divisor, _binary(v)), _times(total, center)))
    specials = np.zeros((3, prod(n.shape)), np.int64)
    return n.shape, _limbs(weights), _limbs(totals), _limbs(squares), specials


def _broadcast(*given: ArrayLike) -> list[Floats]:
    """Count, mean and var as float64 of one shape."""
    for name, value in zip(("count", "mean", "var"), given, strict=True):
        masked.refuse(name, value)
    found = [np.asarray(arrays.to_numpy(value)) for value in given]
    if any(value.dtype.kind not in "biuf" for value in found):
        raise KindError(f"count, mean and var must be real numbers, got {[str(value.dtype) for value in found]}")
    try:
        return list(np.broadcast_arrays(*(value.astype(np.float64) for value in found)))
    except ValueError:
        shapes = [value.shape for value in found]
        raise DataError(f"count, mean and var must have one shape or broadcast to one, got {shapes}") from None


def _binary(value: Any) -> _Binary:
    numerator, denominator = float(value).as_integer_ratio()
    return numerator, 1 - denominator.bit_length()


def _times(a: _Binary, b: _Binary) -> _Binary:
    return a[0] * b[0], a[1] + b[1]


def _plus(a: _Binary, b: _Binary) -> _Binary:
    exponent = min(a[1], b[1])
    return (a[0] << a[1] - exponent) + (b[0] << b[1] - exponent), exponent


def _limbs(numbers: list[_Binary]) -> Limbs:
    exponent = min((e for _, e in numbers), default=0)
    return limbs.from_integers([number << e - exponent for number, e in numbers], exponent)
