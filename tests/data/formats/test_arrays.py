"""Arrays of every source and over any axes: the statistics of the parts are those of the whole, to the bit."""

import sys
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
import zarr

from gammabeta import Extrema, Moments, data
from gammabeta.errors import DataError, FileError, KindError

rng = np.random.default_rng(5)

HOSTILE = {
    "mean 1e6, std 1": rng.normal(1e6, 1, (60, 7, 5)).astype(np.float32),
    "0 and 1e30": np.where(rng.random((60, 7, 5)) < 0.5, 0, 1e30),
    "constant": np.full((60, 7, 5), 0.1),
    "NaN": np.where(rng.random((60, 7, 5)) < 0.2, np.nan, rng.normal(size=(60, 7, 5))),
    "float16": rng.normal(3, 2, (60, 7, 5)).astype(np.float16),
    "big-endian": rng.normal(3, 2, (60, 7, 5)).astype(">f8"),
    "int64": rng.integers(-(2**62), 2**62, (60, 7, 5)),
    "uint8": rng.integers(0, 256, (60, 7, 5)).astype(np.uint8),
    "int16": rng.integers(-(2**15), 2**15, (60, 7, 5)).astype(np.int16),
    "one row": rng.normal(size=(1, 7, 5)),
    "no rows": np.empty((0, 7, 5)),
    "one axis": rng.normal(size=200),
}
AXES = [None, 0, (0, 1), (0, 2), (0, 1, 2), 1, (1, 2), -1]


def same(source, x, axis=None):
    """The source's statistics are those of the array, whose shape they have."""
    given = {} if axis is None else {"axis": axis}
    assert data.moments(source, **given) == Moments.of(x, **given)
    assert data.extrema(source, **given) == Extrema.of(x, **given)
    flat = Moments.of(x, **given)
    if 0 in flat.shape:
        with pytest.raises(DataError, match="at least one numeric column is needed"):
            data.measure(source, **given)
        return
    found = data.measure(source, **given)
    assert found.moments == flat[np.unravel_index(range(len(found.names)), flat.shape) if flat.shape else None]


@pytest.mark.parametrize("x", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize(
    "kind", ["array", "npy", "npy, Fortran", "npz", "npz, deflated", "npz, deflated, Fortran", "zarr"]
)
def test_every_array_in_every_place(tmp_path, kind, x):
    fortran = np.asarray(x, order="F") if "Fortran" in kind else x
    if kind == "array":
        source = x
    elif kind.startswith("npy"):
        source = tmp_path / "x.npy"
        np.save(source, fortran)
    elif kind.startswith("npz"):
        source = tmp_path / "x.npz"
        (np.savez_compressed if "deflated" in kind else np.savez)(source, x=fortran, label=np.array("a name"))
    else:
        source = tmp_path / "x.zarr"
        chunks = tuple(max(1, n // 3) for n in x.shape)
        stored = zarr.create_array(source, shape=x.shape, chunks=chunks, dtype=x.dtype, fill_value=99)
        stored[...] = x
        assert stored.nchunks == stored.nchunks_initialized
    for axis in AXES if x.ndim > 1 else [None, 0]:
        same(source, x, axis)


def test_wide_arrays_are_cut_along_the_features():
    for shape, axis in (((6, 5000), 0), ((6, 3, 1500), 0), ((4, 6, 2100), 1), ((5000, 6), 1), ((3, 70, 60), 0)):
        x = rng.normal(1e6, 1, shape).astype(np.float32)
        same(x, x, axis)


def test_a_feature_is_called_by_its_index(tmp_path):
    x = HOSTILE["float16"]
    assert data.measure(x, axis=(0, 2)).names == ("0", "1", "2", "3", "4", "5", "6")
    assert data.measure(x, axis=0).names[:6] == ("0,0", "0,1", "0,2", "0,3", "0,4", "1,0")
    assert data.measure(x, axis=(0, 1, 2)).names == ("0",)
    assert data.moments(x, ["3", "1"], axis=(0, 2)) == Moments.of(x, (0, 2))[[1, 3]]
    assert data.measure(x, axis=(0, 2)).rows == 300
    np.savez(tmp_path / "x.npz", weights=x)
    assert data.measure(tmp_path / "x.npz", axis=(0, 1)).names[:2] == ("weights,0", "weights,1")


def test_tensors_are_arrays(framework):
    torch = framework("torch")
    x = rng.normal(size=(50, 3)).astype(np.float32)
    same(torch.from_numpy(x), x)
    same(torch.from_numpy(x).to(torch.bfloat16), torch.from_numpy(x).to(torch.bfloat16).double().numpy())


def test_rows_are_scanned_in_order(tmp_path):
    x = rng.normal(size=(300_000, 4)).astype(np.float32)
    stored = zarr.create_array(tmp_path / "x.zarr", shape=x.shape, chunks=(70_000, 3), dtype="f4")
    stored[...] = x
    np.savez(tmp_path / "x.npz", x=x)
    for source in (x, stored, tmp_path / "x.zarr", data.npz(tmp_path / "x.npz", "x")):
        chunks = list(data.scan(source))
        assert len(chunks) > 1
        assert [chunk.start for chunk in chunks] == np.cumsum([0, *(chunk.rows for chunk in chunks[:-1])]).tolist()
        np.testing.assert_array_equal(np.concatenate([chunk.array for chunk in chunks]), x)


# .npz


def test_arrays_of_one_length_are_columns(tmp_path):
    x, y, z = rng.normal(size=(90_000, 2)), rng.integers(0, 9, 90_000), rng.random(90_000) < 0.5
    np.savez(tmp_path / "x.npz", x=x, y=y, flag=z, epoch=np.array(3), names=np.array(["a"] * 90_000))
    found = data.measure(tmp_path / "x.npz")
    assert found.names == ("x,0", "x,1", "y")
    assert found.moments == Moments.of(np.column_stack([x, y]))
    assert [len(chunk["y"]) for chunk in data.scan(tmp_path / "x.npz", ["y"])] == [90_000]
    done = data.scale(tmp_path / "x.npz", tmp_path / "x.parquet")
    assert [column.name for column in done.passed] == ["flag"]
    assert done.rows == 90_000


def test_one_array_of_several(tmp_path):
    x, y = rng.normal(size=(30, 2, 3)), rng.normal(size=40)
    np.savez(tmp_path / "x.npz", x=x, y=y)
    same(data.npz(tmp_path / "x.npz", "x"), x, (0, 2))
    with pytest.raises(
        DataError, match=r"of one length to be columns, .* has x \(30, 2, 3\), y \(40,\); choose one: g"
    ):
        data.measure(tmp_path / "x.npz")
    with pytest.raises(DataError, match=r"there is no array 'z' in .*x\.npz'; it has 'x', 'y'"):
        data.npz(tmp_path / "x.npz", "z")


def test_npz_of_other_things(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array(3), b=np.array(["a"]))
    with pytest.raises(DataError, match=r"at least one array of numbers is needed, .* has 'a', 'b'"):
        data.measure(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", x=np.array([{}]), allow_pickle=True)
    with pytest.raises(KindError, match="never unpickled"):
        data.npz(tmp_path / "x.npz", "x")
    (tmp_path / "x.npz").write_bytes(b"PK\3\4 and then something else")
    with pytest.raises(FileError, match=r"x\.npz' cannot be read as NumPy's \.npz: File is not a zip file"):
        data.measure(tmp_path / "x.npz")
    with pytest.raises(FileError, match=r"no \.npz is written"):
        data.scale(np.ones((3, 2)), tmp_path / "out.npz")


def test_a_damaged_npz_is_named(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", x=rng.normal(size=10_000))
    whole = bytearray((tmp_path / "x.npz").read_bytes())
    whole[30_000:30_100] = bytes(100)
    (tmp_path / "x.npz").write_bytes(whole)
    with pytest.raises(FileError, match=r"x\.npz' cannot be read as NumPy's"):
        data.measure(tmp_path / "x.npz")


# Zarr


@pytest.mark.parametrize(("version", "shards"), [(2, None), (3, None), (3, (20, 4))])
def test_zarr_of_any_layout(tmp_path, version, shards):
    x = rng.normal(1e6, 1, (57, 7)).astype(np.float32)
    stored = zarr.create_array(
        tmp_path / "x.zarr", shape=x.shape, chunks=(10, 2), shards=shards, dtype="f4", zarr_format=version
    )
    stored[...] = x
    for axis in (0, 1, (0, 1)):
        same(tmp_path / "x.zarr", x, axis)
        same(stored, x, axis)


def test_zarr_in_boxes_smaller_than_the_array(tmp_path, monkeypatch):
    monkeypatch.setattr("gammabeta.data.formats.sliced_array.REGION_BYTES", 800)
    x = rng.normal(size=(29, 11, 6))
    stored = zarr.create_array(tmp_path / "x.zarr", shape=x.shape, chunks=(4, 3, 5), dtype="f8")
    stored[...] = x
    for axis in AXES:
        same(tmp_path / "x.zarr", x, axis)


def test_an_array_in_a_group(tmp_path):
    group = zarr.create_group(tmp_path / "x.zarr")
    group.create_array("t", shape=(9,), dtype="f8")[...] = np.arange(9.0)
    group.create_array("u", shape=(9, 2), dtype="f8")[...] = np.ones((9, 2))
    same(tmp_path / "x.zarr" / "t", np.arange(9.0))
    with pytest.raises(DataError, match=r"is a group of arrays: 't' \(9,\), 'u' \(9, 2\); add its name to the path"):
        data.measure(tmp_path / "x.zarr")


def test_an_array_in_a_zip_file(tmp_path):
    x = rng.normal(size=(30, 5))
    with zarr.storage.ZipStore(tmp_path / "x.zarr.zip", mode="w") as store:
        zarr.create_array(store, shape=x.shape, chunks=(7, 5), dtype="f8")[...] = x
    same(tmp_path / "x.zarr.zip", x)


def test_a_name_says_little_about_a_store(tmp_path):
    x = rng.normal(size=(30, 5))
    zarr.create_array(tmp_path / "plain", shape=x.shape, dtype="f8")[...] = x
    same(tmp_path / "plain", x)
    (tmp_path / "about.zarr.csv").write_text("a\n1\n3\n")
    assert data.moments(tmp_path / "about.zarr.csv").mean.tolist() == [2]
    with pytest.raises(KindError, match="a Zarr array is needed, or the place of one, got dict"):
        data.zarr({})


def test_missing_chunks_are_refused_or_filled(tmp_path):
    stored = zarr.create_array(tmp_path / "x.zarr", shape=(10, 4), chunks=(3, 2), dtype="f4", fill_value=7)
    stored[:6] = 1
    expected = (
        r"lacks 4 of 8, the first 'c/2/0'; if they hold nothing but the fill value 7\.0, which Zarr does not write"
    )
    for act in (data.moments, data.measure, lambda z: next(data.scan(z))):
        with pytest.raises(DataError, match=expected):
            act(tmp_path / "x.zarr")
    same(data.zarr(tmp_path / "x.zarr", missing_chunks="fill"), stored[...])
    same(data.zarr(stored, missing_chunks="fill"), stored[...])
    with pytest.raises(DataError, match="missing_chunks must be raise or fill, got 'skip'"):
        data.zarr(stored, missing_chunks="skip")


def test_a_store_that_cannot_list_is_believed(tmp_path, monkeypatch):
    stored = zarr.create_array(tmp_path / "x.zarr", shape=(10,), chunks=(5,), dtype="f4", fill_value=3)
    monkeypatch.setattr(type(stored.store_path.store), "supports_listing", False)
    same(stored, np.full(10, 3.0))


def test_chunks_of_many_sizes(tmp_path, monkeypatch):
    def chunks(array):
        raise NotImplementedError

    x = rng.normal(size=(30, 5))
    stored = zarr.create_array(tmp_path / "x.zarr", shape=x.shape, chunks=(7, 5), dtype="f8", fill_value=np.nan)
    stored[...] = x
    monkeypatch.setattr(zarr.Array, "chunks", property(chunks))
    same(stored, x, 0)
    same(stored, x, 1)


def test_missing_chunks_of_nan_are_missing_values(tmp_path):
    stored = zarr.create_array(tmp_path / "x.zarr", shape=(10,), chunks=(3,), dtype="f4", fill_value=np.nan)
    stored[:3] = [1, 2, 6]
    assert data.moments(tmp_path / "x.zarr").count == 3
    same(stored, stored[...])


def test_a_missing_shard_is_found(tmp_path):
    stored = zarr.create_array(tmp_path / "x.zarr", shape=(16,), chunks=(2,), shards=(4,), dtype="f4", fill_value=0)
    stored[...] = np.arange(1, 17)
    (tmp_path / "x.zarr" / "c" / "2").unlink()
    with pytest.raises(DataError, match="lacks 1 of 4, the first 'c/2'"):
        data.moments(tmp_path / "x.zarr")


def test_zarr_that_is_damaged(tmp_path):
    stored = zarr.create_array(tmp_path / "x.zarr", shape=(10,), chunks=(5,), dtype="f4", fill_value=0)
    stored[...] = np.arange(1, 11)
    (tmp_path / "x.zarr" / "c" / "1").write_bytes(b"nothing that could be decompressed")
    with pytest.raises(FileError, match=r"x\.zarr' cannot be read as Zarr near \(0,\): "):
        data.moments(tmp_path / "x.zarr")
    (tmp_path / "x.zarr" / "zarr.json").write_text("{")
    with pytest.raises(FileError, match=r"x\.zarr' cannot be read as Zarr: "):
        data.moments(tmp_path / "x.zarr")
    with pytest.raises(FileError, match=r"none\.zarr' cannot be read as Zarr: "):
        data.moments(tmp_path / "none.zarr")


def test_zarr_without_zarr(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(FileError, match=r"x\.zarr' is read with Zarr: pip install 'gammabeta\[zarr\]'"):
        data.moments(tmp_path / "x.zarr")


def test_zarr_of_other_things(tmp_path):
    text = zarr.create_array(tmp_path / "x.zarr", shape=(3,), dtype="bool")
    text[...] = True
    with pytest.raises(KindError, match=r"an array of real numbers is needed, .* is of bool"):
        data.moments(text)
    one = zarr.create_array(tmp_path / "y.zarr", shape=(), dtype="f4")
    with pytest.raises(DataError, match="holds a single number"):
        data.moments(one)


def test_memory_stays_bounded(tmp_path):
    stored = zarr.create_array(
        tmp_path / "x.zarr", shape=(1600, 50_000), chunks=(40, 25_000), dtype="f4", fill_value=1, compressors=None
    )
    for i in range(0, 1600, 40):
        stored[i : i + 40] = i
    source = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (1600, 50_000))
    source[:] = np.repeat(np.arange(0, 1600, 40), 40)[:, None]
    del source
    for path, limit in ((tmp_path / "x.zarr", 200), (tmp_path / "x.npy", 150)):  # of 320 MB; MB, a few boxes
        tracemalloc.start()
        found = data.moments(path, axis=(0, 1))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert found.count == 1600 * 50_000
        assert peak < limit * 2**20


def test_arrays_are_scaled_to_npy(tmp_path):
    x = rng.normal(5, 2, (5000, 3, 2)).astype(np.float32)
    stored = zarr.create_array(tmp_path / "x.zarr", shape=x.shape, chunks=(700, 2, 2), dtype="f4")
    stored[...] = x
    np.savez(tmp_path / "x.npz", x=np.asarray(x, order="F"))
    np.save(tmp_path / "x.npy", x)
    data.scale(tmp_path / "x.npy", tmp_path / "expected.npy")
    expected = np.load(tmp_path / "expected.npy")
    for source in (x, stored, tmp_path / "x.zarr", tmp_path / "x.npz", data.npz(tmp_path / "x.npz", "x")):
        data.scale(source, tmp_path / "out.npy")
        np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)
    with pytest.raises(KindError, match="'ndarray' holds one array and cannot become"):
        data.scale(x, tmp_path / "out.csv")
    with pytest.raises(
        KindError, match="'list' can be measured, and not be scaled: there is no file for the result to be"
    ):
        data.scale([x, x], tmp_path / "out2.npy")
    assert not (tmp_path / "out2.npy").exists()


# what is wrong with an array


def test_infinities_are_refused_with_their_place():
    x = np.ones((20, 3, 4))
    x[11, 2, 1] = -np.inf
    with pytest.raises(
        DataError, match=r"column '2,1' of 'ndarray' holds -inf in row 12 \(the first row of data is 1\)"
    ):
        data.moments(x)
    with pytest.raises(DataError, match=r"column '2' of 'ndarray' holds -inf in place \(11, 2, 1\)"):
        data.extrema(x, axis=(0, 2))


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (np.ones((3, 2)), {"axis": 2}, DataError, "axis must be within an array of 2 dimensions"),
        (np.ones(3, complex), {}, KindError, "an array of real numbers is needed, 'ndarray' is of complex128"),
        (np.array(["a"]), {}, KindError, "an array of real numbers is needed"),
        (np.array(1.0), {}, DataError, "holds a single number"),
        (np.ones(3, np.longdouble), {}, KindError, "an array of real numbers is needed, 'ndarray' is of float128"),
        (3.0, {}, KindError, "data must be a file, an array, a table, .* got float"),
        ({"a": 1}, {}, KindError, "data must be a file, .* got dict"),
        (None, {}, KindError, "data must be a file, .* got NoneType"),
    ],
)
def test_what_is_no_array_of_numbers(x, options, error, message):
    with pytest.raises(error, match=message):
        data.moments(x, **options)


@pytest.mark.parametrize("kind", ["array", "batches"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int64, ">i4"])
def test_what_a_mask_hides_is_a_missing_value(tmp_path, kind, dtype):
    x = np.arange(24).reshape(6, 4).astype(dtype)
    if dtype is np.int64:
        x += 2**60
    masked = np.ma.array(x, mask=rng.random((6, 4)) < 0.3)
    source = masked if kind == "array" else [x[:0], masked[:2], x[2:4], masked[4:]]
    if kind == "batches":
        masked = np.ma.array(x, mask=np.ma.getmaskarray(masked) & (np.array([1, 1, 0, 0, 1, 1])[:, None] == 1))
    same(source, masked)
    same(source, masked, axis=(0, 1))
    assert data.moments(source).count.tolist() == (~masked.mask).sum(0).tolist()
    filled = masked.astype(float).filled(np.nan)
    assert np.array_equal(np.concatenate([chunk["1"] for chunk in data.scan(source)]), filled[:, 1], equal_nan=True)
    if kind == "array":
        data.scale(source, tmp_path / "scaled.npy")
        assert (np.isnan(np.load(tmp_path / "scaled.npy")) == masked.mask).all()


def test_an_infinity_beneath_a_mask_is_none():
    masked = np.ma.array([[1.0, np.inf], [3.0, 5.0]], mask=[[False, True], [False, False]])
    assert data.moments(masked).mean.tolist() == [2, 5]
    with pytest.raises(DataError, match="inf"):
        data.moments(np.ma.array([[1.0, np.inf]], mask=[[True, False]]))


def test_axis_goes_with_arrays():
    with pytest.raises(KindError, match="axis goes with arrays, 'table' is a table, of which the rows are reduced"):
        data.moments(pa.table({"x": [1.0]}), axis=0)


def test_a_folder_of_files_is_no_array(tmp_path):
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, np.array([[1.0], [3.0]]))
    assert data.moments(tmp_path).count.tolist() == data.extrema(tmp_path).count.tolist() == [4]
    assert data.moments([tmp_path / "a.npy"]) == data.moments(tmp_path / "a.npy")
