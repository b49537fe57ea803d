"""Reading ahead by a thread, so that one stage reads while another computes and a third writes."""

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import TypeVar

from gammabeta.kernels import thread_pool

T = TypeVar("T")


def prefetch(items: Iterable[T], depth: int = 1, *, in_caller_thread: bool = False) -> Iterator[T]:
    """Yield the same items, made by a thread of their own, up to `depth` before they are asked for.

    What the thread raises is raised here. When the caller stops early the thread stops too, and is waited for.
    `in_caller_thread`: no thread after all, since they are made by code that may know no other than the caller's. Nor
    is there one where the system starts none.

    >>> list(prefetch(n * n for n in range(4)))
    [0, 1, 4, 9]
    """
    if in_caller_thread:
        yield from items
        return
    ready: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def give(last: bool, item: T | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                ready.put((last, item), timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for item in items:
                give(False, item)
                if stopped.is_set():
                    break
            give(True, None)
        except BaseException as error:  # whatever it is, it belongs to the caller
            give(True, error)
        finally:
            if isinstance(items, Generator):
                items.close()

    thread = threading.Thread(target=work, name="gammabeta-prefetch", daemon=True)
    if not thread_pool.started(thread):
        yield from items
        return
    try:
        while True:
            last, item = ready.get()
            if isinstance(item, BaseException):
                raise item
            if last:
                return
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()
