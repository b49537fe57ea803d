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


DATASET = xr.Dataset(
    {
        "tas": T,
        "pr": (T * 2).transpose("lon", "lat", "time").where(T > 8),
        "count": T.astype(np.int16),
        "zonal": T.mean("lon"),
        "height": ("lat", np.ones(5)),
        "name": ("lat", list("abcde")),
        "when": ("time", np.arange(24).astype("M8[D]")),
        "crs": 4326,
    }
)


@pytest.mark.parametrize("dim", ["time", ("time", "lon")], ids=str)
def test_a_dataset_gives_each_variable(dim):
    names = (dim,) if isinstance(dim, str) else dim
    for dataset in (DATASET, DATASET.chunk(time=7)):
        found, extrema = data.moments(dataset, dim=dim), data.extrema(dataset, dim=dim)
        assert list(found) == list(extrema) == ["tas", "pr", "count", "zonal"]
        assert {column.name: column.skip_reason for column in found.left_out} == {
            "height": f"lacks the dimension {', '.join(map(repr, names))}",
            "name": "not numeric",
            "when": "not numeric",
            "crs": "a single number",
        }
        for name in found:
            own = [d for d in names if d in DATASET[name].dims]
            assert found[name] == data.moments(DATASET[name], dim=own)
            assert extrema[name] == data.extrema(DATASET[name], dim=own)
    labelled = data.to_xarray(found, DATASET, dim)
    # a sum of 480 numbers is within 480 units in the last place
    xr.testing.assert_allclose(
        labelled.sel(statistic="mean", drop=True), DATASET[list(found)].mean(dim), rtol=480 * 2**-52
    )
    assert list(labelled.statistic) == ["count", "mean", "var", "std"]
    assert list(data.to_xarray(extrema, DATASET, dim).statistic) == ["count", "min", "max"]


def test_a_dataset_without_dim():
    only = DATASET[["tas", "zonal", "name"]]
    assert data.moments(only) == {name: Moments.of(only[name].values) for name in ("tas", "zonal")}
    with pytest.raises(DataError, match=r"the first dimension is reduced, .*: 'time' of 'zonal', 'lon' of 'pr'"):
        data.moments(DATASET[["tas", "pr", "zonal"]])
    assert data.moments(DATASET[["tas"]], dim=...)["tas"].shape == ()


def test_datasets_that_cannot_be_measured_so():
    with pytest.raises(DataError, match=r"dim must name dimensions of the Dataset, .* got 'year'"):
        data.moments(DATASET, dim="year")
    with pytest.raises(DataError, match=r"one variable at least .* none is: 'name': not numeric"):
        data.moments(DATASET[["name"]], dim="lat")
    with pytest.raises(
        KindError, match="axis goes with one array, got axis=0 and a Dataset, whose dimensions have names; say dim"
    ):
        data.moments(DATASET, axis=0)
    with pytest.raises(KindError, match=r"columns are of one table or array, got \['tas'\] and several arrays"):
        data.extrema(DATASET, ["tas"])
    with pytest.raises(
        DataError, match=r"one array is needed, the Dataset has 'tas', 'pr', .*; pass one after the other"
    ):
        data.measure(DATASET)
    with pytest.raises(KindError, match="data must be of one node of a DataTree"):
        data.moments(xr.DataTree(DATASET))
    with pytest.raises(DataError, match="column '0,3' of 'tas' holds inf"):
        data.moments(DATASET[["tas"]].where(T > 8, np.inf), dim="time")


@pytest.mark.parametrize("dim", ["time", "lat", ("lat", "lon"), ("lat", "time", "lon"), ...], ids=str)
@pytest.mark.parametrize("kind", ["array", "Dask", "with NaN", "transposed", "full"])
def test_weights_go_by_name(kind, dim):
    array = T.where(T > 8) if kind == "with NaN" else T.chunk(time=7, lat=2) if kind == "Dask" else T
    array = array.transpose("lon", "lat", "time") if kind == "transposed" else array
    weights = np.cos(np.deg2rad(T.lat))
    weights = (weights + T.lon / 90).transpose("lon", "lat") if kind == "full" else weights
    found = data.moments(array, dim=dim, weights=weights)
    axes = (
        tuple(range(3)) if dim is ... else tuple(array.dims.index(d) for d in ([dim] if isinstance(dim, str) else dim))
    )
    full = (weights * xr.ones_like(T)).transpose(*array.dims)
    assert found == Moments.of(array.values, axis=axes, weights=full.values)
    names = list(array.dims) if dim is ... else dim
    peer = array.weighted(weights)
    # sums of 480 products: 480 units of the mean, 480 of the squares, which are 15 times the variance
    assert np.allclose(data.to_xarray(found, array, dim)["mean"], peer.mean(names), rtol=2 * 480 * 2**-52)
    assert np.allclose(data.to_xarray(found, array, dim)["var"], peer.var(names), rtol=15 * 480 * 2**-52)
    of_all = data.moments(array.to_dataset(name="tas"), dim=dim, weights=weights)
    assert of_all["tas"] == found


def test_parts_of_arrays_have_their_weights(monkeypatch):
    weights = xr.DataArray(np.arange(120.0).reshape(24, 5) / 7, dims=("time", "lat"))
    wanted = {dim: data.moments(T, dim=dim, weights=weights) for dim in T.dims}
    monkeypatch.setattr("gammabeta.data.formats.sliced_array.REGION_BYTES", 300)
    monkeypatch.setattr("gammabeta.data.formats.array_like.REGION_BYTES", 300)
    monkeypatch.setattr("gammabeta.data.passes.measure_array.AT_ONCE", 3)
    assert {dim: data.moments(T, dim=dim, weights=weights) for dim in T.dims} == wanted


def test_weights_that_do_not_fit():
    for weights, kind, message in [
        (np.ones(5), KindError, "weights must be a DataArray, .* got ndarray"),
        (xr.DataArray(np.ones(5), dims="y"), DataError, r"weights must have dimensions of the array, .* got 'y'"),
        (xr.DataArray(np.ones(4), dims="lat"), DataError, "weights must be as long as the array along 'lat', 5, got 4"),
        (T.lat[::-1], DataError, "the coordinate 'lat' must be that of the array, where place 0 is -60.0, got 60.0"),
        (xr.full_like(T.lat, -1), DataError, "weights must be finite and not negative"),
        (xr.full_like(T.lat, np.nan), DataError, "weights must be finite and not negative"),
    ]:
        with pytest.raises(kind, match=message):
            data.moments(T, dim="lat", weights=weights)
    with pytest.raises(KindError, match="weights go with an xarray DataArray or Dataset, got ndarray"):
        data.moments(T.values, weights=T.lat)
    found = data.moments(DATASET, dim=("lat", "lon"), weights=xr.ones_like(T.lon))
    assert list(found) == ["tas", "pr", "count"]
    assert [c.skip_reason for c in found.left_out if c.name == "zonal"] == ["lacks the weights' dimension 'lon'"]


def test_odd_arrays():
    for odd in (T.isel(time=0, lat=0, lon=0), xr.DataArray(3.0)):
        with pytest.raises(DataError, match="an array of at least one dimension is needed"):
            data.moments(odd)
    unnamed = xr.DataArray(np.arange(6.0).reshape(2, 3))
    assert data.moments(unnamed, dim="dim_1") == Moments.of(unnamed.values, axis=1)
    times = xr.date_range("2000-01-01", periods=24, calendar="noleap", use_cftime=True)
    timed = T.assign_coords(time=times)
    assert data.moments(timed, dim="lat", weights=timed.time.dt.dayofyear * 1.0) == Moments.of(
        T.values, axis=1, weights=np.broadcast_to(np.arange(1.0, 25)[:, None, None], T.shape)
    )
    with pytest.raises(DataError, match="the coordinate 'time' must be that of the array"):
        data.moments(timed, dim="time", weights=timed.time.dt.day.assign_coords(time=times.shift(1, "D")) * 1.0)


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
    assert data.moments(xr.decode_cf(packed.to_dataset(name="t")))["t"].mean == 2
