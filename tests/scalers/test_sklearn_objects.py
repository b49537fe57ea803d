"""To scikit-learn's own objects and back; pickles of other versions."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn.preprocessing as theirs
from sklearn.exceptions import InconsistentVersionWarning

import gammabeta as gb

RANDOM = np.random.default_rng(3)
X = RANDOM.normal(3, 2, (30, 3))
SCALERS = {
    "standard": gb.StandardScaler(),
    "standard, sample's": gb.StandardScaler(ddof=1),
    "standard, sparse": gb.StandardScaler(with_mean=False, copy=False),
    "standard, mean": gb.StandardScaler(with_std=False),
    "standard, neither": gb.StandardScaler(with_std=False, with_mean=False),
    "minmax": gb.MinMaxScaler((-1, 3), clip=True),
}
ALL = pytest.mark.parametrize("name", SCALERS)


def attributes(scaler):
    return {name: value for name, value in vars(scaler).items() if name.endswith("_")}


@ALL
def test_there_and_back(name):
    ours = SCALERS[name].fit(pd.DataFrame(X, columns=list("abc")))
    other = ours.to_sklearn()
    assert type(other) is getattr(theirs, type(ours).__name__)
    for attribute, value in attributes(other).items():
        np.testing.assert_array_equal(value, getattr(ours, attribute))
    fresh = type(other)(**other.get_params()).fit(pd.DataFrame(X, columns=list("abc")))
    assert set(attributes(fresh)) == set(attributes(other))
    # scikit-learn's arithmetic: two roundings of numbers of size 10, divided by 2
    frame = pd.DataFrame(X, columns=list("abc"))
    np.testing.assert_allclose(
        other.transform(frame.copy()), ours.transform(frame), rtol=0, atol=20 * np.finfo(float).eps
    )
    back = type(ours).from_sklearn(other)
    for attribute, value in attributes(other).items():
        np.testing.assert_array_equal(value, getattr(back, attribute))
    np.testing.assert_array_equal(back.transform(frame), ours.transform(frame))
    if name == "standard, mean":
        with pytest.raises(gb.StateError, match="it lacks var_; set them"):
            back.partial_fit(frame)
    elif "neither" not in name and "sample" not in name:
        more = pd.DataFrame(X[:7] * 2, columns=list("abc"))
        other.partial_fit(more)
        back.partial_fit(more)
        for attribute, value in attributes(other).items():
            if attribute not in ("n_features_in_", "feature_names_in_") and value is not None:
                # sums of 37 numbers of size 100
                np.testing.assert_allclose(getattr(back, attribute), value, rtol=1e-13)


def test_what_came_of_scikit_learn_adds_up():
    other = theirs.StandardScaler().fit(X)
    ours = gb.StandardScaler.from_sklearn(other)
    assert ours.moments_ == gb.Moments.from_statistics(30, other.mean_, other.var_)
    assert ours.merge(gb.StandardScaler().fit(X)).n_samples_seen_ == 60
    with pytest.raises(gb.KindError, match="scikit-learn's StandardScaler, got MinMaxScaler"):
        gb.StandardScaler.from_sklearn(theirs.MinMaxScaler().fit(X))
    with pytest.raises(ValueError, match="not fitted"):
        gb.StandardScaler.from_sklearn(theirs.StandardScaler())


def test_output_goes_along():
    ours = gb.StandardScaler().set_output(transform="pandas").fit(X)
    assert isinstance(ours.to_sklearn().transform(X), pd.DataFrame)
    assert isinstance(gb.StandardScaler.from_sklearn(ours.to_sklearn()).transform(X), pd.DataFrame)
    frame = pd.DataFrame(X)
    assert isinstance(
        gb.StandardScaler().set_output(transform="same").fit(frame).to_sklearn().transform(frame), np.ndarray
    )


def test_other_axes_are_no_tables():
    with pytest.raises(gb.DataError, match=r"axis must be None, got \(0, 1\)"):
        gb.StandardScaler(axis=(0, 1)).fit(np.ones((2, 3, 4))).to_sklearn()
    with pytest.raises(ValueError, match="not fitted"):
        gb.MinMaxScaler().to_sklearn()


@ALL
def test_pickles_of_another_version_warn(name):
    scaler = SCALERS[name].fit(X)
    state = scaler.__getstate__()
    assert state["_gammabeta_version"] == gb.__version__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = pickle.loads(pickle.dumps(scaler))
    assert vars(again).keys() == vars(scaler).keys()
    for version in ("0.0.1", None):
        with pytest.warns(InconsistentVersionWarning, match=f"{type(scaler).__name__} from version .* of gammabeta"):
            type(scaler)().__setstate__({**state, "_gammabeta_version": version})
