"""AnnData in the scalers: X is scaled, and all else stays."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from gammabeta import MinMaxScaler, Moments, StandardScaler
from gammabeta.errors import DataError

anndata = pytest.importorskip("anndata", reason="anndata asks for pandas before 3, and other tests are of the newest")

X = np.random.default_rng(1).poisson(1.5, (40, 6)).astype(np.float32)
GENES = [f"g{i}" for i in range(6)]
FORMS = {"dense": np.array, "csr": scipy.sparse.csr_matrix, "csc": scipy.sparse.csc_matrix}


def cells(form="dense", x=X):
    return anndata.AnnData(
        FORMS[form](x),
        obs=pd.DataFrame({"kind": ["a", "b"] * 20}, index=[f"c{i}" for i in range(40)]),
        var=pd.DataFrame({"length": np.arange(6)}, index=GENES),
        layers={"counts": FORMS[form](X * 2)},
        obsm={"pca": X[:, :2]},
        uns={"note": "kept"},
    )


def dense(x):
    return x.toarray() if scipy.sparse.issparse(x) else np.asarray(x)


@pytest.mark.parametrize("scaler", [StandardScaler(), StandardScaler(max_value=1.0, ddof=1), MinMaxScaler(clip=True)])
def test_all_but_x_is_kept(scaler):
    given = cells()
    found = scaler.fit(given).transform(given)
    assert isinstance(found, anndata.AnnData)
    assert found is not given
    assert found.X.dtype == np.float32
    assert np.array_equal(found.X, type(scaler)(**scaler.get_params()).fit_transform(X))
    assert np.array_equal(given.X, X)
    assert np.array_equal(found.layers["counts"], X * 2)
    assert np.array_equal(found.obsm["pca"], X[:, :2])
    assert found.obs.equals(given.obs)
    assert found.var.equals(given.var)
    assert found.uns["note"] == "kept"
    assert list(scaler.get_feature_names_out()) == GENES
    back = scaler.inverse_transform(found)
    assert isinstance(back, anndata.AnnData)
    assert np.array_equal(back.X, scaler.inverse_transform(found.X))


@pytest.mark.parametrize("form", ["csr", "csc"])
def test_sparse_matrices_are_not_centred(form):
    given = cells(form)
    with pytest.raises(ValueError, match="Cannot center sparse matrices"):
        StandardScaler().fit(given)
    scaler = StandardScaler(with_mean=False, max_value=1.5).fit(given)
    assert scaler.moments_ == Moments.of(X)
    found = scaler.transform(given)
    assert scipy.sparse.issparse(found.X)
    assert np.array_equal(
        dense(found.X), np.minimum(dense(StandardScaler(with_mean=False).fit_transform(given).X), 1.5)
    )
    assert np.array_equal(dense(given.X), X)


def test_in_place_and_views():
    given = cells()
    scaler = StandardScaler(copy=False).fit(given)
    wanted = StandardScaler().fit_transform(X)
    assert scaler.transform(given) is given
    assert np.array_equal(given.X, wanted)
    whole = cells()
    view = whole[:20]
    found = scaler.transform(view)
    assert np.array_equal(found.X, wanted[:20])
    assert np.array_equal(whole.X, X)  # a view's X is its parent's


def test_genes_go_by_name():
    scaler = StandardScaler().fit(cells())
    other = cells()[:, ::-1]
    with pytest.raises(
        DataError, match="AnnData must have the genes of the fit in its order, of which number 0 is 'g0'"
    ):
        scaler.transform(other)
    with pytest.raises(DataError, match="number 5 is 'g5', got no more"):
        scaler.inverse_transform(cells()[:, :5])
    assert np.array_equal(scaler.transform(other[:, scaler.feature_names_in_]).X, scaler.transform(cells()).X)
    assert np.array_equal(scaler.transform(cells().to_df()), scaler.transform(cells()).X)
    with pytest.raises(DataError, match="axis must be None or 0, got 1"):
        StandardScaler(axis=1).fit(cells())


def test_what_has_no_matrix_in_memory(tmp_path):
    with pytest.raises(DataError, match="AnnData must have a matrix X to be scaled"):
        StandardScaler().fit(anndata.AnnData(obs=pd.DataFrame(index=["a"])))
    cells().write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    with pytest.raises(DataError, match=r"AnnData must be in memory to be scaled, .*to_memory"):
        StandardScaler().fit(backed)
    assert StandardScaler().fit(backed.to_memory()).moments_ == Moments.of(X)
    backed.file.close()


@pytest.mark.parametrize("max_value", [None, 1.0, 10.0])
@pytest.mark.parametrize(("form", "center"), [("dense", True), ("dense", False), ("csr", False), ("csc", False)])
def test_as_scanpy_scales(form, center, max_value):
    scanpy = pytest.importorskip("scanpy", reason="scanpy asks for anndata")
    theirs = cells(form, X.astype(np.float64))
    found = StandardScaler(with_mean=center, ddof=1, max_value=max_value).fit_transform(theirs)
    scanpy.pp.scale(theirs, zero_center=center, max_value=max_value)
    # numbers of some 5 at most, of sums of 40 terms: 40 units in the last place of the largest
    assert np.allclose(dense(found.X), dense(theirs.X), rtol=0, atol=40 * 5 * 2**-52)
