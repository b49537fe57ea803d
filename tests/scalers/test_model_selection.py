"""Cross-validation without reading the data again: each fold's scaler is the honest refit, to the bit."""

from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from sklearn import model_selection as ms
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline

import gammabeta as gb
from gammabeta.scalers import model_selection
from gammabeta.scalers.model_selection import Fold

N = 60
RNG = np.random.default_rng(0)
X = RNG.normal(1e6, 1.0, (N, 4)) * [1, 1e-9, 1e9, 0]
X[RNG.integers(0, N, 9), 0] = np.nan
Y = np.arange(N) % 3
GROUPS = np.arange(N) // 7
SCALERS = [gb.StandardScaler(), gb.StandardScaler(ddof=1, with_mean=False), gb.MinMaxScaler((-1, 2), clip=True)]
NAMES = ("mean_", "var_", "scale_", "min_", "data_min_", "data_max_", "n_samples_seen_", "n_features_in_")

SPLITTERS: dict[str, Any] = {
    "five": 5,
    "none": None,
    "shuffled": ms.KFold(4, shuffle=True, random_state=1),
    "stratified": ms.StratifiedKFold(3),
    "by group": ms.GroupKFold(3),
    "stratified by group": ms.StratifiedGroupKFold(3),
    "series": ms.TimeSeriesSplit(4, gap=2),
    "series of bounded length": ms.TimeSeriesSplit(4, max_train_size=9),
    "repeated": ms.RepeatedKFold(n_splits=5, n_repeats=4, random_state=2),
    "overlapping": ms.ShuffleSplit(6, test_size=0.3, train_size=0.4, random_state=3),
    "one out": ms.LeaveOneOut(),
    "a group out": ms.LeavePGroupsOut(2),
    "fixed": ms.PredefinedSplit(np.arange(N) % 4 - 1),
    "named": [(np.arange(10), np.arange(50, 60)), (np.arange(5, 40), np.arange(5))],
    "masks": [(np.arange(N) < 30, np.arange(N) >= 30)],
    "drawn twice": [(RNG.integers(0, N, N), np.arange(5)), (np.repeat(np.arange(9), 3), np.arange(9))],
}


def same(ours: Any, honest: Any) -> None:
    """Two scalers have learned the same."""
    assert type(ours) is type(honest)
    for name in NAMES:
        if hasattr(honest, name):
            np.testing.assert_array_equal(getattr(ours, name), getattr(honest, name), strict=True)
    assert ours._state()[0] == honest._state()[0]
    assert (
        getattr(ours, "feature_names_in_", np.empty(0)).tolist()
        == getattr(honest, "feature_names_in_", np.empty(0)).tolist()
    )
    assert ours.to_json() == honest.to_json()


def new(scaler: Any) -> Any:
    return type(scaler)(**scaler.get_params())


@pytest.mark.parametrize("scaler", SCALERS, ids=repr)
@pytest.mark.parametrize("name", SPLITTERS)
def test_every_splitter(name: str, scaler: Any) -> None:
    groups = GROUPS if "group" in name else None
    expected = list(ms.check_cv(SPLITTERS[name], Y).split(X, Y, groups))
    found = list(gb.fold_scalers(X, Y, scaler=scaler, cv=SPLITTERS[name], groups=groups))
    assert len(found) == len(expected)
    for (train, test, fitted), (their_train, their_test) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(train, np.arange(N)[their_train])
        np.testing.assert_array_equal(test, np.arange(N)[their_test])
        same(fitted, new(scaler).fit(X[train]))


@given(
    hnp.arrays(np.float64, (12, 2), elements=st.floats(allow_infinity=False)),
    st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=15), min_size=1, max_size=6),
)
def test_any_splits(x: np.ndarray, trains: list[list[int]]) -> None:
    splits = [(np.array(train), np.arange(2)) for train in trains]
    for scaler in (gb.StandardScaler(), gb.MinMaxScaler()):
        with np.errstate(all="ignore"):
            for train, _, fitted in gb.fold_scalers(x, scaler=scaler, cv=splits):
                assert fitted._state()[0] == new(scaler).fit(x[train])._state()[0]


def test_splits_of_many_atoms_share_several_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_selection, "MOST_ATOMS", 8)
    passes = []
    learned = model_selection._AtomStatistics.__init__
    monkeypatch.setattr(
        model_selection._AtomStatistics, "__init__", lambda self, *given: (passes.append(1), learned(self, *given))[1]
    )
    found = list(gb.fold_scalers(X, cv=SPLITTERS["repeated"]))
    assert len(found) == 20 and len(passes) == 4
    for train, _, fitted in found:
        same(fitted, gb.StandardScaler().fit(X[train]))
    passes.clear()
    assert len(list(gb.fold_scalers(X, cv=5))) == 5 and passes == [1]


@pytest.mark.parametrize("make", [pd.DataFrame, lambda d: pl.DataFrame(d), lambda d: pl.DataFrame(d).to_arrow()])
def test_frames(make: Any) -> None:
    columns = {
        "height": RNG.standard_normal(N).astype(np.float32),
        "age": RNG.integers(0, 99, N),
        "key": pl.Series([2**53 + 1, None, *range(N - 2)]).to_list() if make is not pd.DataFrame else np.arange(N),
        "weight": RNG.standard_normal(N),
    }
    frame = make(columns)
    for scaler in (gb.StandardScaler(), gb.MinMaxScaler()):
        for train, _, fitted in gb.fold_scalers(frame, scaler=scaler, cv=4):
            part = (
                frame.iloc[train]
                if make is pd.DataFrame
                else frame.take(train)
                if hasattr(frame, "take")
                else frame[train]
            )
            same(fitted, new(scaler).fit(part))


def test_arrays_of_more_dimensions() -> None:
    images = RNG.standard_normal((20, 3, 4, 4)).astype(np.float32)
    for scaler in (gb.StandardScaler(axis=(0, 2, 3)), gb.MinMaxScaler(axis=(0, 2, 3)), gb.StandardScaler(axis=0)):
        for train, _, fitted in gb.fold_scalers(images, scaler=scaler, cv=4):
            same(fitted, new(scaler).fit(images[train]))
    with pytest.raises(gb.DataError, match="axis must have the rows, 0, among the reduced axes"):
        list(gb.fold_scalers(images, scaler=gb.StandardScaler(axis=(2, 3)), cv=4))


@pytest.mark.parametrize("scaler", [None, gb.MinMaxScaler()], ids=["standard", "minmax"])
@pytest.mark.parametrize(
    ("estimator", "load", "cv"),
    [
        (LogisticRegression(max_iter=200), load_breast_cancer, 4),
        (
            GaussianNB(),
            load_breast_cancer,
            ms.RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0),
        ),
        (Ridge(), load_diabetes, ms.KFold(5)),
        (make_pipeline(Ridge()), load_diabetes, ms.TimeSeriesSplit(3)),
    ],
    ids=["logistic", "bayes", "ridge", "a pipeline"],
)
def test_cross_validate_is_scikit_learns_of_the_pipeline(scaler: Any, estimator: Any, load: Any, cv: Any) -> None:
    x, y = (part[:200] for part in load(return_X_y=True, as_frame=True))
    honest = make_pipeline(gb.StandardScaler() if scaler is None else new(scaler), estimator)
    options: dict[str, Any] = {"return_train_score": True, "return_estimator": True}
    for data in (x, x.to_numpy()):
        expected = ms.cross_validate(honest, data, y, cv=cv, **options)
        found = gb.cross_validate(estimator, data, y, scaler=scaler, cv=cv, **options)
        assert found.keys() == expected.keys()
        np.testing.assert_array_equal(found["test_score"], expected["test_score"])
        np.testing.assert_array_equal(found["train_score"], expected["train_score"])
        for ours, theirs in zip(found["estimator"], expected["estimator"], strict=True):
            assert isinstance(ours, Pipeline) and [name for name, _ in ours.steps] == [name for name, _ in theirs.steps]
            same(ours[0], theirs[0])
            np.testing.assert_array_equal(ours.predict(data), theirs.predict(data))


def test_the_options_of_cross_validate_pass_through() -> None:
    x, y = (part[:200] for part in load_breast_cancer(return_X_y=True))
    weights = np.arange(len(y)) % 5 + 1.0
    options: dict[str, Any] = {
        "scoring": ["roc_auc", "accuracy"],
        "params": {"logisticregression__sample_weight": weights},
        "n_jobs": 2,
        "cv": ms.GroupKFold(3),
    }
    groups, model = np.arange(len(y)) // 20, LogisticRegression(max_iter=200)
    with joblib.parallel_config("threading"):  # at once, on one set of scalers
        found = gb.cross_validate(model, x, y, groups=groups, **options)
        expected = ms.cross_validate(make_pipeline(gb.StandardScaler(), model), x, y, groups=groups, **options)
    for name in ("test_roc_auc", "test_accuracy"):
        np.testing.assert_array_equal(found[name], expected[name])


def test_what_is_wrong_is_said() -> None:
    from sklearn.preprocessing import StandardScaler

    with pytest.raises(gb.KindError, match="scaler must be a StandardScaler or MinMaxScaler of gammabeta, got"):
        gb.fold_scalers(X, scaler=StandardScaler())
    with pytest.raises(gb.KindError, match="X must be an array or a data frame, got a sparse csr_array"):
        gb.fold_scalers(sparse.csr_array(X), scaler=gb.StandardScaler(with_mean=False))
    with pytest.raises(ValueError, match="Input X contains infinity"):
        list(gb.fold_scalers(np.array([[1.0], [np.inf], [2.0], [3.0]]), cv=2))
    with pytest.raises(ValueError, match="ddof"):
        list(gb.fold_scalers(X, scaler=gb.StandardScaler(ddof=-1)))
    assert isinstance(next(iter(gb.fold_scalers(X))), Fold)
