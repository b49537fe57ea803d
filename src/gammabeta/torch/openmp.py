"""Runs compiled functions on torch's own OpenMP threads, which are awake between torch's operations."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gammabeta.kernels import thread_pool
from gammabeta.kernels.binding import Kernel

GRAIN = 2**15  # elements up to which torch's own operations stay on one thread

_WORK = ctypes.CFUNCTYPE(None, ctypes.c_int64)


@cache
def _parallel() -> Any:
    """`GOMP_parallel` of the OpenMP library that torch is linked with, where it has one: what compilers call where a
    program says `#pragma omp parallel`, in GCC's library since 2014 and in LLVM's and Intel's on Linux."""
    for library in sorted((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.so*")):
        try:
            found = ctypes.CDLL(str(library)).GOMP_parallel
        except (OSError, AttributeError):
            continue
        found.argtypes, found.restype = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint, ctypes.c_uint), None
        return found
    return None


@cache
def _called(function: int) -> Any:
    return _WORK(function)


def count() -> int:
    """The number of threads that `call_on_torch_threads` uses."""
    return min(torch.get_num_threads(), thread_pool.count())


def together(function: int, kernel: Kernel, room: NDArray[np.float64], many: int) -> None:
    """The function at an address with that of `room`, on so many threads: torch's, or where it has not these, our own,
    on which its `kernel` is called."""
    parallel = _parallel()
    if parallel is None:
        thread_pool.run(lambda _: kernel(room), range(many))
    else:
        parallel(function, room.ctypes.data, many, 0)


def call_here(function: int, given: int) -> None:
    """Call the compiled `void f(int64)` at an address on this thread."""
    _called(function)(given)


def call_on_torch_threads(function: int, given: int) -> None:
    """Run a compiled `void f(int64)` once on each OpenMP thread of torch, or on as many as `threads.limit` allows.

    On this thread alone if torch has one thread, or its OpenMP library is not found.
    """
    parallel, many = _parallel(), count()
    if parallel is None or many == 1:
        call_here(function, given)
    else:
        parallel(function, given, many, 0)
