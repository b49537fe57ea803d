"""AnnData: its X and layers, dense or sparse, in memory or in a file, cells by genes."""

import h5py
import numpy as np
import pytest
import scipy.sparse

from gammabeta import Moments, data
from gammabeta.errors import FileError

anndata = pytest.importorskip("anndata", reason="anndata asks for pandas before 3, and other tests are of the newest")

DENSE = scipy.sparse.random(200, 30, 0.2, random_state=np.random.default_rng(1), dtype=np.float32).toarray()
FORMS = {"dense": np.asarray, "csr": scipy.sparse.csr_matrix, "csc": scipy.sparse.csc_matrix}


@pytest.fixture(params=FORMS)
def place(tmp_path, request):
    cells = anndata.AnnData(FORMS[request.param](DENSE), layers={"counts": FORMS[request.param](DENSE * 2)})
    cells.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
@pytest.mark.parametrize("region", [32 << 20, 2000])
def test_every_gene_is_a_feature(place, axis, region, monkeypatch):
    for module in ("sparse_hdf5", "sliced_array", "array_like"):
        monkeypatch.setattr(f"gammabeta.data.formats.{module}.REGION_BYTES", region)
    assert data.moments(place, axis=axis) == Moments.of(DENSE, axis=axis)
    assert data.moments(f"{place}::layers/counts", axis=axis) == Moments.of(DENSE * 2, axis=axis)
    assert np.array_equal(np.concatenate([chunk["3"] for chunk in data.scan(place)]), DENSE[:, 3])


def test_in_memory_and_backed(place):
    assert data.moments(anndata.read_h5ad(place)) == Moments.of(DENSE)
    backed = anndata.read_h5ad(place, backed="r")
    assert data.moments(backed) == Moments.of(DENSE)
    backed.file.close()


@pytest.mark.parametrize(
    ("name", "at", "value", "message"),
    [
        ("indices", 5, 10**6, "it has an index beyond"),
        ("indices", 5, -1, "it has an index beyond"),
        ("indptr", 3, -7, "it has pointers from"),
        ("indptr", -1, 10**9, "it has pointers from"),
    ],
)
@pytest.mark.parametrize("form", ["csr", "csc"])
def test_damaged_matrices(tmp_path, form, name, at, value, message):
    place = tmp_path / "cells.h5ad"
    anndata.AnnData(FORMS[form](DENSE)).write_h5ad(place)
    with h5py.File(place, "r+") as file:
        file[f"X/{name}"][at] = value
    with pytest.raises(FileError, match=f"the sparse matrix in .* is damaged: {message}"):
        data.moments(place)
