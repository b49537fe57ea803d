"""The kernels of exact sums of x and x²: the columns of a table, or vectors, cut into tiles.

The columns of a table are lanes; a narrow one has several rows side by side. A vector's values go down 64 lanes, which
are all of one feature.
"""

from numba import njit

from gammabeta.kernels.intrinsics import prefetch
from gammabeta.kernels.layout import LANES, LINE
from gammabeta.kernels.tile import ROWS, START, STRIDE, add_tile, copy, fill, flush


@njit(nogil=True, cache=True)
def accumulate(x, start, stride, rows, lanes, known, to, sum_limbs, square_limbs, specials, touched):
    """Add `rows` rows of `lanes` lanes, row i being x[start + i·stride : start + i·stride + lanes].

    x: 1-d, contiguous, float32 or float64. known: from `state`. to: int64, the feature of each lane, of whole blocks.
    sum_limbs, square_limbs: int64 (height, features); specials: int64 (3, features); touched: int64 (2, 2), the first
    and the last-plus-one row of limbs in use, for sum_limbs and square_limbs.
    """
    folds, _, constants, totals, grids, pending, _, _ = known
    out = (sum_limbs, square_limbs, touched)
    blocks = len(pending)
    for row in range(0, rows, ROWS):
        height = min(ROWS, rows - row)
        for block in range(blocks):
            first = block * LANES
            width, mine = min(LANES, lanes - first), to[first : first + LANES]
            add_tile(x, start + row * stride + first, stride, height, width, block, known, mine, specials, out)
    for block in range(blocks):
        mine = to[block * LANES : (block + 1) * LANES]
        flush(folds, mine, grids[block], constants[block], totals[block], pending[block], out)
        pending[block] = 0


@njit(nogil=True, cache=True)
def accumulate_runs(x, starts, lengths, known, to, gathered, sum_limbs, square_limbs, specials, touched):
    """Add features one after another, feature i being x[starts[i, k] : starts[i, k] + lengths[i]] for each k.

    known: from `state`, of 64 lanes; to: room for 64 int64; gathered: for a tile of x's type. Else as `accumulate`.
    """
    folds, _, constants, totals, grids, pending, _, _ = known
    out = (sum_limbs, square_limbs, touched)
    tile = ROWS * LANES
    for feature in range(len(lengths)):
        fill(to, feature)
        held = 0
        for run in range(starts.shape[1]):
            at = starts[feature, run]
            stop = at + lengths[feature]
            while at < stop:
                if held == 0 and stop - at >= tile:
                    add_tile(x, at, STRIDE, ROWS, LANES, 0, known, to, specials, out)
                    at += tile
                    continue
                more = min(tile - held, stop - at)
                if run + 1 < starts.shape[1]:
                    below = starts[feature, run + 1] + at - starts[feature, run]
                    for j in range(0, more, LINE // x.itemsize):
                        prefetch(x, below + j)
                copy(x[at : at + more], gathered[held:])
                held += more
                at += more
                if held == tile:
                    add_tile(gathered, START, STRIDE, ROWS, LANES, 0, known, to, specials, out)
                    held = 0
        if held:
            fill(gathered[held:], 0)
            add_tile(gathered, START, STRIDE, ROWS, LANES, 0, known, to, specials, out)
        flush(folds, to, grids[0], constants[0], totals[0], pending[0], out)
        pending[0] = 0
