"""Batch norm of a contiguous tensor, small ones above all, in one call, from addresses.

What counts for some thousands of values is what surrounds the arithmetic: an address is passed in 20 ns, an array in
50. An address of 0 stands for none. x: (runs, features, width), with a width of 1 a table
(`core/batchnorm/contiguous.cpp`).

`forward`, `evaluate` and `backward` take a `room`, the kinds of x and of the parameters, a number of threads, and x's
shape; then x's address and the others. With one thread they do all; with more they lay the work down in the room,
where threads then call `run` with it, or the function at `RUN` with its address, and `settle` ends it.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import binding

KINDS = {"float16": 0, "bfloat16": 1, "float32": 2, "float64": 3}

forward = binding.function("contiguous_forward")
evaluate = binding.function("contiguous_evaluate")
backward = binding.function("contiguous_backward")
run = binding.function("contiguous_run")
settle = binding.function("contiguous_settle")
RUN = binding.address("contiguous_run")

_ROOM = binding.function("contiguous_room")


@lru_cache(maxsize=1024)
def _size(many: int, runs: int, features: int, width: int) -> int:
    return _ROOM(many, runs, features, width)


def room(many: int, runs: int, features: int, width: int) -> NDArray[np.float64]:
    """A new array for a call of so many threads to work in."""
    return np.empty(_size(many, runs, features, width))
