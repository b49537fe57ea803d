"""Moments and extrema: equal to rational arithmetic rounded once, whatever the data, its type and its layout."""

import copy
import json
import pickle
import sys
from fractions import Fraction
from itertools import combinations
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from exact_cases import DTYPES, hostile
from gammabeta import Affine, DataError, Extrema, KindError, Moments, StateError
from gammabeta.kernels import add_scalar, add_tile, folds, layout, thread_pool
from reference import exact_variance, is_root, mean, rounded

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TAME = st.floats(-1e6, 1e6)
COLUMNS = st.lists(FLOATS | TAME | st.integers(-5, 5).map(float), max_size=40)


def check(m: Moments, columns: list[list[float]], weights: list[float] | None = None) -> None:
    """m holds exactly the moments of those columns."""
    for i, column in enumerate(columns):
        assert m.mean[i] == mean(column, weights) or (np.isnan(m.mean[i]) and np.isnan(mean(column, weights)))
        for ddof in 0, 1, Fraction(1, 2):
            expected = exact_variance(column, Fraction(ddof), weights)
            got, deviation = m.with_ddof(float(ddof)).var[i], m.with_ddof(float(ddof)).std[i]
            if expected is None:
                assert np.isnan(got) and np.isnan(deviation)
            else:
                assert got == rounded(expected) and is_root(float(deviation), expected)


@pytest.mark.parametrize("n", [0, 1, 2, 31, 32, 33, 100, 700])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_hostile_columns_are_exact(n: int, dtype: type) -> None:
    with np.errstate(over="ignore"):
        x = np.stack(list(hostile(n).values()), axis=1).astype(dtype)
    x = np.where(np.isfinite(x), x, 0).astype(dtype)
    m = Moments.of(x)
    check(m, x.astype(float).T.tolist())
    for i in range(x.shape[1]):
        assert Moments.of(x[:, i]) == m[i]


@given(COLUMNS)
@example([1.7e308, -1.7e308, 5e-324])
def test_any_column_is_exact(column: list[float]) -> None:
    check(Moments.of(np.array(column).reshape(-1, 1)), [column])


@given(st.lists(st.tuples(FLOATS | TAME, st.floats(0, 1e300) | st.floats(0, 2)), max_size=12))
def test_weights_are_exact(pairs: list[tuple[float, float]]) -> None:
    column, weights = [x for x, _ in pairs], [w for _, w in pairs]
    m = Moments.of(np.array(column).reshape(-1, 1), weights=weights)
    check(m, [column], weights)
    assert m.count == [rounded(sum(map(Fraction, weights), Fraction(0)))]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_is_exact(dtype: Any) -> None:
    rng = np.random.default_rng(1)
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        x = rng.integers(info.min, info.max, (50, 3), dtype, endpoint=True)
        x[:2] = [[info.min] * 3, [info.max] * 3]
    else:
        x = (rng.standard_normal((50, 3)) * 3).astype(dtype)
    columns = [[int(v) if np.dtype(dtype).kind in "iub" else float(v) for v in column] for column in x.T]
    check(Moments.of(x), columns)
    check(Moments.of(x, weights=np.ones(50)), columns)
    e = Extrema.of(x)
    assert e.min.tolist() == [float(min(c)) for c in columns] and e.max.tolist() == [float(max(c)) for c in columns]


@pytest.mark.parametrize("piece", [2**18, 700, 100, 10])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch, dtype: Any, piece: int) -> None:
    """What is copied for a kernel is copied in pieces: of some features, of one, of a part of one."""
    rng = np.random.default_rng(5)
    monkeypatch.setattr(layout, "PIECE", piece)
    for shape in (7, 40, 90), (300, 40, 2), (2, 3, 33):
        whole = rng.integers(0, 2, shape) if np.dtype(dtype).kind == "b" else rng.integers(-99, 99, shape)
        x = whole.astype(dtype)
        if np.dtype(dtype).itemsize == 8 and np.dtype(dtype).kind in "iu":
            x[0, 1, 1] = np.iinfo(dtype).max
        table = np.ascontiguousarray(x.transpose(0, 2, 1)).reshape(-1, shape[1])
        columns = [[int(v) if np.dtype(dtype).kind in "iub" else float(v) for v in column] for column in table.T]
        for many in 1, 2:
            with thread_pool.limit(many):
                found, extrema = Moments.of(x, axis=(0, 2)), Extrema.of(x, axis=(0, 2))
            check(found[:3], columns[:3])
            assert (found, extrema) == (Moments.of(table), Extrema.of(table))
            assert extrema.max.tolist() == [float(max(column)) for column in columns]


def test_every_float16_is_widened() -> None:
    """Zeros with their sign, subnormal numbers, infinities and NaN, in any byte order and layout."""
    x = np.arange(2**16, dtype=np.uint16).view(np.float16)
    for half in x, x.astype(">f2"), x.reshape(256, 256).T:
        single = layout.plain(half)
        np.testing.assert_array_equal(single, half.astype(np.float32), strict=True)
        assert (np.signbit(single) == np.signbit(half)).all()


@pytest.mark.parametrize(
    "shape", [(60, 7), (5, 3, 4, 6), (2, 5, 129), (1, 3, 1, 2), (3, 0, 2), (0, 4), (300, 700), (3, 50000)]
)
@pytest.mark.parametrize("statistic", [Moments, Extrema])
def test_layout_does_not_matter(shape: tuple[int, ...], statistic: type[Moments] | type[Extrema]) -> None:
    x = np.random.default_rng(2).standard_normal(shape)
    for axis in (axis for r in range(1, len(shape) + 1) for axis in combinations(range(len(shape)), r)):
        kept = [i for i in range(len(shape)) if i not in axis]
        flat_shape = prod(shape[i] for i in axis), prod(shape[i] for i in kept)
        table = np.ascontiguousarray(x.transpose(*axis, *kept)).reshape(flat_shape)
        flat = statistic.of(table)
        expected = flat[np.arange(flat_shape[1]).reshape([shape[i] for i in kept])]
        wide = np.zeros((*shape[:-1], 2 * shape[-1]))[..., ::-2]
        wide[...] = x
        frozen = x.copy()
        frozen.flags.writeable = False
        for other in (
            x,
            np.asfortranarray(x),
            wide,
            x.astype(">f8"),
            frozen,
            np.moveaxis(np.moveaxis(x, 0, -1).copy(), -1, 0),
        ):
            assert statistic.of(other, axis=tuple(a - x.ndim for a in axis)) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [1, 3, 30, 64, 65, 100, 1000, 2049, 5000])
def test_every_width_is_exact(columns: int, dtype: type) -> None:
    x = np.random.default_rng(3).standard_normal((97, columns)).astype(dtype)
    m = Moments.of(x)
    for i in {0, 1, columns // 2, columns - 1} & set(range(columns)):
        assert Moments.of(np.ascontiguousarray(x[:, i])) == m[i]
        check(m[i : i + 1], [x[:, i].astype(float).tolist()])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("signs", [[1.0], [-1.0, 1.0]], ids=["positive", "both"])
def test_a_grid_that_is_full_is_exact(dtype: type, signs: list[float]) -> None:
    """Numbers that take all binades of their lanes' grids, and all bits: of the largest, and of the smallest."""
    rng = np.random.default_rng(3)
    binades = folds.FOLDS[np.dtype(dtype).char].spread - 2  # 32 of the largest need K = T + 2.5
    bits = np.finfo(dtype).nmant
    for share in 0.0, 0.02, 0.5:
        odd = 1 + (2 * rng.integers(0, 2 ** (bits - 1), (600, 64)) + 1) * 2.0**-bits
        full = np.where(rng.random(odd.shape) < 0.5, odd, 2 - 2.0**-bits)
        x = full * rng.choice(signs, odd.shape) * np.where(rng.random(odd.shape) < share, 2.0 ** (1 - binades), 1)
        x = (x * 2.0 ** rng.integers(-50, 50, 64)).astype(dtype)
        m = Moments.of(x)
        check(m[:8], x[:, :8].astype(float).T.tolist())
        assert m == sum((Moments.of(x[at : at + 3]) for at in range(3, 600, 3)), Moments.of(x[:3]))


def test_long_columns_pass_through_every_flush() -> None:
    x = np.tile(np.array([1.0, -2.0, 3.5, 1e10]), 200_000)
    x[12345] = 1e40
    n = len(x) // 4
    total = Fraction(n) * (Fraction(1) - 2 + Fraction(7, 2) + 10**10) - Fraction(x[12345 % 4]) + Fraction(1e40)
    # x[12345] was −2.0: the pattern repeats every four values
    assert 12345 % 4 == 1 and Moments.of(x).mean == rounded(total / len(x))


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(0, 30), st.integers(1, 4)), elements=st.floats(allow_infinity=False)),
    st.data(),
)
def test_moments_are_a_commutative_group(x: np.ndarray, data: st.DataObject) -> None:
    whole, nothing = Moments.of(x), Moments.of(x[:0])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=4)))
    parts = [Moments.of(piece) for piece in np.split(x, cuts)]
    order = data.draw(st.permutations(parts))
    assert sum(order) == sum(parts) == whole and hash(sum(order)) == hash(whole)
    assert whole + nothing == nothing + whole == whole
    assert whole - whole == nothing
    assert all(whole - part + part == whole for part in parts)
    assert Moments.of(x[data.draw(st.permutations(range(len(x))))]) == whole


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(0, 30), st.integers(1, 4)), elements=st.floats()), st.integers(0, 30)
)
def test_extrema_add_up(x: np.ndarray, cut: int) -> None:
    whole = Extrema.of(x)
    assert Extrema.of(x[:cut]) + Extrema.of(x[cut:]) == Extrema.of(x[cut:]) + Extrema.of(x[:cut]) == whole
    assert whole + Extrema.of(x[:0]) == whole
    for i, column in enumerate(x.T):
        there = column[~np.isnan(column)]
        assert whole.count[i] == len(there)
        assert (whole.min[i], whole.max[i]) == (there.min(), there.max()) if len(there) else np.isnan(whole.min[i])


def test_threads_and_pieces_give_the_same_bits() -> None:
    rng = np.random.default_rng(4)
    x = (1e8 + rng.standard_normal((1_000_000, 2))).astype(np.float32)
    whole = Moments.of(x)
    with thread_pool.limit(1):
        assert Moments.of(x) == whole
    assert sum(Moments.of(piece) for piece in np.array_split(x, 7)) == whole
    assert sum(Moments.of(piece) for piece in np.array_split(x, 1000)) == whole
    assert Moments.of(rng.permutation(x)) == whole


def test_nan_is_left_out_passed_on_or_refused() -> None:
    x = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    m, e = Moments.of(x), Extrema.of(x)
    assert m.count.tolist() == e.count.tolist() == [2, 1, 0]
    assert m.mean[:2].tolist() == [2, 5] and np.isnan(m.mean[2]) and np.isnan(m.std[2]) and np.isnan(e.min[2])
    for statistic in Moments, Extrema:
        passed = statistic.of(x, nan="propagate")
        assert passed.count.tolist() == [2, 2, 2]
        assert passed + statistic.of(np.ones((1, 3))) != passed
        with pytest.raises(DataError, match=r"no NaN with nan='raise', got 3, the first in feature \(1,\)"):
            statistic.of(x, nan="raise")
        with pytest.raises(DataError, match="nan must be one of omit, propagate, raise, got 'drop'"):
            statistic.of(x, nan="drop")
    assert np.isnan(Moments.of(x, nan="propagate").mean).tolist() == [False, True, True]
    assert np.isnan(Extrema.of(x, nan="propagate").max).tolist() == [False, True, True]
    assert Moments.of(x, nan="propagate") - Moments.of(x[:1], nan="propagate") == Moments.of(x[1:], nan="propagate")


@pytest.mark.parametrize("n", [4, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinities_are_counted_and_never_a_wrong_number(n: int, dtype: type) -> None:
    x = np.ones((n, 5), dtype)
    x[0, 1], x[0, 2], x[0, 3], x[1, 3], x[2, 4] = np.inf, -np.inf, np.inf, -np.inf, np.nan
    for m in Moments.of(x), Moments.of(x, weights=np.full(n, 0.5)):
        np.testing.assert_array_equal(m.mean, [1, np.inf, -np.inf, np.nan, 1])
        np.testing.assert_array_equal(m.var, [0, np.nan, np.nan, np.nan, 0])
        np.testing.assert_array_equal(m.std, [0, np.nan, np.nan, np.nan, 0])
        assert m.infinities.tolist() == [0, 1, 1, 2, 0]
    finite = Moments.of(x) - Moments.of(x[:2])
    np.testing.assert_array_equal(finite.mean, np.ones(5))


def test_zero_weights_count_for_nothing() -> None:
    x = np.array([[1.0], [np.nan], [np.inf], [3.0]])
    assert Moments.of(x, weights=[1, 0, 0, 1], nan="raise") == Moments.of([[1.0], [3.0]])
    assert Moments.of([[2.0], [3.0]], weights=[3, 1]) == Moments.of([[2.0], [2.0], [2.0], [3.0]])


def test_weights_for_every_value_or_every_place() -> None:
    x = np.random.default_rng(5).standard_normal((4, 3, 5))
    places = np.random.default_rng(6).integers(0, 4, (4, 5)).astype(float)
    by_place = Moments.of(x, axis=(0, 2), weights=places)
    assert by_place == Moments.of(x, axis=(0, 2), weights=np.broadcast_to(places[:, None, :], x.shape))
    repeated = np.repeat(x.transpose(0, 2, 1).reshape(-1, 3), places.reshape(-1).astype(int), axis=0)
    assert by_place == Moments.of(repeated)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1.0, -1.0], DataError, "finite and not negative"),
        ([1.0, np.nan], DataError, "finite and not negative"),
        ([1.0, np.inf], DataError, "finite and not negative"),
        ([1.0], DataError, r"the data's shape \(2, 1\) or its reduced axes' \(2,\), got \(1,\)"),
        (["a", "b"], KindError, "weights must be real numbers"),
    ],
)
def test_weights_that_cannot_be(weights: list[Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Moments.of([[1.0], [2.0]], weights=weights)


@pytest.mark.parametrize(
    "x", [np.array(["a"]), np.array([1j]), np.array([None]), np.zeros(3, "M8[s]"), np.zeros(3, np.longdouble)]
)
@pytest.mark.parametrize("statistic", [Moments, Extrema])
def test_only_real_numbers_of_64_bits(x: np.ndarray, statistic: Any) -> None:
    with pytest.raises(KindError, match="real numbers of at most 64 bits, got dtype"):
        statistic.of(x)


@pytest.mark.parametrize(
    ("axis", "error", "message"),
    [
        (2, DataError, "within an array of 2 dimensions, from 0 to 1, got 2"),
        ((0, -2), DataError, "name each axis once"),
        ((), DataError, "at least one axis"),
        (0.5, KindError, "integer or a tuple of integers"),
    ],
)
def test_axes_that_cannot_be(axis: Any, error: type[Exception], message: str) -> None:
    for statistic in Moments, Extrema:
        with pytest.raises(error, match=message):
            statistic.of(np.zeros((2, 2)), axis=axis)
    with pytest.raises(DataError, match="at least one dimension"):
        Moments.of(3.0)


def test_what_was_never_there_cannot_be_taken_away() -> None:
    m = Moments.of([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(
        StateError, match=r"must have been added before: feature \(0,\) would be left with an impossible count"
    ):
        m - Moments.of(np.zeros((3, 2)))
    with pytest.raises(StateError, match="impossible sum of squares"):
        m - Moments.of([[1.0, 100.0]])
    with pytest.raises(StateError, match="impossible sum of squares"):
        m - Moments.of([[1.0, 2.0], [3.0, 4.5]])
    with pytest.raises(StateError, match="impossible count"):
        Moments.of([1.0, 2.0]) - Moments.of([np.inf])
    with pytest.raises(DataError, match=r"same features, got shapes \[\(2,\), \(3,\)\]"):
        m + Moments.of(np.zeros((1, 3)))
    with pytest.raises(TypeError):
        m + 1
    with pytest.raises(TypeError):
        Extrema.of([1.0]) - Extrema.of([1.0])


def test_a_ddof_changes_the_divisor() -> None:
    m = Moments.of([[1.0, 1.0], [3.0, np.inf]])
    for ddof, var in (0, 1.0), (1, 2.0), (0.5, 4 / 3):
        found = m.with_ddof(ddof)
        assert found.var[0] == var and found.std[0] == np.sqrt(var) and found.mean.tolist() == [2.0, np.inf]
        assert np.isnan([found.var[1], found.std[1]]).all()
    assert (m.with_ddof(0).var[0], m.with_ddof(0).std[0]) == (m.var[0], m.std[0])
    assert np.isnan(m.with_ddof(2).var[0])


@pytest.mark.parametrize("statistic", [Moments, Extrema])
def test_sums_are_given_by_no_constructor(statistic: Any) -> None:
    with pytest.raises(KindError, match=rf"{statistic.__name__} must be made by {statistic.__name__}\.of\(x\)"):
        statistic((), [1.0])


@pytest.mark.parametrize(
    "statistic", [Moments.of([[1.0, -2.5], [3.0, np.inf]]), Extrema.of([[1.0, -2.5], [3.0, np.nan]])]
)
def test_statistics_are_values(statistic: Any) -> None:
    for other in pickle.loads(pickle.dumps(statistic)), copy.copy(statistic), copy.deepcopy(statistic):
        assert other == statistic and hash(other) == hash(statistic)
    assert type(statistic).from_json(statistic.to_json()) == statistic
    assert statistic != statistic[:1] and statistic != 3
    assert type(statistic).stack([statistic[0], statistic[1]]) == statistic
    with pytest.raises(AttributeError, match="immutable"):
        statistic.shape = (1,)
    with pytest.raises(AttributeError, match="immutable"):
        del statistic.shape
    with pytest.raises(ValueError, match="read-only"):
        statistic.count[0] = 5
    assert type(statistic).__name__ in repr(statistic) and len(repr(statistic)) < 200


@given(hnp.arrays(np.float64, st.tuples(st.integers(0, 20), st.integers(1, 3)), elements=st.floats()))
def test_documents_hold_every_bit(x: np.ndarray) -> None:
    weights = np.linspace(0, 1, len(x))
    for m in Moments.of(x), Moments.of(x, weights=weights), Moments.of(x, nan="propagate"):
        assert Moments.from_json(m.to_json()) == m
    assert Extrema.from_json(Extrema.of(x).to_json()) == Extrema.of(x)
    assert Extrema.from_json(Extrema.of(x, nan="propagate").to_json()) == Extrema.of(x, nan="propagate")


def test_documents_are_small() -> None:
    x = np.random.default_rng(7).standard_normal((100_000, 20)) * 1e3 + 5
    assert len(Moments.of(x).to_json()) / 20 < 300
    assert len(Extrema.of(x).to_json()) / 20 < 100


GOOD = json.loads(Moments.of([[1.0, 2.0], [3.0, 4.0]]).to_json())
RANGE = json.loads(Extrema.of([[1.0, 2.0], [3.0, 4.0]]).to_json())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        Moments.of([1.0]).to_json()[:-20],
        "[" * 100_000,
        "3",
        "null",
        "NaN",
        json.dumps({"version": 1}),
        json.dumps(RANGE),
        b"\xff\xfe\x00",
        '{"format": "gammabeta.moments", "version": ' + "9" * 10_000 + "}",
        *(
            json.dumps(GOOD | change)
            for change in [
                {"version": 2},
                {"version": True},
                {"version": "1"},
                {"format": "other"},
                {"extra": 1},
                {"shape": [3]},
                {"shape": [-2]},
                {"shape": 2},
                {"shape": [2.0]},
                {"shape": [10**30]},
                {"shape": [1] * 1000},
                {"shape": [0, 2**61]},
                {"weight": "0x1p+0"},
                {"weight": ["0x2p+0"]},
                {"weight": ["-0x1p+0", "0x1p+1"]},
                {"weight": ["0x1p+0", "0x1p+1"]},
                {"weight": [2, 2]},
                {"sum": ["0x1p+99999", "0x1p+0"]},
                {"sum": ["0x1p+9999", "0x1p+0"]},
                {"sum": ["0x" + "f" * 5000 + "p+0", "0x1p+0"]},
                {"sum": ["__import__('os')", "0x1p+0"]},
                {"sum": ["0x1p+200", "0x1p+0"]},
                {"squares": ["0x0p+0", "0x1p+0"]},
                {"squares": [{"a": []}, "0x1p+0"]},
                {"nan": [1]},
                {"nan": [-1, 0]},
                {"nan": [1.5, 0]},
                {"plus_infinity": [2**70, 0]},
                {"minus_infinity": [True, 0]},
            ]
        ),
    ],
)
def test_documents_that_are_no_moments_are_refused(text: str) -> None:
    with pytest.raises(StateError) as caught:
        Moments.from_json(text)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "change",
    [
        {"min": ["0x1.8p+9", "0x1.0p+1"]},
        {"min": ["nan", "0x1.0p+1"]},
        {"min": ["0x1.8p+2000", "0x1.0p+1"]},
        {"min": [1.0, 2.0]},
        {"max": ["1e5", "0x1.0p+1"]},
        {"count": [0, 2]},
        {"count": [2, -2]},
        {"count": [3]},
        {"shape": []},
        {"format": "gammabeta.moments"},
    ],
)
def test_documents_that_are_no_extrema_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(StateError):
        Extrema.from_json(json.dumps(RANGE | change))


def test_features_are_chosen_as_numpy_would() -> None:
    x = np.random.default_rng(8).standard_normal((9, 3, 4))
    m, e = Moments.of(x), Extrema.of(x)
    for index in (1, (2, 3), slice(1, None), ([0, 2], slice(None)), np.array([True, False, True]), ..., (..., None)):
        np.testing.assert_array_equal(m[index].mean, m.mean[index])
        np.testing.assert_array_equal(e[index].max, e.max[index])
        assert m[index].shape == m.mean[index].shape == e[index].shape


def test_negative_zero_is_zero() -> None:
    for x in ([0.0, -0.0], [-0.0, 0.0], [-0.0]):
        assert Extrema.of(x) + Extrema.of([0.0]) == Extrema.of([*x, 0.0])
        assert not np.signbit(Extrema.of(x).min) and not np.signbit(Extrema.of(x).max)


def test_an_interrupt_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(9).standard_normal((500, 3))
    expected = Moments.of(x)
    kernel = add_tile.accumulate

    def interrupted(*arguments: Any) -> None:
        kernel(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(add_tile, "accumulate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Moments.of(x)
    monkeypatch.undo()
    assert Moments.of(x) == expected


@pytest.mark.parametrize("statistic", [Moments, Extrema])
def test_pieces_without_rows_or_features(statistic: Any) -> None:
    x = np.asfortranarray(np.ones((5, 3)))
    assert statistic.of(x[:0]).shape == (3,) and not statistic.of(x[:0]).count.any()
    assert sum(statistic.of(piece) for piece in np.split(x, [0, 3])) == statistic.of(x)
    assert statistic.of(np.ones((3, 0))).shape == statistic.of(np.ones((0, 3)), axis=1).shape == (0,)
    assert Moments.of(np.ones((3, 0)), weights=np.ones((3, 0))) == Moments.of(np.ones((3, 0)))


@pytest.mark.parametrize(("many", "length"), [(1, 4500), (3, 700), (8, 196), (9, 49)])
def test_channels_of_float32_are_exact(many: int, length: int) -> None:
    """Features in runs, of every size and kind one after another, have the sums of the table of them."""
    rng = np.random.default_rng(5)
    with np.errstate(over="ignore"):
        kinds = np.stack(list(hostile(many * length).values())).astype(np.float32)
        sizes = np.ldexp(rng.standard_normal((60, many * length)), rng.integers(-160, 130, 60)[:, None])
        x = np.concatenate([kinds, sizes.astype(np.float32), np.float32(1e3) + kinds[::-1], kinds])
    x[~np.isfinite(x)] = 1
    x[rng.permutation(len(x))[:40]] *= rng.random((40, many * length)) < 0.3
    x[rng.integers(len(x), size=9), rng.integers(many * length, size=9)] = [np.nan, np.inf, -np.inf] * 3
    m = Moments.of(np.ascontiguousarray(x.reshape(len(x), many, length).swapaxes(0, 1)), axis=(0, 2))
    assert m == Moments.of(np.ascontiguousarray(x.T))
    finite = np.isfinite(x).all(axis=1).nonzero()[0][::8]
    check(m[finite], x[finite].astype(float).tolist())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [-100, -3, 0, 17, 126])
@pytest.mark.parametrize("signs", [[1.0], [-1.0, 1.0]])
@pytest.mark.parametrize("share", [0.0, 0.03, 0.5])
def test_a_channel_that_is_full_is_exact(k: int, signs: list[float], share: float, dtype: type) -> None:
    """Numbers of all binades and bits that a K takes, beside others that fill a lane's squares to the brim."""
    rng = np.random.default_rng(11)
    bits, spread = np.finfo(dtype).nmant, folds.FOLDS[np.dtype(dtype).char].spread
    odd = 1 + (2 * rng.integers(0, 2 ** (bits - 1), (32, 64)) + 1) * 2.0**-bits
    small = odd * 2.0 ** rng.integers(k - spread, k - spread + 2, odd.shape)
    large = (2 - 2.0**-bits) * 2.0 ** (k - 4)
    x = np.where(rng.random(odd.shape) < share, large, small)
    x[rng.integers(0, 32, 64), np.arange(64)] = (2 - 2.0**-19) * 2.0 ** (k - 1) if share == 0 else large
    x = (x * rng.choice(signs, x.shape)).astype(dtype).reshape(-1)
    place, total, squares = (
        folds.room(folds.FOLDS[x.dtype.char].workplace),
        np.zeros((70, 1), np.int64),
        np.zeros((138, 1), np.int64),
    )
    state = place.view(np.int64)
    state[0] = k
    given = x, np.array([0]), np.array([x.size]), 1, 0, 0, 1
    add_tile.accumulate_runs(*given, total, squares, np.zeros((3, 1), np.int64), np.array([[70, 0], [138, 0]]), place)
    assert state[0] == k
    exactly = [Fraction(v) for v in x.tolist()]
    for base, digits, expected in (
        (add_scalar.SUM_BASE, total, sum(exactly)),
        (add_scalar.SQUARES_BASE, squares, sum(v * v for v in exactly)),
    ):
        assert sum(Fraction(2) ** int(32 * (base + i)) * int(digit) for i, digit in enumerate(digits[:, 0])) == expected


def test_a_named_byte_order_that_is_the_machines_own():
    x = np.arange(12.0).reshape(4, 3)
    named = x.view(x.dtype.newbyteorder("<" if sys.byteorder == "little" else ">"))
    assert memoryview(named).format != memoryview(x).format
    assert Moments.of(named) == Moments.of(x)
    assert np.array_equal(Affine.standard(Moments.of(x))(named), Affine.standard(Moments.of(x))(x))


@pytest.mark.parametrize("statistic", [Moments.of, Extrema.of])
def test_a_pickle_may_lie_anywhere_in_memory(statistic):
    """As what workers send does, whose buffers begin where a message's head ends."""
    found = statistic(np.random.default_rng(0).normal(size=(50, 3)))
    buffers = []
    message = pickle.dumps(found, protocol=5, buffer_callback=buffers.append)
    odd = [memoryview(b"\0" + memoryview(buffer).cast("B").tobytes())[1:] for buffer in buffers]
    assert odd
    back = pickle.loads(message, buffers=odd)
    assert back == found and back + back == found + found and repr(back) == repr(found)
