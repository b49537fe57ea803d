"""Masked arrays: what is masked is left out of every statistic, whatever lies beneath the mask."""

import numpy as np
import pytest

import gammabeta as gb
from gammabeta import Affine, Extrema, Moments, rolling
from gammabeta.errors import DataError, KindError
from gammabeta.statistics import GroupedMoments

rng = np.random.default_rng(3)
GROUPS = np.arange(40) % 3
BENEATH = {
    "float64": np.where(rng.random((40, 5)) < 0.5, 1e20, np.nan),
    "float32": np.where(rng.random((40, 5)) < 0.5, np.inf, 1e20).astype(np.float32),
    "float16": rng.normal(size=(40, 5)).astype(np.float16),
    "int64": rng.integers(-(2**62), 2**62, (40, 5)),
    "uint64": rng.integers(0, 2**63, (40, 5)).astype(np.uint64) * 2,
    "int16": np.full((40, 5), -9999, np.int16),
    "big-endian": np.full((40, 5), 1e20).astype(">f8"),
}


def masked_and_columns(dtype, hidden=0.3):
    """A masked array with numbers of `BENEATH` under its mask, and the values that are left in each column."""
    beneath = BENEATH[dtype]
    mask = rng.random((40, 5)) < hidden
    mask[0] = False
    whole = rng.integers(0, 1000, (40, 5)).astype(beneath.dtype)
    if dtype in ("int64", "uint64"):
        whole = whole + beneath.dtype.type(2**61)
    values = np.where(mask, beneath, whole)
    return np.ma.array(values, mask=mask), [whole[~mask[:, j], j] for j in range(5)]


def test_the_mean_of_what_is_not_masked():
    x = np.ma.masked_equal([[1.0, 2.0], [3.0, 1e20], [5.0, 4.0]], 1e20)
    assert Moments.of(x).mean.tolist() == [3, 3]
    assert Extrema.of(x).max.tolist() == [5, 4]
    assert Moments.of(x).count.tolist() == Extrema.of(x).count.tolist() == [3, 2]


@pytest.mark.parametrize("nan", ["omit", "propagate", "raise"])
@pytest.mark.parametrize("dtype", BENEATH)
def test_statistics_are_those_of_what_is_left(dtype, nan):
    x, columns = masked_and_columns(dtype)
    m, e = Moments.of(x, nan=nan), Extrema.of(x, nan=nan)
    for j, column in enumerate(columns):
        assert m[j] == Moments.of(column)
        assert e[j] == Extrema.of(column)
    assert Moments.of(x, axis=(0, 1), nan=nan) == Moments.of(np.concatenate(columns))
    assert Extrema.of(x, axis=(0, 1), nan=nan) == Extrema.of(np.concatenate(columns))
    assert Moments.of(x.T, axis=1, nan=nan) == m
    assert Moments.of([x, x], axis=(0, 1), nan=nan) == m + m
    g, h = Moments.of(x, groups=GROUPS, nan=nan), Extrema.of(x, groups=GROUPS, nan=nan)
    for label in range(3):
        assert g[label] == Moments.of(x[label == GROUPS])
        assert h[label] == Extrema.of(x[label == GROUPS])


@pytest.mark.parametrize("of", [Moments.of, lambda x, **given: Moments.of(x, groups=["a"] * 4, **given)["a"]])
def test_nan_that_is_not_masked_is_nan(of):
    hidden = [[False, False], [False, False], [True, False], [False, True]]
    x = np.ma.array([[1.0, np.nan], [2.0, 3.0], [np.nan, 4.0], [5.0, np.nan]], mask=hidden)
    assert np.isnan(of(x, nan="propagate").mean).tolist() == [False, True]
    assert of(x).count.tolist() == [3, 2]
    with pytest.raises(DataError, match="no NaN with nan='raise', got 1, the first in feature"):
        of(x, nan="raise")


def test_extrema_with_nan_that_is_not_masked():
    x = np.ma.array([[1.0, np.nan], [9.0, 3.0], [3.0, 4.0]], mask=[[False, False], [True, False], [False, False]])
    e = Extrema.of(x, nan="propagate")
    assert np.isnan(e.max).tolist() == [False, True]
    assert e.max[0] == 3
    assert e.count.tolist() == [2, 3]  # NaN counts where it propagates
    g = Extrema.of(x, groups=["a", "a", "a"], nan="propagate")["a"]
    assert g == e
    with pytest.raises(DataError, match="got 1, the first in feature"):
        Extrema.of(x, nan="raise")


def test_weights_and_their_own_mask():
    x = np.ma.array([[1.0, 1e20], [3.0, 5.0], [7.0, 9.0]], mask=[[False, True], [False, False], [False, False]])
    weights = np.ma.array([2.0, 1.0, 1e20], mask=[False, False, True])
    assert Moments.of(x, weights=weights).mean.tolist() == [5 / 3, 5]
    full = np.where(x.mask, 0.0, [[2.0], [1.0], [0.0]])
    assert Moments.of(x, weights=weights) == Moments.of(x.data, weights=full)
    assert Moments.of(x, weights=weights, groups=["a"] * 3)["a"] == Moments.of(x, weights=weights)


@pytest.mark.parametrize(
    ("labels", "names"),
    [([3, 1, 3], [3.0, None]), ([0.5, 1.0, 0.5], [0.5, None]), (["b", "a", "b"], ["b", None])],
)
def test_a_masked_label_is_the_missing_one(labels, names):
    g = Moments.of([1.0, 10.0, 3.0], groups=np.ma.array(labels, mask=[False, True, False]))
    assert [None if label != label else label for label in g.labels.tolist()] == names
    assert g.moments.mean.tolist() == [2, 10]
    assert isinstance(g, GroupedMoments)


@pytest.mark.parametrize("nan", ["omit", "propagate"])
def test_rolling_leaves_out_what_is_masked(nan):
    x, _ = masked_and_columns("int16")
    found, wanted = rolling(x, 7, 2, nan=nan), rolling(x.astype(float).filled(np.nan), 7, 2)
    for name in ("count", "mean", "var", "std"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name), equal_nan=True)


def test_rolling_with_nan_beside_the_mask():
    x = np.ma.array([1.0, 1e20, 3.0, np.nan, 5.0, 7.0], mask=[False, True, False, False, False, False])
    found = rolling(x, 2, nan="propagate")
    assert np.array_equal(found.mean, [1, 3, np.nan, np.nan, 6], equal_nan=True)
    assert found.count.tolist() == [1, 1, 2, 2, 2]
    with pytest.raises(DataError, match="got 1, the first in row 3"):
        rolling(x, 2, nan="raise")
    with pytest.raises(KindError, match="masked integers must be within"):
        rolling(np.ma.array([2**60, 1], mask=[False, True]), 1)


@pytest.mark.parametrize("hidden", [True, False])
def test_all_or_nothing_masked(hidden):
    x = np.ma.array(np.full((3, 2), 7.0), mask=hidden)
    assert (Moments.of(x) == Moments.of(np.full((0 if hidden else 3, 2), 7.0))) is True
    assert (Extrema.of(x) == Extrema.of(np.full((0 if hidden else 3, 2), 7.0))) is True


def test_an_affine_map_keeps_the_mask():
    x = np.ma.array([[1, 9999], [3, 5]], mask=[[False, True], [False, False]])
    image = Affine([1.0, 5.0], 2.0)(x)
    assert isinstance(image, np.ma.MaskedArray)
    assert image.tolist() == [[0, None], [4, 0]]
    assert x.tolist() == [[1, None], [3, 5]]
    out = np.empty((2, 2))
    assert Affine(0.0, [2.0, 2.0])(x.astype(float), out).mask.tolist() == x.mask.tolist()
    assert out[1].tolist() == [6, 10]


HIDDEN = np.ma.array([1.0, 2.0], mask=[False, True])


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("center", lambda: gb.Affine(HIDDEN, 1.0)),
        ("shift", lambda: gb.Affine(0.0, 1.0, HIDDEN)),
        ("mean", lambda: gb.Moments.from_statistics(10, HIDDEN, [1.0, 1.0])),
        ("gamma", lambda: gb.batch_norm(np.eye(2), HIDDEN)),
        ("beta", lambda: gb.layer_norm(np.eye(2), None, HIDDEN)),
        ("var", lambda: gb.batch_norm(np.eye(2), mean=[0.0, 0.0], var=HIDDEN)),
    ],
)
def test_a_parameter_must_have_all_its_values(name, call):
    with pytest.raises(
        gb.DataError, match=f"^{name} must have a value for every feature, got a masked array that hides 1"
    ):
        call()
    assert gb.Affine(np.ma.array([1.0, 2.0]), 1.0) == gb.Affine([1.0, 2.0], 1.0)


class Stored:
    """An array on disk, as Zarr's and HDF5's are."""

    def __init__(self, values, attrs):
        self.values, self.attrs = np.asarray(values), attrs
        self.dtype, self.shape, self.ndim = self.values.dtype, self.values.shape, self.values.ndim

    def __getitem__(self, at):
        return self.values[at]

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


@pytest.mark.parametrize(
    "take", [gb.Moments.of, gb.Extrema.of, gb.StandardScaler().fit, gb.MinMaxScaler().fit_transform]
)
@pytest.mark.parametrize(
    "attrs", [{"scale_factor": 0.01}, {"_FillValue": -1}, {"missing_value": [-1, -2], "units": "K"}]
)
def test_stored_numbers_that_stand_for_others_are_not_taken(take, attrs):
    with pytest.raises(gb.DataError, match=f"Stored has {next(iter(attrs))}: gammabeta.data.moments reads"):
        take(Stored([[100], [-1]], attrs))
    take(Stored([[100.0], [-1.0]], {"_FillValue": np.nan, "units": "K"}))
