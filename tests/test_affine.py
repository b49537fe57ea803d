"""Affine maps: float64 arithmetic rounded once, whatever the layout and type; a monoid whose regular members invert."""

import copy
import pickle
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gammabeta import Affine, DataError, Extrema, KindError, Moments
from gammabeta.affine import constant, minmax_scale, standard_scale

EPS = np.finfo(np.float64).eps
MOST = float(np.finfo(np.float64).max)
NUMBERS = st.floats(-1e6, 1e6)
SCALES = st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3)
MAPS = st.builds(Affine, NUMBERS, SCALES, NUMBERS)


def plain(a: Affine, x: np.ndarray, axis: Any = None) -> np.ndarray:
    """The formula in NumPy's float64."""
    shape = x.shape if axis is None else [1 if i in np.atleast_1d(axis) % x.ndim else n for i, n in enumerate(x.shape)]
    center, slope, shift = (p if axis is None else p.reshape(shape) for p in (a.center, a.slope, a.shift))
    return (x.astype(np.float64) - center) * slope + shift


LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::-2][..., ::-1],
    "turned": lambda x: np.moveaxis(np.moveaxis(x, 0, -1).copy(), -1, 0),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16, np.int8, np.int64, np.bool_])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        *[((50, 7), 0), ((7, 50), 1), ((4, 6, 5, 3), (0, 2, 3)), ((4, 6, 5, 3), (1, 3)), ((4, 6, 5), 0), ((0, 3), 0)],
        *[((90_000, 3), 0), ((2, 3, 90_000), (0, 2)), ((1, 200_000), 0), ((200_000,), 0), ((5, 1, 1), 0)],
    ],
)
def test_the_image_is_the_formula_rounded_once(shape: tuple[int, ...], axis: Any, dtype: Any, layout: str) -> None:
    rng = np.random.default_rng(0)
    x = LAYOUTS[layout]((rng.standard_normal(shape) * 5).astype(dtype))
    features = tuple(n for i, n in enumerate(shape) if i not in np.atleast_1d(axis))
    a = Affine(rng.standard_normal(features), rng.standard_normal(features) + 2, rng.standard_normal(features))
    y = a(x, axis=axis)
    assert y.dtype == (np.float64 if np.dtype(dtype).kind in "bi" else dtype)
    np.testing.assert_array_equal(y, once(plain(a, x, axis), y.dtype))
    out = np.empty(shape, np.float32)
    assert a(x, out=out, axis=axis) is out
    np.testing.assert_array_equal(out, plain(a, x, axis).astype(np.float32))


def once(y: np.ndarray, dtype: Any) -> np.ndarray:
    """float64 rounded once: NumPy rounds to bfloat16 by way of float32, so there the nearer neighbour is chosen."""
    near = y.astype(dtype)
    if dtype != ml_dtypes.bfloat16:
        return near
    integers = near.view(np.int16)
    for step in -1, 1:
        other = (integers + np.int16(step)).view(dtype)
        closer = np.abs(other.astype(float) - y) < np.abs(near.astype(float) - y)
        near = np.where(closer, other, near)
    return near


@pytest.mark.parametrize("x", [np.ones((3, 2)), [1.0, 2.0], Extrema.of([1.0, 2.0])], ids=["array", "list", "extrema"])
def test_standard_of_something_else_names_the_call(x: Any) -> None:
    with pytest.raises(KindError, match=r"^standard takes Moments, got .*; call Affine\.standard\(Moments\.of\(x\)\)$"):
        Affine.standard(x)


@pytest.mark.parametrize("x", [np.ones((3, 2)), [1.0, 2.0], Moments.of([1.0, 2.0])], ids=["array", "list", "moments"])
def test_minmax_of_something_else_names_the_call(x: Any) -> None:
    with pytest.raises(KindError, match=r"^minmax takes Extrema, got .*; call Affine\.minmax\(Extrema\.of\(x\)\)$"):
        Affine.minmax(x)


def test_bfloat16_is_rounded_once() -> None:
    # 1 + 2⁻⁸ + 2⁻⁴⁰ lies just above the middle of 1 and 1 + 2⁻⁷; by way of float32 it would fall on it, and go to even
    y = Affine(0.0, 1 + 2.0**-8 + 2.0**-40, 0.0)(np.ones(3, ml_dtypes.bfloat16))
    assert (y.astype(float) == 1 + 2.0**-7).all()
    extremes = np.array([np.nan, np.inf, -np.inf, 3e38, -1e-40, 0.0], ml_dtypes.bfloat16)
    np.testing.assert_array_equal(Affine(0.0, 1.0, 0.0)(extremes).astype(float), extremes.astype(float))


def test_in_place_and_overlapping() -> None:
    x = np.random.default_rng(1).standard_normal(100_000)
    a = Affine(1.0, 2.0, 3.0)
    expected = plain(a, x)
    shifted = x.copy()
    a(shifted[:-1], out=shifted[1:])
    np.testing.assert_array_equal(shifted[1:], expected[:-1])
    frozen = x.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(a(frozen), expected)
    assert a(x, out=x) is x
    np.testing.assert_array_equal(x, expected)


@given(MAPS, MAPS, MAPS, NUMBERS)
def test_maps_compose(a: Affine, b: Affine, c: Affine, x: float) -> None:
    one = Affine(0.0, 1.0, 0.0)
    assert one.then(a)(x) == pytest.approx(a(x), rel=0, abs=size(a, x) * 4 * EPS)
    # each of the three roundings of a map is of a number of at most `size`, and the second map scales the first's
    bound = 8 * EPS * (size(b, size(a, x)) + size(a, x) * abs(float(b.slope)))
    assert abs(float(a.then(b)(x)) - float(b(a(x)))) <= bound
    whole = 16 * EPS * size(c, size(b, size(a, x)))
    assert abs(float(a.then(b).then(c)(x)) - float(a.then(b.then(c))(x))) <= whole


def size(a: Affine, x: float) -> float:
    """A bound of every intermediate result of a(x), and of the same with all signs alike."""
    return (abs(float(x)) + abs(float(a.center))) * abs(float(a.slope)) + abs(float(a.shift)) + 1e-300


@given(MAPS, NUMBERS)
def test_inverses_undo(a: Affine, x: float) -> None:
    back = a.inverse()
    # s · fl(1/s) is within an ULP of 1; center and shift cancel exactly
    assert abs(a.then(back).slope - 1) <= EPS and a.then(back).shift == a.center == a.then(back).center
    assert abs(float(back(a(x))) - x) <= 8 * EPS * (size(a, x) / abs(float(a.slope)) + abs(float(a.center)))
    assert back.inverse().center == a.center and back.inverse().shift == a.shift


def test_a_zero_scale_inverts_as_one() -> None:
    back = Affine([5.0, 5.0], [0.0, 2.0], [1.0, 1.0]).inverse()
    np.testing.assert_array_equal(back.slope, [1, 0.5])
    np.testing.assert_array_equal(back(np.array([[1.0, 3.0]])), [[5, 6]])


def test_standardizing_gives_mean_zero_and_deviation_one() -> None:
    x = 1e4 + np.random.default_rng(2).standard_normal((1000, 3)) * [1, 100, 1e-3]
    for ddof in 0, 1:
        y = Moments.of(Affine.standard(Moments.of(x), ddof=ddof)(x))
        # x − mean is exact to an ULP of x, 1e4·2⁻⁵², against a deviation of 1e-3: 2e-9
        np.testing.assert_allclose(y.mean, 0, atol=1e4 * EPS / 1e-3)
        np.testing.assert_allclose(y.with_ddof(ddof).std, 1, rtol=1e4 * EPS / 1e-3)
    m = Moments.of(x)
    assert Affine.standard(m, with_mean=False) == Affine(0.0, 1 / m.std, 0.0)
    assert Affine.standard(m, with_std=False) == Affine(m.mean, 1.0, 0.0)


def test_standard_of_one_feature_without_a_shape():
    m = Moments.of([1.0, 3.0])
    assert m.shape == ()
    assert Affine.standard(m)(np.array([1.0, 3.0])).tolist() == [-1.0, 1.0]


def test_minmax_takes_the_ends_to_the_ends() -> None:
    x = np.array([[1.0, -5.0], [3.0, 5.0], [2.0, 0.0]])
    np.testing.assert_array_equal(Affine.minmax(Extrema.of(x))(x), [[0, 0], [1, 1], [0.5, 0.5]])
    np.testing.assert_array_equal(Affine.minmax(Extrema.of(x), (-1, 3))(x), [[-1, -1], [3, 3], [1, 1]])
    for wrong in (1, 1), (2, 1), (np.nan, 1):
        with pytest.raises(DataError, match="feature_range must rise"):
            Affine.minmax(Extrema.of(x), wrong)


def test_constant_features_are_divided_by_one() -> None:
    x = np.array([[0.1, 1e10, 1.0, np.nan], [0.1, 1e10 + 1e-5, 2.0, np.nan], [0.1, 1e10, 3.0, np.nan]])
    np.testing.assert_array_equal(standard_scale(Moments.of(x))[:3], [1, 1, Moments.of(x).std[2]])
    np.testing.assert_array_equal(minmax_scale(Extrema.of(x))[[0, 2]], [1, 2])
    huge = Moments.of([[1e300, 1e300], [-1e300, 1e300]])
    np.testing.assert_array_equal(standard_scale(huge), [1e300, 1])
    assert np.isnan(standard_scale(Moments.of(x))[3]) and np.isnan(minmax_scale(Extrema.of(x))[3])


def test_the_whole_chain_is_one_map() -> None:
    x = np.random.default_rng(3).standard_normal((100, 2)) * 7 + 3
    minmax = Affine.minmax(Extrema.of(x))
    standard = Affine.standard(Moments.of(minmax(x)))
    # standardizing forgets any affine map before it: both divide by numbers within a few ULPs of one another
    np.testing.assert_allclose(minmax.then(standard)(x), Affine.standard(Moments.of(x))(x), rtol=0, atol=64 * EPS)


def test_maps_are_values() -> None:
    a = Affine([1.0, 2.0], 3.0, [4.0, -0.0])
    for other in pickle.loads(pickle.dumps(a)), copy.deepcopy(a), Affine([1, 2], [3, 3], [4, 0]):
        assert other == a and hash(other) == hash(a)
    assert a != Affine([1.0, 2.0], 3.0, [4.0, 1.0]) and a != 3
    assert a[1] == Affine(2.0, 3.0, 0.0) and a.shape == (2,) and "Affine(center=[1. 2.]" in repr(a)
    with pytest.raises(AttributeError, match="immutable"):
        a.center = np.zeros(2)
    with pytest.raises(ValueError, match="read-only"):
        a.slope[0] = 1
    given = np.array([1.0, 2.0])
    kept = Affine(given, 1.0)
    given[0] = 9
    assert kept.center[0] == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Affine([1.0, 2.0], [1.0, 2.0, 3.0], 0.0), DataError, "one shape or broadcast to one"),
        (lambda: Affine(["a"], 1.0, 0.0), KindError, "must be real numbers"),
        (lambda: Affine([1.0, 2.0], 1.0)(np.zeros((4, 3))), DataError, r"x must have shape \(…, 2\), got \(4, 3\)"),
        (lambda: Affine(np.zeros((2, 2)), 1.0)(np.zeros(2)), DataError, "x must have shape"),
        (lambda: Affine([1.0, 2.0], 1.0)(np.zeros((4, 3)), axis=0), DataError, r"features \(2,\) beside axis 0"),
        (lambda: Affine(0.0, 1.0)(np.array(["a"])), KindError, "takes real numbers, got dtype <U1"),
        (
            lambda: Affine(0.0, 1.0)(np.zeros(2), out=np.zeros(2, int)),
            KindError,
            "out must be a NumPy array of a float",
        ),
        (lambda: Affine(0.0, 1.0)(np.zeros(2), out=[0, 0]), KindError, "out must be a NumPy array"),
        (
            lambda: Affine(0.0, 1.0)(np.zeros(2), out=np.zeros(3)),
            DataError,
            r"out must be writable and of shape \(2,\)",
        ),
        (lambda: Affine(0.0, 1.0)(np.zeros(1), out=np.broadcast_to(0.0, 1)), DataError, "must be writable"),
    ],
)
def test_what_cannot_be_mapped(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_exact_on_small_integers() -> None:
    a = Affine(3.0, 0.5, 1.0)
    for x in range(-20, 20):
        assert Fraction(float(a(np.float64(x)))) == (Fraction(x) - 3) / 2 + 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_infinite_values_are_counted(layout: str) -> None:
    x = np.zeros((3, 4, 50))
    x[0, 0, 0], x[1, 2, 3], x[2, 3, 49], x[1, 1, 1] = np.inf, -np.inf, np.inf, np.nan
    for axis in 0, (0, 2), (1, 2), (0, 1, 2):
        features = [n for i, n in enumerate(x.shape) if i not in np.atleast_1d(axis)]
        y, infinite = Affine(np.zeros(features), 1.0)._image(LAYOUTS[layout](x), axis=axis)
        assert infinite == 3
        np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
def test_beyond_the_range_is_infinite_and_no_warning(dtype: Any) -> None:
    y = Affine(0.0, 1e300, 0.0)(np.array([1.0, -1.0, 0.0], dtype))
    np.testing.assert_array_equal(y.astype(float), [np.inf, -np.inf, 0])


RANGES = [(0.0, 1.0), (-0.1, 0.3), (-MOST, MOST), (0.0, MOST), (1e-320, 3e-320)]
COLUMNS = [[-MOST, MOST, 0.0, 1.0], [-1.2e308, 1.7e308, 3e300], [0.0, 1e-5, 5e-324], [MOST / 2, MOST], [3.0, 5.0, 4.0]]


@pytest.mark.parametrize("ends", RANGES, ids=str)
@pytest.mark.parametrize("column", COLUMNS, ids=str)
def test_minmax_of_what_float64_hardly_holds(column: list[float], ends: tuple[float, float]) -> None:
    x = np.array(column)
    a = Affine.minmax(Extrema.of(x), ends)
    y, (low, high) = a(x), map(Fraction, ends)
    least, width = Fraction(min(column)), Fraction(max(column)) - Fraction(min(column))
    slope = (high - low) / width
    size = 2 * Fraction(max(map(abs, ends)))
    for value, found in zip(column, y.tolist(), strict=True):
        exact = low + (Fraction(value) - least) * slope
        # a quotient, a product and a sum, each rounded once, of numbers as large as the ends; or multiples of 2^-1074
        assert abs(Fraction(found) - exact) <= Fraction(4 * EPS) * size + Fraction(3, 2**1074)
    if a._ends is not None:
        np.testing.assert_array_equal(y[[np.argmin(x), np.argmax(x)]], ends)
        np.testing.assert_array_equal(a.inverse()(np.array(ends)), [min(column), max(column)])
        assert pickle.loads(pickle.dumps(a)) == a == a[()] != Affine(a.center, a.slope, a.shift)
    elif max(map(abs, column)) > 10:
        assert 2.0**-1022 <= a.slope < np.inf


def test_far_features_among_others_in_every_layout() -> None:
    x = np.stack([[-MOST, MOST, 0.0], [1.0, 2.0, 4.0], [-1.5e308, 1.7e308, 1.6e308]], axis=1)
    alone = [Affine.minmax(Extrema.of(column))(column) for column in x.T]
    a = Affine.minmax(Extrema.of(x))
    np.testing.assert_array_equal(a(x), np.stack(alone, axis=1))
    np.testing.assert_array_equal(a(np.asfortranarray(x)), a(x))
    np.testing.assert_array_equal(a(x.T.copy(), axis=1), a(x).T)
    np.testing.assert_array_equal(a[[2, 0]](x[:, [2, 0]]), a(x)[:, [2, 0]])
    images = np.stack([x, x[::-1]])
    np.testing.assert_array_equal(Affine.minmax(Extrema.of(images, (0, 1)))(images, axis=(0, 1)), a(images))
    in_place = x.copy()
    assert a(in_place, out=in_place) is in_place
    np.testing.assert_array_equal(in_place, a(x))
    assert a._image(np.array([[np.inf, 1.0, np.nan]]))[1] == 1
    with pytest.raises(DataError, match="feature_range must be finite"):
        Affine.minmax(Extrema.of(x), (0, np.inf))


def test_what_overflows_only_on_the_way() -> None:
    x = np.array([-1.5e308, 1.7e308, 0.0])
    near = Affine(center=-1.5e308, slope=0.25, shift=0.5e308)
    np.testing.assert_allclose(near(x), [0.5e308, 1.3e308, 0.875e308], rtol=4 * EPS)
    back = Affine(center=0.0, slope=1e308, shift=-1e308)  # 2e308 − 1e308
    np.testing.assert_array_equal(back(np.array([2.0, 1.0])), [1e308, 0.0])
    both = Affine(0.0, 1.0, 1.5e308).then(Affine(-1.5e308, 0.5, -1e308))
    np.testing.assert_allclose(both.shift, 0.5e308, rtol=4 * EPS)


def test_a_variance_below_the_range_is_no_constant() -> None:
    np.testing.assert_array_equal(standard_scale(Moments.of([[1e-200, 5e-324], [3e-200, 0.0]])), [1e-200, 1])


def doubled(m: Moments, times: int) -> Moments:
    """m added to itself again and again: of 2^times as many rows."""
    for _ in range(times):
        m = m + m
    return m


@pytest.mark.parametrize("power", [0, 14, 34])
def test_more_rows_take_no_spread_for_constant(power: int) -> None:
    # a Unix time in seconds, an hour's spread, a second's, and one of 2⁻²² s, the values' own rounding
    x = 1.7e9 + np.array([[0.0, 0.0, 0.0], [3600.0, 1.0, 2.0**-22]])
    m = doubled(Moments.of(x), power)
    assert (m.count == 2.0 ** (power + 1)).all()
    np.testing.assert_array_equal(standard_scale(m), [1800.0, 0.5, 1.0])


def test_the_constant_bound_is_scikit_learns_up_to_16384_rows() -> None:
    from sklearn.preprocessing._data import _is_constant_feature

    x = 1e3 + np.array([[-1.0], [1.0]]) * np.exp2(np.arange(-43, -20))
    for power in range(14):
        m = doubled(Moments.of(x), power)
        theirs = _is_constant_feature(m.var, m.mean, 2 ** (power + 1))
        assert theirs.any() and not theirs.all()
        np.testing.assert_array_equal(constant(m), theirs)
    more = doubled(m, 6)
    np.testing.assert_array_equal(constant(more), constant(m))
    assert _is_constant_feature(more.var, more.mean, 2**20).sum() > constant(more).sum()


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_every_16_bit_float_is_widened_and_narrowed_right(dtype: Any) -> None:
    x = np.arange(2**16, dtype=np.uint16).view(dtype)
    with np.errstate(invalid="ignore"):  # of NaN that signals
        exact = x.astype(np.float64)
    one = Affine(0.0, 1.0, 0.0)
    np.testing.assert_array_equal(one(x, np.empty(x.shape)), exact)
    np.testing.assert_array_equal(one(x).astype(np.float64), exact)
    finite = np.sort(exact[np.isfinite(exact)])
    middles = (finite[1:] + finite[:-1]) / 2  # of neighbours: ties, exact in float64, and what lies beside them
    for y in middles, np.nextafter(middles, np.inf), np.nextafter(middles, -np.inf):
        np.testing.assert_array_equal(one(y, np.empty(y.shape, dtype)), once(y, np.dtype(dtype)))


MOST = float(np.finfo(np.float64).max)
WIDE = Affine.minmax(Extrema.of([[-MOST, 1.0], [MOST, 3.0]]))


@pytest.mark.parametrize("low_high", [(0, 1), (-MOST, MOST)])
def test_maps_near_the_ends_of_float64_go_on_to_others(low_high):
    first = Affine.minmax(Extrema.of([[-MOST, 1.0], [MOST, 3.0]]), low_high)
    back = first.then(first.inverse())
    np.testing.assert_array_equal(back(np.array([[-MOST, 1.0], [MOST, 3.0]])), [[-MOST, 1.0], [MOST, 3.0]])
    half = Affine(0.0, 0.5).then(first)  # twice the data go where the data went
    np.testing.assert_array_equal(half(np.array([[0.0, 2.0], [0.0, 6.0]]))[:, 1], low_high)
    small = first.then(Affine(0.0, 1 / MOST))
    np.testing.assert_array_equal(small(np.array([[-MOST, 1.0], [MOST, 3.0]])), np.array([low_high] * 2).T * (1 / MOST))


def test_maps_in_rows_keep_their_ends():
    rows = Affine([[1.0, 2.0]], 1.0).with_row(WIDE)
    assert rows.shape == (2, 2) and rows[1] == WIDE and rows[0](np.array([1.0, 2.0])).tolist() == [0, 0]
    assert Affine([[1.0]], 1.0).with_row(Affine([2.0], 1.0)) == Affine([[1.0], [2.0]], 1.0)


def test_what_cannot_keep_the_ends_is_refused(framework):
    torch, jax = framework("torch"), framework("jax")
    from gammabeta.torch import Normalize

    x = np.array([[1.0, 1.0]])
    for call in (
        lambda: WIDE.to_c(),
        lambda: WIDE.to_sql(["a", "b"], "t"),
        lambda: WIDE(torch.tensor(x, requires_grad=True)),
        lambda: jax.jit(WIDE)(x),
        lambda: Normalize(WIDE),
    ):
        with pytest.raises(DataError, match=r"the map must stay within float64 in .*, feature 0 is too near its ends"):
            call()
