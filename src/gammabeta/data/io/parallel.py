"""A map over items by several threads, which the caller can stop."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from threading import Event
from typing import TypeVar

from gammabeta.kernels import thread_pool

T = TypeVar("T")
R = TypeVar("R")
ItemProgressFn = Callable[[int], None]  # how much of its item a thread has done

TICK = 0.1  # seconds from one report of progress to the next


class _Stopped(Exception):  # noqa: N818
    """Raised in a worker to leave its item, since the caller has stopped."""


def map_concurrently(
    work: Callable[[T, ItemProgressFn], R],
    items: Sequence[T],
    sizes: Sequence[int],
    at_once: int,
    report_progress: Callable[[int], None],
) -> Iterator[tuple[T, R]]:
    """Yield each item with the result of `work`, in the order in which they are done.

    Args:
        work: takes an item, and what it must call every now and then with how much of it is done.
        sizes: how much there is to do of each item.
        at_once: how many are worked on at the same time, if there are as many processors.
        report_progress: called with how much of all is done.

    What goes wrong is raised at once. Whoever stops early, be it by Ctrl-C, leaves no thread at work. Where no thread
    can be started, the caller works.

    >>> sorted(map_concurrently(lambda n, report_progress: n * n, [2, 3], [1, 1], 2, lambda done: None))
    [(2, 4), (3, 9)]
    """
    done, stop = [0] * len(items), Event()
    left = iter(range(len(items)))
    at_once = min(thread_pool.count(), at_once)
    busy = at_once == thread_pool.count() and len(items) >= at_once
    with ThreadPoolExecutor(at_once, "gammabeta-map", thread_pool.alone if busy else None) as pool:

        def begin(i: int) -> tuple[Future[R], int]:
            def report_item(amount: int) -> None:
                if stop.is_set():
                    raise _Stopped
                done[i] = min(amount, sizes[i])

            def item() -> R:
                report_item(0)
                return work(items[i], report_item)

            return thread_pool.submit(pool, item), i

        running = dict(map(begin, islice(left, at_once + 1)))  # one waits, so that no thread has to
        try:
            while running:
                for future in wait(running, TICK, FIRST_COMPLETED).done:
                    i = running.pop(future)
                    running |= map(begin, islice(left, 1))
                    result = future.result()
                    done[i] = sizes[i]
                    yield items[i], result
                report_progress(sum(done))
        finally:
            stop.set()
