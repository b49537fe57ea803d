"""A fitted scaler goes into a network's first layer or scikit-learn's linear model, and what is left takes raw data."""

import copy
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import (
    BayesianRidge,
    HuberRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, RobustScaler
from sklearn.preprocessing import MinMaxScaler as TheirMinMaxScaler
from sklearn.preprocessing import StandardScaler as TheirStandardScaler
from sklearn.svm import SVC, LinearSVC, LinearSVR

import gammabeta as gb
from gammabeta.errors import DataError, KindError
from gammabeta.norm import linear_map

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from gammabeta.torch import fold  # noqa: E402
from trained_networks import one_thread, settled  # noqa: E402

SHIP = Path(__file__).parents[2] / "examples" / "ship.py"

HALF_ULP = 2.0**-53

SCALERS = [
    gb.StandardScaler(),
    gb.StandardScaler(ddof=1),
    gb.StandardScaler(with_mean=False),
    gb.StandardScaler(with_std=False),
    gb.MinMaxScaler((-1, 2)),
    TheirStandardScaler(),
    TheirStandardScaler(with_mean=False),
    TheirStandardScaler(with_std=False),
    TheirMinMaxScaler((-1, 2)),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_centering=False, with_scaling=False),
    make_pipeline(TheirMinMaxScaler(), gb.StandardScaler(), "passthrough"),
]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


# scikit-learn's linear models

REGRESSORS = [
    LinearRegression(),
    LinearRegression(fit_intercept=False),
    Ridge(),
    SGDRegressor(random_state=0),
    HuberRegressor(max_iter=1000),
    LinearSVR(max_iter=100_000, C=0.01),
]
CLASSIFIERS = [
    LogisticRegression(C=0.01, max_iter=1000),
    RidgeClassifier(),
    SGDClassifier(random_state=0),
    LinearSVC(C=0.01, max_iter=10_000),
]


def bound(model, x):
    """How far two ways of summing may be apart: n + 3 roundings each of the sums of sizes, of raw terms (Higham §3.1).

    The scaled terms are smaller, but for the scaler's own two roundings of x − center, which is of x's size.
    """
    sizes = np.abs(x) @ np.abs(model.coef_.reshape(-1, x.shape[1])).T + np.abs(model.intercept_)
    return 4 * (x.shape[1] + 3) * HALF_ULP * sizes.max()


@pytest.mark.parametrize("model", REGRESSORS, ids=str)
@pytest.mark.parametrize("scaler", SCALERS, ids=str)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_regressors(scaler, model):
    x, y = load_diabetes(return_X_y=True, scaled=False)
    pipeline = make_pipeline(copy.deepcopy(scaler), copy.deepcopy(model)).fit(x, y)
    before = copy.deepcopy(pipeline[-1].__dict__)
    folded = gb.fold(pipeline)
    np.testing.assert_allclose(folded.predict(x), pipeline.predict(x), rtol=0, atol=bound(folded, x))
    assert type(folded) is type(model) and np.shape(folded.intercept_) == np.shape(pipeline[-1].intercept_)
    np.testing.assert_array_equal(before["coef_"], pipeline[-1].coef_)
    apart = gb.fold(pipeline[-1], scaler=pipeline[:-1])
    np.testing.assert_array_equal(apart.coef_, folded.coef_)


@pytest.mark.parametrize("model", CLASSIFIERS, ids=str)
@pytest.mark.parametrize("scaler", SCALERS[::3], ids=str)
@pytest.mark.parametrize("load", [load_breast_cancer, load_iris])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_classifiers(scaler, model, load):
    x, y = load(return_X_y=True)
    pipeline = make_pipeline(copy.deepcopy(scaler), copy.deepcopy(model)).fit(x, y)
    folded = gb.fold(pipeline)
    decided = pipeline.decision_function(x)
    np.testing.assert_allclose(folded.decision_function(x), decided, rtol=0, atol=bound(folded, x))
    if hasattr(model, "predict_proba"):
        # A logistic's slope is at most 1/4, a softmax's 1/2.
        np.testing.assert_allclose(folded.predict_proba(x), pipeline.predict_proba(x), rtol=0, atol=bound(folded, x))


def test_a_logarithmic_link():
    x, y = load_diabetes(return_X_y=True, scaled=False)
    pipeline = make_pipeline(gb.StandardScaler(), PoissonRegressor()).fit(x, y)
    folded = gb.fold(pipeline)
    np.testing.assert_allclose(folded.predict(x), pipeline.predict(x), rtol=2 * bound(folded, x))


def test_names_are_those_of_the_raw_data():
    table = load_diabetes(as_frame=True, scaled=False)
    pipeline = make_pipeline(gb.StandardScaler(), Ridge()).fit(table.data, table.target)
    folded = gb.fold(pipeline)
    assert list(folded.feature_names_in_) == list(table.data.columns)
    wanted = pipeline.predict(table.data)
    np.testing.assert_allclose(folded.predict(table.data), wanted, atol=bound(folded, table.data.to_numpy()))
    np.testing.assert_array_equal(
        gb.fold(Ridge().fit(table.data, table.target), scaler=gb.Affine(0.0, 1.0)).coef_.shape, 10
    )


def test_coefficients_keep_their_type():
    x, y = (part.astype(np.float32) for part in load_diabetes(return_X_y=True, scaled=False))
    pipeline = make_pipeline(gb.StandardScaler(), Ridge()).fit(x, y)
    assert gb.fold(pipeline).coef_.dtype == pipeline[-1].coef_.dtype == np.float32


def test_a_constant_feature_counts_for_nothing_but_the_intercept():
    x, y = load_diabetes(return_X_y=True, scaled=False)
    x[:, 3] = 7.0
    for scaler in (gb.StandardScaler(), TheirStandardScaler(), gb.MinMaxScaler(), TheirMinMaxScaler()):
        pipeline = make_pipeline(scaler, Ridge()).fit(x, y)
        folded = gb.fold(pipeline)
        np.testing.assert_allclose(folded.predict(x), pipeline.predict(x), rtol=0, atol=bound(folded, x))
    none = gb.fold(Ridge().fit(x, y), scaler=gb.Affine(np.zeros(10), np.where(np.arange(10) == 3, 0.0, 1.0)))
    assert none.coef_[3] == 0


def test_what_is_no_linear_model_or_scaler_is_refused():
    x, y = load_iris(return_X_y=True)
    scaler, model = gb.StandardScaler().fit(x), Ridge().fit(x, y)
    with pytest.raises(KindError, match=r"model must be a linear model of scikit-learn, .* got SVC; a network is for"):
        gb.fold(SVC(kernel="linear").fit(x, y), scaler=scaler)
    with pytest.raises(KindError, match="got BayesianRidge"):
        gb.fold(BayesianRidge().fit(x, y), scaler=scaler)
    with pytest.raises(KindError, match=r"scaler must be a fitted StandardScaler .* got PCA"):
        gb.fold(make_pipeline(PCA(), Ridge()).fit(x, y))
    with pytest.raises(DataError, match="a pipeline must have a scaler before its linear model"):
        gb.fold(make_pipeline(Ridge()).fit(x, y))
    with pytest.raises(DataError, match="scaler must be given, unless the model is a pipeline"):
        gb.fold(model)
    with pytest.raises(DataError, match="scaler= must not be given with a pipeline"):
        gb.fold(make_pipeline(scaler, model), scaler=scaler)
    with pytest.raises(DataError, match=r"must have the same features, got \(3,\) and 4"):
        gb.fold(model, scaler=gb.StandardScaler().fit(x[:, :3]))
    with pytest.raises(DataError, match=r"MinMaxScaler\(clip=True\) is not affine"):
        gb.fold(model, scaler=gb.MinMaxScaler(clip=True).fit(x))
    with pytest.raises(NotFittedError):
        gb.fold(model, scaler=gb.StandardScaler())
    with pytest.raises(NotFittedError):
        gb.fold(Ridge(), scaler=scaler)
    with pytest.raises(KindError, match="coef_ must be a dense array"):
        gb.fold(LogisticRegression().fit(scaler.transform(x), y).sparsify(), scaler=scaler)
    with pytest.raises(DataError, match="must be finite in float32"):
        gb.fold(model.fit(x.astype(np.float32), y.astype(np.float32)), scaler=gb.Affine(np.zeros(4), 1e300))


# Networks


def dense(features=10):
    return settled(nn.Sequential(nn.Linear(features, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).double())


def close(folded, model, raw, scaler):
    """In float64: n + 2 half ULPs of the first layer's raw terms, on each side, and what the last layer makes of it.

    That has 8 weights below 8^-½, and hands on less than three times what came in.
    """
    with torch.no_grad():
        want = model(torch.tensor(scaler(raw) if isinstance(scaler, gb.Affine) else scaler.transform(raw)))
        got = folded(torch.tensor(raw))
        layer = next(m for m in folded.modules() if hasattr(m, "weight"))
        n = layer.weight[0].numel()
        terms = layer.weight.abs().flatten(1).sum(1).max() * np.abs(raw).max() + layer.bias.abs().max()
    assert (got - want).abs().max() <= 4 * (n + 2) * HALF_ULP * terms * 3


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
def test_tables(scaler):
    raw, _ = load_diabetes(return_X_y=True, scaled=False)
    scaler = copy.deepcopy(scaler).fit(raw)
    model = dense()
    folded, report = fold(model, scaler=scaler, example=torch.tensor(raw))
    close(folded, model, raw, scaler)
    assert [(f.norm, f.into, f.order) for f in report.folded][-1] == ("scaler", ("0",), "after")


def test_the_first_norm_goes_first():
    raw, _ = load_diabetes(return_X_y=True, scaled=False)
    scaler = gb.StandardScaler().fit(raw)
    model = settled(nn.Sequential(nn.BatchNorm1d(10), nn.Dropout(), nn.Linear(10, 3)).double())
    folded, report = fold(model, scaler=scaler)
    assert [f.norm for f in report.folded] == ["0", "scaler"]
    # The norm leaves a check of the number of axes, which the scaler passes.
    close(folded, model, raw, scaler)


def test_a_layer_alone():
    raw, _ = load_iris(return_X_y=True)
    scaler, model = gb.MinMaxScaler().fit(raw), nn.Linear(4, 3, bias=False).double()
    folded, _ = fold(model, scaler=scaler)
    assert type(folded) is nn.Linear
    close(folded, model, raw, scaler)


IMAGES = np.random.default_rng(0).normal(100, 20, (6, 3, 5, 5)) * np.array([1.0, 2.0, 0.5])[:, None, None]


def test_images_by_channel():
    model = settled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).double())
    scaler = gb.StandardScaler(axis=(0, 2, 3)).fit(IMAGES)
    folded, report = fold(model, scaler=scaler, example=torch.tensor(IMAGES))
    assert report.difference.ulps < 2**10
    close(folded, model, IMAGES, scaler)
    shaped = gb.Affine(
        *(p.reshape(3, 1, 1) for p in (scaler.affine_.center, scaler.affine_.slope, scaler.affine_.shift))
    )
    for same, value in zip(fold(model, scaler=shaped)[0].parameters(), folded.parameters(), strict=True):
        assert torch.equal(same, value)


@pytest.mark.parametrize("axis", [0, (0, 2, 3)], ids=["by pixel", "by channel"])
def test_images_made_flat(axis):
    model = nn.Sequential(nn.Flatten(), nn.Linear(75, 4)).double().eval()
    scaler = gb.StandardScaler(axis=axis).fit(IMAGES)
    close(fold(model, scaler=scaler)[0], model, IMAGES, scaler)


def test_where_a_scaler_cannot_go():
    raw, _ = load_diabetes(return_X_y=True, scaled=False)
    scaler = gb.StandardScaler().fit(raw)
    channels = gb.StandardScaler(axis=(0, 2, 3)).fit(IMAGES)
    cases = [
        (dense(9), scaler, r"0 \(Linear\) takes 9 features, and the map has \(10,\)"),
        (nn.Sequential(nn.ReLU(), nn.Linear(10, 2)), scaler, r"its output goes to 0 \(ReLU\), which is not linear"),
        (nn.Sequential(nn.BatchNorm1d(10), nn.ReLU()), scaler, r"its output goes to 0 \(BatchNorm1d\)"),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)), channels, r"it pads with zeros \(padding=\(1, 1\)\)"),
        (nn.Sequential(nn.Linear(3, 4)), channels, "its features lie on another axis than those of 0"),
        (nn.Sequential(nn.Embedding(10, 4)), scaler, r"its output goes to 0 \(Embedding\), which takes no values"),
    ]
    for model, given, reason in cases:
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(DataError, match=rf"the input must go into linear layers .*: {reason}.* Nothing is folded"):
            fold(model, scaler=given)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(DataError, match=r"StandardScaler\(clip=True\)|MinMaxScaler\(clip=True\)"):
        fold(dense(), scaler=gb.MinMaxScaler(clip=True).fit(raw))
    with pytest.raises(KindError, match="scaler must be a fitted StandardScaler"):
        fold(dense(), scaler=PCA().fit(raw))
    with pytest.raises(DataError, match="give one of them"):
        fold(nn.Sequential(dense()), scaler=scaler, within=["0"])
    hooked = nn.Sequential(nn.Linear(10, 2))
    hooked.register_forward_pre_hook(lambda *_: None)
    with pytest.raises(DataError, match="a model with hooks must not be given a scaler"):
        fold(hooked, scaler=scaler)


@pytest.mark.parametrize("distance", [1.0, 1e2, 1e4, 1e6])
def test_what_raw_data_cost_is_foretold(distance):
    """Of a column `distance` deviations from 0, float32 sees each deviation to distance · 2⁻²⁴, folded or raw."""
    rng = np.random.default_rng(0)
    raw = rng.normal(distance, 1.0, (200, 4)).astype(np.float32)
    scaler = gb.StandardScaler().fit(raw)
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    _, report = fold(model, scaler=scaler, example=torch.tensor(raw))
    deviations = linear_map.distance(scaler.affine_)
    assert 0.8 * distance < deviations < 1.3 * distance
    # Five roundings (four products and a bias) of terms below the distance and 4 deviations, times |weight| < 1.
    assert report.difference.absolute <= 5 * 4 * (deviations + 4) * 2.0**-23
    assert bool(report.notes) == (deviations >= 10)
    if report.notes:
        assert f"raw data lie up to {deviations:.3g} deviations from 0" in report.notes[0]
        assert (
            report.difference.absolute > deviations * 2.0**-30
        )  # and this is what it costs: folded in float64 it is gone
        wide, _ = fold(copy.deepcopy(model).double(), scaler=scaler)
        with torch.no_grad():
            want = copy.deepcopy(model).double()(torch.tensor(scaler.transform(raw.astype(np.float64))))
            assert (wide(torch.tensor(raw).double()) - want).abs().max() <= 5 * 4 * (deviations + 4) * 2.0**-52


# The example


@pytest.mark.slow
@pytest.mark.skipif(not SHIP.exists(), reason="the tests run outside a checkout: there is no examples/")
def test_what_ships_takes_raw_data(framework, tmp_path):
    for name in ("onnx", "onnxruntime", "onnxscript"):
        framework(name)
    specification = spec_from_file_location("ship", SHIP)
    ship = module_from_spec(specification)
    sys.modules["ship"] = ship
    specification.loader.exec_module(ship)
    shipped = ship.ship(tmp_path, epochs=10)
    assert shipped.steps == ["Gemm", "Relu", "Gemm", "Relu", "Gemm"]
    assert shipped.difference <= shipped.bound < 0.01
    assert shipped.accuracy_after == shipped.accuracy_before > 0.9
    assert [f.norm for f in shipped.report.folded] == ["1", "5", "scaler"]
