"""Data frames through the scalers: arrays as scikit-learn's, or the same kind of frame; scikit-learn's compositions."""

import pickle
from decimal import Decimal

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn
import sklearn.preprocessing as theirs
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline, make_union

import gammabeta as gb
from gammabeta.backends import dataframes

BOTH = pytest.mark.parametrize("scaler", [gb.StandardScaler(), gb.MinMaxScaler()], ids=["standard", "minmax"])
RANDOM = np.random.default_rng(7)
N = 60
X = RANDOM.normal(3, 2, (N, 4))
NAMES = ["a", "b", "c", "d"]


def pandas_nullable():
    values = pd.array(X[:, 0], dtype="Float32")
    values[3] = pd.NA
    return pd.DataFrame({"f": values, "i": pd.array([None, *range(N - 1)], dtype="Int64"), "g": X[:, 1]})


def pandas_arrow():
    columns = {
        "f": pa.array([None, *X[1:, 0]], pa.float32()),
        "d": pa.array(X[:, 1]),
        "i": pa.array([*range(N - 1), None]),
    }
    return pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype)


def arrow():
    columns = {"f": pa.array([None, *X[1:, 0]], pa.float32()), "d": pa.array(X[:, 1]), "i": pa.array(range(N))}
    return pa.table(columns).replace_schema_metadata({"kept": "yes"})


FRAMES = {
    "pandas": lambda: pd.DataFrame(X, columns=NAMES),
    "pandas-float32": lambda: pd.DataFrame(X.astype(np.float32), columns=NAMES, index=[f"row {i}" for i in range(N)]),
    "pandas-mixed": lambda: pd.DataFrame(
        {"f": X[:, 0].astype(np.float32), "d": X[:, 1], "i": np.arange(N), "t": X[:, 2] > 3}
    ),
    "pandas-nullable": pandas_nullable,
    "pandas-arrow": pandas_arrow,
    "polars": lambda: pl.DataFrame(X, schema=NAMES),
    "polars-mixed": lambda: pl.DataFrame(
        {
            "f": X[:, 0].astype(np.float32),
            "i": [None, *range(N - 1)],
            "s": pl.Series([None, *range(N - 1)], dtype=pl.Int8),
        }
    ),
    "pyarrow": arrow,
    "pyarrow-chunks": lambda: pa.concat_tables([arrow().slice(0, 7), arrow().slice(7)]),
    "narwhals": lambda: nw.from_native(pl.DataFrame(X, schema=NAMES)),
}


@pytest.fixture(params=FRAMES, name="frame")
def _frame(request):
    return FRAMES[request.param]()


def as_array(frame):
    """float64 with NaN for nulls, by another way than the library's."""
    return nw.from_native(frame, eager_only=True).to_pandas().astype("float64").to_numpy()


def floats(frame):
    """What each column is to become: itself if it is floating, else float64."""
    schema = nw.from_native(frame, eager_only=True).schema
    return {name: dtype if dtype.is_float() else nw.Float64() for name, dtype in schema.items()}


def same(scaler):
    """A clone of a scaler which gives frames of the kind that it is given."""
    return sklearn.clone(scaler).set_output(transform="same")


@BOTH
def test_same_kind_out(frame, scaler):
    values = as_array(frame)
    plain = sklearn.clone(scaler).fit(values)
    fitted = same(scaler).fit(frame)
    np.testing.assert_array_equal(fitted.scale_, plain.scale_)
    out = fitted.transform(frame)
    assert type(out) is type(frame)
    given, got = nw.from_native(frame, eager_only=True), nw.from_native(out, eager_only=True)
    assert got.columns == given.columns == list(fitted.feature_names_in_)
    assert dict(got.schema) == floats(frame)
    expected = plain.transform(values)
    for i, name in enumerate(given.columns):
        # evaluated in float64 and rounded once, so the bits are those of the rounded column
        column = expected[:, i].astype(np.float32) if got[name].dtype == nw.Float32 else expected[:, i]
        np.testing.assert_array_equal(as_array(out)[:, i], column)
        assert got[name].null_count() == given[name].null_count()
    back = fitted.inverse_transform(out)
    assert type(back) is type(frame)
    # two roundings to float32, the first of |y| ≤ 5 magnified by a range of at most 60
    np.testing.assert_allclose(as_array(back), values, rtol=0, atol=600 * np.finfo(np.float32).eps)
    np.testing.assert_array_equal(as_array(frame), values)


def test_pandas_types_and_index_stay():
    out = same(gb.StandardScaler()).fit_transform(pandas_nullable())
    assert [str(t) for t in out.dtypes] == ["Float32", "Float64", "float64"]
    out = same(gb.StandardScaler()).fit_transform(pandas_arrow())
    assert [str(t) for t in out.dtypes] == ["float[pyarrow]", "double[pyarrow]", "double[pyarrow]"]
    frame = FRAMES["pandas-float32"]()
    frame.attrs["kept"] = 1
    out = same(gb.MinMaxScaler()).fit_transform(frame)
    pd.testing.assert_index_equal(out.index, frame.index)
    assert out.attrs == {"kept": 1}


def test_arrow_metadata_stays():
    assert same(gb.StandardScaler()).fit_transform(arrow()).schema.metadata == {b"kept": b"yes"}


@pytest.mark.parametrize("rows", [dataframes.ROWS // 8 + 3])
def test_long_frames_go_column_by_column(rows, monkeypatch):
    monkeypatch.setattr(dataframes, "ROWS", rows // 3)
    x = RANDOM.normal(size=(rows, 3))
    table = pa.table({"a": x[:, 0], "b": pa.array(x[:, 1].astype(np.float32)), "i": pa.array([None, *range(rows - 1)])})
    plain = gb.StandardScaler().fit(as_array(table), sample_weight=np.arange(rows))
    fitted = gb.StandardScaler().fit(table, sample_weight=np.arange(rows))
    np.testing.assert_array_equal(fitted.scale_, plain.scale_)
    np.testing.assert_array_equal(fitted.n_samples_seen_, plain.n_samples_seen_)
    by_row = pd.DataFrame(np.ascontiguousarray(x), copy=False)
    np.testing.assert_array_equal(gb.StandardScaler().fit(by_row).mean_, gb.StandardScaler().fit(x).mean_)
    np.testing.assert_array_equal(
        same(gb.StandardScaler()).fit_transform(by_row).to_numpy(), gb.StandardScaler().fit_transform(x)
    )


def test_long_integers_with_nulls_are_exact():
    table = pl.DataFrame({"i": [2**62 + 1, None, 2**62 + 3]})
    assert gb.StandardScaler().fit(table).var_ == 1
    assert gb.StandardScaler().fit(table, sample_weight=[1, 5, 1]).var_ == 1


def test_objects_that_are_numbers():
    frame = pd.DataFrame({"o": np.array([1, 2.5, None], dtype=object), "c": pd.Categorical([1, 2, 1])})
    out = same(gb.StandardScaler()).fit_transform(frame)
    np.testing.assert_array_equal(out.to_numpy(), theirs.StandardScaler().fit_transform(frame))
    money = pl.DataFrame({"d": [Decimal("1.50"), Decimal("2.50")], "n": [None, None]})
    out = same(gb.MinMaxScaler()).fit_transform(money)
    assert out["d"].to_list() == [0, 1]
    assert out["n"].null_count() == 2


def test_names_that_are_not_text():
    out = same(gb.StandardScaler()).fit_transform(pd.DataFrame(X))
    assert list(out.columns) == [0, 1, 2, 3]
    columns = pd.MultiIndex.from_product([["a", "b"], ["x", "y"]])
    with pytest.raises(Exception, match="unique"):  # narwhals' words, in scikit-learn too
        gb.StandardScaler().fit(pd.DataFrame(X, columns=list("aabb")))
    assert same(gb.StandardScaler()).fit_transform(pd.DataFrame(X, columns=columns)).columns.equals(columns)


# What is refused


@BOTH
@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_columns_that_are_not_numeric_are_named(scaler, make):
    frame = make({"age": [1.0, 2.0], "city": ["Ulm", "5"], "when": np.array(["2020", "2021"], "M8[us]")})
    with pytest.raises(gb.DataError, match=r"must be numeric, got 'city' \(.*\), 'when' \(.*\); leave them out"):
        sklearn.clone(scaler).fit(frame)


def test_a_column_that_changed_type_is_named():
    frame = pd.DataFrame(X, columns=NAMES)
    scaler = same(gb.StandardScaler()).fit(frame)
    changed = frame.assign(b=["text"] * N)
    with pytest.raises(gb.DataError, match=r"'b' \("):
        scaler.transform(changed)
    narrower = frame.assign(b=frame["b"].astype(np.float32))
    assert scaler.transform(narrower)["b"].dtype == np.float32


@BOTH
@pytest.mark.parametrize(
    "make", [lambda x, names: pd.DataFrame(x, columns=names), lambda x, names: pl.DataFrame(x, schema=names)]
)
def test_names_of_another_fit(scaler, make):
    fitted = sklearn.clone(scaler).fit(make(X, NAMES))
    for names, words in (
        (["b", "a", "c", "d"], "must be in the same order as they were in fit"),
        (["a", "b", "c", "e"], "unseen at fit time:\n- e\nFeature names seen at fit time, yet now missing:\n- d"),
        (["a", "b", "c"], "yet now missing:\n- d"),
    ):
        with pytest.raises(ValueError, match=words):
            fitted.transform(make(X[:, : len(names)], names))
    with pytest.raises(ValueError, match="must be in the same order"):
        fitted.inverse_transform(make(X, ["b", "a", "c", "d"]))
    fitted.inverse_transform(make(X, ["scaled a", "scaled b", "scaled c", "scaled d"]))
    with pytest.raises(ValueError, match="X has 2 features"):
        fitted.inverse_transform(make(X[:, :2], ["a", "b"]))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        fitted.transform(X)
    with pytest.warns(UserWarning, match="X has feature names, but"):
        sklearn.clone(scaler).fit(X).transform(make(X, NAMES))


@BOTH
def test_empty_frames_series_and_lazy_ones(scaler):
    with pytest.raises(ValueError, match=r"0 sample\(s\) \(shape=\(0, 2\)\) while a minimum of 1 is required by"):
        sklearn.clone(scaler).fit(pl.DataFrame({"a": [], "b": []}))
    with pytest.raises(ValueError, match="Expected a 2-dimensional container but got"):
        sklearn.clone(scaler).fit(pd.Series([1.0, 2.0]))
    with pytest.raises(gb.KindError, match="in memory, got the lazy LazyFrame; collect it first"):
        sklearn.clone(scaler).fit(pl.DataFrame({"a": [1.0]}).lazy())


@BOTH
@pytest.mark.parametrize("make", [lambda x: pd.DataFrame(x, columns=NAMES), lambda x: pl.DataFrame(x, schema=NAMES)])
def test_infinities(scaler, make):
    bad = X.copy()
    bad[5, 2] = np.inf
    fitted = sklearn.clone(scaler).fit(make(X))
    for attempt in (sklearn.clone(scaler).fit, fitted.transform, fitted.partial_fit):
        with pytest.raises(
            ValueError, match=r"Input X contains infinity or a value too large for dtype\('float64'\)\."
        ):
            attempt(make(bad))


# set_output, and scikit-learn's compositions


@BOTH
def test_default_output_is_scikit_learns(frame, scaler):
    ours, other = sklearn.clone(scaler), peer(scaler)
    got, expected = ours.fit_transform(frame), other.fit_transform(frame)
    assert type(got) is type(expected) is np.ndarray
    assert got.dtype == expected.dtype
    # scikit-learn works in float32 where all columns have it: a sum of 60 values and a quotient, of size 5
    eps = np.finfo(got.dtype if got.dtype == np.float32 else float).eps
    np.testing.assert_allclose(got, expected, rtol=0, atol=300 * eps)
    back, expected = ours.inverse_transform(got), other.inverse_transform(expected)
    assert type(back) is np.ndarray and back.dtype == expected.dtype
    np.testing.assert_array_equal(ours.transform(frame), got)
    np.testing.assert_array_equal(got, ours.transform(as_array(frame)).astype(got.dtype))


def peer(scaler):
    """scikit-learn's scaler of the same name."""
    return getattr(theirs, type(scaler).__name__)()


pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names")


def test_arrays_out_do_not_align_by_index():
    df = pd.DataFrame({"a": [1.0, 2.0, 4.0]}, index=[5, 6, 7])
    scaler = gb.MinMaxScaler()
    image = [0, 1 / 3, 1]
    np.testing.assert_allclose(pd.DataFrame(scaler.fit_transform(df), columns=["a_scaled"])["a_scaled"], image)
    np.testing.assert_allclose(df.reset_index(drop=True).assign(z=scaler.fit_transform(df))["z"], image)
    np.testing.assert_allclose(gb.StandardScaler().fit_transform(df).std(axis=0), 1, rtol=1e-15)
    np.testing.assert_allclose(scaler.fit_transform(df)[:2, 0], image[:2])
    assert scaler.fit_transform(df).reshape(-1).shape == scaler.fit_transform(df).ravel().shape == (3,)
    scaler.inverse_transform(scaler.transform(df)).ravel()


@pytest.mark.parametrize("output", ["pandas", "polars"])
@pytest.mark.parametrize("globally", [True, False])
@BOTH
def test_set_output_gives_scikit_learns_frames(frame, scaler, output, globally):
    def image(scaler):
        if globally:
            with sklearn.config_context(transform_output=output):
                return scaler.fit_transform(frame)
        return scaler.set_output(transform=output).fit_transform(frame)

    got, expected = image(sklearn.clone(scaler)), image(peer(scaler))
    assert type(got) is type(expected)
    if not isinstance(frame, nw.DataFrame):  # whose names scikit-learn does not know
        assert list(got.columns) == list(expected.columns)
    assert list(got.dtypes) == list(expected.dtypes)
    if output == "pandas":
        pd.testing.assert_index_equal(got.index, expected.index)
    np.testing.assert_allclose(got.to_numpy(), expected.to_numpy(), rtol=0, atol=300 * np.finfo(np.float32).eps)


def test_set_output_can_change():
    frame = FRAMES["pandas-nullable"]()
    scaler = gb.StandardScaler().fit(frame)
    assert isinstance(scaler.transform(frame), np.ndarray)
    assert scaler.set_output() is scaler
    kinds = {"same": pd.DataFrame, "polars": pl.DataFrame, "default": np.ndarray, "pandas": pd.DataFrame}
    for transform, kind in kinds.items():
        scaler.set_output(transform=transform)
        for copy in (scaler, sklearn.clone(scaler).fit(frame), pickle.loads(pickle.dumps(scaler))):
            assert type(copy.transform(frame)) is kind
    with sklearn.config_context(transform_output="pandas"):
        assert type(scaler.set_output(transform="default").transform(frame)) is np.ndarray
        assert scaler.set_output(transform="same").transform(frame)["f"].dtype == "Float32"
        assert scaler.set_output().transform(frame)["f"].dtype == "Float32"
    with pytest.raises(ValueError, match="output config must be in"):
        scaler.set_output(transform="excel").transform(frame)


def test_a_pipeline_of_scalers_gives_the_same_kind():
    frame = FRAMES["pandas-nullable"]()
    model = make_pipeline(gb.StandardScaler(), gb.MinMaxScaler()).set_output(transform="same")
    assert [str(t) for t in model.fit_transform(frame).dtypes] == ["Float32", "Float64", "float64"]


def test_sparse_frames_are_matrices_as_in_scikit_learn():
    frame = pd.DataFrame(
        {
            "a": pd.arrays.SparseArray([0.0, 1.0, 0.0], fill_value=0),
            "b": pd.arrays.SparseArray([0.0, 0.0, 2.0], fill_value=0),
        }
    )
    ours, other = (k(with_mean=False).fit(frame) for k in (gb.StandardScaler, theirs.StandardScaler))
    np.testing.assert_allclose(ours.scale_, other.scale_, rtol=3 * np.finfo(float).eps)
    assert ours.transform(frame).format == other.transform(frame).format


@pytest.mark.parametrize("make", [np.asarray, lambda x: pd.DataFrame(x).rename(columns=str), lambda x: pl.DataFrame(x)])
def test_swapping_the_import_keeps_a_search(make):
    x, y = load_breast_cancer(return_X_y=True)
    x = make(x)
    scores = []
    for library in (gb, theirs):
        model = make_pipeline(library.StandardScaler(), library.MinMaxScaler(), LogisticRegression(max_iter=1000))
        grid = {"standardscaler__with_std": [True, False], "minmaxscaler__feature_range": [(0, 1), (-1, 1)]}
        search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(x, y)
        scores.append(search.cv_results_["mean_test_score"])
    # the scalers agree to the last digits, the regression stops within its tolerance: no more than one row differs
    np.testing.assert_allclose(*scores, rtol=0, atol=1.01 / len(y))


@pytest.mark.parametrize("output", [None, "default", "pandas", "polars"])
def test_column_transformer_and_union(output):
    frame = FRAMES["pandas-mixed"]()
    for build in (
        lambda k: ColumnTransformer(
            [("s", k.StandardScaler(), ["f", "d"]), ("m", k.MinMaxScaler(), ["i"])], remainder="passthrough"
        ),
        lambda k: make_union(k.StandardScaler(), k.MinMaxScaler()),
    ):
        ours, other = build(gb), build(theirs)
        if output is not None:
            ours.set_output(transform=output)
            other.set_output(transform=output)
        got, expected = ours.fit_transform(frame), other.fit_transform(frame)
        assert type(got) is type(expected)
        # scikit-learn scales float32 columns in float32 where they come alone, in float64 where they come with others
        np.testing.assert_allclose(
            np.asarray(got, float), np.asarray(expected, float), atol=60 * np.finfo(np.float32).eps
        )
        assert list(ours.get_feature_names_out()) == list(other.get_feature_names_out())


TYPED = pd.DataFrame({"i": [1, 2, None, 4] * 5, "f": [1.5, None, 2.0, 7.0] * 5, "t": [True, False, None, True] * 5})
KINDS = {
    "nullable": lambda: TYPED.convert_dtypes(),
    "pyarrow": lambda: TYPED.convert_dtypes(dtype_backend="pyarrow"),
    "arrow types": lambda: pd.DataFrame(
        {
            str(kind): pd.array([1, 2, None, 4] * 5, dtype=pd.ArrowDtype(kind))
            for kind in (pa.int8(), pa.uint64(), pa.float32(), pa.decimal128(9, 2))
        }
    ),
    "narrow": lambda: TYPED.convert_dtypes().astype({"i": "UInt8", "f": "Float32"}),
    "without nulls": lambda: TYPED.dropna().convert_dtypes(),
    "beside NumPy's": lambda: TYPED.convert_dtypes().assign(g=np.arange(20.0)),
}
MODELS = {
    "columns": lambda k: ColumnTransformer([("s", k.StandardScaler(), [0]), ("m", k.MinMaxScaler(), [1, 2])]),
    "one column": lambda k: ColumnTransformer([("s", k.StandardScaler(), [0])]),
    "union": lambda k: make_union(k.StandardScaler(), k.MinMaxScaler()),
    "pipeline": lambda k: make_pipeline(k.StandardScaler(), SimpleImputer(), k.MinMaxScaler()),
}


@pytest.mark.parametrize("output", ["default", "pandas"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", KINDS)
def test_nullable_columns_become_floats(kind, model, output):
    frame = KINDS[kind]()
    got, expected = (MODELS[model](k).set_output(transform=output).fit_transform(frame) for k in (gb, theirs))
    assert type(got) is type(expected)
    kinds = [list(x.dtypes) if output == "pandas" else x.dtype for x in (got, expected)]
    assert kinds[0] == kinds[1]
    assert np.asarray(got).dtype == np.float64
    # sums of 20 values of size 7, and quotients by a deviation of 0.4 and more
    np.testing.assert_allclose(np.asarray(got), np.asarray(expected), rtol=0, atol=1000 * np.finfo(float).eps)


@pytest.mark.parametrize("kind", KINDS)
def test_nullable_columns_are_searched_and_validated(kind):
    frame, scores = KINDS[kind](), []
    y = np.arange(len(frame)) % 2
    for library in (gb, theirs):
        model = make_pipeline(library.StandardScaler(), SimpleImputer(), LogisticRegression())
        grid = GridSearchCV(model, {"standardscaler__with_std": [True, False]}, cv=2, error_score="raise").fit(frame, y)
        scores.append([*grid.cv_results_["mean_test_score"], *cross_val_score(model, frame, y, cv=2)])
    np.testing.assert_allclose(*scores, rtol=0, atol=1.01 / len(frame))  # one row may differ, as above


def test_sample_weight_is_routed():
    weights = np.arange(N, dtype=float)
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = gb.StandardScaler().set_fit_request(sample_weight=True)
        model = make_pipeline(scaler, LogisticRegression().set_fit_request(sample_weight=False))
        model.fit(X, X[:, 0] > 3, sample_weight=weights)
    assert model[0].moments_ == gb.Moments.of(X, weights=weights)
