"""Arrays that cannot be written to: those that joblib shares between processes, memory maps, and other libraries'."""

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed
from scipy import sparse
from sklearn.pipeline import make_union
from sklearn.preprocessing import StandardScaler

import gammabeta as gb

RANDOM = np.random.default_rng(11)
DENSE = RANDOM.normal(3, 2, (40, 5)) * (RANDOM.random((40, 5)) < 0.5)


def read_only(x):
    """x, of which no part can be written to."""
    arrays = (x.data, x.indices, x.indptr) if sparse.issparse(x) else (x,)
    for array in arrays:
        array.flags.writeable = False
    return x


KINDS = {
    "array": lambda x: x.copy(),
    "float32": lambda x: x.astype(np.float32),
    "columns": np.asfortranarray,
    "strides": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "swapped bytes": lambda x: x.astype(">f8"),
    "integers": lambda x: x.astype(np.int64),
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_array,
    "csr float32": lambda x: sparse.csr_array(x.astype(np.float32)),
    "csr integers": lambda x: sparse.csr_array(x.astype(np.int32)),
}


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_read_only_data_is_scaled_and_stays(kind, copy):
    given, free = read_only(KINDS[kind](DENSE)), KINDS[kind](DENSE)
    before = given.copy()
    scalers = [gb.StandardScaler(with_mean=False, copy=copy)]
    scalers += [] if sparse.issparse(given) else [gb.StandardScaler(copy=copy), gb.MinMaxScaler(copy=copy, clip=True)]
    for scaler in scalers:
        weights = read_only(np.ones(40))
        scaler.fit(given, **({"sample_weight": weights} if isinstance(scaler, gb.StandardScaler) else {}))
        scaler.partial_fit(given)
        for work in (scaler.transform, scaler.inverse_transform, scaler.fit_transform):
            equal(work(given), work(free.copy()))
    equal(given, before)


def equal(a, b):
    assert type(a) is type(b)
    dense = [x.toarray() if sparse.issparse(x) else x for x in (a, b)]
    np.testing.assert_array_equal(*dense)


def test_scikit_learns_copy_of_a_read_only_matrix():
    x = sparse.csr_array(DENSE)
    image = StandardScaler(with_mean=False, copy=False).fit(x.copy()).transform(read_only(x.copy()))
    ours = gb.StandardScaler(with_mean=False, copy=False).fit(x)
    np.testing.assert_allclose(ours.transform(read_only(x.copy())).toarray(), image.toarray(), rtol=1e-14)
    kept = ours.transform(x)  # which can be written to, and is
    np.testing.assert_array_equal(kept.data, x.data)


def test_read_only_frames_and_attributes():
    x = read_only(DENSE.copy())
    frame = pd.DataFrame(x, copy=False)
    scaler = gb.StandardScaler(copy=False).fit(frame)
    for name in ("mean_", "var_", "scale_"):
        getattr(scaler, name).flags.writeable = False
    np.testing.assert_array_equal(scaler.transform(frame), gb.StandardScaler().fit_transform(DENSE))
    scaler.partial_fit(frame)
    scaler.merge(scaler)
    np.testing.assert_array_equal(frame.to_numpy(), DENSE)


def test_processes_that_share_memory():
    """joblib maps arguments of more than 1 MB read-only, the attributes of wide scalers among them."""
    wide = RANDOM.normal(size=(3, 150_000))
    thin = sparse.random_array((20_000, 400), density=0.05, format="csr", rng=RANDOM)
    jobs = [
        (scaler, method, x)
        for scaler, x in (
            (gb.StandardScaler(copy=False).fit(wide), wide),
            (gb.MinMaxScaler(copy=False).fit(wide), wide),
            (gb.StandardScaler(copy=False, with_mean=False).fit(thin), thin),
        )
        for method in ("transform", "inverse_transform", "partial_fit")
    ]
    found = Parallel(2)(delayed(getattr(scaler, method))(x) for scaler, method, x in jobs)
    for (scaler, method, x), got in zip(jobs, found, strict=True):
        if method == "partial_fit":
            assert getattr(got, got._statistic) == getattr(scaler, got._statistic) + getattr(scaler, got._statistic)
        else:
            equal(got, getattr(scaler.set_params(copy=True), method)(x))
    union = make_union(gb.StandardScaler(copy=False), gb.MinMaxScaler(copy=False), n_jobs=2)
    np.testing.assert_array_equal(union.fit_transform(wide)[:, :9], gb.StandardScaler().fit_transform(wide)[:, :9])
