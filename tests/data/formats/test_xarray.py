"""xarray's DataArrays are arrays with named dimensions: coordinates are no data."""

import numpy as np
import pytest
import xarray as xr

from gammabeta import Extrema, Moments, StandardScaler, data
from gammabeta.errors import DataError, KindError

T = xr.DataArray(
    np.random.default_rng(1).normal(10, 3, (24, 5, 4)),
    dims=("time", "lat", "lon"),
    coords={
        "time": np.arange(24),
        "lat": np.linspace(-60, 60, 5),
        "lon": [0, 90, 180, 270],
        "area": ("lat", np.ones(5)),
    },
    name="tas",
)
DIMS = ["time", "lon", ("time", "lat"), ["lon", "time"], ...]


@pytest.mark.parametrize("dim", DIMS, ids=str)
@pytest.mark.parametrize("kind", ["array", "Dask", "variable", "with NaN"])
def test_dimensions_by_name(kind, dim):
    array = T.where(T > 8) if kind == "with NaN" else T.chunk(time=7, lat=2) if kind == "Dask" else T
    array = array.variable if kind == "variable" else array
    names = array.dims if dim is ... else (dim,) if isinstance(dim, str) else dim
    axes = tuple(array.dims.index(name) for name in names)
    found = data.moments(array, dim=dim)
    assert found == Moments.of(array.values, axis=axes)
    assert data.extrema(array, dim=dim) == Extrema.of(array.values, axis=axes)
    labelled = data.to_xarray(found, array, dim)
    plain = array.mean() if dim is ... else array.mean(dim)
    assert labelled["mean"].dims == plain.dims
    if kind != "variable":
        assert set(labelled["mean"].coords) == set(plain.coords)
    # a sum of 480 numbers is within 480 units in the last place
    assert np.allclose(labelled["mean"], plain, rtol=480 * 2**-52)
    assert set(labelled) == {"count", "mean", "var", "std"}
    assert set(data.to_xarray(data.extrema(array, dim=dim), array, dim)) == {"count", "min", "max"}


def test_without_dim_the_first_is_reduced():
    assert data.moments(T) == data.moments(T, axis=0) == Moments.of(T.values)
    assert np.array_equal(StandardScaler(axis=0).fit(T).mean_, Moments.of(T.values).mean)
    assert np.array_equal(data.to_xarray(data.moments(T), T)["std"], Moments.of(T.values).std)


def test_a_dask_array_is_read_chunk_by_chunk():
    largest = 0

    def seen(block):
        nonlocal largest
        largest = max(largest, block.size)
        return block

    array = xr.DataArray(np.zeros((4000, 50)), dims=("time", "place")).chunk(time=100)
    array = array.copy(data=array.data.map_blocks(seen, dtype=float))
    assert data.moments(array, dim="time").count[0] == 4000
    assert largest == 100 * 50


def test_datasets_give_one_variable_after_the_other():
    dataset = xr.Dataset({"tas": T, "name": ("lat", list("abcde"))})
    assert data.moments(dataset, dim="time") == Moments.of(T.values)
    dataset["pr"] = T + 1
    with pytest.raises(DataError, match=r"one array is needed, the Dataset has 'tas', 'pr'; pass one after the other"):
        data.moments(dataset)


def test_what_has_no_such_dimension():
    with pytest.raises(DataError, match=r"dim must name dimensions of the array, \('time', 'lat', 'lon'\), got 'x'"):
        data.moments(T, dim="x")
    with pytest.raises(
        DataError, match="dim names dimensions of an xarray DataArray, in the place of axis, got ndarray"
    ):
        data.moments(T.values, dim="time")
    with pytest.raises(DataError, match="got axis=0 too"):
        data.moments(T, dim="time", axis=0)
    with pytest.raises(DataError, match="the statistic must be of the features"):
        data.to_xarray(data.moments(T), T, "lon")
    with pytest.raises(KindError, match="array must be a DataArray"):
        data.to_xarray(data.moments(T), T.values)
    with pytest.raises(KindError, match="an array of real numbers is needed"):
        data.moments(xr.DataArray(["a", "b"]))


def test_what_was_not_decoded_is_refused():
    packed = xr.DataArray(np.array([[100], [300]], np.int16), dims=("time", "x"), attrs={"scale_factor": 0.01})
    for given in (packed, packed.to_dataset(name="t")):
        with pytest.raises(DataError, match=r"DataArray has scale_factor: .* xarray.decode_cf"):
            data.moments(given)
    assert data.moments(xr.decode_cf(packed.to_dataset(name="t"))).mean == 2
