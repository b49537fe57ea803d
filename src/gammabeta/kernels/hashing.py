"""Numbers for the distinct values of a column of 64-bit keys, in the order in which they come."""

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import layout
from gammabeta.kernels.intrinsics import kernel

_START = 2**12  # slots of the table at first; it doubles before it is half full
_MIX = np.uint64(0x9E37_79B9_7F4A_7C15)  # 2⁶⁴ over the golden ratio: Fibonacci hashing
_WORD = 64
_ONE = np.uint64(1)


@kernel
def _slot(key, slots, distinct, shift):
    """The slot that has this key, or an empty one, −1, where it would go."""
    mask = np.uint64(len(slots)) - _ONE
    at = (np.uint64(key) * _MIX) >> shift
    while slots[at] >= 0 and distinct[slots[at]] != key:
        at = (at + _ONE) & mask
    return at


@kernel
def _number(keys, start, codes, slots, distinct, count, shift):
    """Number keys from `start` on until the table is half full; how far that was, and how many are distinct."""
    for i in range(start, len(keys)):
        at = _slot(keys[i], slots, distinct, shift)
        if slots[at] < 0:
            if 2 * count >= len(slots):
                return i, count
            slots[at] = count
            distinct[count] = keys[i]
            count += 1
        codes[i] = slots[at]
    return len(keys), count


@kernel
def _enter(count, slots, distinct, shift):
    """Put the distinct keys into an empty table."""
    for i in range(count):
        slots[_slot(distinct[i], slots, distinct, shift)] = i


def numbered(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The distinct keys, in order of appearance, and which of them each key is."""
    keys = layout.readable(np.ascontiguousarray(keys))
    codes, size = np.empty(len(keys), np.int32), _START
    distinct, done, count = np.empty(0, np.int64), 0, 0
    while True:
        slots, shift = np.full(size, -1, np.int32), np.uint64(_WORD + 1 - size.bit_length())
        distinct = np.concatenate([distinct[:count], np.empty(size // 2 + 1 - count, np.int64)])
        _enter(count, slots, distinct, shift)
        done, count = _number(keys, done, codes, slots, distinct, count, shift)
        if done == len(keys):
            return distinct[:count].copy(), codes
        size *= 2
