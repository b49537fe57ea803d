"""`rounding.population` for many features: a microsecond for thirty of them rather than for one.

`finish` forms n·Σx² − (Σx)² exactly, divides and takes roots in pairs of float64, whose error is below 2⁻⁹⁵ of the
result, and rounds where that error cannot matter (Ziv's test). What is left, ties above all, goes to Python's integers.
"""

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import limbs, rounding, threads
from gammabeta.kernels.intrinsics import bits, fma, kernel, number
from gammabeta.kernels.limbs import Limbs

Floats = NDArray[np.float64]

_LARGEST = 2**52  # counts of which float64 holds the halves
_LARGEST_DDOF = 2**20
_SPLIT = 2**12  # features worth a thread
_EXPONENT = np.uint64(0x7FF0_0000_0000_0000)
_FRACTION = np.uint64(2**52 - 1)
_RANGE = 960  # exponents far enough from the ends of float64's range for nothing to be cut off


def population(weight: Limbs, total: Limbs, squares: Limbs, ddof: float = 0.0) -> Floats:
    """`rounding.population`, of many features."""
    features = weight[1].shape[1]
    found, sure = np.empty((3, features)), np.zeros(features, np.bool_)
    certain = False
    if len(weight[1]) == 1 and weight[0] == 0 and abs(ddof) < _LARGEST_DDOF and ddof % 0.5 == 0:
        size = sum(_heights(total[0], len(total[1]), squares[0], len(squares[1])))

        def part(between: tuple[int, int]) -> bool:
            room = np.empty(size, np.uint64)
            return bool(finish(weight[1][0], *total, *squares, float(ddof), *between, found, sure, room))

        certain = all(threads.run(part, threads.ranges(features, _SPLIT)))
    if not certain:
        rest = np.flatnonzero(~sure)
        weight, total, squares = (limbs.take(part, rest) for part in (weight, total, squares))
        found[:, rest] = rounding.population(weight, total, squares, ddof)
    return found


@kernel
def _heights(first, sums, second, squares):
    """Of so many limbs from either base on: how many digits n, Σx, Σx² and n·Σx² − (Σx)² have at most."""
    base = min(2 * first, second)
    return 2, sums + 1, squares + 1, max(2 * (sums + 1 + first), squares + 3 + second) - base + 1


@kernel
def _magnitude(digits, feature, out):
    """|a number of limbs| as digits in [0, 2³²), in `out`; whether it is negative."""
    height = len(digits)
    negative = digits[height - 1, feature] < 0
    carry = np.int64(0)
    for i in range(len(out)):
        carry += (-digits[i, feature] if negative else digits[i, feature]) if i < height else 0
        out[i] = carry & 0xFFFFFFFF
        carry >>= 32
    return negative


@kernel
def _add_product(a, b, at, sign, out):
    """Add sign · a · b · 2^(32·at) to `out`, digits in [0, 2³²) whose total stays one that they hold."""
    for i in range(len(a)):
        carry = np.int64(0)
        for j in range(len(out) - i - at):
            if j >= len(b) and carry == 0:
                break
            product = a[i] * b[j] if j < len(b) else np.uint64(0)
            low, high = np.int64(product & np.uint64(0xFFFFFFFF)), np.int64(product >> np.uint64(32))
            digit = np.int64(out[i + j + at]) + carry + sign * low
            out[i + j + at] = np.uint64(digit & 0xFFFFFFFF)
            carry = (digit >> 32) + sign * high


@kernel
def _pair(digits):
    """A number as high + low, float64, to 2⁻¹⁰⁰ of it, times 2^exponent."""
    last = len(digits) - 1
    while last > 0 and digits[last] == 0:
        last -= 1
    high = low = 0.0
    for i in range(5):
        part = np.float64(digits[last - i]) * 2.0 ** (-32 * i) if last >= i else 0.0
        total = high + part
        low += part - (total - high)
        high = total
    total = high + low
    return total, low - (total - high), 32 * last


@kernel
def _quotient(a, b, c, d):
    """(a + b) / (c + d)."""
    high = a / c
    low = (fma(-high, c, a) + (b - high * d)) / c
    total = high + low
    return total, low - (total - high)


@kernel
def _certain(high, low):
    """Whether high is the float64 nearest to what high + low stands for, whatever the error of low."""
    half = number(bits(high) & _EXPONENT) * 2.0**-53
    return (bits(high) & _FRACTION) != 0 and abs(low) < half * (1 - 2.0**-30)


@kernel
def finish(counts, first, sums, second, squares, ddof, start, stop, found, sure, room):
    """Mean, variance and deviation of the features start to stop where they can be rounded with certainty; whether all.

    first, second: the bases of sums and squares, which are limbs. found: (3, f); sure: (f,), False before. count − ddof
    must be a float64 where the count is below 2⁵². room: uint64, as many as `_heights` says together.
    """
    base = min(2 * first, second)
    a, b, c, d = _heights(first, len(sums), second, len(squares))
    size, total, square, spread = room[:a], room[a : a + b], room[a + b : a + b + c], room[a + b + c : a + b + c + d]
    all_sure = True
    for f in range(start, stop):
        n = counts[f]
        if n == 0:
            found[:, f] = np.nan
            sure[f] = True
            continue
        if n >= _LARGEST:
            all_sure = False
            continue
        size[0], size[1] = np.uint64(n & 0xFFFFFFFF), np.uint64(n >> 32)
        negative = _magnitude(sums, f, total)
        _magnitude(squares, f, square)
        for i in range(len(spread)):
            spread[i] = 0
        _add_product(size, square, second - base, 1, spread)
        _add_product(total, total, 2 * first - base, -1, spread)
        high, low, exponent = _pair(total)
        mean, mean_low = _quotient(high, low, np.float64(n), 0.0)
        exponent += 32 * first
        certain = high == 0 or (_certain(mean, mean_low) and abs(exponent) < _RANGE)
        found[0, f] = np.ldexp(-mean if negative else mean, exponent)
        high, low, exponent = _pair(spread)
        divisor = np.float64(n) - ddof
        if divisor <= 0:
            found[1, f] = found[2, f] = np.nan
            sure[f] = certain
            all_sure &= certain
            continue
        square_of_n = np.float64(n) * divisor
        variance, variance_low = _quotient(high, low, square_of_n, fma(np.float64(n), divisor, -square_of_n))
        exponent += 32 * base
        found[1, f] = found[2, f] = 0.0
        if high != 0:
            certain &= _certain(variance, variance_low) and abs(exponent) < _RANGE
            root = np.sqrt(variance)
            rest = (fma(-root, root, variance) + variance_low) / (2 * root)
            deviation = root + rest
            certain &= _certain(deviation, rest - (deviation - root))
            found[1, f] = np.ldexp(variance, exponent)
            found[2, f] = np.ldexp(deviation, exponent // 2)
        sure[f] = certain
        all_sure &= certain
    return all_sure
