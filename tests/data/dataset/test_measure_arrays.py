"""Folders of arrays over any axes: the statistics of all files are those of the whole array, to the bit."""

import numpy as np
import pytest

from gammabeta import Extrema, Moments, data
from gammabeta.errors import DataError, FileError, KindError

X = np.random.default_rng(1).normal(10, 3, (24, 3, 5, 4)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inner").mkdir()
    for name, part in {"a": X[:5], "b": X[5:6], "inner/c": X[6:]}.items():
        np.save(tmp_path / f"{name}.npy", np.asfortranarray(part) if name == "b" else part)
    return tmp_path


@pytest.mark.parametrize("axis", [0, (0, 2, 3), (0, 1, 2, 3), -4])
def test_many_arrays_are_one(folder, axis):
    for where in (folder, f"{folder}/**/*.npy", sorted(folder.rglob("*.npy")), data.data_set(folder)):
        assert data.moments(where, axis=axis) == Moments.of(X, axis=axis)
        assert data.extrema(where, axis=axis) == Extrema.of(X, axis=axis)
    assert data.moments(folder).mean.tolist() == Moments.of(X).mean.reshape(-1).tolist()


def test_reduced_axes_may_have_any_lengths(folder):
    np.save(folder / "d.npy", X[:2, :, :2, :3].astype(np.int16))
    np.savez(folder / "e.npz", X)
    parts = [X, X[:2, :, :2, :3].astype(np.int16)]
    assert data.moments(f"{folder}/**/*.npy", axis=(0, 2, 3)) == sum(Moments.of(p, axis=(0, 2, 3)) for p in parts)
    np.save(folder / "none.npy", X[:0])
    assert data.moments(f"{folder}/**/*.npy", axis=(0, 2, 3)) == sum(Moments.of(p, axis=(0, 2, 3)) for p in parts)
    assert data.moments([folder / "e.npz"], axis=(0, 2, 3)) == Moments.of(X, axis=(0, 2, 3))


def test_arrays_that_do_not_go_together(folder):
    np.save(folder / "d.npy", X[:, :2])
    with pytest.raises(DataError, match=r"the arrays must have features of one shape beside axis \(0, 2, 3\)"):
        data.moments(folder, axis=(0, 2, 3))
    np.save(folder / "d.npy", X[0])
    with pytest.raises(DataError, match="axis must be within an array of 3 dimensions"):
        data.moments(folder, axis=(0, 2, 3))
    (folder / "d.npy").write_bytes(b"none")
    with pytest.raises(FileError, match=r"cannot be read as NumPy's \.npy"):
        data.moments(folder, axis=0)


def test_what_axis_of_files_is_not(folder, tmp_path):
    with pytest.raises(KindError, match="axis of many files is for moments and extrema"):
        data.measure(folder, axis=0)
    with pytest.raises(KindError, match=r"with axis many files have features and no columns, got columns=\['0'\]"):
        data.moments(folder, ["0"], axis=0)
    with pytest.raises(KindError, match=r"dim and weights go with xarray, .* is of files"):
        data.moments(folder, dim="time")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "x.csv").write_text("a\n1\n")
    with pytest.raises(KindError, match="axis goes with arrays"):
        data.moments(tmp_path / "t", axis=0)
