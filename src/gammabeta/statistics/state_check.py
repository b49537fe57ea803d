"""The check that some data could have given statistics: for documents, ledgers and differences.

Everything is compared as integers, exactly. Of n values x between their least a and their greatest b, L = b − a:

    one value is a and one is b, so R = Σ(x − a) − L and Q = Σ(x − a)² − L² are those of n − 2 values from 0 to L:
    0 ≤ R ≤ (n − 2)·L,    R² / (n − 2) ≤ Q ≤ k·L² + r²,    k and r being R divided by L, and the rest

where the least Q is that of equal values and the greatest that of all but one at the ends. Any real numbers that
fulfil this are the sums of some values.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import inf, nextafter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gammabeta.errors import StateError
from gammabeta.kernels import limbs
from gammabeta.statistics import serialization
from gammabeta.statistics.validation import Counts

if TYPE_CHECKING:
    from gammabeta.statistics.extrema import Extrema
    from gammabeta.statistics.moments import Moments

_LARGEST_SQUARE = int(np.finfo(np.float64).max) ** 2
_HEAVIEST = Fraction(serialization.MOST * int(np.finfo(np.float64).max))  # as many weights as there may be values
_MANY = 8  # features from which it pays to look at all in floats first
_OFF = 2.0**-48  # of a dozen operations on floats, of their operands' sizes
_EXACT, _WIDE = 2.0**53, 2.0**64  # between them integers of 64 bits are not the floats that extrema make of them


def moments(m: "Moments", invariant: str, at: Sequence[int] | None = None) -> None:
    """Refuse sums that no data could have, those of the features `at` if that is given.

    Raises:
        StateError: a count below zero, fewer values than NaN and infinities, or squares that the other sums rule out.
    """
    weights, sums, spreads, _, _ = m._integers
    squares, square_exponent = limbs.to_integers(m._squares)
    exponent = limbs.BITS * m._weight[0]
    up, down = max(exponent - square_exponent, 0), max(square_exponent - exponent, 0)
    least = Fraction(2) ** (-1074 - exponent)  # no weight is a lesser float
    most = int(_HEAVIEST / Fraction(2) ** exponent)
    specials = m._specials.sum(axis=0, dtype=object).tolist()
    negative = np.any((m._specials < 0) | (m._specials > serialization.MOST), axis=0).tolist()
    for i in range(len(weights)) if at is None else at:
        weight, total, spread, square = weights[i], sums[i], spreads[i], squares[i]
        few = weight < 0 or negative[i] or (specials[i] and specials[i] * least > weight)
        large = square << down > _LARGEST_SQUARE * weight << up
        if few or weight > most or spread < 0 or large or (weight == 0 and total != 0):
            what = "count" if few or weight > most else "sum of squares"
            raise StateError(f"{invariant}: feature {_place(i, m.shape)} would be left with an impossible {what}")


def extrema(e: "Extrema", unknown: int) -> None:
    """Refuse extrema that no data could have. unknown: what stands in the place of a count.

    Raises:
        StateError: a least value above the greatest, a count of values that are not there, or too many.
    """
    count, missing = e._counts
    values = np.where(count == unknown, 2, count) - missing * (count != unknown)
    none = (e._low == inf) & (e._high == -inf)
    fits = np.where(none, (values == 0) | (count == unknown), (values > 1) | ((values == 1) & (e._low == e._high)))
    counted = (count >= unknown) & (count <= serialization.MOST) & (missing >= 0) & (missing <= serialization.MOST)
    if not bool((fits & counted & (none | (e._low <= e._high))).all()):
        raise StateError("the document must hold extrema of some data, got min above max or a wrong count")


def together(m: "Moments", e: "Extrema", rows: Counts, names: Sequence[str], pooled: Sequence[int] = ()) -> None:
    """Refuse moments and extrema of shape (…, k) that no k columns of a file, in so many rows, could have together.

    rows: of the shape without its last axis; pooled: which columns hold any number of values in a row.

    Raises:
        StateError: the counts differ, infinities or NaN are counted, or the sums are not those of values in between.
    """
    _finite(m, e)
    most = np.repeat(rows, len(names)).reshape(*rows.shape, len(names))
    most[..., list(pooled)] = serialization.MOST
    most = most.reshape(-1)
    rest = np.arange(len(most)) if len(most) < _MANY else np.flatnonzero(~_surely(m, e, most))
    if len(rest):
        moments(m, "sums must be those of some data", rest.tolist())
        _exactly(m, e, most, rest.tolist(), names)


def weighted(m: "Moments", e: "Extrema") -> None:
    """Refuse weighted moments, and the extrema of the values that count, that no columns of a file could have.

    Raises:
        StateError: infinities or NaN are counted, the sums are of no data, or a mean is not between the extrema.
    """
    _finite(m, e)
    moments(m, "sums must be those of some data")
    present = m.count.reshape(-1) > 0
    mean, low, high = m.mean.reshape(-1), np.nextafter(e._low, -inf), np.nextafter(e._high, inf)  # of rounded integers
    between = (mean >= low) & (mean <= high)
    if (present != (e._low <= e._high)).any() or not between[present].all():
        raise StateError(
            "weighted means must lie between the least and the greatest value, those of a stats file do not"
        )


def _finite(m: "Moments", e: "Extrema") -> None:
    """Refuse statistics that count infinities or NaN, and extrema that no data could have."""
    if m._specials[1:].any() or (e._low == -inf).any() or (e._high == inf).any():
        raise StateError("a stats file cannot hold infinities: they are refused where statistics are taken")
    if m._specials[0].any() or e._counts[1].any():
        raise StateError("a stats file cannot count NaN: missing values are left out where statistics are taken")
    extrema(e, -1)


def _surely(m: "Moments", e: "Extrema", most: Counts) -> NDArray[np.bool_]:
    """Which features' statistics are possible as floats tell with what they may be off by: most of them.

    Q may be as great as R·L − L²/4 whatever r is. Small integers are exact, and of them what is said above is asked.
    """
    with np.errstate(all="ignore"):
        (n, _, counted), (one, off_one, a), (two, off_two, b) = (limbs.to_floats(part) for part in m._limbs)
        low, width = e._low, e._high - e._low
        above, square = one - n * low - width, two - 2 * low * one + n * low * low - width * width
        first = np.abs(one) + n * np.abs(low) + width
        second = two + 2 * np.abs(low * one) + n * low * low + width * width
        whole = a & b & (low == np.floor(low)) & (width == np.floor(width))
        whole &= (n * second < _EXACT) & (first * first < _EXACT)
        off_above = np.where(whole, 0.0, off_one + first * _OFF)
        off_square = np.where(whole, 0.0, off_two + 2 * np.abs(low) * off_one + second * _OFF)
        relative = np.where(whole, 0.0, _OFF)
        full = np.floor(above / width)
        greatest = np.where(whole, full * width**2 + (above - full * width) ** 2, above * width - width**2 / 4)
        off_greatest = off_above * width + (np.abs(above) * width + width**2) * relative
        free = n - 2
        between = (above >= off_above) & (above + off_above <= free * width * (1 - relative))
        not_less = (square - off_square) * free >= (above + off_above) ** 2 * (1 + relative)
        not_more = square + off_square <= greatest - off_greatest
        counted &= (n > 2) & (n <= most) & ((e._counts[0] == n) | (e._counts[0] == -1))
        floats = (width > 0) & (np.maximum(-low, e._high) < _EXACT)
        return np.asarray(counted & floats & between & not_less & not_more)


def _exactly(m: "Moments", e: "Extrema", most: Counts, at: Sequence[int], names: Sequence[str]) -> None:
    """Refuse what `together` does, feature by feature."""
    weights, exponent = limbs.to_integers(m._weight)
    sums, squares = (limbs.to_integers(part) for part in (m._sum, m._squares))
    for i in at:
        known, ends = int(e._counts[0][i]), (float(e._low[i]), float(e._high[i]))
        count, rest = weights[i] << max(exponent, 0), weights[i] & ((1 << max(-exponent, 0)) - 1)
        count >>= max(-exponent, 0)
        what = f"column {serialization.shown(names[i % len(names)])}"
        if rest:
            raise StateError(f"a stats file must count whole values, {what} has {m.count.reshape(-1)[i]}")
        if count > most[i]:
            raise StateError(f"a stats file of {most[i]} rows cannot count more values in a column, {what} has {count}")
        if known not in (-1, count) or (count > 0) != (ends[0] <= ends[1]):
            raise StateError(f"moments and extrema must be of the same values, those of {what} differ in their count")
        if count and not _between(count, (sums[0][i], sums[1]), (squares[0][i], squares[1]), ends):
            raise StateError(
                f"mean and variance must be of {count} values from the least to the greatest, those of {what} are not"
            )


def _between(count: int, total: tuple[int, int], squares: tuple[int, int], ends: tuple[float, float]) -> bool:
    """Whether values from the one end to the other, each of which is one of them, have these sums.

    total, squares: an integer, and the exponent of its power of two.
    """
    rounded = _EXACT <= max(-ends[0], ends[1]) <= _WIDE
    if rounded:
        ends = nextafter(ends[0], -inf), nextafter(ends[1], inf)
    (low, a), (high, b) = (end.as_integer_ratio() for end in ends)
    unit = max(a.bit_length() - 1, b.bit_length() - 1, -total[1], -(squares[1] // 2))  # all are multiples of 2^-unit
    low, high = (low << unit) // a, (high << unit) // b
    one, two = total[0] << unit + total[1], squares[0] << 2 * unit + squares[1]
    width, above, square = high - low, one - count * low, two - 2 * low * one + count * low * low
    if rounded:
        return 0 <= above <= count * width and above * above <= count * square <= count * width * above
    if width == 0:
        return above == 0 and square == 0
    others, above, square = count - 2, above - width, square - width * width
    if not 0 <= above <= others * width:
        return False
    full, part = divmod(above, width)
    return above * above <= others * square and 0 <= square <= full * width * width + part * part


def _place(i: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(j) for j in np.unravel_index(i, shape)) if shape else ()
