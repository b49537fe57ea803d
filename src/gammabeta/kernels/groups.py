"""Exact sums of x and x² by group: a cache line of integers for each group, in the folds of `kernels.folds`.

A group's line holds the six integer sums of its folds, how many numbers they are of, and its grid: the exponent field
of 2^T, where 2^(T−25) ≤ |x| < 2^T for each x ≠ 0 that it may take. The constants M follow from T by shifts. A number
above the grid moves it, once what was summed has gone to the group's limbs; one below it goes to the limbs by itself.
Limbs are as wide as the exponents of the data ask, no wider.

Where the lines of all groups would not fit in a core's cache, rows are first parted by blocks of groups that do: see
`kernels.parted`.
"""

import numpy as np

from gammabeta.kernels.intrinsics import (
    MAGNITUDE,
    MINUS_INF,
    NAN,
    PLUS_INF,
    POINT,
    add_shifted,
    add_square,
    add_weighted,
    bits,
    fma,
    kernel,
    number,
    split,
)

BLOCK_BITS = 11  # groups whose lines, 128 KB, stay in a core's cache: 2^11
LINE = 8  # words of a group's line

_WIDTH = np.uint64(LINE)
_PENDING, _TOP = np.uint64(6), np.uint64(7)
_FULL = np.uint64(4095)
_BINADES = np.uint64(25)
_SPARE = np.uint64(3)  # binades above a group's first number
_LOWEST, _HIGHEST = np.uint64(1023 - 420), np.uint64(1023 + 490)  # fields between which no fold leaves float64's range
_HALF = np.uint64(1 << 51)
_ONE, _TWO = np.uint64(1), np.uint64(2)
_ZERO = np.uint64(0)


@kernel
def _constants(top):
    """The bits of the constants M of a grid: x, h, h, x, l, l; x² = h + l."""
    twice = _TWO * top
    return (
        ((top + _ONE) << POINT) | _HALF,
        ((twice - np.uint64(1022)) << POINT) | _HALF,
        ((twice - np.uint64(1074)) << POINT) | _HALF,
        ((top - np.uint64(51)) << POINT) | _HALF,
        ((twice - np.uint64(1076)) << POINT) | _HALF,
        ((twice - np.uint64(1128)) << POINT) | _HALF,
    )


@kernel
def _put(digits, base, group, total, unit, touched):
    """Add total · 2^unit, a multiple of the least number that the limbs hold."""
    below = 32 * base - unit
    size = np.uint64(abs(total))
    if below > 0:
        size, unit = size >> np.uint64(below), unit + below
    add_shifted(digits, base, touched, group, size, unit, total < 0)


@kernel
def _flush(line, group, sums, sum_base, squares, square_base, touched):
    """Move what a line has summed into the limbs; it then has no grid."""
    pending, top = line[_PENDING], line[_TOP]
    if pending != _ZERO:
        constants = _constants(top)
        for part in range(6):
            total = np.int64(line[part] - pending * constants[part])
            if total != 0:
                unit = np.int64(constants[part] >> POINT) - 1075
                if part == 0 or part == 3:
                    _put(sums, sum_base, group, total, unit, touched)
                else:
                    _put(squares, square_base, group, total, unit, touched)
    for part in range(8):
        line[part] = 0


@kernel
def _moved(v, field, line, group, sums, sum_base, squares, square_base, specials, touched):
    """Whether a number that is not in a line's grid is now: else it is counted or summed."""
    if not np.isfinite(v):
        specials[NAN if np.isnan(v) else PLUS_INF if v > 0 else MINUS_INF, group] += 1
        return False
    if line[_PENDING] >= _FULL:
        _flush(line, group, sums, sum_base, squares, square_base, touched)
    top = line[_TOP]
    if field >= top and _LOWEST <= field <= _HIGHEST:
        _flush(line, group, sums, sum_base, squares, square_base, touched)
        line[_TOP] = field + _ONE + _SPARE
        return True
    if field < top and field + _BINADES >= top:
        return True
    value, exponent, negative = split(v)
    add_shifted(sums, sum_base, touched, group, value, exponent, negative)
    add_square(squares, square_base, touched, group, value, exponent)
    return False


@kernel
def accumulate(x, codes, lines, sums, sum_base, squares, square_base, specials, touched):
    """Add numbers to their groups. x: float64 (n,); codes: int32 (n,), 0 ≤ code < groups.

    lines: uint64 (groups · 8,), zeros at first; sums, squares: int64 (height, groups), with the bases of their first
    rows; specials: int64 (3, groups); touched: room for two int64.
    """
    for i in range(len(x)):
        v = x[i]
        magnitude = bits(v) & MAGNITUDE
        if magnitude == _ZERO:
            continue
        at = np.uint64(codes[i]) * _WIDTH
        line = lines[at : at + _WIDTH]
        field, top = magnitude >> POINT, line[_TOP]
        if (field + _BINADES - top >= _BINADES) | (line[_PENDING] >= _FULL):
            if not _moved(v, field, line, codes[i], sums, sum_base, squares, square_base, specials, touched):
                continue
            top = line[_TOP]
        b0, b1, b2, b3, b4, b5 = _constants(top)
        m = number(b0)
        t = v + m
        line[0] += bits(t)
        line[3] += bits((v - (t - m)) + number(b3))
        h = v * v
        m = number(b1)
        t = h + m
        line[1] += bits(t)
        line[2] += bits((h - (t - m)) + number(b2))
        e = fma(v, v, -h)
        m = number(b4)
        t = e + m
        line[4] += bits(t)
        line[5] += bits((e - (t - m)) + number(b5))
        line[_PENDING] += _ONE


@kernel
def finish(start, stop, lines, sums, sum_base, squares, square_base, touched):
    """Move what the lines of groups start…stop have summed into the limbs. touched: room for two int64."""
    for group in range(start, stop):
        at = np.uint64(group) * _WIDTH
        _flush(lines[at : at + _WIDTH], group, sums, sum_base, squares, square_base, touched)


@kernel
def accumulate_integers(x, codes, sums, squares, touched):
    """Add 64-bit integers to their groups, number by number. sums, squares: limbs from 2⁰ on; touched: room for two."""
    for i in range(len(x)):
        size, exponent, negative = split(x[i])
        add_shifted(sums, 0, touched, codes[i], size, exponent, negative)
        add_square(squares, 0, touched, codes[i], size, exponent)


@kernel
def accumulate_weighted(
    x, weights, codes, omit, counts, count_base, sums, sum_base, squares, square_base, specials, touched
):
    """Add w, w·x and w·x² to their groups, number by number. x: float64, int64 or uint64; weights: float64.

    touched: room for int64 (3, 2).
    """
    for i in range(len(x)):
        add_weighted(
            x[i],
            weights[i],
            codes[i],
            omit,
            counts,
            count_base,
            sums,
            sum_base,
            squares,
            square_base,
            specials,
            touched,
        )


@kernel
def span(x, fields):
    """Widen fields[0]…fields[1] to those of the numbers ≠ 0. fields: uint64 (2,). x: float64."""
    low, high = fields[0], fields[1]
    for i in range(len(x)):
        field = (bits(x[i]) & MAGNITUDE) >> POINT
        finite = field < np.uint64(2047)
        low = min(low, field if finite and x[i] != 0 else np.uint64(2047))
        high = max(high, field if finite else _ZERO)
    fields[0], fields[1] = low, high


@kernel
def tally(codes, counts):
    """How many rows each group has."""
    for i in range(len(codes)):
        counts[codes[i]] += 1


@kernel
def tally_blocks(codes, counts):
    """How many rows each block of groups has."""
    for i in range(len(codes)):
        counts[codes[i] >> BLOCK_BITS] += 1


@kernel
def part(x, codes, places, values_out, codes_out):
    """Write rows to the places of their block. places: int64 (blocks,), where each block's next row goes."""
    for i in range(len(x)):
        block = codes[i] >> BLOCK_BITS
        at = places[block]
        values_out[at] = x[i]
        codes_out[at] = codes[i]
        places[block] = at + 1


@kernel
def widen(x, codes, low, high, missing):
    """Lower `low`, raise `high` and count NaN, group by group; comparisons with NaN are false. x: float64 (n,)."""
    for i in range(len(x)):
        v, group = x[i], codes[i]
        low[group] = v if v < low[group] else low[group]
        high[group] = v if v > high[group] else high[group]
        missing[group] += v != v
