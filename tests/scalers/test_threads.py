"""A scaler that one thread fits and others read: each reader sees one fit or another, whole."""

import copy
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from sklearn.utils.validation import check_is_fitted

from gammabeta import MinMaxScaler, StandardScaler
from gammabeta.numpy import BatchNorm

SECONDS = 0.4
# Each fit's mean goes with its scale: 1 and 1, 1000 and 1000. A mixture gives neither image.
ONE = np.array([[0.0], [2.0]])
THOUSAND = 1000 * ONE
POINT = np.array([[3.0]])


@contextmanager
def switching() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def seen_meanwhile(write: Callable[[], object], read: Callable[[], Any], seconds: float = SECONDS) -> list[Any]:
    """What `read` gave while another thread wrote over and over again, and the errors of both."""
    found, stop = [], threading.Event()

    def writing() -> None:
        try:
            while not stop.is_set():
                write()
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=writing)
    timer = threading.Timer(seconds, stop.set)
    with switching():
        thread.start()
        timer.start()
        try:
            while not stop.is_set():
                found.append(read())
        except Exception as error:
            found.append(error)
        stop.set()
        thread.join()
        timer.cancel()
    return found


def either(scaler: Any) -> Callable[[], object]:
    """Fit on one table, then on the other."""
    return lambda: (scaler.fit(ONE), scaler.fit(THOUSAND))


def image(scaler: Any) -> float:
    return float(scaler.transform(POINT)[0, 0])


def way_back(scaler: Any) -> float:
    return float(scaler.inverse_transform(POINT)[0, 0])


def of_json(scaler: Any) -> float:
    return image(type(scaler).from_json(scaler.to_json()))


def of_pickle(scaler: Any) -> float:
    return image(pickle.loads(pickle.dumps(scaler)))


def of_copy(scaler: Any) -> float:
    return image(copy.deepcopy(scaler))


def of_affine(scaler: Any) -> float:
    return float(scaler.affine_(POINT)[0, 0])


def of_merge(scaler: Any) -> float:
    return image(type(scaler)().merge(scaler))


def of_check(scaler: Any) -> float:
    check_is_fitted(scaler)
    return image(scaler)


READERS = [image, way_back, of_json, of_pickle, of_copy, of_affine, of_merge, of_check]


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@pytest.mark.parametrize("make", [StandardScaler, MinMaxScaler])
def test_readers_see_one_fit_or_the_other(make, read):
    allowed = {read(make().fit(ONE)), read(make().fit(THOUSAND))}
    scaler = make().fit(ONE)
    found = seen_meanwhile(either(scaler), lambda: read(scaler))
    assert set(found) <= allowed, [x for x in found if x not in allowed][:3]


@pytest.mark.parametrize("make", [StandardScaler, MinMaxScaler])
def test_every_attribute_is_always_there(make):
    scaler = make().fit(ONE)
    names = [name for name in vars(scaler) if name.endswith("_")]
    found = seen_meanwhile(either(scaler), lambda: all(hasattr(scaler, name) for name in names))
    assert set(found) == {True}
    assert len(names) >= 6


@pytest.mark.parametrize("make", [StandardScaler, MinMaxScaler])
def test_readers_see_whole_merges_and_partial_fits(make):
    """The mean of −k…k and its neighbours' is 0, and so is the middle of the range: any mixture would show."""
    scaler, other = make().fit([[-1.0], [1.0]]), make().fit([[-3.0], [3.0]])
    wide = [0.0]

    def write() -> None:
        wide[0] += 1
        scaler.partial_fit([[-wide[0]], [wide[0]]])
        scaler.merge(other)

    def read() -> bool:
        affine = scaler.affine_
        middle = 0.0 if make is StandardScaler else 0.5
        return abs(float(affine(np.zeros((1, 1)))[0, 0]) - middle) < 1e-12

    assert set(seen_meanwhile(write, read)) == {True}


@pytest.mark.parametrize("make", [StandardScaler, MinMaxScaler])
def test_rows_that_threads_add_at_the_same_time_are_all_counted(make):
    x = np.random.default_rng(0).normal(size=(4, 200, 3, 2))
    scaler, start = make(), threading.Barrier(4)

    def add(parts: np.ndarray) -> None:
        start.wait(10)
        for part in parts:
            scaler.partial_fit(part)

    threads = [threading.Thread(target=add, args=(parts,)) for parts in x]
    with switching():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    whole = make().fit(x.reshape(-1, 2))
    assert scaler.to_json() == whole.to_json()


def test_a_fit_that_fails_leaves_the_scaler_as_it_was():
    scaler = StandardScaler().fit(ONE)
    before = scaler.to_json()
    with pytest.raises(ValueError, match="infinity"):
        scaler.fit([[np.inf, 1.0]])
    assert scaler.to_json() == before
    assert scaler.n_features_in_ == 1


def test_other_features_after_another_threads_first_fit_are_refused():
    """Both threads found the scaler unfitted; the second comes with other columns."""

    class Slow(StandardScaler):
        def _fit_statistic(self, X, *given):
            found = super()._fit_statistic(X, *given)
            if X.shape[1] == 2:
                scaler.partial_fit(ONE)
            return found

    scaler = Slow()
    with pytest.raises(ValueError, match=r"same features, got \(1,\) .* and \(2,\)"):
        scaler.partial_fit(np.zeros((3, 2)))
    assert scaler.n_features_in_ == 1


def test_what_a_subclass_learns_beside_is_kept():
    class Counting(StandardScaler):
        def partial_fit(self, X, y=None, sample_weight=None):
            self.calls_ = getattr(self, "calls_", 0) + 1
            return super().partial_fit(X, y, sample_weight)

    scaler = Counting().fit(ONE).partial_fit(ONE)
    assert scaler.calls_ == 2
    assert scaler.n_samples_seen_ == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside other threads
def test_a_fork_while_another_thread_adds():
    """The child's lock is its own: the parent's may be held by a thread that the child has not."""
    from gammabeta.scalers import fitted_state

    with fitted_state._swapping:
        child = os.fork()
        if child == 0:
            os._exit(0 if StandardScaler().fit(ONE).mean_[0] == 1.0 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_layer_is_evaluated_with_one_batchs_statistics():
    """Mean and variance of a batch scaled by 1000 go together; the image of 0 tells mixtures."""
    one = np.array([[0.0], [2.0]])
    layer = BatchNorm(1)
    layer.convention = layer.convention.replace(decay=0.0)

    def write() -> None:
        layer.forward(one, training=True)
        layer.forward(1000 * one, training=True)

    write()
    allowed = set()
    for batch in (one, 1000 * one):
        layer.forward(batch, training=True)
        allowed.add(float(layer.forward(np.zeros((1, 1)), training=False)[0, 0]))
    found = seen_meanwhile(write, lambda: float(layer.forward(np.zeros((1, 1)), training=False)[0, 0]))
    assert set(found) <= allowed
    states = seen_meanwhile(write, lambda: (lambda s: float(s.mean[0] ** 2 / s.var[0]))(layer.state()))
    assert len({round(x, 9) for x in states}) == 1
