"""Statistics by group: each group's own, to the bit, whatever the labels, the data and the pieces."""

import copy
import datetime
import json
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from exact_cases import DTYPES, hostile
from gammabeta import DataError, Extrema, GroupedExtrema, GroupedMoments, KindError, Moments, StateError
from gammabeta.kernels import factorize, groupby_partitioned, thread_pool
from gammabeta.kernels import groupby as kernel
from gammabeta.statistics import factorize as naming

VALUES = st.floats(width=64) | st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float)
ROWS = st.lists(st.tuples(VALUES, VALUES, st.integers(0, 4)), max_size=30)
RULES = st.sampled_from(["omit", "propagate"])


def alone(statistic: Any, x: np.ndarray, labels: np.ndarray, label: Any, **options: Any) -> Any:
    """The statistic of a group's rows, taken alone."""
    return statistic.of(x[labels == label], **options)


def check(g: Any, statistic: Any, x: np.ndarray, labels: np.ndarray, **options: Any) -> None:
    """g holds each group's own statistic."""
    each = g.moments if statistic is Moments else g.extrema
    assert g.labels.tolist() == sorted(set(labels.tolist()))
    assert each.shape == (len(g), *x.shape[1:])
    for i, label in enumerate(g.labels.tolist()):
        own = alone(statistic, x, labels, label, **options)
        assert each[i] == own == g[label]
        assert g.rows[i] == (labels == label).sum()
    assert g.total() == statistic.of(x, **options)


@given(ROWS, RULES)
def test_each_group_has_its_own(rows: list[tuple[float, float, int]], rule: Any) -> None:
    x = np.array([row[:2] for row in rows]).reshape(-1, 2)
    labels = np.array([row[2] for row in rows], int)
    for statistic in (Moments, Extrema):
        check(statistic.of(x, groups=labels, nan=rule), statistic, x, labels, nan=rule)


@given(ROWS, ROWS)
def test_groups_add_up_and_are_taken_away(first: list[Any], second: list[Any]) -> None:
    parts, options = [], {"nan": "propagate"}
    for rows in (first, second, first + second):
        x, labels = np.array([row[:2] for row in rows]).reshape(-1, 2), np.array([row[2] for row in rows], int)
        parts.append((Moments.of(x, groups=labels, **options), Extrema.of(x, groups=labels, **options)))
    (a, c), (b, d), (whole, both) = parts
    assert a + b == b + a == sum([a, b]) == whole and hash(a + b) == hash(whole)
    assert whole - b == a and whole - a == b
    assert c + d == d + c == both


@given(st.lists(st.tuples(VALUES, st.floats(0, 1e300) | st.floats(0, 2), st.integers(0, 3)), max_size=20), RULES)
def test_weights(rows: list[tuple[float, float, int]], rule: Any) -> None:
    x, weights = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    labels = np.array([row[2] for row in rows], int)
    g = Moments.of(x, groups=labels, weights=weights, nan=rule)
    for label, own in g:
        assert own == Moments.of(x[labels == label], weights=weights[labels == label], nan=rule)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", list(hostile(1)))
def test_hostile_columns(name: str, dtype: type) -> None:
    with np.errstate(over="ignore"):
        x = hostile(5000, seed=3)[name].astype(dtype)
    labels = np.random.default_rng(4).integers(0, 3, 5000) ** 3
    check(Moments.of(x, groups=labels), Moments, x, labels)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type(dtype: Any) -> None:
    rng = np.random.default_rng(5)
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        x = rng.integers(info.min, info.max, (60, 2), dtype, endpoint=True)
    else:
        x = (rng.standard_normal((60, 2)) * 3).astype(dtype)
    labels = rng.integers(0, 5, 60)
    check(Moments.of(x, groups=labels), Moments, x, labels)
    check(Extrema.of(x, groups=labels), Extrema, x, labels)
    ones = np.ones(60)
    assert Moments.of(x, groups=labels, weights=ones).moments == Moments.of(x, groups=labels).moments


def test_a_group_longer_than_a_line_holds() -> None:
    # 4,095 numbers fill a line; a later, larger number moves its grid, a smaller one goes by itself
    n = 4 * 4095 + 3
    x = np.random.default_rng(6).standard_normal(n)
    x[5000], x[9000], x[9001] = 1e9, 1e-9, 0.0
    labels = np.zeros(n, int)
    check(Moments.of(x, groups=labels), Moments, x, labels)
    falling = np.ldexp(x, -np.arange(n) // 30)
    check(Moments.of(falling, groups=labels), Moments, falling, labels)


@pytest.mark.parametrize("statistic", [Moments, Extrema])
def test_many_groups_are_parted(monkeypatch: pytest.MonkeyPatch, statistic: Any) -> None:
    monkeypatch.setattr(groupby_partitioned, "PARTED", 70_000)
    monkeypatch.setattr(groupby_partitioned, "SECTION", 150_000)
    rng = np.random.default_rng(7)
    groups, n = 3 << kernel.BLOCK_BITS, 200_000
    x, labels = rng.standard_normal((n, 2)).astype(np.float32) + 100, rng.integers(0, groups, n)
    labels[:groups] = np.arange(groups)
    x[rng.integers(0, n, 500), 0] = np.nan
    g = statistic.of(x, groups=labels)
    assert g.labels.tolist() == list(range(groups)) and g.total() == statistic.of(x)
    for label in rng.integers(0, groups, 50).tolist():
        assert g[label] == alone(statistic, x, labels, label)
    with thread_pool.limit(1):
        assert statistic.of(x, groups=labels) == g
    halves = [statistic.of(x[part], groups=labels[part]) for part in (slice(0, n // 3), slice(n // 3, n))]
    assert sum(halves) == g


@pytest.mark.parametrize("shuffled", [False, True])
def test_groups_of_several_columns_are_gathered(monkeypatch: pytest.MonkeyPatch, shuffled: bool) -> None:
    x = np.random.default_rng(12).standard_normal((900, 5)) + 50
    x[3, 1], x[5, 2] = np.nan, np.inf
    labels = np.repeat([7, 5, 9], [300, 200, 400])
    if shuffled:
        labels = np.random.default_rng(13).permutation(labels)
    for rule in ("omit", "propagate"):
        together = [statistic.of(x, groups=labels, nan=rule) for statistic in (Moments, Extrema)]
        with monkeypatch.context() as patch:
            patch.setattr(groupby_partitioned, "_is_long", lambda x, codes: False)
            apart = [statistic.of(x, groups=labels, nan=rule) for statistic in (Moments, Extrema)]
        assert apart == together
        check(together[0], Moments, x, labels, nan=rule)


@pytest.mark.parametrize("kind", ["read-only", "strided", "big-endian", "Fortran"])
def test_layout_does_not_matter(kind: str) -> None:
    x = np.random.default_rng(8).standard_normal((400, 3))
    labels = np.arange(400) % 7
    made = {
        "read-only": x.copy(),
        "strided": np.repeat(x, 2, axis=0)[::2],
        "big-endian": x.astype(">f8"),
        "Fortran": np.asfortranarray(x),
    }[kind]
    made.flags.writeable = kind != "read-only"
    other = np.repeat(labels, 2)[::2].astype(">i4")
    other.flags.writeable = False
    assert Moments.of(made, groups=other) == Moments.of(x, groups=labels)
    assert Extrema.of(made, groups=other) == Extrema.of(x, groups=labels)


def test_axes() -> None:
    images = np.random.default_rng(9).standard_normal((6, 3, 4, 5))
    labels = np.array(["b", "a", "b", "c", "a", "b"])
    g = Moments.of(images, (0, 2, 3), groups=labels)
    assert g.moments.shape == (3, 3) and g.rows.tolist() == [40, 60, 20]
    assert g["b"] == Moments.of(images[labels == "b"], (0, 2, 3))
    halves = np.broadcast_to((np.arange(5) > 1)[None, None], (6, 4, 5))
    by_pixel = Moments.of(images, (0, 2, 3), groups=halves)
    assert by_pixel[True] == Moments.of(images[..., 2:], (0, 2, 3))
    assert len(Moments.of(images[..., :0], (0, 2, 3), groups=labels)) == 0
    assert Moments.of(images, groups=labels)["a"] == Moments.of(images[labels == "a"])


day, days = datetime.date(2024, 5, 1), np.array(["2024-05-02", "2024-05-01", "NaT", "2024-05-01"], "datetime64[D]")
LABELS: dict[str, tuple[Any, list[Any]]] = {
    "integers": ([30, -10, 30, 20], [-10, 20, 30]),
    "far apart": (np.array([2**62, -(2**62), 0, 0]), [-(2**62), 0, 2**62]),
    "unsigned": (np.array([2**63 + 1, 5, 2**63, 5], np.uint64), [5, 2**63, 2**63 + 1]),
    "flags": (np.array([True, False, True, True]), [False, True]),
    "floats": (np.array([0.0, -0.0, 2.5, -1.5]), [-1.5, 0.0, 2.5]),
    "text": (np.array(["b", "a", "b", "å"]), ["a", "b", "å"]),
    "text and none": (["b", None, "a", np.nan], ["a", "b", None]),
    "integers and none": ([7, None, 5, 7], [5, 7, None]),
    "bytes": (np.array([b"b", b"a", b"b", b"b"]), [b"a", b"b"]),
    "dates": ([day, day, datetime.date(2023, 1, 1), day], [datetime.date(2023, 1, 1), day]),
    "NumPy's dates": (days, [datetime.date(2024, 5, 1), datetime.date(2024, 5, 2), None]),
    "pairs": (["ab", "ac", "ab", "ba"], ["ab", "ac", "ba"]),
    "large integers": ([2**70, 5, 2**70, 5], [5, 2**70]),
    "only none": ([None] * 4, [None]),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_every_kind(name: str) -> None:
    labels, expected = LABELS[name]
    x = np.array([1.0, 2.0, 4.0, 8.0])
    g = Moments.of(x, groups=labels)
    assert g.labels.tolist() == expected and g.rows.sum() == 4
    assert g.total() == Moments.of(x)
    assert g.moments[g.find(labels)].count.min() >= 1
    halves = Moments.of(x[2:], groups=labels[2:]) + Moments.of(x[:2], groups=labels[:2])
    assert halves == g and (halves - Moments.of(x[:2], groups=labels[:2])) == Moments.of(x[2:], groups=labels[2:])
    for label, own in g:
        assert g[label] == own and label in g
    assert "nowhere" not in g and 12345 not in g
    assert pickle.loads(pickle.dumps(g)) == g == copy.deepcopy(g)


def test_a_missing_float_is_a_group() -> None:
    g = Moments.of([1.0, 2.0, 3.0], groups=np.array([np.nan, 1.0, np.nan], np.float32))
    assert g.labels[0] == 1 and np.isnan(g.labels[1]) and g.moments.count.tolist() == [1, 2]
    assert g[np.nan] == Moments.of([1.0, 3.0])
    assert GroupedMoments.from_json(g.to_json()) == g


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5), max_size=200))
def test_hashing_numbers_in_order(keys: list[int]) -> None:
    distinct, codes = factorize.numbered(np.array(keys, np.int64))
    assert distinct.tolist() == list(dict.fromkeys(keys))
    assert distinct[codes].tolist() == keys


def test_the_hash_table_grows() -> None:
    keys = np.random.default_rng(10).integers(-(2**60), 2**60, 30_000).repeat(2)
    distinct, codes = factorize.numbered(keys)
    assert len(distinct) == 30_000 and (distinct[codes] == keys).all()


@given(hnp.arrays(np.int64, st.integers(1, 30), elements=st.integers(-20, 20)), st.sampled_from([1, 10**6, 10**15]))
def test_integers_near_and_far(labels: np.ndarray, step: int) -> None:
    values, codes, rows = naming.factorized(labels * step)
    expected, inverse, counts = np.unique(labels * step, return_inverse=True, return_counts=True)
    assert (values == expected).all() and (codes.small() == inverse).all() and (rows == counts).all()


def test_frames_of_pandas_and_polars() -> None:
    import pandas as pd
    import polars as pl

    x, names = np.array([1.0, 2.0, 4.0]), ["x", None, "x"]
    expected = Moments.of(x, groups=names)
    for labels in (
        pd.Series(names),
        pd.Series(names, dtype="category"),
        pl.Series(names),
        pl.Series(names, dtype=pl.Categorical),
    ):
        assert Moments.of(x, groups=labels) == expected
    days = Moments.of(x, groups=pd.Series(pd.to_datetime(["2024-05-01", None, "2024-05-01"])))
    assert days[pd.Timestamp("2024-05-01").to_datetime64()] == Moments.of([1.0, 4.0])
    assert [str(label)[:10] for label, _ in days] == ["2024-05-01", "NaT"]
    nullable = pd.Series([1, None, 1], dtype="Int64")
    assert Moments.of(x, groups=nullable) == Moments.of(x, groups=[1, None, 1])


def test_int64_labels_meet_floats_and_none() -> None:
    one = Moments.of([1.0], groups=[1])
    floats = Moments.of([2.0, 3.0], groups=[1.0, np.nan])
    assert (one + floats) == (floats + one) and (one + floats).labels.dtype == np.float64
    nothing = Moments.of(np.empty(0), groups=[])
    assert one + nothing == one == nothing + one and len(nothing) == 0 and list(nothing) == []
    large = Moments.of([1.0], groups=np.array([2**63], np.uint64))
    assert (one + large).labels.tolist() == [1, 2**63]


@pytest.mark.parametrize("labels", [[3, 1, 3], ["b", None, "b"], [True, False, True], days[:3], [1.5, np.nan, 1.5]])
def test_json_keeps_every_bit(labels: Any) -> None:
    x = np.array([[0.1, np.inf], [np.nan, 2.0], [3.0, 4.0]])
    for statistic, kind in ((Moments, GroupedMoments), (Extrema, GroupedExtrema)):
        g = statistic.of(x, groups=labels, nan="propagate")
        again = kind.from_json(g.to_json())
        assert again == g and again.labels.dtype == g.labels.dtype


def test_json_refuses_what_cannot_be() -> None:
    document = json.loads(Moments.of([1.0, 2.0], groups=["a", "b"]).to_json())
    for change in (
        {"labels": {"type": "object", "values": ["b", "a"]}},
        {"labels": {"type": "object", "values": ["a", "a"]}},
        {"labels": {"type": "int64", "values": ["a", "b"]}},
        {"labels": {"type": "int64", "values": [1, 2], "more": 0}},
        {"labels": {"type": "complex128", "values": [1, 2]}},
        {"labels": [1, 2]},
        {"rows": [1, 0]},
        {"rows": [1, -1]},
        {"labels": {"type": "object", "values": ["a"]}, "rows": [1]},
    ):
        with pytest.raises(StateError, match=r"must (be|hold)"):
            GroupedMoments.from_json(json.dumps(document | change))
    with pytest.raises(KindError, match="text, numbers or dates to be written, got date"):
        Moments.of([1.0], groups=[day]).to_json()


def test_what_is_wrong_is_said() -> None:
    x = np.array([1.0, 2.0])
    g = Moments.of(x, groups=["a", "b"])
    with pytest.raises(DataError, match=r"groups must have a label for each row, of shape \(2,\), got \(3,\)"):
        Moments.of(x, groups=[1, 2, 3])
    with pytest.raises(KindError, match="labels must be of one kind, which has an order"):
        Moments.of(x, groups=["a", 1])
    with pytest.raises(KindError, match="labels must be hashable"):
        Moments.of(x, groups=np.array([{}, {}], object))
    with pytest.raises(KindError, match="labels must have an order, got dtype complex128"):
        Moments.of(x, groups=[1j, 2])
    with pytest.raises(DataError, match="every label must be that of a group, there is none of 'c' and 1 more"):
        g.find(["a", "d", "c"])
    with pytest.raises(DataError, match="there is none of 'c'"):
        g["c"]
    with pytest.raises(DataError, match="there must be no NaN with nan='raise', got 1, the first in feature"):
        Moments.of([1.0, np.nan], groups=[1, 2], nan="raise")
    with pytest.raises(DataError, match=r"only over the same features, got shapes \[\(\), \(1,\)\]"):
        g + Moments.of(x[:, None], groups=["a", "b"])
    with pytest.raises(KindError, match="labels must be of one kind, got bool and int64"):
        Moments.of(x, groups=[True, False]) + Moments.of(x, groups=[0, 1])
    for other in (Moments.of([1.0], groups=["c"]), Moments.of([1.0, 1.0], groups=["a", "a"])):
        with pytest.raises(StateError, match="must have been added before"):
            g - other
    with pytest.raises(TypeError):
        g + Extrema.of(x, groups=["a", "b"])
    assert "2 groups: ['a', 'b']" in repr(g)
    with pytest.raises(AttributeError, match="immutable"):
        g.labels = 1


def test_each_rows_own_map() -> None:
    import gammabeta as gb

    rng = np.random.default_rng(11)
    x, labels = rng.standard_normal((300, 3)).astype(np.float32) * 7 + 100, rng.integers(0, 9, 300)
    g = Moments.of(x, groups=labels)
    own = gb.Affine.standard(g.moments)[g.find(labels)](x)
    assert own.dtype == np.float32
    for label in range(9):
        there = labels == label
        assert (own[there] == gb.Affine.standard(Moments.of(x[there]))(x[there])).all()


def test_a_count_of_nan_beyond_every_weight_is_refused() -> None:
    light = Moments.of([np.nan, np.nan], weights=[0.5, 0.25], nan="propagate")
    assert Moments.from_json(light.to_json()) == light  # more NaN than weight: so it may be
    document = json.loads(Moments.of([1.0]).to_json())
    for name in ("nan", "plus_infinity", "minus_infinity"):
        nothing = document | {"weight": ["0x0p+0"], "sum": ["0x0p+0"], "squares": ["0x0p+0"], name: [1]}
        with pytest.raises(StateError, match="impossible count"):
            Moments.from_json(json.dumps(nothing))


def test_a_table_wider_than_its_groups_are_many() -> None:
    x = np.random.default_rng(14).standard_normal((40, 3000))
    labels = np.arange(40) % 3
    check(Moments.of(x, groups=labels), Moments, x, labels)
    check(Extrema.of(x, groups=labels), Extrema, x, labels)


def test_fifty_thousand_groups_take_memory_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groupby_partitioned, "PARTED", 2**16)
    rng, groups, n = np.random.default_rng(15), 50_000, 4_000_000
    x, labels = rng.standard_normal(n), rng.integers(0, groups, n)
    Moments.of(x[:100_000], groups=labels[:100_000])
    tracemalloc.start()
    g = Moments.of(x, groups=labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # a group: a line of 64 bytes, limbs of x (5 words) and x² (9) and their carried copies, counts, label and rows;
    # a copy of the rows would be 32 MB more
    assert peak < groups * 500 + 2**22 < 32_000_000
    assert g.total() == Moments.of(x)


@pytest.mark.parametrize("value", [1e300, 5e-324, -1e-200])
def test_what_changes_while_it_is_summed_is_refused(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    # another thread's writing, after the look at the exponents by which the sums' limbs were made
    x, labels = np.ones(100), np.arange(100) % 3
    looked = groupby_partitioned.span

    def look_and_change(column: np.ndarray) -> tuple[int, int]:
        found = looked(column)
        x[50] = value
        return found

    monkeypatch.setattr(groupby_partitioned, "span", look_and_change)
    for options in {}, {"weights": np.ones(100)}:
        x[:] = 1
        with pytest.raises(ValueError, match="the data changed while it was summed"):
            Moments.of(x, groups=labels, **options)
