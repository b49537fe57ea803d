"""Numbers for the distinct values of a column of 64-bit keys, in the order in which they come."""

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import binding

_START = 2**12  # slots of the table at first; it doubles before it is half full

_number = binding.function("factorize_number")
_enter = binding.function("factorize_enter")


def numbered(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The distinct keys, in order of appearance, and which of them each key is."""
    keys = np.ascontiguousarray(keys)
    codes, size = np.empty(len(keys), np.int32), _START
    distinct, state = np.empty(0, np.int64), np.zeros(2, np.int64)  # how many keys are numbered, and how many distinct
    while True:
        slots, count = np.full(size, -1, np.int32), int(state[1])
        distinct = np.concatenate([distinct[:count], np.empty(size // 2 + 1 - count, np.int64)])
        _enter(count, slots, distinct)
        _number(keys, codes, slots, distinct, state)
        if state[0] == len(keys):
            return distinct[: state[1]].copy(), codes
        size *= 2
