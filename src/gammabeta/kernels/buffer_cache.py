"""A cache of memory for large results: what a result gives back is used by the next one of its size.

The system gives and takes memory of 32 MB and more page by page, and clears it: that costs a result as much time as
four sweeps of memory (9 ms for 100 MB). A network asks for the same sizes at every step, so what it gives back is kept,
at most `MOST` bytes of it, the latest first.
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Bytes = NDArray[np.uint8]

LEAST = 2**25  # bytes: what malloc gives back to the system at once, whatever its own thresholds
MOST = 2**28

_cached: list[Bytes] = []
_lock = threading.RLock()  # a result may go while this very thread is here


class _Lease:
    """The owner of a result's memory: gives it back to the cache when no array or tensor shows it any more."""

    def __init__(self, memory: Bytes, size: int) -> None:
        self.memory = memory
        self.__array_interface__ = {**memory[:size].__array_interface__}

    def __del__(self) -> None:
        _keep(self.memory)


def empty(size: int, dtype: DTypeLike) -> NDArray[Any]:
    """`np.empty(size, dtype)`, one-dimensional."""
    bytes_ = size * np.dtype(dtype).itemsize
    if bytes_ < LEAST:
        return np.empty(size, dtype)
    memory = _found(bytes_)
    # `np.empty` asks for huge pages, frameworks do not: 11 ms for 100 MB instead of 29.
    return np.asarray(_Lease(np.empty(bytes_, np.uint8) if memory is None else memory, bytes_)).view(dtype)


def _found(size: int) -> Bytes | None:
    """Memory of that size, or up to half as much again, that was kept."""
    with _lock:
        for place in reversed(range(len(_cached))):
            if size <= _cached[place].size <= size * 3 // 2:
                return _cached.pop(place)
    return None


def _keep(memory: Bytes) -> None:
    """Keep memory, and let the oldest go that is then too much."""
    with _lock:
        _cached.append(memory)
        while sum(one.size for one in _cached) > MOST:
            del _cached[0]
