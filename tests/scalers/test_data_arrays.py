"""xarray's DataArrays in the scalers: dimensions by name, and DataArrays for DataArrays."""

import pickle

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

import gammabeta as gb
from gammabeta.errors import DataError, KindError, StateError
from gammabeta.scalers.as_affine import features_of

SCALERS = {"standard": gb.StandardScaler, "minmax": gb.MinMaxScaler}


def field(dtype=np.float64):
    return xr.DataArray(
        np.random.default_rng(1).normal(280, 5, (12, 3, 4)).astype(dtype),
        dims=("time", "lat", "lon"),
        coords={
            "time": pd.date_range("2000-01-01", periods=12, freq="D"),
            "lat": [-45.0, 0.0, 45.0],
            "lon": [0, 90, 180, 270],
            "season": ("time", list("wwwsssaaabbb")),
        },
        attrs={"units": "K"},
        name="tas",
    )


@pytest.mark.parametrize("name", SCALERS)
@pytest.mark.parametrize("dim", ["time", ("time", "lon"), ["lon", "time"], ("lat", "lon"), ...], ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
def test_dimensions_coordinates_attributes_and_name_are_kept(name, dim, dtype):
    x = field(dtype)
    axes = tuple(range(3)) if dim is ... else tuple(x.dims.index(d) for d in ([dim] if isinstance(dim, str) else dim))
    scaler, plain = SCALERS[name](dim=dim).fit(x), SCALERS[name](axis=axes).fit(x.values)
    found = scaler.transform(x)
    assert found.identical(x.copy(data=plain.transform(x.values)))
    assert found.dtype == plain.transform(x.values).dtype
    back = scaler.inverse_transform(found)
    assert back.dims == x.dims
    assert np.array_equal(back.values, plain.inverse_transform(found.values))
    assert list(scaler.dims_in_) == [d for i, d in enumerate(x.dims) if i not in axes]
    assert scaler.n_features_in_ == plain.n_features_in_


def test_it_is_what_xarray_computes():
    x = field()
    wanted = (x - x.mean("time")) / x.std("time")
    found = gb.StandardScaler(dim="time").fit_transform(x)
    # both divide once and subtract once; the means of 12 values near 280 differ by 12 units in the last place at most,
    # and the deviations are some 5
    xr.testing.assert_allclose(found, wanted, rtol=0, atol=12 * 280 * 2**-52)


@given(st.permutations(["time", "lat", "lon"]), st.permutations(["time", "lat", "lon"]))
def test_the_order_of_dimensions_says_nothing(fitted, given_order):
    x = field()
    scaler = gb.StandardScaler(dim="time").fit(x.transpose(*fitted))
    found = scaler.transform(x.transpose(*given_order))
    assert found.dims == tuple(given_order)
    assert found.transpose(*x.dims).identical(gb.StandardScaler(dim="time").fit_transform(x))
    assert scaler.inverse_transform(found).dims == tuple(given_order)
    more = scaler.partial_fit(x.transpose(*given_order))
    assert more.moments_.count.tolist() == np.full(scaler.moments_.shape, 24).tolist()
    assert np.array_equal(more.mean_, scaler.mean_)


def test_fewer_and_more_dimensions_than_were_reduced():
    x = field()
    scaler = gb.StandardScaler(dim="time").fit(x)
    whole = scaler.transform(x)
    assert scaler.transform(x[3]).identical(whole[3])
    members = xr.concat([x, x + 1], dim="member")
    assert scaler.transform(members)[0].identical(whole)
    one = gb.StandardScaler(dim=...).fit(x)
    assert one.transform(x[0, 0, 0]).identical(one.transform(x)[0, 0, 0])


@pytest.mark.parametrize("name", SCALERS)
def test_lazy_arrays_stay_lazy(name):
    x = field()
    lazy = x.chunk(time=5, lat=2)
    for dim in ("time", ("lat", "time"), ("time", "lat", "lon")):
        wanted = SCALERS[name](dim=dim).fit(x)
        scaler = SCALERS[name](dim=dim).fit(lazy.transpose("lon", "time", "lat"))
        found = scaler.transform(lazy)
        assert found.chunks == lazy.chunks
        assert found.identical(wanted.transform(x))
        assert scaler.inverse_transform(found).chunks == lazy.chunks
        assert scaler.inverse_transform(found).compute().identical(wanted.inverse_transform(wanted.transform(x)))
    single = SCALERS[name](dim="time").fit(x)
    assert single.transform(lazy[0]).chunks == lazy[0].chunks
    assert single.transform(lazy[0]).identical(single.transform(x[0]))


def test_nothing_is_computed_before_it_is_asked_for():
    def fail(block):
        raise AssertionError

    x = field().chunk(time=4)
    scaler = gb.StandardScaler(dim="time").fit(x)
    scaler.transform(x.copy(data=x.data.map_blocks(fail, dtype=float, meta=np.empty((0, 0, 0)))))


def test_dask_s_scalers_take_them_too():
    from gammabeta.data import dask as exact

    x = field().chunk(time=5)
    found = exact.StandardScaler(dim="time").fit(x).transform(x)
    assert found.identical(gb.StandardScaler(dim="time").fit_transform(field()))
    assert found.chunks == x.chunks


@pytest.mark.parametrize("lazy", [False, True])
def test_weights_go_by_name(lazy):
    x = field()
    weights = np.cos(np.deg2rad(x.lat))
    given_x = x.chunk(time=5, lat=2) if lazy else x
    scaler = gb.StandardScaler(dim=("lat", "lon")).fit(given_x, sample_weight=weights)
    exact = gb.Moments.of(x.values, axis=(1, 2), weights=np.broadcast_to(weights.values[:, None], (3, 4)))
    assert scaler.moments_ == exact
    assert np.allclose(scaler.mean_, x.weighted(weights).mean(("lat", "lon")), rtol=24 * 2**-52)
    full = weights * xr.ones_like(x)
    assert gb.StandardScaler(dim=("lat", "lon")).fit(given_x, sample_weight=full).moments_ == exact
    along = xr.DataArray(np.arange(12.0), dims="time")
    assert gb.StandardScaler(dim="time").fit(given_x, sample_weight=along).moments_ == gb.Moments.of(
        x.values, weights=np.arange(12.0)
    )
    table = given_x[:, 0]
    assert gb.StandardScaler().fit(table, sample_weight=along).moments_ == gb.Moments.of(
        x.values[:, 0], weights=np.arange(12.0)
    )
    if not lazy:
        assert gb.StandardScaler(dim="time").fit(x, sample_weight=np.arange(12.0)).moments_ == gb.Moments.of(
            x.values, weights=np.arange(12.0)
        )


@pytest.mark.parametrize(
    ("weights", "kind", "message"),
    [
        (np.ones((3, 4)), KindError, r"sample_weight of values along \('lat', 'lon'\) must be a DataArray"),
        (xr.DataArray(np.ones(2), dims="lat"), DataError, "weights must be as long as the array along 'lat', 3, got 2"),
        (xr.DataArray(np.ones(2), dims="x"), DataError, r"weights must have dimensions of the array, .* got 'x'"),
        (
            xr.DataArray(np.ones(3), dims="lat", coords={"lat": [45.0, 0.0, -45.0]}),
            DataError,
            "the coordinate 'lat' must be that of the array, where place 0 is -45.0, got 45.0",
        ),
    ],
)
def test_weights_that_do_not_fit(weights, kind, message):
    with pytest.raises(kind, match=message):
        gb.StandardScaler(dim=("lat", "lon")).fit(field(), sample_weight=weights)
    if isinstance(weights, np.ndarray):
        with pytest.raises(DataError, match="sample_weight must be along the rows, 'time'"):
            gb.StandardScaler().fit(field()[:, 0], sample_weight=xr.DataArray(np.ones(4), dims="lon"))


def test_a_table_is_rows_by_features():
    x = xr.DataArray(
        [[1.0, 10.0], [3.0, 30.0], [5.0, 20.0]], dims=("case", "feature"), coords={"feature": ["height", "width"]}
    )
    scaler = gb.StandardScaler().fit(x)
    assert scaler.transform(x).identical(x.copy(data=gb.StandardScaler().fit_transform(x.values)))
    assert scaler.transform(x.T).identical(scaler.transform(x).T)
    assert list(scaler.get_feature_names_out()) == ["height", "width"]
    frame = pd.DataFrame(x.values, columns=["height", "width"])
    assert np.array_equal(scaler.transform(frame), scaler.transform(x).values)
    with pytest.raises(DataError, match=r"the coordinate 'feature' must be that of the fit, where place 0 is 'height'"):
        scaler.transform(x[:, ::-1])
    with pytest.raises(DataError, match=r"the coordinate 'feature' must be that of the fit"):
        gb.StandardScaler().fit(frame).transform(x[:, ::-1])
    with pytest.raises(ValueError, match="Expected 2D array, got 1D"):
        gb.StandardScaler().fit(x[0])
    asked = gb.StandardScaler().set_output(transform="pandas").fit(x).transform(x)
    assert isinstance(asked, pd.DataFrame)
    assert list(asked.columns) == ["height", "width"]


def test_positions_go_by_name_once_names_are_known():
    x = field()
    scaler = gb.StandardScaler(axis=(0, 2)).fit(x)
    assert scaler.dims_in_ == {"lat": [-45.0, 0.0, 45.0]}
    assert scaler.transform(x.transpose("lat", "lon", "time")).identical(
        scaler.transform(x).transpose("lat", "lon", "time")
    )
    assert np.array_equal(scaler.transform(x.values), scaler.transform(x).values)  # without names they are positions


def test_what_does_not_go_together():
    x = field()
    scaler = gb.StandardScaler(dim="time").fit(x)
    for other, message in [
        (
            x[:, 0],
            r"X must have the dimensions of the fit's features, \('lat', 'lon'\), and rows; got \('time', 'lon'\)",
        ),
        (x.rename(lat="y"), r"X must have the dimensions of the fit's features"),
        (x[:, ::-1], "the coordinate 'lat' must be that of the fit, where place 0 is -45.0, got 45.0; .* x.reindex"),
        (x[:, :2], "the coordinate 'lat' must be that of the fit, where place 2 is 45.0, got no more"),
        (
            x.drop_vars("lat")[:, :2],
            r"X must have \(3, 4\) features along \('lat', 'lon'\), as the fit had, got \(2, 4\)",
        ),
    ]:
        for use in (scaler.transform, scaler.inverse_transform, clone(scaler).fit(x).partial_fit):
            with pytest.raises(DataError, match=message):
                use(other)
    with pytest.raises(DataError, match=r"dim must name dimensions of the array, .* got 'year'"):
        gb.StandardScaler(dim="year").fit(x)
    with pytest.raises(DataError, match="axis or dim must be None, got axis=0 and dim='time'"):
        gb.StandardScaler(dim="time", axis=0).fit(x)
    for other in (x.values, pd.DataFrame({"a": [1.0]})):
        with pytest.raises(KindError, match="dim='time' names dimensions of an xarray DataArray, which X must be, got"):
            gb.StandardScaler(dim="time").fit(other)
        with pytest.raises(KindError, match="dim='time' names dimensions of an xarray DataArray, which X must be, got"):
            scaler.transform(other)
    for several in (x.to_dataset(), xr.DataTree(x.to_dataset())):
        with pytest.raises(KindError, match="X must be one DataArray, got a Data"):
            gb.StandardScaler().fit(several)
    with pytest.raises(DataError, match="DataArray has scale_factor"):
        gb.StandardScaler(dim="time").fit(x.assign_attrs(scale_factor=0.1))
    with pytest.raises(ValueError, match="Input X contains infinity"):
        gb.StandardScaler(dim="time").fit(x.where(x.lat > 0, np.inf))
    with pytest.raises(DataError, match="names dimensions, and a layer's arrays have none"):
        features_of(scaler)
    with pytest.raises(DataError, match="scikit-learn's scalers are of tables"):
        scaler.to_sklearn()
    with pytest.raises(KindError, match="folds are of rows by their numbers: dim must be None, got 'time'"):
        next(gb.fold_scalers(x, scaler=gb.StandardScaler(dim="time")))
    for times in (x.time, x.time - x.time[0], x.time.where(x.time > x.time[1])):
        with pytest.raises(KindError, match=r"X must be of numbers, got (date|time)"):
            gb.StandardScaler(dim="time").fit(times)


def test_missing_values_stay_and_a_refit_forgets():
    x = field().where(lambda v: v > 276)
    scaler = gb.StandardScaler(dim="time").fit(x)
    assert np.array_equal(scaler.transform(x).isnull(), x.isnull())
    assert scaler.moments_ == gb.Moments.of(x.values)
    scaler.set_params(dim=("lat", "lon")).fit(x)
    assert list(scaler.dims_in_) == ["time"]
    scaler.set_params(dim=None, axis=0).fit(x.values)
    assert not hasattr(scaler, "dims_in_")


def test_merge_json_pickle_and_clone():
    x = field()
    whole = gb.StandardScaler(dim="time").fit(x)
    parts = [gb.StandardScaler(dim="time").fit(part) for part in (x[:5], x[5:])]
    assert parts[0].merge(parts[1]).transform(x).identical(whole.transform(x))
    assert gb.StandardScaler(dim="time").merge(whole).dims_in_ == whole.dims_in_
    with pytest.raises(DataError, match="the coordinate 'lat' must be that of the other scaler"):
        whole.merge(gb.StandardScaler(dim="time").fit(x[:, ::-1]))
    with pytest.raises(DataError, match="scalers merge over the same dimensions"):
        whole.merge(gb.StandardScaler(dim="time").fit(x.rename(lat="y")))
    for again in (gb.StandardScaler.from_json(whole.to_json()), pickle.loads(pickle.dumps(whole))):
        assert again.dims_in_ == whole.dims_in_
        assert again.transform(x.T).identical(whole.transform(x.T))
    of_all = gb.MinMaxScaler(dim=...).fit(x)
    assert gb.MinMaxScaler.from_json(of_all.to_json()).dim is ...
    lists = gb.StandardScaler(dim=["time", "lat"]).fit(x)
    assert gb.StandardScaler.from_json(lists.to_json()).transform(x).identical(lists.transform(x))
    with pytest.raises(StateError, match="dimensions must be named by text to be written"):
        gb.StandardScaler().fit(xr.DataArray(np.eye(2), dims=("a", 1))).to_json()
    of_moments = gb.StandardScaler.from_moments(gb.data.moments(x, dim="time"), dim="time")
    assert of_moments.transform(x).identical(whole.transform(x))


def test_encoding_is_not_kept():
    x = field()
    x.encoding = {"dtype": "int16", "scale_factor": 0.01}
    assert gb.StandardScaler(dim="time").fit_transform(x).encoding == {}
    assert x.encoding["scale_factor"] == 0.01


def test_odd_coordinates():
    multi = pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=("place", "level"))
    x = xr.DataArray(
        np.arange(12.0).reshape(3, 4), dims=("time", "z"), coords=xr.Coordinates.from_pandas_multiindex(multi, "z")
    )
    scaler = gb.StandardScaler(dim="time").fit(x)
    assert scaler.transform(x).identical(x.copy(data=gb.StandardScaler().fit_transform(x.values)))
    with pytest.raises(DataError, match="the coordinate 'z' must be that of the fit"):
        scaler.transform(x[:, ::-1])
    variable = x.variable
    assert gb.StandardScaler(dim="time").fit_transform(variable).identical(scaler.transform(x).variable)
    unnamed = xr.DataArray(np.arange(6.0).reshape(2, 3))
    assert gb.StandardScaler(dim="dim_0").fit_transform(unnamed).identical(unnamed.copy(data=[[-1] * 3, [1.0] * 3]))
    latitudes = field().lat
    assert gb.StandardScaler(dim="lat").fit_transform(latitudes).name == "lat"
