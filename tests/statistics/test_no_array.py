"""What is no array of numbers gets an error that names what came and what to call."""

import array
import pathlib
import re

import numpy as np
import pytest
from scipy import sparse

import gammabeta as gb


class DataSet:
    """Items by number, as torch's data sets have them."""

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return i


KINDS = {
    "sparse matrix": (lambda: sparse.csr_matrix([[1.0, 2.0]]), r"scipy's csr_matrix; .*with_mean=False.*x\.toarray"),
    "sparse array": (lambda: sparse.coo_array([[1.0, 2.0]]), "scipy's coo_array"),
    "dict": (lambda: {"a": [1.0]}, "got dict; take the statistics of each of its values"),
    "text": (lambda: "table.csv", "got str; for a file call gammabeta.data.measure"),
    "bytes": (lambda: b"table", "got bytes"),
    "path": (lambda: pathlib.PurePosixPath("table.csv"), "PurePosixPath; for a file call gammabeta.data.measure"),
    "data set": (DataSet, "DataSet; for a data set, a loader or an iterator of chunks call gammabeta.data.measure"),
    "generator": (lambda: (i for i in range(3)), "got generator; for a data set"),
    "set": (lambda: {1, 2}, "got set"),
    "None": (lambda: None, "got NoneType"),
}


@pytest.mark.parametrize("of", [gb.Moments.of, gb.Extrema.of], ids=["moments", "extrema"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_array(of, kind):
    make, match = KINDS[kind]
    with pytest.raises(gb.KindError, match=match):
        of(make())


def test_tensors_that_are_not_dense(framework):
    torch = framework("torch")
    with pytest.raises(gb.KindError, match=r"torch's Tensor; take x\.to_dense\(\)"):
        gb.Moments.of(torch.eye(2).to_sparse())


def test_ragged_tensors(framework):
    tf = framework("tensorflow")
    with pytest.raises(gb.KindError, match=r"RaggedTensor; take x\.flat_values"):
        gb.Moments.of(tf.ragged.constant([[1.0, 2.0], [3.0]]))
    with pytest.raises(gb.KindError, match=r"SparseTensor; take tensorflow\.sparse\.to_dense"):
        gb.Moments.of(tf.sparse.from_dense([[1.0, 0.0]]))


@pytest.mark.parametrize(
    "x", [range(1, 3), array.array("d", [1, 2]), (1, 2), memoryview(b"\x01\x02"), np.array([1, 2])]
)
def test_what_numpy_makes_an_array_of(x):
    assert gb.Moments.of(x) == gb.Moments.of([1.0, 2.0])
    with pytest.raises(gb.DataError, match="wrap it in a list"):
        gb.Moments.of(np.float64(1))


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("of", [gb.Moments.of, gb.Extrema.of], ids=["moments", "extrema"])
def test_a_frame_with_a_column_of_text_names_it(of, library):
    frame = pytest.importorskip(library).DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    call = re.escape("'b' hold something else; take the others: Moments.of(frame[['a']])")
    with pytest.raises(gb.KindError, match=call):
        of(frame)
    assert gb.Moments.of(frame[["a"]]).mean == 1.5
    with pytest.raises(gb.KindError, match="'b' hold something else; leave them out"):
        of(frame[["b"]])
