"""From exact integers to float64, rounded once: to nearest, ties to even, as CPython's `int / int` is."""

from math import inf, isqrt, nan

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import limbs
from gammabeta.kernels.limbs import Limbs

_SIGNIFICANT = 56  # bits of a root: two more than float64's 53, and one that says whether anything was cut off


def ratio(p: int, q: int, exponent: int) -> float:
    """p / q · 2^exponent; beyond float64's range ±inf; nan if q = 0."""
    if q == 0:
        return nan
    try:
        return (p << exponent) / q if exponent >= 0 else p / (q << -exponent)
    except OverflowError:
        return inf if (p < 0) == (q < 0) else -inf


def root(p: int, q: int, exponent: int) -> float:
    """√(p / q · 2^exponent) for p ≥ 0; nan if q ≤ 0."""
    if q <= 0:
        return nan
    if p == 0:
        return 0.0
    shift = 2 * _SIGNIFICANT - p.bit_length() + q.bit_length()
    shift += (exponent - shift) % 2
    scaled, rest = divmod(p << shift, q) if shift >= 0 else divmod(p, q << -shift)
    whole = isqrt(scaled)
    sticky = rest != 0 or whole * whole != scaled
    return ratio(whole << 1 | sticky, 1, (exponent - shift) // 2 - 1)


def integers(weight: Limbs, total: Limbs, squares: Limbs) -> tuple[list[int], list[int], list[int], int, int]:
    """Σw, Σw·x and Σw·Σw·x² − (Σw·x)² as integers, and the exponents of the units of mean and variance."""
    weights, weight_exponent = limbs.to_integers(weight)
    sums, sum_exponent = limbs.to_integers(total)
    parts, square_exponent = limbs.to_integers(squares)
    left, right = weight_exponent + square_exponent, 2 * sum_exponent
    exponent = min(left, right)
    left, right = left - exponent, right - exponent
    spreads = [(w * q << left) - (s * s << right) for w, s, q in zip(weights, sums, parts, strict=True)]
    return weights, sums, spreads, sum_exponent - weight_exponent, exponent - 2 * weight_exponent


def population(weight: Limbs, total: Limbs, squares: Limbs, ddof: float = 0.0) -> NDArray[np.float64]:
    """Σw·x / Σw, Σw·(x − mean)² / (Σw − ddof) and the root of that, (3, f), correctly rounded.

    NaN where a divisor is not positive.
    """
    weights, sums, spreads, mean, variance = integers(weight, total, squares)
    top, bottom = float(ddof).as_integer_ratio()
    # Σw − ddof = (w·bottom·2^e − top) / bottom, the power of two put on whichever side keeps integers
    exponent = limbs.BITS * weight[0]
    up, down = max(exponent, 0), max(-exponent, 0)
    found = np.full((3, len(weights)), nan)
    for i, (w, s, v) in enumerate(zip(weights, sums, spreads, strict=True)):
        found[0, i] = ratio(s, w, mean)
        divisor, dividend = w * ((w * bottom << up) - (top << down)), v * bottom << up
        if divisor > 0:
            found[1, i], found[2, i] = ratio(dividend, divisor, variance), root(dividend, divisor, variance)
    return found
