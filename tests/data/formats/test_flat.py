"""Nested columns: fixed-size lists, tensors and structures are columns of numbers, and lists are pooled when asked."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gammabeta import Extrema, Moments, data
from gammabeta.cli import main
from gammabeta.data.core import nested
from gammabeta.errors import DataError, KindError

rng = np.random.default_rng(5)
ROWS, SIZE = 3000, 7
ACTION = rng.normal(3, 2, (ROWS, SIZE)).astype(np.float32)
GONE = rng.random(ROWS) < 0.1
HOLES = rng.random((ROWS, SIZE)) < 0.1


def listed(values, gone=None, holes=None):
    """A fixed-size list column of a table of numbers, null where `gone`, with nulls within where `holes`."""
    flat = pa.array(values.reshape(-1), mask=None if holes is None else holes.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=None if gone is None else pa.array(gone))


def varied(values, lengths, gone=None):
    """A list column whose lists have these lengths."""
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, pa.array(values), mask=None if gone is None else pa.array(gone))


LENGTHS = rng.integers(0, 9, ROWS)
TAGS = rng.normal(5, 1, LENGTHS.sum())
PIXELS = np.arange(ROWS * 6, dtype=np.int32).reshape(ROWS, 6)


def table():
    pose = pa.StructArray.from_arrays(
        [pa.array(ACTION[:, 0]), pa.array(np.arange(ROWS)), pa.array(["a", "b"] * (ROWS // 2)), listed(ACTION)],
        ["x", "i", "word", "joints"],
        mask=pa.array(GONE),
    )
    points = pa.StructArray.from_arrays(
        [pa.array(ACTION[:, :2].reshape(-1)), pa.array(np.arange(2 * ROWS))], ["u", "v"]
    )
    return pa.table(
        {
            "action": listed(ACTION),
            "gaps": listed(ACTION, GONE, HOLES),
            "pose": pose,
            "tags": varied(TAGS, LENGTHS),
            "points": pa.FixedSizeListArray.from_arrays(points, 2),
            "y": np.arange(ROWS) * 1.0,
        }
    )


TABLE = table()
TENSOR = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.int32(), (2, 3)), listed(PIXELS))


@pytest.fixture(params=["memory", "parquet", "feather", "lz4", "stream"])
def source(request, tmp_path):
    """The table in memory, in files, and as something that speaks Arrow."""
    if request.param == "memory":
        return TABLE
    if request.param == "stream":
        return TABLE.to_reader(700)
    path = tmp_path / f"t.{'parquet' if request.param == 'parquet' else 'feather'}"
    if request.param == "parquet":
        pq.write_table(TABLE, path, row_group_size=700)
    else:
        feather.write_feather(TABLE, path, "lz4" if request.param == "lz4" else "uncompressed", chunksize=700)
    return path


def test_places_and_fields_are_columns(source):
    found = data.measure(source)
    hidden = np.where(HOLES | GONE[:, None], np.nan, ACTION)
    around = np.where(GONE[:, None], np.nan, ACTION)
    expected = {f"action[{i}]": ACTION[:, i] for i in range(SIZE)}
    expected |= {f"gaps[{i}]": hidden[:, i] for i in range(SIZE)}
    expected |= {"pose.x": around[:, 0], "pose.i": np.where(GONE, np.nan, np.arange(ROWS))}
    expected |= {f"pose.joints[{i}]": around[:, i] for i in range(SIZE)}
    for i in range(2):
        expected |= {f"points[{i}].u": ACTION[:, i], f"points[{i}].v": np.arange(2 * ROWS)[i::2]}
    expected["y"] = np.arange(ROWS) * 1.0
    assert found.names == tuple(expected)
    for i, values in enumerate(expected.values()):
        assert found.moments[i] == Moments.of(values)
        assert found.extrema[i] == Extrema.of(values)
    assert [(column.name, column.skip_reason) for column in found.left_out] == [
        ("pose.word", "not numeric"),
        ("tags", "lists, pooled with --flatten"),
    ]


def test_tensors_are_fixed_size_lists():
    found = data.measure(pa.table({"image": TENSOR}))
    assert found.names == tuple(f"image[{i}][{j}]" for i in range(2) for j in range(3))
    assert found.moments == Moments.of(PIXELS)


def test_lists_of_any_length_are_pooled_when_asked(source):
    read = data.ReadOptions(flatten="tags")
    found = data.measure(source, ["tags", "y"], read=read)
    assert found.names == ("tags", "y") and found.rows == ROWS
    assert found.moments[0] == Moments.of(TAGS) and found.extrema[0] == Extrema.of(TAGS)
    assert data.Statistics.from_json(found.to_json()) == found


def test_lists_within_lists_and_fixed_ones_are_pooled():
    deep = pa.array([[[1.0, None], None], None, [], [[2.0], [6.0]]])
    part = deep.slice(1)
    for lists, values in ((deep, [1.0, 2.0, 6.0]), (part, [2.0, 6.0]), (listed(ACTION, GONE), ACTION[~GONE])):
        found = data.measure(pa.table({"x": lists}), read=data.ReadOptions(flatten=["x"]))
        assert found.moments[0] == Moments.of(np.reshape(values, -1))
    found = data.measure(pa.table({"image": TENSOR}), read=data.ReadOptions(flatten=["im*"]))
    assert found.moments[0] == Moments.of(PIXELS.reshape(-1))


def close(a, b):
    """Whether two nested values are alike: nulls in the same places, numbers within float32's rounding twice."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(close, a, b))
    if isinstance(a, float | int) and isinstance(b, float | int):
        # x of at most 12 and deviations of at most 2^11: two roundings to float32 of numbers below 16, or to float64
        return abs(a - b) <= 2**-20
    return a == b


@pytest.mark.parametrize("form", ["parquet", "feather"])
def test_what_is_scaled_keeps_its_nested_type_and_comes_back(form, tmp_path):
    out, stats = tmp_path / f"out.{form}", tmp_path / "s.json"
    read = data.ReadOptions(flatten=["tags"])
    done = data.scale(TABLE, out, read=read, stats=stats)
    scaled = pq.read_table(out) if form == "parquet" else feather.read_table(out)
    assert scaled.schema.field("action").type == TABLE.schema.field("action").type
    assert [column.name for column in done.converted] == ["pose.i", "points[0].v", "points[1].v"]
    assert scaled["pose"].type.field("i").type == pa.float64() and scaled["pose"].type.field("word").type == pa.string()
    expected = (ACTION.astype(np.float64) - ACTION.mean(0, np.float64)) / ACTION.std(0, dtype=np.float64)
    np.testing.assert_allclose(np.array(scaled["action"].to_pylist()), expected, rtol=0, atol=2**-22)
    assert abs(data.measure(out, read=read).moments.mean).max() < 2**-22
    data.invert(stats, out, tmp_path / f"back.{form}")
    back = (
        pq.read_table(tmp_path / f"back.{form}") if form == "parquet" else feather.read_table(tmp_path / f"back.{form}")
    )
    for name in TABLE.schema.names:
        assert all(map(close, TABLE[name].to_pylist(), back[name].to_pylist())), name


def test_tensors_and_pooled_fixed_lists_are_written_back(tmp_path):
    whole = pa.table({"image": TENSOR, "gaps": listed(ACTION, GONE)})
    data.scale(whole, tmp_path / "out.arrow", read=data.ReadOptions(flatten=["gaps"]))
    scaled = feather.read_table(tmp_path / "out.arrow")
    assert scaled.schema.field("image").type == pa.fixed_shape_tensor(pa.float64(), (2, 3))
    assert scaled["gaps"].is_null().to_numpy().tolist() == GONE.tolist()
    assert scaled["gaps"].combine_chunks().flatten().to_numpy().mean() == pytest.approx(0, abs=2**-22)


def test_a_list_is_chosen_by_its_name_and_a_structure_by_a_pattern():
    assert data.measure(TABLE, ["action"]).names == tuple(f"action[{i}]" for i in range(SIZE))
    assert data.measure(TABLE, ["action[2]", "y"]).names == ("action[2]", "y")
    assert data.measure(TABLE, exclude=["action", "gaps", "pose.*", "points"]).names == ("y",)


def test_frames_hold_them_too():
    frame = pl.DataFrame(
        {"a": [[1.0, 2.0], [3.0, 6.0]], "s": [{"x": 1}, {"x": 5}]}, schema_overrides={"a": pl.Array(pl.Float64, 2)}
    )
    assert data.measure(frame).names == ("a[0]", "a[1]", "s.x")
    assert data.measure(frame.lazy()).moments.mean.tolist() == [2.0, 4.0, 3.0]
    lists = pd.DataFrame({"a": [np.array([1.0, 2.0]), np.array([6.0])]})
    assert data.measure(lists, read=data.ReadOptions(flatten=["a"])).moments.mean.tolist() == [3.0]


def test_groups_by_a_field_of_a_structure():
    found = data.measure_by(TABLE, "pose.word", ["action[0]"])
    words = np.where(GONE, None, ["a", "b"] * (ROWS // 2))
    assert found.moments.moments[:, 0] == Moments.of(ACTION[:, 0], groups=words).moments


def test_the_first_infinity_in_a_list_is_named_with_its_row():
    values = TAGS.copy()
    values[LENGTHS[:2000].sum()] = np.inf
    row = 2001 + int(np.flatnonzero(LENGTHS[2000:])[0])
    with pytest.raises(DataError, match=rf"column 'tags' of 'table' holds inf in row {row} "):
        data.measure(pa.table({"tags": varied(values, LENGTHS)}), read=data.ReadOptions(flatten=["tags"]))
    spoilt = ACTION.copy()
    spoilt[11, 3] = -np.inf
    with pytest.raises(DataError, match=r"column 'a\[3\]' of 'table' holds -inf in row 12 "):
        data.measure(pa.table({"a": listed(spoilt)}))


def test_under_a_null_nothing_is_looked_at():
    spoilt = np.where(GONE[:, None], np.inf, ACTION)
    found = data.measure(pa.table({"a": listed(spoilt, GONE)}))
    assert found.moments == Moments.of(ACTION[~GONE])


@pytest.mark.parametrize(
    ("columns", "read", "error", "text"),
    [
        ({"pose.x": [1.0], "pose": [{"x": 1.0}]}, {}, DataError, "column names must differ, but 'pose.x' comes twice"),
        ({"a[0]": [1.0], "a": listed(np.ones((1, 2)))}, {}, DataError, r"column names must differ, but 'a\[0\]' comes"),
        (
            {"a": [1.0]},
            {"flatten": ["b"]},
            DataError,
            "there is no column of lists 'b' to flatten in 'table'; it has 'a'",
        ),
        ({"a": [1.0]}, {"flatten": ["a"]}, KindError, "only lists of numbers are flattened, 'a' in 'table' is double"),
        (
            {"a": [["x"]]},
            {"flatten": ["a"]},
            KindError,
            "only lists of numbers are flattened, 'a' .* is list<item: string>",
        ),
    ],
)
def test_what_could_mean_two_things_is_refused(columns, read, error, text):
    with pytest.raises(error, match=text):
        data.measure(pa.table(columns), read=data.ReadOptions(**read))


def test_flatten_is_of_tables(tmp_path):
    with pytest.raises(KindError, match="flatten goes with tables that have columns of lists"):
        data.measure(np.ones((2, 2)), read=data.ReadOptions(flatten=["a"]))
    with pytest.raises(DataError, match=r"flatten must be names of columns, got \[1\]"):
        data.ReadOptions(flatten=[1])
    with pytest.raises(KindError, match="a CSV file cannot hold column 'action'"):
        data.scale(TABLE.select(["action"]), tmp_path / "out.csv")


def test_part_of_a_list_of_integers_is_not_scaled(tmp_path):
    counts = pa.table({"n": listed(PIXELS)})
    with pytest.raises(
        KindError, match="the values of a list must be of one type, scaling some of 'n' would make them"
    ):
        data.scale(counts, tmp_path / "out.parquet", columns=["n[0]"])
    data.scale(pa.table({"a": listed(ACTION)}), tmp_path / "out.parquet", columns=["a[0]"])
    assert pq.read_table(tmp_path / "out.parquet")["a"].to_pylist()[5][1:] == ACTION[5, 1:].tolist()


def test_strings_flags_and_lists_of_nothing_pass_through(tmp_path):
    others = pa.table(
        {
            "y": [1.0, 3.0],
            "words": pa.array([["a"], None], pa.list_(pa.string(), 1)),
            "flags": pa.array([[True, False], [False, None]], pa.list_(pa.bool_(), 2)),
            "none": pa.array([[], []], pa.list_(pa.float64(), 0)),
            "empty": pa.array([{}, None], pa.struct([])),
            "mixed": pa.array([{"w": ["a"], "l": [1.0]}, None]),
        }
    )
    assert data.measure(others).names == ("y",)
    data.scale(others, tmp_path / "out.arrow")
    assert feather.read_table(tmp_path / "out.arrow").drop_columns("y").equals(others.drop_columns("y"))


def test_a_folder_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name, some in (("a", TABLE[:1000]), ("b", TABLE[1000:])):
        pq.write_table(some, f"in/{name}.parquet")
    assert main(["stats", "in", "--flatten", "tags", "--columns", "tags,action", "-o", "s.json", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [column["name"] for column in told["columns"]] == [*(f"action[{i}]" for i in range(SIZE)), "tags"]
    assert (
        data.load("s.json").moments
        == data.measure(TABLE, ["action", "tags"], read=data.ReadOptions(flatten=["tags"])).moments
    )
    assert main(["apply", "s.json", "in", "-o", "out"]) == 0
    assert main(["stats", "in"]) == 0
    assert "tags (list<element: double>, lists, pooled with --flatten)" in capsys.readouterr().out


kinds = st.sampled_from(
    [
        pa.list_(pa.int16(), 3),
        pa.struct([("x", pa.float32()), ("s", pa.string()), ("l", pa.list_(pa.list_(pa.float64(), 2), 2))]),
        pa.list_(pa.struct([("u", pa.uint8()), ("d", pa.decimal128(7, 2))]), 2),
    ]
)


def values_of(kind):
    """Values of a nested type, null at any level."""
    if pa.types.is_struct(kind):
        inner = st.fixed_dictionaries(
            {kind.field(i).name: values_of(kind.field(i).type) for i in range(kind.num_fields)}
        )
    elif pa.types.is_fixed_size_list(kind):
        inner = st.lists(values_of(kind.value_type), min_size=kind.list_size, max_size=kind.list_size)
    elif pa.types.is_string(kind):
        inner = st.sampled_from(["a", ""])
    elif pa.types.is_decimal(kind):
        inner = st.decimals(-100, 100, places=2)
    else:
        inner = st.integers(0, 99).map(float if pa.types.is_floating(kind) else int)
    return inner | st.none()


@given(kinds.flatmap(lambda kind: st.tuples(st.just(kind), st.lists(values_of(kind), max_size=12))), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_what_is_taken_apart_is_put_together_again(drawn, start):
    kind, values = drawn
    column = pa.array([*values[:1] * start, *values], kind).slice(min(start, len(values)))
    leaves = nested.taken_apart(column, "c")
    assert [leaf.type for leaf in leaves] == [field.type for field in nested.fields(pa.field("c", kind))]
    again = nested.put_together(column, kind, iter(leaves), "c", frozenset())
    again.validate(full=True)
    assert again.to_pylist() == column.to_pylist()


@pytest.mark.parametrize(
    "words",
    [
        pa.array(["a", "b", "c"], pa.string_view()),
        pa.array([b"a", b"b", b"c"], pa.binary_view()),
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"a" * 16, b"b" * 16, b"c" * 16], pa.binary(16))),
        pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", "b"])),
        pa.UnionArray.from_sparse(pa.array([0, 0, 0], pa.int8()), [pa.array([1, 2, 3])]),
    ],
    ids=lambda words: str(words.type)[:12],
)
def test_under_a_null_structure_any_type_may_lie(words, tmp_path):
    pose = pa.StructArray.from_arrays(
        [pa.array([1.0, 50.0, 3.0]), words], ["x", "t"], mask=pa.array([False, True, False])
    )
    table = pa.table({"pose": pose})
    data.scale(table, tmp_path / "scaled.arrow")
    scaled = pa.ipc.open_file(tmp_path / "scaled.arrow").read_all()["pose"].to_pylist()
    assert scaled == [{"x": -1.0, "t": words[0].as_py()}, None, {"x": 1.0, "t": words[2].as_py()}]


def test_a_frame_of_polars_with_missing_structures_of_text():
    frame = pl.DataFrame({"pose": [{"x": 1.0, "name": "a"}, None, {"x": 4.0, "name": None}]})
    assert data.measure(frame).moments.mean == 2.5
