"""A dense tensor as (outer, features, width), and where a tile of it lies: what every kernel here begins with.

Axes that are reduced stand before the features in memory, behind them, or both: (n, c, h, w) is (n, c, h·w), its
channels_last form (n·h·w, c, 1), a table (n, f) is (n, f, 1). A tile is of `ROWS` outer places. With `RUNS`, where
values of one feature lie side by side, its columns are places of one feature's width; without, they are features. What
belongs to a feature, `per`, has shape (1, 1) or (1, COLUMNS) then, and goes with a tile by broadcasting.
"""

import triton
import triton.language as tl


@triton.jit
def count(outer, width, RUNS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """How many tiles cover the values of a block of features."""
    tiles = tl.cdiv(outer, ROWS)
    if RUNS:
        tiles *= tl.cdiv(width, COLUMNS)
    return tiles


@triton.jit
def share(tiles, part, parts):
    """The tiles of one of several parts, about equally large: the first, and the one after the last."""
    each = tl.cdiv(tiles, parts)
    return tl.minimum(part * each, tiles), tl.minimum((part + 1) * each, tiles)


@triton.jit
def per(block, features, RUNS: tl.constexpr, COLUMNS: tl.constexpr):
    """The features of a block, and which of them there are."""
    if RUNS:
        feature = block + tl.zeros((1, 1), tl.int32)
    else:
        feature = block * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    return feature, feature < features


@triton.jit
def place(tile, block, outer, features, width, RUNS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """A tile's outer places, its features and its places in the width, and which of these there are."""
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    if RUNS:
        across = tl.cdiv(width, COLUMNS)
        row += (tile // across) * ROWS
        column += (tile % across) * COLUMNS
        there = (row < outer) & (column < width)
        feature = block + tl.zeros((1, 1), tl.int32)
        along = column
    else:
        row += tile * ROWS
        feature = block * COLUMNS + column
        there = (row < outer) & (feature < features)
        along = tl.zeros((1, 1), tl.int32)
    # A tensor may have more than 2³¹ values.
    return row.to(tl.int64), feature.to(tl.int64), along.to(tl.int64), there


@triton.jit
def summed(values, RUNS: tl.constexpr):
    """The sums over a tile of what belongs to each feature."""
    total = tl.sum(values, 0, keep_dims=True)
    if RUNS:
        total = tl.sum(total, 1, keep_dims=True)
    return total
