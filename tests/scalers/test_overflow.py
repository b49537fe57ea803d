"""Numbers whose products overflow on the way to a finite result."""

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
    # the factor is subnormal: multiples of 2^-1074, by up to 2^1024
    np.testing.assert_allclose(image[:, 0], [low, low / 2 + 0.5, 1], rtol=0, atol=2.0**-50)
    ends = np.array([[low, low], [1.0, 1.0]])
    for given in (ends, pd.DataFrame(ends)):
        np.testing.assert_array_equal(scaler.inverse_transform(given), x[::2])
    assert not any(name == "_unit" for name in vars(scaler))
