"""A layer's calls in one step of compiled code: what `MomentsAccumulator` does in many, to the bit, on any threads."""

import ctypes
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exact_cases import AXES, batches
from gammabeta import DataError, Moments
from gammabeta.kernels import moments as kernel
from gammabeta.kernels.calibrate import Workspace
from gammabeta.statistics.accumulator import MomentsAccumulator

WORK = ctypes.CFUNCTYPE(None, ctypes.c_int64)


def alone(function, given):
    WORK(function)(given)


def together(function, given):
    """On four threads, each of which takes what parts it gets."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: WORK(function)(given), range(4)))


class Layer:
    """A total, the step that adds to it, and where this leaves mean and variance."""

    def __init__(self, x, ddof=1, many=2):
        self.total = MomentsAccumulator()
        self.mean, self.var = np.full((2, x.shape[1]), -9, np.float32)
        self.step = self.total.calibration_plan(x, AXES, ddof, Workspace(many))

    def add(self, x, run=alone):
        return self.step.add(x.ctypes.data, self.mean.ctypes.data, self.var.ctypes.data, run)

    def check(self, truth, ddof=1):
        assert self.total.moments() == truth
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(self.mean, truth.mean.astype(np.float32))
            np.testing.assert_array_equal(self.var, truth.with_ddof(ddof).var.astype(np.float32))


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.tuples(st.integers(1, 5), st.integers(2, 40), st.integers(16, 40), st.integers(16, 40)),
    st.sampled_from([0.0, 1.0, 1e-20, 1e15]),
    st.sampled_from([0, 1]),
)
def test_steps_and_additions_mix(seed, count, shape, scale, ddof):
    """Numbers within a grid and far outside, another array in between, any number of parts and threads."""
    truth, layer = None, None
    for i, x in enumerate(batches(seed, count, shape, np.float32, scale)):
        layer = layer or Layer(x, ddof, 1 + seed % 4)
        part = Moments.of(x, AXES)
        truth = part if truth is None else truth + part
        if (seed >> i) % 3 == 2:
            layer.total.add(x, AXES)
        elif layer.add(x, (alone, together)[(seed >> i) % 2]):
            layer.check(truth, ddof)
        assert layer.total.moments() == truth
        assert (layer.total.with_ddof(ddof).var == truth.with_ddof(ddof).var).all()


@pytest.mark.parametrize("run", [alone, together])
def test_another_form_goes_on_where_the_last_was(run):
    rng = np.random.default_rng(0)
    large, small = (rng.normal(3, 2, (n, 70, 20, 20)).astype(np.float32) for n in (5, 3))
    layer = Layer(large)
    assert layer.add(large, run) and layer.add(large * np.float32(1e12), run)
    layer.step = layer.total.calibration_plan(small, AXES, 1, Workspace(3))
    assert layer.add(small, run)
    layer.check(sum((Moments.of(x, AXES) for x in (large * np.float32(1e12), small)), Moments.of(large, AXES)))


def test_what_only_integers_can_round_is_right():
    """A variance that is a power of two may lie between two floats, for all that a pair of floats can tell."""
    x = np.ones((2, 20, 16, 16), np.float32)
    x[:, 7] = np.random.default_rng(0).choice([-1, 1], (2, 16, 16))
    x[1, 7] = -x[0, 7]
    layer = Layer(x, ddof=0)
    assert layer.add(x) and layer.var[7] == 1
    assert layer.total.moments() == Moments.of(x, AXES) and layer.total.with_ddof(0).var[7] == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("run", [alone, together])
def test_what_is_not_finite_is_told(value, run):
    x = np.random.default_rng(1).normal(size=(2, 50, 16, 16)).astype(np.float32)
    layer = Layer(x)
    assert layer.add(x, run)
    x[1, 49, 15, 15] = value
    assert not layer.add(x, run) and not layer.total.finite
    if np.isnan(value):
        with pytest.raises(DataError, match=r"feature \(49,\)"):
            layer.total.refuse_nan()
    assert layer.total.moments().infinities[49] == np.isinf(value)


def test_no_step_for_what_lies_otherwise_or_is_too_much(monkeypatch):
    x = np.zeros((4, 3, 40, 40), np.float32)
    for other in (x.astype(np.float64), np.moveaxis(np.zeros((4, 40, 40, 3), np.float32), 3, 1), x[:, :, :2, :2]):
        assert MomentsAccumulator().calibration_plan(other, AXES, 1, Workspace(1)) is None
    monkeypatch.setattr(kernel, "ROWS", 2**6)
    assert MomentsAccumulator().calibration_plan(x, AXES, 1, Workspace(1)) is None
    assert MomentsAccumulator().calibration_plan(x[:2], AXES, 1, Workspace(1)) is not None
