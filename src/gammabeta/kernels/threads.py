"""One pool of threads for the process: kernels release the GIL and are split over it by ranges.

The number of threads is, in this order: what `limit` says, the environment's OMP_NUM_THREADS (which joblib, Dask and
job schedulers set for their workers), the processors that this process may use. A caller always runs the last range
itself, and a call from within such a range, on whichever thread, runs all of its own: neither can wait for ever.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_pool: ThreadPoolExecutor | None = None
_lock = threading.Lock()
_limit: int | None = None
_inside = threading.local()


def _available() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count() -> int:
    """How many threads a large piece of work is split over."""
    if _limit is not None:
        return _limit
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(asked), _available()) if asked.isdecimal() and int(asked) > 0 else _available()


@contextmanager
def limit(threads: int) -> Iterator[None]:
    """Use at most `threads` threads, in the whole process, within a `with` block.

    >>> with limit(1):
    ...     count()
    1
    """
    global _limit
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    before, _limit = _limit, threads
    try:
        yield
    finally:
        _limit = before


def _forget() -> None:
    """After a fork the child has the pool's object but none of its threads."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _run(work: Callable[[T], R], item: T) -> R:
    _inside.range = True
    try:
        return work(item)
    finally:
        _inside.range = False


def run(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """`[work(item) for item in items]`, over the pool; in order; the first error is raised when all have stopped."""
    global _pool
    if len(items) < 2 or count() == 1 or getattr(_inside, "range", False):
        return [work(item) for item in items]
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(_available(), thread_name_prefix="gammabeta")
        futures = [_pool.submit(_run, work, item) for item in items[:-1]]
    own: Future[R] = Future()
    try:
        own.set_result(_run(work, items[-1]))
    except BaseException as error:  # raised below, in its turn, when no thread works on the caller's arrays any more
        own.set_exception(error)
    wait(futures)
    return [future.result() for future in (*futures, own)]


def ranges(n: int, least: int, multiple: int = 1) -> list[tuple[int, int]]:
    """0…n in at most `count()` ranges about equally long, each of `least` or more, cut at multiples of `multiple`."""
    parts = max(1, min(count(), n // max(1, least)))
    cuts = [n * i // parts // multiple * multiple for i in range(parts)] + [n]
    return [(a, b) for a, b in pairwise(cuts) if b > a]
