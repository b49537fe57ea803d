"""From exact integers to float64, rounded once: to nearest, ties to even, as CPython's `int / int` is."""

from math import inf, isqrt, nan

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
