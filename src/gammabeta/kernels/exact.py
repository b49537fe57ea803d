"""The kernels of exact sums of x and x²: the columns of a table, or vectors, cut into tiles.

The columns of a table are lanes; a narrow one has several rows side by side. A vector's values go down 64 lanes, which
are all of one feature.
"""

from numba import types
from numba.extending import overload

from gammabeta.kernels import channel
from gammabeta.kernels.folds import DEEP, DEPTH, GROUP, ROWS, START, STRIDE, TILE, copy, fill
from gammabeta.kernels.intrinsics import kernel, prefetch
from gammabeta.kernels.layout import LANES, LINE
from gammabeta.kernels.tile import add_tile, flush


@kernel
def accumulate(x, start, stride, rows, lanes, state, to, sum_limbs, square_limbs, specials, touched):
    """Add `rows` rows of `lanes` lanes, row i being x[start + i·stride : start + i·stride + lanes].

    x: 1-d, contiguous, float32 or float64. state: from `folds.state`. to: int64, the feature of each lane, of whole
    blocks. sum_limbs, square_limbs: int64 (height, features); specials: int64 (3, features); touched: int64 (2, 2), the
    first and the last-plus-one row of limbs in use, for sum_limbs and square_limbs.
    """
    out = (sum_limbs, square_limbs, touched)
    blocks = (lanes + LANES - 1) // LANES
    for row in range(0, rows, ROWS):
        height = min(ROWS, rows - row)
        for block in range(blocks):
            at, width = start + row * stride + block * LANES, min(LANES, lanes - block * LANES)
            add_tile(x, at, stride, DEPTH * stride, height, width, ROWS * stride, state, block, to, specials, out)
    for block in range(blocks):
        flush(state, block, to, out)


def _add(x, offset, jump, rows, ahead, own, state, to, specials, out):
    """Add a tile of 64 lanes of one feature, `DEPTH` rows in one piece and `jump` from such a group to the next."""


@overload(_add)
def _added(x, offset, jump, rows, ahead, own, state, to, specials, out):
    def single(x, offset, jump, rows, ahead, own, state, to, specials, out):
        if not channel.add(x, offset, jump, rows, ahead, own, to[START], out):
            add_tile(x, offset, STRIDE, jump, rows, LANES, ahead, state, START, to, specials, out)

    def double(x, offset, jump, rows, ahead, own, state, to, specials, out):
        add_tile(x, offset, STRIDE, jump, rows, LANES, ahead, state, START, to, specials, out)

    return single if isinstance(x.dtype, types.Float) and x.dtype.bitwidth == 32 else double


@kernel
def _whole(x, start, outer, far, inner, near, own, state, to, specials, out):
    """Add `outer` times `inner` groups, which lie `far` and `near` apart, in tiles of inner ones of one height."""
    tiles = (inner + DEEP - 1) // DEEP
    height = (inner + tiles - 1) // tiles
    for i in range(outer):
        for j in range(0, inner, height):
            ahead = height * near if j + height < inner else far - j * near
            rows = min(height, inner - j) * DEPTH
            _add(x, start + i * far + j * near, near, rows, ahead, own, state, to, specials, out)


@kernel
def _gathered(x, start, length, many, step, onward, room, own, state, to, specials, out):
    """Add what is shorter than a group, in tiles that are filled with it; what comes next lies `onward`."""
    held = START
    for run in range(many):
        at = start + run * step
        stop = at + length
        ahead = DEEP * step if run + DEEP < many else onward - max(many - DEEP, 0) * step
        while at < stop:
            more = min(TILE - held, stop - at)
            for j in range(0, more, LINE // x.itemsize):
                prefetch(x, at + ahead + j)
            copy(x, at, more, room, held)
            held += more
            at += more
            if held == TILE:
                _add(room, START, GROUP, ROWS, START, own, state, to, specials, out)
                held = START
    if held:
        rows = (held + GROUP - 1) // GROUP * DEPTH
        fill(room, held, rows * LANES, 0)
        _add(room, START, GROUP, rows, START, own, state, to, specials, out)


@kernel
def accumulate_runs(
    x, starts, lengths, many, step, first, last, own, state, to, room, sum_limbs, square_limbs, specials, touched
):
    """Add the features first to last, in runs as `layout.Runs` has them, one after another.

    Groups of `DEPTH` rows are added where they lie, what is left of a run is gathered. state: of 64 lanes; to: room for
    64 int64; room: for a tile of x's type. Else as `accumulate`.
    """
    out = (sum_limbs, square_limbs, touched)
    for feature in range(first, last):
        fill(to, START, STRIDE, feature)
        start, groups = starts[feature], lengths[feature] // GROUP
        if groups >= min(DEEP, many):  # else a tile is of groups of several runs
            _whole(x, start, many, step, groups, GROUP, own, state, to, specials, out)
        else:
            _whole(x, start, groups, GROUP, many, step, own, state, to, specials, out)
        rest = lengths[feature] - groups * GROUP
        if rest:
            soon = min(feature + 1 + DEEP // (many + 1), len(starts) - 1)
            onward = starts[soon] - start
            _gathered(x, start + groups * GROUP, rest, many, step, onward, room, own, state, to, specials, out)
        channel.flush(own, feature, out)
        flush(state, START, to, out)


@kernel
def carry(limbs, touched, start, stop):
    """Bring the digits of features into [0, 2³²), those of the last row in use, which have the signs, into
    [−2³¹, 2³¹)."""
    large = 0
    for at in range(touched[0], touched[1]):
        for feature in range(start, stop):
            digit = limbs[at, feature]
            if at + 1 < touched[1]:
                limbs[at, feature] = digit & 0xFFFFFFFF
                limbs[at + 1, feature] += digit >> 32
            else:
                large |= digit ^ (digit >> 63)
    if large >> 31:
        for feature in range(start, stop):
            digit = limbs[touched[1] - 1, feature]
            limbs[touched[1] - 1, feature] = digit & 0xFFFFFFFF
            limbs[touched[1], feature] = digit >> 32
        touched[1] += 1


@kernel
def settle(limbs, touched):
    """Bring digits into the canonical form of `limbs`; `touched` then tells its rows, none where all is zero."""
    features = limbs.shape[1]
    carry(limbs, touched, 0, features)
    while touched[0] < touched[1]:
        some = 0
        for feature in range(features):
            some |= limbs[touched[0], feature]
        if some:
            break
        touched[0] += 1
    while touched[1] - touched[0] > 1:
        last = touched[1] - 1
        more = 0
        for feature in range(features):
            more |= limbs[last, feature] ^ (limbs[last, feature] >> 63)
        if more:
            break
        for feature in range(features):
            limbs[last - 1, feature] += limbs[last, feature] << 32
            limbs[last, feature] = 0
        touched[1] = last
