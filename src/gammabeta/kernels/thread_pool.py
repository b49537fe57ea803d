"""One pool of threads for the process: kernels release the GIL and are split over it by ranges.

The number of threads is, in this order: what `set_num_threads` or `limit` says, the environment's OMP_NUM_THREADS
(which joblib, Dask and job schedulers set for their workers), the processors that this process may use. A caller does
its share itself, and a call from within such work, on whichever thread, does all of its own: neither can wait for ever.
Where the system starts no more threads (a container's limit of processes), those that there are do the work: the caller
alone, if need be.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from itertools import pairwise
from numbers import Integral
from queue import SimpleQueue
from typing import Any, TypeVar

from gammabeta.errors import DataError, KindError

T = TypeVar("T")
R = TypeVar("R")

# A queue of C's own in the place of `ThreadPoolExecutor` and its futures: 10 µs for a piece of work instead of 35.
_tasks: SimpleQueue[Any] = SimpleQueue()
_started = 0
_lock = threading.Lock()
_limit: int | None = None
_inside = threading.local()


def _available() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count() -> int:
    """How many threads a large piece of work is split over; within such work, none but its own."""
    if getattr(_inside, "work", False):
        return 1
    if _limit is not None:
        return _limit
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(asked), _available()) if asked.isdecimal() and int(asked) > 0 else _available()


def get_num_threads() -> int:
    """How many threads a call of this library works on.

    That is what `set_num_threads` said, else the environment's OMP_NUM_THREADS, which joblib, Dask and job schedulers
    set for their workers, else the number of processors that this process may use. A small array takes one thread,
    whatever the number; statistics and maps have the same bits with any.
    """
    return count()


def set_num_threads(threads: int | None) -> None:
    """Set how many threads a call of this library may work on, from now on, in the whole process.

    Args:
        threads: 1 or more, also more than there are processors; None is the number before any was set. The threads of
            torch, TensorFlow and JAX are theirs: they have functions of their own.

    Raises:
        DataError: threads is less than 1.
        KindError: threads is not an integer.

    >>> import gammabeta as gb
    >>> gb.set_num_threads(2)
    >>> gb.get_num_threads()
    2
    >>> gb.set_num_threads(None)
    """
    global _limit
    if threads is not None:
        if not isinstance(threads, Integral) or isinstance(threads, bool):
            raise KindError(f"threads must be an integer, or None for the default, got {threads!r}")
        if threads < 1:
            raise DataError(f"threads must be at least 1, or None for the default, got {threads}")
        threads = int(threads)
    _limit = threads


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
    """After a fork the child has the queue, and perhaps tasks in it, but none of the threads."""
    global _tasks, _started, _lock
    _tasks, _started, _lock = SimpleQueue(), 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _serve(tasks: SimpleQueue[Any]) -> None:
    """The loop of a pool thread: take tasks from the queue for ever, keeping nothing between two of them."""
    while True:
        _help(*tasks.get())


def _help(work: Callable[[T], R], items: Sequence[T], left: deque[int], done: SimpleQueue[Any]) -> None:
    for place in _taken(left, deque.popleft):
        done.put((place, *_outcome(work, items[place])))


def _taken(left: deque[int], take: Callable[[deque[int]], int]) -> Iterator[int]:
    """What is left to be done, one by one, as long as there is any."""
    with suppress(IndexError):
        while True:
            yield take(left)


def _outcome(work: Callable[[T], R], item: T) -> tuple[R | None, BaseException | None]:
    """The result of `work(item)` and None, or None and the error that it raised."""
    _inside.work = True
    try:
        return work(item), None
    except BaseException as error:  # raised by `run`, when no thread works on the caller's arrays any more
        return None, error
    finally:
        _inside.work = False


def _start(threads: int) -> None:
    """Start pool threads until there are `threads`, or as many as processors, or as the system starts."""
    global _started
    with _lock:
        while _started < min(threads, _available()):
            name = f"gammabeta_{_started}"
            if not started(threading.Thread(target=_serve, args=(_tasks,), name=name, daemon=True)):
                return
            _started += 1


def started(thread: threading.Thread) -> bool:
    """Start a thread; False where the system starts none."""
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def free(max_threads: int) -> int:
    """How many more threads the system starts now, up to `max_threads`."""
    leave, waiting = threading.Event(), list[threading.Thread]()
    while len(waiting) < max_threads and started(thread := threading.Thread(target=leave.wait, daemon=True)):
        waiting.append(thread)
    leave.set()
    for thread in waiting:
        thread.join()
    return len(waiting)


def run(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """`[work(item) for item in items]`, over the pool; in order; the first error is raised when all have stopped.

    The pool's threads take items from the front and the caller from the back, so that a thread that comes late, its
    processor being busy with another library's, delays nobody.
    """
    helpers = min(count(), len(items)) - 1 if len(items) > 1 else 0
    if helpers < 1:
        return [work(item) for item in items]
    if _started < helpers:
        _start(helpers)
    left, done = deque(range(len(items))), SimpleQueue[Any]()
    for _ in range(min(helpers, _started)):  # a task that no thread takes would keep the caller's arrays
        _tasks.put((work, items, left, done))
    outcomes: dict[int, Any] = {place: _outcome(work, items[place]) for place in _taken(left, deque.pop)}
    while len(outcomes) < len(items):
        place, *outcome = done.get()
        outcomes[place] = outcome
    in_order = [outcomes[place] for place in range(len(items))]
    for _, error in in_order:
        if error is not None:
            raise error
    return [result for result, _ in in_order]


def submit(pool: Executor, work: Callable[..., R], *given: Any) -> "Future[R]":
    """`pool.submit(work, *given)`; where a thread cannot be started, the caller does the work before this returns.

    The pool may have queued by then what it says it could not begin: whoever comes first does it, and nobody twice.
    """
    future: Future[R] = Future()
    first = threading.Lock()

    def once() -> None:
        if not first.acquire(blocking=False):
            return
        try:
            result = work(*given)
        except BaseException as error:  # raised by `future.result`
            future.set_exception(error)
            if not isinstance(error, Exception):  # Ctrl-C ends a caller who works at once
                raise
        else:
            future.set_result(result)

    try:
        pool.submit(once)
    except RuntimeError:
        once()
    return future


def alone() -> None:
    """Let this thread do all of its work itself from now on: it is one of several that keep the processors busy."""
    _inside.work = True


def ranges(n: int, min_size: int, multiple: int = 1, pieces: int = 1) -> list[tuple[int, int]]:
    """0…n in at most `count()` ranges about equally long, each of `min_size` or more, cut at multiples of `multiple`.

    With `pieces` each thread has that many, to even out what one of them is late by.
    """
    if n < 2 * min_size:  # `count` asks the system
        return [(0, n)] if n else []
    parts = max(1, min(count() * pieces if count() > 1 else 1, n // max(1, min_size)))
    cuts = [n * i // parts // multiple * multiple for i in range(parts)] + [n]
    return [(a, b) for a, b in pairwise(cuts) if b > a]
