"""Attributes of the scalers that people set: what is learned afterwards goes by them, as in scikit-learn."""

from itertools import combinations

import numpy as np
import pytest
import sklearn.preprocessing as theirs

import gammabeta as gb

MORE = [[1.0, -3.0], [3.0, 5.0]]
# a dozen operations on numbers of size 10, each rounded once by scikit-learn
CLOSE = {"rtol": 0, "atol": 120 * np.finfo(float).eps}


def agree(ours, other):
    names = [name for name in vars(other) if name.endswith("_") and name != "feature_names_in_"]
    for name in names:
        np.testing.assert_allclose(getattr(ours, name), getattr(other, name), **CLOSE, err_msg=name)


def both(name, prepare):
    scalers = [getattr(library, name)() for library in (gb, theirs)]
    for scaler in scalers:
        prepare(scaler)
    return scalers


def test_statistics_set_by_hand_are_added_to():
    def prepare(scaler):
        scaler.mean_, scaler.var_, scaler.scale_ = np.array([1.0]), np.array([4.0]), np.array([2.0])
        scaler.n_samples_seen_, scaler.n_features_in_ = np.int64(10), 1

    ours, _ = both("StandardScaler", prepare)
    ours.partial_fit([[1.0], [3.0]])
    np.testing.assert_allclose([ours.mean_[0], ours.var_[0]], [7 / 6, 131 / 36], rtol=1e-15)
    assert ours.n_samples_seen_ == 12
    assert ours.moments_ == gb.Moments.from_statistics([10], [1.0], [4.0]) + gb.Moments.of([[1.0], [3.0]])


EDITS = {
    "mean": lambda s: setattr(s, "mean_", np.array([5.0, 1.0])),
    "one mean": lambda s: s.mean_.__setitem__(1, 7.0),
    "variance": lambda s: setattr(s, "var_", s.var_ * 2),
    "fewer rows": lambda s: setattr(s, "n_samples_seen_", np.int64(1)),
    "rows of each": lambda s: setattr(s, "n_samples_seen_", np.array([5, 9])),
    "scale": lambda s: setattr(s, "scale_", np.array([3.0, 4.0])),
    "nothing": lambda s: None,
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_learned_on_from(edit):
    def prepare(scaler):
        EDITS[edit](scaler.fit([[0.0, 1.0], [2.0, 4.0], [1.0, 1.0]]))
        scaler.partial_fit(MORE)

    agree(*both("StandardScaler", prepare))


RANGES = {
    "min": lambda s: setattr(s, "data_min_", np.array([-5.0, 1.0])),
    "max": lambda s: s.data_max_.__setitem__(0, 99.0),
    "rows": lambda s: setattr(s, "n_samples_seen_", 40),
    "nothing": lambda s: None,
}


@pytest.mark.parametrize("edit", RANGES)
def test_an_edited_range_is_learned_on_from(edit):
    def prepare(scaler):
        RANGES[edit](scaler.fit([[0.0, 1.0], [2.0, 4.0], [1.0, 1.0]]))
        scaler.partial_fit(MORE)

    agree(*both("MinMaxScaler", prepare))


def test_a_range_set_by_hand_is_added_to():
    def prepare(scaler):
        scaler.data_min_, scaler.data_max_, scaler.n_samples_seen_ = np.zeros(2), np.ones(2), 4
        scaler.partial_fit(MORE)

    agree(*both("MinMaxScaler", prepare))


def test_merge_and_json_go_by_an_edit():
    first, second = gb.StandardScaler().fit(MORE), gb.StandardScaler().fit([[0.0, 0.0]])
    first.mean_ = np.array([8.0, 9.0])
    edited = gb.Moments.from_statistics(2, [8.0, 9.0], first.var_)
    assert gb.StandardScaler.from_json(first.to_json()).moments_ == edited
    whole = edited + second.moments_
    assert gb.StandardScaler().fit([[0.0, 0.0]]).merge(first).moments_ == whole
    assert first.merge(second).moments_ == whole


def test_parameters_that_change_are_no_edit():
    scaler = gb.StandardScaler(ddof=1).fit(MORE)
    before = scaler.moments_
    for parameters in ({"ddof": 0}, {"with_std": False}, {"with_mean": False}, {"with_std": True, "with_mean": True}):
        scaler.set_params(**parameters).partial_fit([[1.0, 2.0]])
        before += gb.Moments.of([[1.0, 2.0]])
        assert scaler.moments_ == before
    weighted = gb.StandardScaler().fit(MORE, sample_weight=[0.1, 0.3])
    assert weighted.partial_fit(MORE).moments_ == gb.Moments.of(MORE, weights=[0.1, 0.3]) + gb.Moments.of(MORE)


def test_what_cannot_be_learned_on_from():
    scaler = gb.StandardScaler().fit(MORE)
    scaler.var_ = np.array([1.0, -1.0])
    with pytest.raises(gb.DataError, match="var 0 or more"):
        scaler.partial_fit(MORE)
    empty = gb.StandardScaler()
    empty.mean_ = np.zeros(2)
    with pytest.raises(gb.StateError, match="it lacks var_, n_samples_seen_; set them"):
        empty.to_json()


SET = {
    "StandardScaler": {
        "mean_": np.array([5.0, 1.0]),
        "var_": np.array([2.0, 9.0]),
        "scale_": np.array([3.0, 4.0]),
        "n_samples_seen_": np.int64(7),
    },
    "MinMaxScaler": {
        "min_": np.array([0.5, -1.0]),
        "scale_": np.array([3.0, 4.0]),
        "data_min_": np.array([-5.0, 0.0]),
        "data_max_": np.array([9.0, 99.0]),
        "data_range_": np.array([1.0, 2.0]),
        "n_samples_seen_": 40,
    },
}
COMBINATIONS = [
    (name, chosen) for name, given in SET.items() for n in range(len(given) + 1) for chosen in combinations(given, n)
]


@pytest.mark.parametrize(("name", "chosen"), COMBINATIONS, ids=str)
def test_every_combination_of_edits(name, chosen):
    """Of a fitted scaler any attributes may be set: both forget those that do not say what was seen, as `scale_`."""
    weights = [{}, {"sample_weight": [1.0, 2.5]}] if name == "StandardScaler" else [{}]
    for more in weights:
        ours, other = (getattr(library, name)().fit([[0.0, 1.0], [2.0, 4.0], [1.0, 1.0]]) for library in (gb, theirs))
        for scaler in (ours, other):
            for attribute in chosen:
                setattr(scaler, attribute, np.copy(SET[name][attribute]))
        np.testing.assert_allclose(ours.transform(MORE), other.transform(MORE), **CLOSE)
        np.testing.assert_allclose(ours.inverse_transform(MORE), other.inverse_transform(MORE), **CLOSE)
        for scaler in (ours, other):
            scaler.partial_fit(MORE, **more)
        agree(ours, other)
        np.testing.assert_allclose(ours.transform(MORE), other.transform(MORE), **CLOSE)


def test_what_is_set_of_a_scaler_that_was_not_fitted():
    """scikit-learn goes by whether there is a `scale_`; here nothing that was set is forgotten without a word."""
    given = SET["StandardScaler"]
    scaler = gb.StandardScaler()
    scaler.mean_, scaler.var_, scaler.n_samples_seen_ = (given[name] for name in ("mean_", "var_", "n_samples_seen_"))
    scaler.n_features_in_ = 2
    seen = gb.Moments.from_statistics(7, given["mean_"], given["var_"])
    assert scaler.partial_fit(MORE).moments_ == seen + gb.Moments.of(MORE)
    for chosen, lacks in (("n_samples_seen_",), "mean_, var_"), (("var_", "n_samples_seen_"), "mean_"):
        scaler = gb.StandardScaler()
        scaler.n_features_in_ = 2
        for attribute in chosen:
            setattr(scaler, attribute, given[attribute])
        with pytest.raises(gb.StateError, match=f"it lacks {lacks}; set them"):
            scaler.partial_fit(MORE)
