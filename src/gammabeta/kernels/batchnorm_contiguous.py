"""Batch norm of a contiguous tensor, small ones above all, in one call, from addresses.

What counts for some thousands of values is what surrounds the arithmetic: an address is passed in 20 ns, an array in
50. An address of 0 stands for none. x: (runs, features, width), with a width of 1 a table
(`core/batchnorm/contiguous.cpp`).

`forward`, `evaluate` and `backward` begin with the same arguments: room, what `room` gave, which the call writes to;
kind and parameter_kind, of `KINDS`, for x and for parameters and running statistics; threads; runs, features, width.
The memory at addresses is the caller's and must live until the call has ended. With one thread a call does all; with
more it lays the work down in the room, where each thread then calls `run`, or the function at `RUN` with the room's
address, and `settle` ends it.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import binding

KINDS = {"float16": 0, "bfloat16": 1, "float32": 2, "float64": 3}

forward = binding.function("contiguous_forward")
"""Normalize a training batch and move the running statistics.

After the common arguments: addresses of x, y (written), gamma, beta, running_mean, running_var (written, with batches,
an int64, if there are any); statistics, float64 (3, features), written: mean, mean_lo and biased variance; eps; most,
which every variance must be below; weight, of the batch in the running statistics; unbiased, whether the running
variance is. Returns 0 where a variance is not below `most`, the running statistics being as they were, else 1.
"""

evaluate = binding.function("contiguous_evaluate")
"""Normalize by the running statistics: addresses of x, y (written), gamma, beta, running_mean, running_var; eps."""

backward = binding.function("contiguous_backward")
"""The gradients of `forward`: addresses of x, dy, dx (written), gamma, dgamma and dbeta (written, if there are any);
statistics, as `forward` wrote them; eps."""

run = binding.function("contiguous_run")
"""Do one thread's part of the work laid down in a room, its argument."""

settle = binding.function("contiguous_settle")
"""End the work laid down in a room, its argument, when all threads are done; returns what one thread's call does."""

RUN = binding.address("contiguous_run")
"""The address of `run` for callers that are not Python: a function of the room's address."""

_ROOM = binding.function("contiguous_room")


@lru_cache(maxsize=1024)
def _size(many: int, runs: int, features: int, width: int) -> int:
    return _ROOM(many, runs, features, width)


def room(many: int, runs: int, features: int, width: int) -> NDArray[np.float64]:
    """A new array for a call of `many` threads to work in, float64, of whatever size that takes."""
    return np.empty(_size(many, runs, features, width))
