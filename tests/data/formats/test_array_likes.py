"""Array-likes and files of arrays: HDF5, netCDF, TensorStore, sparse matrices; and what their attributes say."""

import tracemalloc

import dask.array as da
import h5py
import netCDF4
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorstore
import xarray
import zarr

from gammabeta import Extrema, Moments, StandardScaler, data
from gammabeta.errors import DataError, FileError, KindError

X = np.random.default_rng(6).normal(5, 2, (60, 7, 4)).astype(np.float32)
AXES = [None, 1, (0, 2), (0, 1, 2)]


class Plain:
    """The least that an array-like has; it counts the values that are asked for at once."""

    def __init__(self, x):
        self._x, self.shape, self.dtype, self.most = x, x.shape, x.dtype, 0

    def __getitem__(self, at):
        found = self._x[at]
        self.most = max(self.most, found.size)
        return found


def of_tensorstore(folder):
    spec = {"driver": "zarr3", "kvstore": {"driver": "memory"}}
    layout = tensorstore.ChunkLayout(chunk_shape=[16, 2, 4])
    store = tensorstore.open(spec, create=True, dtype=tensorstore.float32, shape=X.shape, chunk_layout=layout).result()
    store[...] = X
    return store


def of_netcdf(folder):
    file = netCDF4.Dataset(folder / "x.nc", "w")
    for name, n in zip("abc", X.shape, strict=True):
        file.createDimension(name, n)
    file.createVariable("x", "f4", tuple("abc"), chunksizes=(9, 7, 2))[...] = X
    return file["x"]


KINDS = {
    "plain": lambda folder: Plain(X),
    "HDF5": lambda folder: h5py.File(folder / "x.h5", "w").create_dataset("x", data=X),
    "HDF5, chunks": lambda folder: h5py.File(folder / "x.h5", "w").create_dataset("x", data=X, chunks=(7, 3, 4)),
    "HDF5, gzip, big-endian": lambda folder: h5py.File(folder / "x.h5", "w").create_dataset(
        "x", data=X.astype(">f4"), chunks=(11, 2, 1), compression="gzip"
    ),
    "netCDF4": of_netcdf,
    "TensorStore": of_tensorstore,
    "Dask": lambda folder: da.from_array(X, chunks=(8, 7, 3)),
}


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("kind", KINDS)
def test_array_likes_are_arrays(tmp_path, kind, axis):
    source = KINDS[kind](tmp_path)
    given = {} if axis is None else {"axis": axis}
    assert data.moments(source, **given) == Moments.of(X, **given)
    assert data.extrema(source, **given) == Extrema.of(X, **given)
    if axis is None:
        assert np.array_equal(np.concatenate([chunk["2,3"] for chunk in data.scan(source)]), X[:, 2, 3])
        data.scale(source, tmp_path / "scaled.npy")
        assert np.array_equal(np.load(tmp_path / "scaled.npy"), StandardScaler(axis=0).fit_transform(X))


def test_rows_are_no_chunks(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        assert data.moments(file.create_dataset("x", data=[[1, 10], [3, 30]])).mean.tolist() == [2, 20]


def test_memory_is_bounded_and_chunks_are_read_once(tmp_path):
    n = 12_000_000
    with h5py.File(tmp_path / "x.h5", "w") as file:
        x = file.create_dataset("x", (n, 4), "f4", chunks=(100_000, 4), fillvalue=2.0)
        tracemalloc.start()
        assert data.moments(x[:0]).count.tolist() == [0] * 4
        assert data.moments(x).mean.tolist() == [2.0] * 4
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 150 << 20  # of 192 MB: boxes of 32 MiB, one measured while the next are read
    plain = Plain(np.zeros((30_000_000,), np.int8))
    data.moments(plain)
    assert plain.most <= 32 << 20


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "dia"])
def test_sparse_matrices(form):
    x = scipy.sparse.random(50, 6, 0.3, format=form, random_state=np.random.default_rng(1))
    assert data.moments(x) == Moments.of(x.toarray())
    assert data.moments(x, axis=1) == Moments.of(x.toarray(), axis=1)


@pytest.mark.parametrize("make", [pd.Series, pd.array, pd.Index])
def test_columns_of_pandas_are_columns(make):
    assert data.moments(make([1.0, np.nan, 3.0])).mean.reshape(-1).tolist() == [2]
    assert data.moments(make([1, None, 3], dtype="Int64")).count.reshape(-1).tolist() == [2]


def test_groups_unknown_lengths_and_other_types(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["g/y"], file["z"], file["text"] = [1.0], [2.0], ["a", "b"]
        with pytest.raises(DataError, match="one array is needed, 'File' is a group with 'text', 'z'; pass one of"):
            data.moments(file)
        with pytest.raises(KindError, match="an array of real numbers is needed"):
            data.moments(file["text"])
    with pytest.raises(DataError, match=r"one array is needed, .* has g/y, z; say which: '.*x.h5::g/y'"):
        data.moments(tmp_path / "x.h5")
    assert data.moments(f"{tmp_path}/x.h5::/g/y").mean == 1
    with pytest.raises(FileError, match=r"there is no array 'nope' in .*x.h5': .* has g/y, z"):
        data.moments(f"{tmp_path}/x.h5::nope")
    unknown = da.ones((4, 2), chunks=2)[da.ones(4, chunks=2) > 0]
    with pytest.raises(DataError, match=r"the lengths of all axes must be known.*x.compute_chunk_sizes\(\)"):
        data.moments(unknown)


@pytest.mark.parametrize("name", ["x.h5", "x.nc"])
def test_damaged_files_and_links_that_lead_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\n" + b"\x00" * 40)
    with pytest.raises(FileError, match="cannot be read as"):
        data.moments(tmp_path / name)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = [1.0]
    with h5py.File(tmp_path / "links.h5", "w") as file:
        file["out"] = h5py.ExternalLink("other.h5", "/")
        file.create_dataset("raw", (4,), "u1", external=[(str(tmp_path / name), 0, 4)])
    with pytest.raises(DataError, match=r"'/out' of .* must be in that file, it is a link to 'other.h5'"):
        data.moments(f"{tmp_path}/links.h5::out/secret")
    with pytest.raises(DataError, match=r"the values of .* must be in that file"):
        data.moments(f"{tmp_path}/links.h5::raw")


# What attributes say. The values are whole multiples of 1/64, so that no packing rounds them.
VALUES = np.ma.array([[1.5, 101.0], [2.0, 3.25], [7.0, 4.0]], mask=[[False, False], [True, False], [False, False]])
PACKED = {
    "scale and offset": ({"scale_factor": 0.25, "add_offset": 1.0}, "i2", -32768),
    "scale": ({"scale_factor": 0.25}, "i4", -1),
    "fill value alone": ({}, "f4", 1e20),
    "offset, unsigned bytes": ({"scale_factor": 0.5, "add_offset": -3.0}, "u2", 65535),
}


def stored(attributes, dtype, fill):
    whole = (VALUES.filled(0) - attributes.get("add_offset", 0)) / attributes.get("scale_factor", 1)
    return np.where(VALUES.mask, fill, whole).astype(dtype)


def as_values(attributes, dtype, fill):
    """What the packed numbers stand for: packing may round them."""
    packed = stored(attributes, dtype, fill).astype(float)
    values = packed * attributes.get("scale_factor", 1) + attributes.get("add_offset", 0)
    return np.ma.array(values, mask=VALUES.mask)


@pytest.mark.parametrize("packing", PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("kind", ["zarr 2", "zarr 3", "zarr, _FillValue", "h5py", "netCDF", "netCDF, classic"])
def test_fill_values_scale_and_offset(tmp_path, kind, packing):
    attributes, dtype, fill = packing
    packed = stored(*packing)
    if kind == "netCDF, classic" and dtype == "u2":
        pytest.skip("the classic format has no unsigned numbers")
    if kind.startswith("zarr"):
        version = 2 if kind == "zarr 2" else 3
        a = zarr.create_array(tmp_path / "x.zarr", data=packed, zarr_format=version, fill_value=0)
        name = "missing_value" if kind == "zarr 3" else "_FillValue"
        a.attrs.update({**attributes, name: float(np.dtype(dtype).type(fill)) if dtype == "f4" else fill})
        places = [tmp_path / "x.zarr", a]
    elif kind == "h5py":
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.create_dataset("x", data=packed).attrs.update({**attributes, "_FillValue": packed.dtype.type(fill)})
        places = [tmp_path / "x.h5"]
    else:
        form = "NETCDF3_CLASSIC" if "classic" in kind else "NETCDF4"
        with netCDF4.Dataset(tmp_path / "x.nc", "w", format=form) as file:
            file.createDimension("row", 3), file.createDimension("column", 2)
            x = file.createVariable("x", dtype, ("row", "column"), fill_value=fill)
            x.set_auto_maskandscale(False)
            x.setncatts(attributes)
            x[...] = packed
        places = [tmp_path / "x.nc", f"{tmp_path}/x.nc::x"]
    wanted = as_values(*packing)
    for place in places:
        for axis in (0, (0, 1)):
            assert data.moments(place, axis=axis) == Moments.of(wanted, axis=axis)
        assert data.extrema(place) == Extrema.of(wanted)
        assert np.array_equal(
            np.concatenate([chunk["0"] for chunk in data.scan(place)]), wanted.filled(np.nan)[:, 0], equal_nan=True
        )
    if kind.startswith("zarr"):
        assert data.moments(data.zarr(places[0], decode=False)) == Moments.of(packed)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("packed", [True, False])
def test_what_xarray_writes(tmp_path, version, packed):
    values = VALUES.filled(np.nan)
    packing = {"dtype": "i2", "scale_factor": 0.25, "add_offset": 1.0, "_FillValue": -32768}
    encoding = {"x": packing if packed else {"_FillValue": 1e20}}
    made = xarray.Dataset({"x": (("row", "column"), values)})
    made.to_zarr(tmp_path / "x.zarr", zarr_format=version, encoding=encoding, consolidated=False)
    made.to_netcdf(tmp_path / "x.nc", encoding=encoding)
    for place in (tmp_path / "x.zarr" / "x", tmp_path / "x.nc"):
        assert data.moments(place) == Moments.of(values)


def test_variables_of_netcdf4(tmp_path):
    """By themselves they are what their own settings make of them; masked, with NumPy too."""
    with netCDF4.Dataset(tmp_path / "x.nc", "w") as file:
        file.createDimension("row", 3)
        x = file.createVariable("x", "i2", ("row",), fill_value=-1)
        x.scale_factor = 0.5
        x[:] = np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False])
        assert data.moments(x).mean == Moments.of(x).mean == StandardScaler(axis=0).fit(x).mean_ == 2
        x.set_auto_maskandscale(False)
        assert data.moments(x) == Moments.of([2, -1, 6])
        y = file.createVariable("y", "f4", ("row",))
        y[:2] = [1.0, 3.0]  # the third was never written
        z = file.createVariable("z", "f8", ("row",), fill_value=False)
        z[:] = [1.0, 2.0, 3.0]
    assert data.moments(f"{tmp_path}/x.nc::y").count == 2
    assert data.moments(f"{tmp_path}/x.nc::x").mean == 2
    with pytest.raises(DataError, match=r"has x, y, z; say which: '.*x.nc::x'"):
        data.moments(tmp_path / "x.nc")


@pytest.mark.parametrize(
    ("attributes", "dtype", "values", "wanted"),
    [
        ({"missing_value": [-1, -2]}, "i2", [5, -1, -2, 7], [5, None, None, 7]),
        ({"valid_range": [0, 100]}, "i2", [5, -1, 101, 100], [5, None, None, 100]),
        ({"valid_min": 0.0}, "f4", [5, -1, np.nan, 100], [5, None, np.nan, 100]),
        ({"_Unsigned": "true", "_FillValue": -1}, "i1", [-2, -1, 5, 0], [254, None, 5, 0]),
        ({"_FillValue": 300}, "u1", [44, 1, 2, 3], [44, 1, 2, 3]),
        ({"_FillValue": "NaN"}, "f4", [1, 2, 3, 4], [1, 2, 3, 4]),
        ({"_FillValue": 2**62 + 1}, "i8", [2**62, 2**62 + 1, 1, 2], [2**62, None, 1, 2]),
        ({"scale_factor": 2}, "i8", [1, 2, 3, 4], [2, 4, 6, 8]),
    ],
)
def test_every_attribute(tmp_path, attributes, dtype, values, wanted):
    a = zarr.create_array(tmp_path / "x.zarr", data=np.array(values, dtype))
    a.attrs.update(attributes)
    left = [value for value in wanted if value is not None]
    assert data.moments(a) == Moments.of(np.array(left, np.int64 if dtype == "i8" else float))
    assert data.moments(data.zarr(a, decode=False)) == Moments.of(np.array(values, dtype))


def test_chunks_of_a_declared_fill_value_may_be_missing(tmp_path):
    a = zarr.create_array(tmp_path / "x.zarr", shape=(6,), chunks=(2,), dtype="i2", fill_value=-1)
    a[:2] = [3, 5]
    with pytest.raises(DataError, match="every chunk must be in the store"):
        data.moments(a)
    a.attrs["_FillValue"] = -1
    assert data.moments(a) == Moments.of([3, 5])


def test_an_attribute_that_is_no_number(tmp_path):
    a = zarr.create_array(tmp_path / "x.zarr", data=np.ones(3))
    a.attrs["scale_factor"] = "a lot"
    with pytest.raises(DataError, match=r"attribute scale_factor of .* must be a number, got 'a lot'.*decode=False"):
        data.moments(a)
