"""A tile of numbers is added to the exact sums of x and x², at about the speed of memory.

64 lanes × 32 rows are a tile. A lane has a grid: an exponent T with 2^(T−spread) ≤ |x| < 2^T for each x ≠ 0 that it may
take; the constants of its folds follow from T. While every |x| of a lane keeps within its grid nothing is left after
the second fold. Where a tile does not, its sums are taken back and the lanes' grids are moved; what no grid holds goes
to integer arithmetic, number by number, and what is not finite is counted and left out.
"""

import numpy as np
from numba import float64

from gammabeta.kernels.folds import (
    BEFORE,
    BLOCK,
    CAP,
    DEPTH,
    FLOOR,
    GROUP,
    HIGH,
    LOW,
    MAGIC,
    ROWS,
    START,
    STRIDE,
    SUMMED,
    TOP,
    constant,
    copy,
    fill,
    fold,
    magic,
    many,
    unit,
)
from gammabeta.kernels.intrinsics import bits, kernel
from gammabeta.kernels.layout import LANES
from gammabeta.kernels.singly import (
    MAGNITUDE,
    MINUS_INF,
    NAN,
    ONE,
    PLUS_INF,
    POINT,
    SQUARES_BASE,
    SUM_BASE,
    add_shifted,
    add_square,
    split,
)
from gammabeta.kernels.storage import get, given, keep

FLUSH = 4095 - ROWS

_NOTHING = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_ZERO = np.uint64(0)
_WORD = np.int64(0xFFFF_FFFF)
_LEAST, _MOST = -450, 500  # exponents of numbers whose squares' grids stay within float64


@kernel
def _put(part, out, feature, total, power):
    """Add total · 2^power to a feature's sum of x or of x²."""
    sum_limbs, square_limbs, touched = out
    if total != 0:
        if part == 0 or part == 3:
            add_shifted(sum_limbs, SUM_BASE, touched[0], feature, np.uint64(abs(total)), power, total < 0)
        else:
            add_shifted(square_limbs, SQUARES_BASE, touched[1], feature, np.uint64(abs(total)), power, total < 0)


@kernel
def _alike(known, block, to, first, j):
    """How far the lanes from j on are of one feature and have one grid."""
    stop = j + 1
    while stop < LANES and to[first + stop] == to[first + j]:
        if get(known, block + TOP + stop) != get(known, block + TOP + j):
            break
        stop += 1
    return stop


@kernel
def flush(state, place, to, out):
    """Move a block's integer sums into the limbs of its lanes' features.

    Neighbours of one feature and grid go together, as two numbers: 64 of them are more than 64 bits hold.
    """
    folds, _, known, _, _ = state
    first, block = place * LANES, place * BLOCK
    rows = get(known, block + SUMMED)
    if rows == 0:
        return
    keep(known, block + SUMMED, _ZERO)
    start = 0
    while start < LANES:
        stop = _alike(known, block, to, first, start)
        top = np.int64(get(known, block + TOP + start))
        for part in range(folds):
            power = unit(part, top)
            taken = many(part, folds, rows) * magic(power)
            low = high = np.int64(0)
            for at in range(block + part * LANES + start, block + part * LANES + stop):
                total = np.int64(get(known, at) - taken)
                keep(known, at, _ZERO)
                low += total & _WORD
                high += total >> 32
            high += low >> 32
            _put(part, out, to[first + start], low & _WORD, power)
            _put(part, out, to[first + start], high, power + 32)
        start = stop


@kernel
def _within(known, block):
    """Whether each lane of a tile keeps within its grid."""
    outside = 0
    for lane in range(block, block + LANES):
        above = get(known, lane + HIGH) >= get(known, lane + CAP)
        outside |= above | (get(known, lane + LOW) < get(known, lane + FLOOR))
    return not outside


@kernel
def _finite_copy(x, offset, stride, jump, rows, lanes, scratch, to, first, specials):
    """A tile's finite values, 0 elsewhere, with the others counted by feature."""
    for row in range(ROWS):
        for j in range(LANES):
            scratch[row * LANES + j] = 0
            if row < rows and j < lanes:
                v = x[offset + row // DEPTH * jump + row % DEPTH * stride + j]
                if np.isfinite(v):
                    scratch[row * LANES + j] = v
                else:
                    specials[NAN if np.isnan(v) else PLUS_INF if v > 0 else MINUS_INF, to[first + j]] += 1


@kernel
def _unseen(known, block):
    """No |x| of a tile is known yet."""
    fill(known, block + HIGH, block + HIGH + LANES, _ZERO)
    fill(known, block + LOW, block + LOW + LANES, _NOTHING)


@kernel
def _extent(scratch, known, block):
    """`fold`'s largest and smallest |x|, alone."""
    _unseen(known, block)
    for row in range(ROWS):
        for j in range(LANES):
            high, low = block + HIGH + j, block + LOW + j
            magnitude = bits(float64(given(scratch, row * LANES + j))) & MAGNITUDE
            keep(known, high, max(get(known, high), magnitude))
            keep(known, low, min(get(known, low), magnitude - ONE))


@kernel
def _add_singly(scratch, lane, feature, out):
    """Add one lane of a tile number by number, and leave zeros."""
    sum_limbs, square_limbs, touched = out
    for row in range(ROWS):
        v = float64(scratch[row * LANES + lane])
        if v != 0:
            value, exponent, negative = split(v)
            add_shifted(sum_limbs, SUM_BASE, touched[0], feature, value, exponent, negative)
            add_square(square_limbs, SQUARES_BASE, touched[1], feature, value, exponent)
            scratch[row * LANES + lane] = 0


@kernel
def _exponents(high, low):
    """The binades of a lane's largest and smallest numbers: ⌊log₂|x|⌋."""
    return np.int64(high >> POINT) - 1023, np.int64((low + ONE) >> POINT) - 1023


@kernel
def _beyond(known, lane, binades):
    """Whether a lane holds what no grid does: numbers far apart or near the ends of float64, or not finite."""
    high = get(known, lane + HIGH)
    above, below = _exponents(high, get(known, lane + LOW))
    return (high != 0) & ((above - below > binades - 1) | (below < _LEAST) | (above > _MOST))


@kernel
def _any_beyond(known, block, binades):
    found = 0
    for lane in range(block, block + LANES):
        found |= _beyond(known, lane, binades)
    return found != 0


@kernel
def _fit(state, place, to, out):
    """Give each lane whose numbers leave its grid a new one, with two binades to spare above where there is room.

    Lanes that are all of one feature get the same one, if it can hold them all: `flush` takes them together.
    """
    folds, binades, known, _, _ = state
    first, block = place * LANES, place * BLOCK
    if _within(known, block):
        return
    flush(state, place, to, out)
    most, least = _ZERO, _NOTHING
    for lane in range(block, block + LANES):
        most, least = max(most, get(known, lane + HIGH)), min(least, get(known, lane + LOW))
    above, below = _exponents(most, least)
    together = to[first] == to[first + 1] and most != 0 and above - below < binades
    for lane in range(block, block + LANES):
        high, low = get(known, lane + HIGH), get(known, lane + LOW)
        if together or high >= get(known, lane + CAP) or low < get(known, lane + FLOOR):
            if not together:
                above, below = _exponents(high, low)
            top = 1 if high == 0 and not together else above + 1 + min(2, binades - 1 - (above - below))
            keep(known, lane + TOP, np.uint64(top))
            keep(known, lane + CAP, np.uint64(top + 1023) << POINT)
            keep(known, lane + FLOOR, (np.uint64(top - binades + 1023) << POINT) - ONE)
            for part in range(folds):
                keep(known, lane + MAGIC + part * LANES, constant(part, top))


@kernel
def _add(x, offset, stride, jump, rows, ahead, folds, known, block, sizes):
    """Add rows of a tile, a multiple of `DEPTH`, if they keep within the grids of their lanes; whether they do."""
    before = len(known) - BEFORE
    copy(known, block, folds * LANES, known, before)
    _unseen(known, block)
    fold(x, offset, stride, jump, rows, ahead, known, block, sizes)
    within = _within(known, block)
    if within:
        keep(known, block + SUMMED, get(known, block + SUMMED) + np.uint64(rows))
    else:
        copy(known, before, folds * LANES, known, block)
    return within


@kernel
def add_tile(x, offset, stride, jump, rows, lanes, ahead, state, place, to, specials, out):
    """Add a tile, or what there is of one: `rows` rows of `lanes` lanes, of the block at `place`.

    `DEPTH` rows lie `stride` apart, and from such a group to the next it is `jump`. Lane j is of feature
    to[64 · place + j]; the tile that comes next lies `ahead`.
    """
    folds, binades, known, scratch, sizes = state
    first, block = place * LANES, place * BLOCK
    if get(known, block + SUMMED) > FLUSH:
        flush(state, place, to, out)
    whole = rows % DEPTH == 0 and lanes == LANES
    if whole and _add(x, offset, stride, jump, rows, ahead, folds, known, block, sizes):
        return
    if whole and not _any_beyond(known, block, binades):
        _fit(state, place, to, out)
        _add(x, offset, stride, jump, rows, ahead, folds, known, block, sizes)
        return
    _finite_copy(x, offset, stride, jump, rows, lanes, scratch, to, first, specials)
    _extent(scratch, known, block)
    for j in range(LANES):
        if _beyond(known, block + j, binades):
            _add_singly(scratch, j, to[first + j], out)
            keep(known, block + HIGH + j, _ZERO)
            keep(known, block + LOW + j, _NOTHING)
    _fit(state, place, to, out)
    _add(scratch, START, STRIDE, GROUP, ROWS, START, folds, known, block, sizes)
