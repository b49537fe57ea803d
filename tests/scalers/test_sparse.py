"""Sparse matrices: to the bits of the dense table, whatever is stored, in whichever order."""

import numpy as np
import pytest
from scipy import sparse

import gammabeta as gb
from gammabeta.scalers.sparse import sparse_moments


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", ["csr", "csc"])
@pytest.mark.parametrize("columns", [1, 7, 3000, 20_000])
@pytest.mark.parametrize("missing", [False, True])
def test_moments_are_those_of_the_table(columns, form, weighted, missing):
    random = np.random.default_rng(columns)
    x = sparse.random(40, columns, 0.2, form, random_state=random)
    x.data[:] = random.choice([1e300, -1e-300, 0.0, 5e-324, 3.0, 0.1], x.nnz)
    if missing:
        x.data[random.random(x.nnz) < 0.1] = np.nan
    weights = random.random(40) * (random.random(40) < 0.8) if weighted else None
    found = sparse_moments(x, weights)
    assert found == gb.Moments.of(x.toarray(), weights=weights)
    twice = sparse.coo_array((np.repeat(x.tocoo().data, 2) / 2, np.repeat([x.tocoo().row, x.tocoo().col], 2, axis=1)))
    if not missing and twice.shape == x.shape:  # each value in two halves, which add up to it
        made = sparse.csr_array(twice.tocsr())
        assert sparse_moments(made, weights) == gb.Moments.of(made.toarray(), weights=weights)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("form", ["csr", "csc"])
def test_nothing_stored(form, columns):
    x = sparse.random(5, columns, 0.0, form)
    assert sparse_moments(x, None) == gb.Moments.of(np.zeros((5, columns)))
    weights = np.array([0.5, 0, 1, 2, 3])
    assert sparse_moments(x, weights) == gb.Moments.of(np.zeros((5, columns)), weights=weights)
    with pytest.raises(gb.DataError, match="weights must be finite and not negative"):
        gb.StandardScaler(with_mean=False).fit(x, sample_weight=-weights)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("place", [-1, 3, 10**6])
@pytest.mark.parametrize("weights", [None, np.ones(2)])
def test_places_outside_the_matrix_are_refused(weights, place, kind):
    x = sparse.csr_array((np.ones(2), np.array([0, 1], kind), np.array([0, 1, 2], kind)), shape=(2, 3))
    x.indices[1] = place
    x.has_canonical_format = True
    with pytest.raises(ValueError, match="there must be a code for each row"):
        sparse_moments(x, weights)
