"""The pool: limits are kept, errors come out, several callers at once and a fork after use do no harm."""

import os
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import gammabeta as gb
from gammabeta import Affine, Moments
from gammabeta.kernels import thread_pool

X = np.random.default_rng(0).standard_normal((400_000, 2))


def test_ranges_cover_everything_once() -> None:
    with thread_pool.limit(3):
        for n, least, multiple in (
            (0, 1, 1),
            (1, 1, 1),
            (10, 3, 1),
            (1000, 10, 64),
            (1001, 10, 64),
            (5, 100, 1),
            (64, 1, 64),
        ):
            parts = thread_pool.ranges(n, least, multiple)
            assert [i for a, b in parts for i in range(a, b)] == list(range(n))
            assert len(parts) <= 3 and all(a % multiple == 0 for a, _ in parts)


def test_run_keeps_order_and_raises_the_first_error() -> None:
    assert thread_pool.run(lambda n: n * n, range(20)) == [n * n for n in range(20)]
    done = []

    def work(n: int) -> None:
        if n in (1, 3):
            raise ValueError(f"part {n}")
        done.append(n)

    with thread_pool.limit(2), pytest.raises(ValueError, match="part 1"):
        thread_pool.run(work, [0, 1, 2, 3])
    assert 0 in done


def test_what_was_worked_on_can_go() -> None:
    """A thread that waits for work holds nothing of the last."""
    array = np.ones(8)
    gone, both = weakref.ref(array), threading.Barrier(2)
    with thread_pool.limit(2):
        thread_pool.run(lambda _, array=array: (array.sum(), both.wait(10)), range(2))
        del array
        for _ in range(100):
            if gone() is None:
                break
            time.sleep(0.01)  # the other thread has given its result, and is about to return
    assert gone() is None


def test_limits() -> None:
    with thread_pool.limit(1):
        assert thread_pool.count() == 1
        names = thread_pool.run(lambda _: threading.current_thread().name, range(4))
        assert set(names) == {threading.current_thread().name}
        with thread_pool.limit(5):
            assert thread_pool.count() == 5
        assert thread_pool.count() == 1
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"), thread_pool.limit(0):
        pass


@pytest.mark.parametrize(("asked", "most"), [("1", 1), ("0", None), ("", None), ("many", None), ("100000", None)])
def test_the_environment_limits_threads(monkeypatch: pytest.MonkeyPatch, asked: str, most: int | None) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert thread_pool.count() == (most or available)


def test_the_number_of_threads_is_set_for_the_process() -> None:
    before = gb.get_num_threads()
    one = Moments.of(X)
    try:
        gb.set_num_threads(3)
        assert gb.get_num_threads() == thread_pool.count() == 3 and Moments.of(X) == one
        with thread_pool.limit(1):
            assert gb.get_num_threads() == 1
        gb.set_num_threads(np.int64(1))
        assert gb.get_num_threads() == 1 and Moments.of(X) == one
    finally:
        gb.set_num_threads(None)
    assert gb.get_num_threads() == before


@pytest.mark.parametrize(
    ("threads", "error"), [(0, gb.DataError), (-2, gb.DataError), (1.5, gb.KindError), ("2", gb.KindError)]
)
def test_a_wrong_number_of_threads_is_refused(threads: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"threads must be .*, or None for the default, got {threads!r}"):
        gb.set_num_threads(threads)


def test_work_within_work_does_not_wait_for_ever() -> None:
    with thread_pool.limit(2):
        inner = thread_pool.run(lambda i: thread_pool.run(lambda j: 10 * i + j, range(4)), range(4))
    assert inner == [[10 * i + j for j in range(4)] for i in range(4)]


def test_several_python_threads_at_once() -> None:
    expected = Moments.of(X)
    image = Affine.standard(expected)(X)
    with ThreadPoolExecutor(4) as pool:
        for m, y in pool.map(lambda _: (Moments.of(X), Affine.standard(expected)(X)), range(12)):
            assert m == expected
            np.testing.assert_array_equal(y, image)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_after_a_fit_works() -> None:
    program = """
import os, numpy as np
from gammabeta import Moments
from gammabeta.kernels import thread_pool
x = np.random.default_rng(0).standard_normal((400_000, 2))
with thread_pool.limit(2):
    before = Moments.of(x)
    child = os.fork()
    if child == 0:
        os._exit(0 if Moments.of(x) == before else 1)
    assert os.waitpid(child, 0)[1] == 0 and Moments.of(x) == before
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_work_within_work_goes_to_no_other_thread():
    """Neither from the pool's threads nor from the caller's own: they are busy with each other's ranges."""

    def outer(_):
        inside = thread_pool.run(lambda _: threading.get_ident(), range(4))
        return set(inside) == {threading.get_ident()}

    with thread_pool.limit(2):
        assert thread_pool.run(outer, range(3)) == [True] * 3
        both = threading.Barrier(2)  # and afterwards it is as before: two threads meet
        assert sorted(thread_pool.run(lambda _: both.wait(10), range(2))) == [0, 1]
