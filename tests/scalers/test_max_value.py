"""`StandardScaler(max_value=…)`: what transform gives is clipped, as scanpy clips it."""

import dask.array as da
import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.base import clone

from gammabeta import StandardScaler
from gammabeta.data import dask as exact
from gammabeta.errors import DataError
from gammabeta.scalers.as_affine import affine_of

X = np.random.default_rng(1).normal(3, 2, (50, 4))
X[4, 1] = np.nan


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("center", [True, False])
def test_it_clips_what_transform_gives(dtype, center):
    x = X.astype(dtype)
    plain = StandardScaler(with_mean=center).fit(x)
    scaler = StandardScaler(with_mean=center, max_value=0.75).fit(x)
    found = scaler.transform(x)
    assert found.dtype == dtype
    assert np.array_equal(found, np.clip(plain.transform(x), -0.75 if center else None, 0.75), equal_nan=True)
    assert np.array_equal(
        scaler.inverse_transform(plain.transform(x)), plain.inverse_transform(plain.transform(x)), True
    )
    tensor = scaler.transform(torch.from_numpy(x.copy()))
    assert np.array_equal(tensor.numpy(), found, equal_nan=True)
    in_place = x.copy()
    assert clone(scaler).set_params(copy=False).fit(x).transform(in_place) is in_place
    assert np.array_equal(in_place, found, equal_nan=True)
    if not center:
        sparse = scaler.transform(scipy.sparse.csr_matrix(np.nan_to_num(x).astype(np.float32)))
        assert sparse.max() <= 0.75


def test_it_goes_with_the_scaler():
    scaler = StandardScaler(max_value=1).fit(X)
    assert StandardScaler.from_json(scaler.to_json()).max_value == 1
    found = exact.StandardScaler(max_value=1).fit(da.from_array(X, 10)).transform(da.from_array(X, 10))
    assert np.array_equal(found.compute(), scaler.transform(X), equal_nan=True)
    for wrong in (0, -1, "1"):
        with pytest.raises(ValueError, match="The 'max_value' parameter of StandardScaler must be"):
            StandardScaler(max_value=wrong).fit(X)
    with pytest.raises(DataError, match=r"StandardScaler\(max_value=1\) is not affine"):
        affine_of(scaler)
    with pytest.raises(DataError, match="scikit-learn's scaler clips nothing: max_value must be None, got 1"):
        scaler.to_sklearn()
