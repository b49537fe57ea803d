"""Numbers whose products overflow on the way to a finite result."""

import pickle

import numpy as np
import pandas as pd
import pytest

import gammabeta as gb

GREATEST = np.finfo(float).max


@pytest.mark.parametrize("times", [1, 2, 9000])
def test_a_large_mean_is_no_constant(times):
    x = np.tile([[4e307], [6e307]], (times, 1))
    scaler = gb.StandardScaler().fit(x)
    np.testing.assert_allclose(scaler.scale_, [1e307], rtol=1e-15)
    np.testing.assert_allclose(scaler.transform(x[:2]), [[-1.0], [1.0]], rtol=1e-15)
    in_parts = gb.StandardScaler()
    for _ in range(min(times, 3)):
        in_parts.partial_fit(x)
    np.testing.assert_array_equal(in_parts.scale_, scaler.scale_)


def test_what_is_constant_stays_so():
    x = np.array([[1e308, 1e308, 1.0, 3.0]] * 4)
    x[0, 1] *= 1 + 1e-15  # the last digits
    np.testing.assert_array_equal(gb.StandardScaler().fit(x).scale_, np.ones(4))


@pytest.mark.parametrize("size", [GREATEST, 1.7e308, 1.2e308])
@pytest.mark.parametrize("low", [0.0, -1.0])
def test_a_range_wider_than_float64(size, low):
    x = np.array([[-size, 1.0], [0, 2.0], [size, 3.0]])
    scaler = gb.MinMaxScaler((low, 1)).fit(x)
    image = scaler.transform(x)
    np.testing.assert_array_equal(image[::2, 0], [low, 1])
    np.testing.assert_allclose(image[1, 0], low / 2 + 0.5, rtol=0, atol=2 * np.finfo(float).eps)
    np.testing.assert_array_equal(scaler.affine_(x), image)
    for kind in (pd.DataFrame(x), pd.DataFrame(x).astype({1: "Int64"}), np.asfortranarray(x)):
        np.testing.assert_array_equal(scaler.transform(kind), image)
    ends = np.array([[low, low], [1.0, 1.0]])
    for given in (ends, pd.DataFrame(ends)):
        np.testing.assert_array_equal(scaler.inverse_transform(given), x[::2])
    again = gb.MinMaxScaler.from_json(scaler.to_json())
    np.testing.assert_array_equal(again.transform(x), image)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(scaler)).transform(x), image)


@pytest.mark.parametrize("to", [(-GREATEST, GREATEST), (0, GREATEST), (-1e308, 1.1e308)])
def test_a_feature_range_as_wide_as_float64(to):
    x = np.array([[-3.0, 1e-5, -GREATEST], [5.0, 2e-5, GREATEST]])
    scaler = gb.MinMaxScaler(to).fit(x)
    np.testing.assert_array_equal(scaler.transform(x), np.repeat([to], 3, axis=0).T)
    np.testing.assert_array_equal(scaler.inverse_transform(scaler.transform(x)), x)
    np.testing.assert_array_equal(gb.MinMaxScaler.from_json(scaler.to_json()).transform(x), scaler.transform(x))
    clipped = gb.MinMaxScaler(to, clip=True).fit(x)
    np.testing.assert_array_equal(clipped.transform(x * [2, 2, 1])[1], [to[1]] * 3)


def test_a_mean_far_from_a_value():
    x = np.array([[-1.5e308]] * 9 + [[1.7e308]])
    scaler = gb.StandardScaler().fit(x)
    # one value among ten: a third of a deviation, and three
    np.testing.assert_allclose(scaler.transform(x)[[0, 9], 0], [-1 / 3, 3], rtol=1e-15)
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(x)), x, rtol=4 * np.finfo(float).eps)


def test_an_edited_scale_of_a_wide_range_is_obeyed():
    scaler = gb.MinMaxScaler().fit([[-GREATEST], [GREATEST]])
    scaler.scale_ = np.array([2.0])
    np.testing.assert_array_equal(scaler.transform([[1.0], [3.0]]) - scaler.min_, [[2.0], [6.0]])
