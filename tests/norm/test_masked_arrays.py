"""Masked arrays under the formula: what is masked does not count, and comes back masked."""

import numpy as np
import pytest

import gammabeta as gb
from gammabeta.numpy import BatchNorm

rng = np.random.default_rng(8)
SHAPE = (6, 4, 5)
MASK = rng.random(SHAPE) < 0.3
PLAIN = rng.normal(3, 2, SHAPE)
X = np.ma.array(np.where(MASK, np.nan, PLAIN), mask=MASK)


def by_definition(x, axis, eps=1e-5):
    """The formula in NumPy's own masked operations."""
    centred = x - x.mean(axis=axis, keepdims=True)
    return centred / np.ma.sqrt((centred**2).mean(axis=axis, keepdims=True) + eps)


def same(found, wanted):
    assert isinstance(found, np.ma.MaskedArray)
    assert (np.ma.getmaskarray(found) == MASK).all()
    # sums of 120 values of size 1 and one division: a hundred units in the last place of float64, and no more
    assert np.allclose(found.compressed(), wanted[~MASK].data, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("axis", [0, (0, 2), (0, 1, 2)])
def test_batch_norm(axis):
    same(gb.batch_norm(X, axis=axis), by_definition(X, axis))
    own = rng.random(SHAPE) < 0.8
    y = gb.batch_norm(X, axis=axis, mask=own)
    assert np.allclose(y[own].compressed(), by_definition(np.ma.array(X, mask=~own), axis)[own].compressed())
    features = [n for i, n in enumerate(SHAPE) if i not in np.atleast_1d(axis)]
    same(gb.batch_norm(X, axis=axis, mean=np.zeros(features), var=np.ones(features)), X / np.sqrt(1 + 1e-5))


def test_layer_norm_and_rms_norm():
    same(gb.layer_norm(X), by_definition(X, -1))
    same(gb.layer_norm(X, axis=(1, 2)), by_definition(X, (1, 2)))
    same(gb.rms_norm(X, axis=(1, 2)), X / np.ma.sqrt((X**2).mean(axis=(1, 2), keepdims=True) + 1e-5))


def test_instance_norm_and_group_norm():
    same(gb.instance_norm(X), by_definition(X, 2))
    split = X.reshape(6, 2, 2, 5)
    same(gb.group_norm(X, 2), by_definition(split, (2, 3)).reshape(SHAPE))


def test_what_has_no_value_left_is_masked():
    x = np.ma.array([[1.0, 5.0], [3.0, 6.0]], mask=[[False, True], [False, True]])
    assert gb.batch_norm(x, eps=1e-12).round(6).tolist() == [[-1, None], [1, None]]
    assert gb.rms_norm(x, axis=0, eps=1e-12)[:, 1].tolist() == [None, None]


def test_the_layer():
    layer = BatchNorm(4)
    same(layer.forward(X, training=True), by_definition(X, (0, 2)))
    assert np.allclose(layer.running_mean, 0.1 * X.mean(axis=(0, 2)).data)
    assert (layer.backward(np.ones(SHAPE)).dx[MASK] == 0).all()
    assert (layer.forward(X, training=False).mask == MASK).all()
