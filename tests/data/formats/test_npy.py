"""`.npy` files of any shape and order: a feature for every place along the axes but the first; no pickle is opened."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.preprocessing import StandardScaler

from gammabeta import Moments, data
from gammabeta.errors import DataError, FileError, KindError


@pytest.mark.parametrize(
    ("shape", "order", "kind"),
    [
        ((50,), "C", "<f8"),
        ((50, 3), "C", "<f4"),
        ((50, 3), "F", "<f8"),
        ((50, 2, 3), "C", ">f4"),
        ((50, 2, 3), "F", "<f4"),
        ((50, 3), "C", "<i2"),
        ((50, 3), "C", "<f2"),
    ],
)
def test_npy(tmp_path, shape, order, kind):
    x = np.asarray(np.random.default_rng(1).normal(100, 20, shape).astype(kind), order=order)
    np.save(tmp_path / "in.npy", x)
    data.scale(tmp_path / "in.npy", tmp_path / "out.npy", stats=tmp_path / "s.json")
    result = np.load(tmp_path / "out.npy")
    kept = np.dtype(kind) if np.dtype(kind).kind == "f" else np.dtype(np.float64)
    assert (result.shape, result.dtype, result.flags.f_contiguous) == (x.shape, kept, x.flags.f_contiguous)
    flat = StandardScaler().fit_transform(x.reshape(50, -1).astype(np.float64)).reshape(shape)
    # values below 8: half an ULP of the type that the result is kept in, and the float64 error
    np.testing.assert_allclose(result.astype(float), flat, rtol=np.finfo(kept).eps / 2, atol=3e-15)
    assert data.moments(tmp_path / "in.npy") == Moments.of(x)
    assert data.measure(tmp_path / "in.npy").moments == Moments.of(x.reshape(50, -1))
    data.invert(tmp_path / "s.json", tmp_path / "out.npy", tmp_path / "back.npy")
    np.testing.assert_allclose(np.load(tmp_path / "back.npy").astype(float), x, rtol=4 * np.finfo(kept).eps)


def test_npy_in_many_chunks(tmp_path):
    x = np.random.default_rng(1).normal(size=(300_000, 2, 3))
    for order in "CF":
        np.save(tmp_path / "in.npy", np.asarray(x, order=order))
        data.scale(tmp_path / "in.npy", tmp_path / "out.npy")
        expected = (x - x.mean(axis=0)) / x.std(axis=0)
        np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=0, atol=1e-12)


def test_npy_features_go_by_their_index(tmp_path):
    x = np.arange(24.0).reshape(4, 2, 3)
    np.save(tmp_path / "in.npy", x)
    assert data.measure(tmp_path / "in.npy").names == ("0,0", "0,1", "0,2", "1,0", "1,1", "1,2")
    data.scale(tmp_path / "in.npy", tmp_path / "out.npy", columns=["1,2", "0,0"])
    result = np.load(tmp_path / "out.npy")
    np.testing.assert_array_equal(result[:, 0, 1], x[:, 0, 1])
    np.testing.assert_allclose(result[:, [0, 1], [0, 2]].std(axis=0), 1)
    assert next(data.scan(tmp_path / "in.npy"))["1,2"].tolist() == x[:, 1, 2].tolist()


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.array([{"a": 1}]), KindError, "holds Python objects, which are never unpickled"),
        (np.array([1 + 2j]), KindError, "an array of real numbers is needed, .* is of complex128"),
        (np.array(["a"]), KindError, "an array of real numbers is needed"),
        (np.array([(1, 2.0)], dtype="i4,f8"), KindError, "an array of real numbers is needed"),
        (np.array([1], np.longdouble), KindError, "numbers of at most 64 bits"),
        (np.array(1.0), DataError, "holds a single number"),
        (np.array([True]), DataError, "at least one numeric column"),
        (np.array([[1.0], [np.inf]]), DataError, "column '0' of .* holds inf in row 2"),
    ],
)
def test_npy_of_other_things(tmp_path, x, error, message):
    np.save(tmp_path / "in.npy", x, allow_pickle=True)
    with pytest.raises(error, match=message):
        data.scale(tmp_path / "in.npy", tmp_path / "out.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["in.npy"]


def test_npy_that_is_damaged(tmp_path):
    np.save(tmp_path / "in.npy", np.zeros(100))
    whole = (tmp_path / "in.npy").read_bytes()
    for content in (
        whole[:-1],
        whole[:20],
        b"junk" * 40,
        whole[:10] + b"__import__('os').abort()".ljust(118) + whole[128:],
    ):
        (tmp_path / "in.npy").write_bytes(content)
        with pytest.raises(FileError, match=r"cannot be read as NumPy's \.npy"):
            data.measure(tmp_path / "in.npy")


def test_arrays_and_tables_do_not_mix(tmp_path):
    np.save(tmp_path / "in.npy", np.zeros((3, 2)))
    with pytest.raises(KindError, match=r"holds one array and cannot become"):
        data.scale(tmp_path / "in.npy", tmp_path / "out.csv")
    with pytest.raises(KindError, match=r"holds a table and cannot become"):
        data.scale(pa.table({"x": [1.0]}), tmp_path / "out.npy")
