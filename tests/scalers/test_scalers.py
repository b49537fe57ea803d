"""The scalers beyond scikit-learn's own tests: exactness, the algebra, N-d arrays, tensors, documents, bad input."""

import copy
import json
import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
import sklearn.preprocessing as theirs
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import gammabeta as gb

EPS = np.finfo(np.float64).eps
BOTH = pytest.mark.parametrize("name", ["StandardScaler", "MinMaxScaler"])
RANDOM = np.random.default_rng(20150211)
TABLE = RANDOM.normal(3, 2, (200, 5))


def attributes(scaler):
    """What a fit has set, as bytes and types."""
    names = {
        gb.StandardScaler: ("mean_", "var_", "scale_", "n_samples_seen_"),
        gb.MinMaxScaler: ("data_min_", "data_max_", "data_range_", "scale_", "min_", "n_samples_seen_"),
    }[type(scaler)]
    return [np.asarray(getattr(scaler, name)).tobytes() for name in names]


def new(name, **parameters):
    return getattr(gb, name)(**parameters)


tables = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 30), st.integers(1, 4)),
    elements=st.floats(-1e300, 1e300, allow_nan=False)
    | st.just(np.nan)
    | st.floats(-5, 5)
    | st.floats(-1e-308, 1e-308),
)


# Pieces


@BOTH
@given(x=tables, data=st.data())
def test_pieces_in_any_order_give_the_same_bits(name, x, data):
    cuts = sorted(data.draw(st.lists(st.integers(1, len(x)), max_size=4)))
    pieces = [piece for piece in np.split(data.draw(st.permutations(list(x))), cuts) if len(piece)]
    whole = new(name).fit(x)
    grown = new(name)
    for piece in pieces:
        grown.partial_fit(piece)
    assert attributes(grown) == attributes(whole)
    merged = new(name)
    for piece in reversed(pieces):
        merged.merge(new(name).fit(piece))
    assert attributes(merged) == attributes(whole)


@BOTH
@given(x=tables, y=tables)
def test_merge_commutes(name, x, y):
    y = np.resize(y, (len(y), x.shape[1]))
    one, other = (new(name).fit(a).merge(new(name).fit(b)) for a, b in ((x, y), (y, x)))
    assert attributes(one) == attributes(other)


@given(x=tables, weights=st.lists(st.integers(0, 5), min_size=30, max_size=30))
def test_a_weight_is_as_many_rows(x, weights):
    weights = np.array(weights[: len(x)])
    weights[0] = 1
    weighted = gb.StandardScaler().fit(x, sample_weight=weights)
    repeated = gb.StandardScaler().fit(np.repeat(x, weights, axis=0))
    assert attributes(weighted)[:3] == attributes(repeated)[:3]
    np.testing.assert_array_equal(weighted.n_samples_seen_, repeated.n_samples_seen_)
    assert np.asarray(weighted.n_samples_seen_).dtype == np.float64
    later = gb.StandardScaler().fit(x, sample_weight=weights).partial_fit(x)
    assert np.asarray(later.n_samples_seen_).dtype == np.float64


# Agreement


@BOTH
def test_agrees_with_scikit_learn(name):
    ours, other = new(name).fit(TABLE), getattr(theirs, name)().fit(TABLE)
    # Of both, scikit-learn has the error: its sums of n terms are off by at most n·eps of the sum of magnitudes, and
    # here mean² / variance < 5 magnifies that by less than 10 in the variance.
    bound = 10 * len(TABLE) * EPS
    for attribute, value in vars(other).items():
        if attribute.endswith("_") and isinstance(value, np.ndarray):
            np.testing.assert_allclose(getattr(ours, attribute), value, rtol=bound, atol=bound)
    for method in ("transform", "inverse_transform"):
        # |y| < 20, and an error of the parameters goes into it at most as often as it is large
        np.testing.assert_allclose(getattr(ours, method)(TABLE), getattr(other, method)(TABLE), rtol=0, atol=20 * bound)


def test_the_digits_that_scikit_learn_loses():
    x = 1e8 + RANDOM.normal(size=(1000, 1))
    ours = gb.StandardScaler()
    for piece in np.split(x, 10):
        ours.partial_fit(piece)
    from fractions import Fraction

    values = [Fraction(v) for v in x[:, 0]]
    mean = sum(values) / len(values)
    assert ours.mean_[0] == float(mean)
    assert ours.var_[0] == float(sum((v - mean) ** 2 for v in values) / len(values))


@BOTH
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_inverse_undoes_transform(name, dtype):
    x = RANDOM.normal(3, 2, (100, 4)).astype(dtype)
    scaler = new(name).fit(x)
    back = scaler.inverse_transform(scaler.transform(x))
    assert back.dtype == dtype
    # Two roundings to the type: the first, of |y| ≤ 5, is multiplied by a scale of at most 13 on the way back.
    np.testing.assert_allclose(back, x, rtol=0, atol=(5 * 13 + 13) * np.finfo(dtype).eps)


def test_minmax_reaches_its_range_and_never_leaves_it():
    x = RANDOM.normal(1e8, 1, (1000, 50))
    y = gb.MinMaxScaler().fit_transform(x)
    # (max − min) · fl(1 / (max − min)) is at most 1 + eps / 2, which rounds to 1
    assert y.min() == 0
    assert y.max() == 1
    assert (y.max(axis=0) >= 1 - EPS).all()


# What comes in


@BOTH
@pytest.mark.parametrize("dtype", ["i1", "i4", "i8", "u1", "u8", "?", "f2", "f4", "f8", ">f4", ">f8", ">i4"])
def test_every_type(name, dtype):
    x = RANDOM.integers(0, 2, (50, 3)).astype(dtype)
    ours, plain = new(name).fit(x), new(name).fit(x.astype(np.float64))
    assert attributes(ours) == attributes(plain)
    y = ours.transform(x)
    assert y.dtype == (x.dtype.newbyteorder("=") if x.dtype.kind == "f" else np.float64)
    np.testing.assert_array_equal(y, plain.transform(x.astype(np.float64)).astype(y.dtype))


@BOTH
def test_bfloat16(name):
    import ml_dtypes

    x = TABLE.astype(ml_dtypes.bfloat16)
    scaler = new(name).fit(x)
    assert attributes(scaler) == attributes(new(name).fit(x.astype(np.float64)))
    assert scaler.transform(x).dtype == ml_dtypes.bfloat16


def test_integers_that_float64_does_not_hold():
    x = np.array([[2**62 + 1], [2**62 + 3]])
    assert gb.StandardScaler().fit(x).var_ == 1
    assert theirs.StandardScaler().fit(x).var_ == 0


@BOTH
def test_every_kind_of_array(name, array):
    expected = new(name).fit(TABLE)
    x = array(TABLE)
    scaler = new(name).fit(x)
    assert attributes(scaler) == attributes(expected)
    y = scaler.transform(x)
    assert type(y) is (np.ndarray if array.is_numpy else type(x))
    if not array.is_numpy:
        assert y.device == x.device
        assert y.dtype == x.dtype
    np.testing.assert_array_equal(np.asarray(y), expected.transform(TABLE))
    assert type(scaler.inverse_transform(y)) is type(y)
    np.testing.assert_array_equal(np.asarray(x), TABLE)


def test_bfloat16_tensors(framework):
    torch = framework("torch")
    x = torch.tensor(TABLE).bfloat16()
    y = gb.StandardScaler().fit_transform(x)
    assert y.dtype is torch.bfloat16
    assert y.device == x.device


def test_set_output_of_tensors(framework):
    y = gb.StandardScaler().set_output(transform="pandas").fit_transform(framework("torch").tensor(TABLE))
    assert list(y.columns) == ["x0", "x1", "x2", "x3", "x4"]


@BOTH
def test_copy_false_is_in_place(name, framework):
    x = TABLE.copy()
    expected = new(name).fit_transform(x)
    np.testing.assert_array_equal(x, TABLE)
    scaler = new(name, copy=False).fit(x)
    np.testing.assert_array_equal(x, TABLE)
    assert scaler.transform(x) is x
    np.testing.assert_array_equal(x, expected)
    assert scaler.inverse_transform(x) is x
    fixed = TABLE.copy()
    fixed.flags.writeable = False
    assert not np.shares_memory(scaler.transform(fixed), fixed)
    tensor = framework("torch").tensor(TABLE)
    scaler.transform(tensor)
    np.testing.assert_array_equal(tensor.numpy(), expected)


def test_copy_of_the_call_wins():
    x = TABLE.copy()
    scaler = gb.StandardScaler().fit(x)
    assert scaler.transform(x, copy=False) is x
    assert gb.StandardScaler(copy=False).fit(x).transform(x, copy=True) is not x


# N-d arrays


@BOTH
@pytest.mark.parametrize(("axis", "shape"), [((0, 2, 3), (3,)), ((0, 1), (4, 5)), (0, (3, 4, 5)), ((-1, -2), (6, 3))])
def test_axes_of_images(name, axis, shape):
    x = RANDOM.normal(2, 3, (6, 3, 4, 5)).astype(np.float32)
    scaler = new(name, axis=axis).fit(x)
    reduced_axes = tuple(a % 4 for a in np.atleast_1d(axis))
    kept = [a for a in range(4) if a not in reduced_axes]
    flat = x.transpose(*reduced_axes, *kept).reshape(-1, int(np.prod(shape)))
    plain = new(name).fit(flat)
    assert scaler.scale_.shape == shape
    assert scaler.n_features_in_ == np.prod(shape)
    np.testing.assert_array_equal(scaler.scale_.ravel(), plain.scale_)
    y = scaler.transform(x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y.transpose(*reduced_axes, *kept).reshape(flat.shape), plain.transform(flat))
    # |x| ≤ 20, rounded twice to float32, the first rounding magnified by at most the range, 30, of |y| ≤ 5
    np.testing.assert_allclose(scaler.inverse_transform(y), x, rtol=0, atol=200 * np.finfo(np.float32).eps)
    grown = new(name, axis=axis).fit(x)
    assert attributes(grown.partial_fit(x)) == attributes(new(name, axis=axis).fit(x).merge(scaler))


def test_sequences_of_other_lengths():
    scaler = gb.StandardScaler(axis=(0, 1)).fit(RANDOM.normal(size=(4, 10, 3)))
    assert scaler.transform(RANDOM.normal(size=(2, 7, 3))).shape == (2, 7, 3)


def test_weights_of_places_along_the_axes():
    x, mask = RANDOM.normal(size=(4, 10, 3)), RANDOM.integers(0, 2, (4, 10))
    padded = gb.StandardScaler(axis=(0, 1)).fit(x, sample_weight=mask)
    assert attributes(padded)[:3] == attributes(gb.StandardScaler().fit(x[mask == 1]))[:3]


def test_axis_zero_of_a_table_is_the_default():
    assert attributes(gb.StandardScaler(axis=0).fit(TABLE)) == attributes(gb.StandardScaler().fit(TABLE))


@BOTH
def test_axes_that_do_not_fit(name):
    x = RANDOM.normal(size=(4, 3, 5))
    with pytest.raises(ValueError, match="Found array with dim 3"):
        new(name).fit(x)
    with pytest.raises(gb.DataError, match="within an array of 3 dimensions"):
        new(name, axis=7).fit(x)
    scaler = new(name, axis=(0, 2)).fit(x)
    with pytest.raises(gb.DataError, match=r"features of shape \(4,\) beside axis \(0, 2\).*expecting \(3,\)"):
        scaler.transform(RANDOM.normal(size=(4, 4, 5)))


# Sparse matrices


def densities():
    yield sparse.random(300, 40, 0.1, rng=1)
    yield sparse.random(300, 40, 0.9, rng=2)
    yield sparse.csr_array((5, 3))
    yield sparse.coo_array(np.diag(np.arange(6.0)))
    tall = np.zeros((3000, 70))
    tall[:, 3], tall[7, :] = RANDOM.normal(size=3000), np.nan
    yield sparse.coo_array(tall)


@pytest.mark.parametrize("kind", ["csr", "csc"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("which", range(5))
def test_sparse_is_as_exact_as_dense(kind, weighted, which):
    x = list(densities())[which].asformat(kind)
    weights = RANDOM.random(x.shape[0]) if weighted else None
    ours = gb.StandardScaler(with_mean=False).fit(x, sample_weight=weights)
    assert ours.moments_ == gb.StandardScaler().fit(x.toarray(), sample_weight=weights).moments_
    y = ours.transform(x)
    assert y.format == "csr"
    # x · (1 / scale) against x · fl(1 / scale) of one more rounding
    np.testing.assert_allclose(y.toarray(), x.toarray() / ours.scale_, rtol=2 * EPS)
    np.testing.assert_allclose(ours.inverse_transform(y).toarray(), x.toarray(), rtol=4 * EPS)


def test_sparse_pieces_and_duplicates():
    x = sparse.random(100, 10, 0.3, format="csr", rng=0)
    grown = gb.StandardScaler(with_mean=False).partial_fit(x[:30]).partial_fit(x[30:].tocsc())
    assert attributes(grown) == attributes(gb.StandardScaler(with_mean=False).fit(x))
    twice = sparse.csr_array(([1.0, 2.0, 5.0], ([0, 0, 1], [0, 0, 0])), shape=(2, 1))
    twice_csc = sparse.csc_array((np.array([1.0, 2.0, 5.0]), np.array([0, 0, 1]), np.array([0, 3])), shape=(2, 1))
    for matrix in (twice, twice_csc):
        assert gb.StandardScaler(with_mean=False).fit(matrix).mean_ == 4


def test_sparse_infinities_are_refused():
    x = sparse.csr_array([[1.0, np.inf]])
    with pytest.raises(ValueError, match="Input X contains infinity"):
        gb.StandardScaler(with_mean=False).fit(x)
    scaler = gb.StandardScaler(with_mean=False).fit(sparse.csr_array([[1.0, 2.0]]))
    with pytest.raises(ValueError, match="Input X contains infinity"):
        scaler.transform(x)


def test_minmax_refuses_sparse_as_scikit_learn_does():
    x = sparse.csr_array([[1.0, 2.0]])
    with pytest.raises(TypeError, match=r"MinMaxScaler does not support sparse input\. Consider using MaxAbsScaler"):
        gb.MinMaxScaler().fit(x)


# Hostile data


@BOTH
def test_constant_columns_and_one_row(name):
    x = np.full((10, 3), [5.0, 0.0, 1e300])  # the last is NaN in scikit-learn, which squares it
    scaler, other = new(name).fit(x), getattr(theirs, name)().fit(x[:, :2])
    np.testing.assert_array_equal(scaler.scale_, [1, 1, 1])
    np.testing.assert_array_equal(other.scale_, [1, 1])
    np.testing.assert_array_equal(scaler.transform(x[:2]), np.zeros((2, 3)))
    np.testing.assert_array_equal(new(name).fit(x[:1]).scale_, [1, 1, 1])


@BOTH
def test_an_all_nan_column_stays_nan_until_values_come(name):
    x = np.array([[np.nan, 1.0], [np.nan, 3.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scaler = new(name).fit(x)
    assert np.isnan(scaler.scale_[0])
    assert np.isnan(scaler.transform(x)[:, 0]).all()
    later = scaler.partial_fit([[4.0, 1.0], [6.0, 3.0]])
    assert attributes(later)[:2] == attributes(new(name).fit([[4.0, 1], [6, 3], [np.nan, 1], [np.nan, 3]]))[:2]
    assert np.isfinite(later.scale_).all()


def test_counts_without_nan():
    scaler = gb.StandardScaler().fit([[1.0, np.nan], [2.0, 3.0]])
    np.testing.assert_array_equal(scaler.n_samples_seen_, [2, 1])
    assert scaler.n_samples_seen_.dtype == np.int64
    assert gb.MinMaxScaler().fit([[1.0, np.nan], [2.0, 3.0]]).n_samples_seen_ == 2


def test_large_and_tiny_values():
    x = np.array([[1e150, 1e300, 5e-324], [-1e150, -1e300, 0.0]])
    scaler = gb.StandardScaler().fit(x)
    np.testing.assert_array_equal(scaler.mean_, [0, 0, 0])
    np.testing.assert_array_equal(scaler.transform(x)[:, 0], [1, -1])
    assert np.isfinite(scaler.transform(x)).all()


@BOTH
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_infinities_are_refused_in_scikit_learns_words(name, dtype, bad):
    x = np.ones((300, 4), dtype)
    scaler, before = new(name).fit(x), attributes(new(name).fit(x))
    x[271, 2] = bad
    x[5, 2] = np.nan
    with pytest.raises(ValueError) as expected:  # noqa: PT011
        getattr(theirs, name)().fit(x)
    for attempt in (new(name).fit, scaler.partial_fit, scaler.transform, scaler.inverse_transform):
        with pytest.raises(ValueError) as got:  # noqa: PT011
            attempt(x)
        assert str(got.value) == str(expected.value)
    assert attributes(scaler) == before


def test_assume_finite_is_obeyed():
    import sklearn

    with sklearn.config_context(assume_finite=True):
        assert gb.StandardScaler().fit([[np.inf], [1.0]]).mean_ == np.inf


@BOTH
def test_features_that_do_not_fit(name):
    scaler = new(name).fit(TABLE)
    for x in (TABLE[:, :4], np.hstack([TABLE, TABLE])):
        for attempt in (scaler.transform, scaler.partial_fit):
            with pytest.raises(ValueError, match=f"X has {x.shape[1]} features, but {name} is expecting 5 features as"):
                attempt(x)
        with pytest.raises(ValueError, match="must have shape"):
            scaler.inverse_transform(x)


@BOTH
@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.empty((0, 3)), ValueError, r"Found array with 0 sample\(s\) \(shape=\(0, 3\)\) while a minimum of 1"),
        (np.empty((3, 0)), ValueError, r"Found array with 0 feature\(s\)"),
        (np.ones(3), ValueError, "Expected 2D array, got 1D array instead"),
        (np.array([["a", "b"]]), ValueError, "could not convert string to float: "),
        (np.array([[1j]]), ValueError, "Complex data not supported"),
        (np.ones((1, 1)).view(np.matrix), TypeError, "np.matrix is not supported"),
        ([[1.0], [2.0, 3.0]], ValueError, "inhomogeneous"),
    ],
    ids=lambda value: "",
)
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_what_scikit_learn_refuses(name, x, error, words):
    with pytest.raises(error, match=words):
        new(name).fit(x)
    with pytest.raises(error, match=words):
        getattr(theirs, name)().fit(x)


@BOTH
def test_before_a_fit(name):
    scaler = new(name)
    for attempt in (scaler.transform, scaler.inverse_transform):
        with pytest.raises(NotFittedError, match=f"This {name} instance is not fitted yet"):
            attempt(TABLE)
    with pytest.raises(NotFittedError):
        scaler.to_json()
    assert not hasattr(scaler, "affine_")


@pytest.mark.parametrize("bad", [[-1.0, 1.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_wrong_weights(bad):
    with pytest.raises(ValueError, match=r"negative|NaN|infinity"):
        gb.StandardScaler().fit([[1.0], [2.0]], sample_weight=bad)


@pytest.mark.parametrize("parameters", [{"ddof": -1}, {"ddof": "1"}, {"axis": "0"}, {"with_mean": 2}])
def test_wrong_parameters(parameters):
    with pytest.raises(ValueError, match=f"The '{next(iter(parameters))}' parameter of StandardScaler must be"):
        gb.StandardScaler(**parameters).fit(TABLE)


# The parameters of our own


def test_ddof():
    np.testing.assert_array_equal(gb.StandardScaler(ddof=1).fit([[1.0], [2.0], [6.0]]).var_, [7])
    one = gb.StandardScaler(ddof=1).fit([[4.0]])
    assert np.isnan(one.var_[0])
    np.testing.assert_array_equal(one.transform([[4.0]]), [[0.0]])


@BOTH
def test_affine_is_the_map(name):
    scaler = new(name).fit(TABLE)
    np.testing.assert_array_equal(scaler.affine_(TABLE), scaler.transform(TABLE))


def test_from_statistics():
    moments, extrema = gb.Moments.of(TABLE), gb.Extrema.of(TABLE)
    scaler = gb.StandardScaler.from_moments(moments, ddof=1)
    assert attributes(scaler) == attributes(gb.StandardScaler(ddof=1).fit(TABLE))
    np.testing.assert_array_equal(scaler.transform(TABLE), gb.StandardScaler(ddof=1).fit_transform(TABLE))
    other = gb.MinMaxScaler.from_extrema(extrema, feature_range=(-1, 1))
    assert attributes(other) == attributes(gb.MinMaxScaler((-1, 1)).fit(TABLE))


def test_a_fold_is_taken_away():
    folds = np.split(TABLE, 5)
    whole = gb.StandardScaler().fit(TABLE)
    left = gb.StandardScaler.from_moments(whole.moments_ - gb.Moments.of(folds[0]))
    assert attributes(left) == attributes(gb.StandardScaler().fit(np.vstack(folds[1:])))


@BOTH
def test_attributes_set_by_hand_are_obeyed(name):
    scaler, other = new(name), getattr(theirs, name)()
    hand = {"StandardScaler": {"mean_": [1.0], "scale_": [2.0]}, "MinMaxScaler": {"min_": [0.5], "scale_": [2.0]}}[name]
    for attribute, value in hand.items():
        setattr(scaler, attribute, np.array(value))
        setattr(other, attribute, np.array(value))
    np.testing.assert_array_equal(scaler.transform([[3.0]]), other.transform([[3.0]]))
    np.testing.assert_array_equal(scaler.inverse_transform([[3.0]]), other.inverse_transform([[3.0]]))
    # and one feature is broadcast, as forecasts of several steps are scaled back
    np.testing.assert_array_equal(scaler.inverse_transform([[3.0, 4.0]]), other.inverse_transform([[3.0, 4.0]]))
    with pytest.raises(gb.StateError, match=r"it lacks .*n_samples_seen_; set them"):
        scaler.to_json()
    fitted = new(name).fit([[1.0], [3.0]])
    fitted.scale_[0] *= 2
    assert fitted.affine_.slope != new(name).fit([[1.0], [3.0]]).affine_.slope


def test_clip():
    scaler = gb.MinMaxScaler((2, 4), clip=True).fit(TABLE)
    y = scaler.transform(TABLE * 100)
    assert y.min() == 2
    assert y.max() == 4


# Merging


@BOTH
def test_merging_what_does_not_fit(name):
    scaler = new(name).fit(TABLE)
    with pytest.raises(gb.KindError, match="merges with its own class"):
        scaler.merge(gb.Moments.of(TABLE))
    with pytest.raises(NotFittedError):
        scaler.merge(new(name))
    with pytest.raises(gb.DataError, match="same features"):
        scaler.merge(new(name).fit(TABLE[:, :2]))


def test_merging_other_names():
    pandas = pytest.importorskip("pandas")
    one, other = (gb.StandardScaler().fit(pandas.DataFrame(TABLE, columns=list(names))) for names in ("abcde", "abcdf"))
    with pytest.raises(gb.DataError, match=r"same features.*'e'.*'f'"):
        one.merge(other)
    taken = gb.StandardScaler().merge(one)
    assert list(taken.feature_names_in_) == list("abcde")


# Copies and documents


@BOTH
def test_copies(name):
    scaler = new(name).fit(TABLE)
    for other in (pickle.loads(pickle.dumps(scaler)), copy.deepcopy(scaler), copy.copy(scaler)):
        assert attributes(other) == attributes(scaler)
        np.testing.assert_array_equal(other.transform(TABLE), scaler.transform(TABLE))
        assert attributes(other.partial_fit(TABLE)) == attributes(new(name).fit(np.vstack([TABLE, TABLE])))
    assert not hasattr(clone(scaler), "scale_")


PARAMETERS = [
    ("StandardScaler", {"ddof": 1, "with_mean": False}, TABLE),
    ("StandardScaler", {"ddof": np.int64(1)}, TABLE),
    ("StandardScaler", {"axis": (0, 2)}, RANDOM.normal(size=(3, 4, 5))),
    ("MinMaxScaler", {"feature_range": (-1, np.float32(2)), "clip": True}, TABLE),
    ("MinMaxScaler", {}, np.array([[np.nan, 1.0], [np.nan, 5e-324]])),
]


@pytest.mark.parametrize(("name", "parameters", "x"), PARAMETERS)
def test_json_there_and_back(name, parameters, x):
    scaler = new(name, **parameters).fit(x)
    found = type(scaler).from_json(scaler.to_json())
    assert attributes(found) == attributes(scaler)
    assert found.get_params() == scaler.get_params()
    assert found.n_features_in_ == scaler.n_features_in_
    np.testing.assert_array_equal(found.transform(x), scaler.transform(x))
    assert attributes(found.partial_fit(x)) == attributes(scaler.partial_fit(x))


def test_json_keeps_names_and_weights():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(TABLE, columns=list("abcde"))
    scaler = gb.StandardScaler().fit(frame, sample_weight=np.full(len(frame), 2.0))
    found = gb.StandardScaler.from_json(scaler.to_json())
    assert list(found.feature_names_in_) == list("abcde")
    assert attributes(found) == attributes(scaler)


def changed(**changes):
    return json.dumps({**json.loads(gb.StandardScaler().fit(TABLE).to_json()), **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[" * 100_000,
        gb.StandardScaler().fit(TABLE).to_json()[:-40],
        gb.MinMaxScaler().fit(TABLE).to_json(),
        gb.Moments.of(TABLE).to_json(),
        changed(version=99),
        changed(parameters={"with_mean": "yes"}),
        changed(parameters={"unknown": 1}),
        changed(parameters=[]),
        changed(parameters=None),
        changed(parameters={"__class__": "os.system"}),
        changed(statistic=None),
        changed(statistic={"format": "gammabeta.moments"}),
        changed(statistic=json.loads(gb.Extrema.of(TABLE).to_json())),
        changed(feature_names=["a"]),
        changed(feature_names=[1, 2, 3, 4, 5]),
        changed(rows=-1),
        changed(rows=True),
        changed(weighted="no"),
        changed(more=1),
    ],
)
def test_documents_that_are_not_ours(text):
    with pytest.raises(gb.StateError):
        gb.StandardScaler.from_json(text)


# What it costs


def peak(work):
    """The most bytes that `work` holds beyond what was there before, its kernels compiled."""
    first = work()  # held, or a second result might take its memory
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        del first


@BOTH
@pytest.mark.parametrize("kind", ["array", "columns", "pandas", "polars", "pyarrow", "integers", "strides"])
def test_extra_memory(name, kind):
    x = RANDOM.normal(size=(400_000, 20)).astype(np.float32)
    x = {
        "array": lambda: x,
        "columns": lambda: np.asfortranarray(x),
        "pandas": lambda: pandas().DataFrame(x),
        "polars": lambda: pytest.importorskip("polars").DataFrame(x),
        "pyarrow": lambda: pytest.importorskip("pyarrow").table(
            {str(i): column for i, column in enumerate(x.T.copy())}
        ),
        "integers": lambda: (x * 1000).astype(np.int32),
        "strides": lambda: np.repeat(x, 2, axis=1)[:, ::2],
    }[kind]()
    scaler, bytes_in = new(name).fit(x[:1000]), 400_000 * 20 * 4
    # what cannot be read where it lies is copied in pieces of 1 MiB, some of them for each of two threads
    pieces = 2**23 if kind in ("integers", "strides") else 0
    assert peak(lambda: scaler.fit(x)) < 0.05 * bytes_in + pieces
    # scikit-learn's type of a frame that is not of pandas is float64
    bytes_out = bytes_in * (2 if kind in ("integers", "polars", "pyarrow") else 1)
    assert peak(lambda: scaler.transform(x)) < 1.05 * bytes_out + pieces
    if kind in ("array", "columns"):
        assert peak(lambda: scaler.set_params(copy=False).transform(x)) < 0.05 * bytes_in


def pandas():
    return pytest.importorskip("pandas")
