"""The plain reference: statistics in rational arithmetic, slow and beyond doubt."""

from fractions import Fraction

import numpy as np


def sums(values: list[float], weights: list[float] | None = None) -> tuple[Fraction, Fraction, Fraction]:
    """Σw, Σw·x, Σw·x²."""
    w = [Fraction(1)] * len(values) if weights is None else [Fraction(v) for v in weights]
    x = [Fraction(v) for v in values]
    pairs = list(zip(w, x, strict=True))
    return (
        sum(w, Fraction(0)),
        sum((a * b for a, b in pairs), Fraction(0)),
        sum((a * b * b for a, b in pairs), Fraction(0)),
    )


def rounded(value: Fraction) -> float:
    """To the nearest float64, ties to even; beyond the range, infinity."""
    try:
        return value.numerator / value.denominator
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def mean(values: list[float], weights: list[float] | None = None) -> float:
    w, s, _ = sums(values, weights)
    return rounded(s / w) if w else float("nan")


def exact_variance(values: list[float], ddof: Fraction, weights: list[float] | None = None) -> Fraction | None:
    w, s, q = sums(values, weights)
    return (q - s * s / w) / (w - ddof) if w > ddof and w > 0 else None


def is_root(y: float, square: Fraction) -> bool:
    """Whether y is the float64 nearest to √square: no other lies between them, as the midpoints' squares tell."""
    if square == 0:
        return y == 0
    if y == float("inf"):
        return square >= (Fraction(2) ** 1024 - Fraction(2) ** 970) ** 2
    below, above = np.nextafter(y, 0.0), np.nextafter(y, np.inf)
    low = (Fraction(y) + Fraction(float(below))) / 2
    high = (Fraction(y) + (Fraction(2) ** 1024 if np.isinf(above) else Fraction(float(above)))) / 2
    return low * low <= square <= high * high
