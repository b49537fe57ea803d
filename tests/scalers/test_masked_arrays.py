"""Masked arrays in the scalers: masked values are left out of the fit, and come back masked."""

import numpy as np
import pandas as pd
import pytest

from gammabeta import MinMaxScaler, StandardScaler

MASK = [[False, False], [False, True], [False, False], [True, False]]
X = np.ma.array([[1.0, 2.0], [3.0, np.inf], [5.0, 4.0], [1e20, 9.0]], mask=MASK)
SCALERS = [StandardScaler(), StandardScaler(copy=False), StandardScaler(axis=0), MinMaxScaler(clip=True)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
@pytest.mark.parametrize("scaler", SCALERS, ids=str)
def test_a_mask_is_a_missing_value_and_comes_back(scaler, dtype):
    x = np.ma.array(X.filled(9999).astype(dtype), mask=MASK)
    with_nan = x.astype(float if dtype is np.int16 else dtype).filled(np.nan)
    wanted = scaler.fit(with_nan.copy()).transform(with_nan.copy())
    found = scaler.fit(x).transform(x)
    assert isinstance(found, np.ma.MaskedArray)
    assert found.mask.tolist() == MASK
    assert found.dtype == wanted.dtype
    assert np.array_equal(found.filled(np.nan), wanted, equal_nan=True)
    back = scaler.inverse_transform(found)
    assert back.mask.tolist() == MASK
    assert np.allclose(back.compressed(), x.compressed().astype(float))
    assert x.compressed().tolist() == [1, 2, 3, 5, 4, 9]  # nothing was written into it


def test_large_integers_beside_a_mask_stay_exact():
    x = np.ma.array([[2**62 + 1], [2**62 + 3], [0]], mask=[[False], [False], [True]])
    assert StandardScaler().fit(x).var_.tolist() == [1]


def test_weights_partial_fits_and_frames():
    weights = np.ma.array([1.0, 2.0, 1e20, 1.0], mask=[False, False, True, False])
    wanted = StandardScaler().fit(X.filled(np.nan), sample_weight=[1.0, 2.0, 0.0, 1.0])
    assert StandardScaler().fit(X, sample_weight=weights).mean_.tolist() == wanted.mean_.tolist()
    parts = StandardScaler().partial_fit(X[:2]).partial_fit(X[2:])
    assert parts.moments_ == StandardScaler().fit(X).moments_
    frame = StandardScaler().set_output(transform="pandas").fit(X).transform(X)
    assert isinstance(frame, pd.DataFrame)
    assert frame.isna().to_numpy().tolist() == MASK


def test_an_infinity_that_is_not_masked_is_refused():
    with pytest.raises(ValueError, match="Input X contains infinity"):
        StandardScaler().fit(np.ma.array(X.data, mask=[[True, False]] * 4))
    with pytest.raises(ValueError, match="2D array"):
        StandardScaler().fit(X[0])
