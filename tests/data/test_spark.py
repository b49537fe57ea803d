"""Spark DataFrames: a single scan's bits, the same columns scaled, and errors that say what is wrong."""

from datetime import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gammabeta as gb
from gammabeta import data
from gammabeta.data import spark as ours

RANDOM = np.random.default_rng(11)
ROWS = 90
NUMBERS = {
    "single": pa.array(RANDOM.normal(1e4, 1, ROWS).astype(np.float32)),
    "double": pa.array([None, *RANDOM.normal(1e8, 1, ROWS - 2), np.nan]),
    "whole": pa.array([None, *range(2**53, 2**53 + ROWS - 1)], pa.int64()),
    "small": pa.array(np.arange(ROWS), pa.int8()),
    "with.dot and `tick`": pa.array([Decimal(n) / 8 for n in range(ROWS)], pa.decimal128(10, 3)),
}
OTHERS = {
    "word": pa.array(["x", None, "y"] * (ROWS // 3)),
    "flag": pa.array([True, False] * (ROWS // 2)),
    "when": pa.array([datetime(2020, 1, 1)] * ROWS, pa.timestamp("us", tz="UTC")),
    "list": pa.array([[1.0, 2.0], None] * (ROWS // 2), pa.list_(pa.float64())),
}
TABLE = pa.table({"id": pa.array(range(ROWS), pa.int32()), **OTHERS, **NUMBERS})


@pytest.fixture(name="df", scope="module")
def _df(spark):
    """The table in five partitions, of batches of seven rows."""
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 7)
    yield spark.createDataFrame(TABLE).repartition(5).cache()
    spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")


def rows(df):
    """The rows in their first order."""
    return df.toArrow().sort_by("id").combine_chunks()


def same(a, b):
    """Tables whose values are equal to the bit, NaN among them, and null in the same places."""
    assert a.column_names == b.column_names
    for x, y in zip(a.columns, b.columns, strict=True):
        assert x.type == y.type and x.is_null().equals(y.is_null())
        if pa.types.is_floating(x.type):
            assert np.array_equal(x.fill_null(0).to_numpy(), y.fill_null(0).to_numpy(), equal_nan=True)
        else:
            assert x.equals(y)


def test_it_is_measured_as_a_table_is(df):
    recipe = data.Recipe("minmax", feature_range=(-1, 1))
    found = ours.measure(df, recipe=recipe)
    assert found == data.measure(TABLE, recipe=recipe)
    assert found.names == ("id", *NUMBERS)
    some = ours.moments(df.select("word", "single", "whole"), ["*e"])
    assert some == found.select(["single", "whole"]).moments


def test_empty_partitions_and_no_rows(df, spark):
    few = df.where("id > 87")  # in five partitions
    assert ours.extrema(few, ["double"]) == data.extrema(TABLE.slice(88), ["double"])
    none = ours.measure(spark.createDataFrame([], df.schema))
    assert none.rows == 0 and (none.moments.count == 0).all() and none.names == ("id", *NUMBERS)


def test_a_transform_is_what_a_file_becomes(df, tmp_path):
    found = ours.measure(df, list(NUMBERS))
    image = ours.transform(df, found)
    assert image.columns == df.columns
    for name in TABLE.column_names:
        kind = df.schema[name].dataType.simpleString()
        scaled = "float" if name == "single" else "double"
        assert image.schema[name].dataType.simpleString() == (scaled if name in NUMBERS else kind)
        assert image.schema[name].nullable == df.schema[name].nullable
    data.apply(found, rows(df), tmp_path / "scaled.parquet")
    same(rows(image), pq.read_table(tmp_path / "scaled.parquet"))
    back = rows(ours.transform(image, found.affine().inverse(), columns=found.names))
    # one rounding each way: of a float32 near 1e4, whose spacing is 2⁻¹⁰, with a standard deviation of 1
    assert np.abs(back["single"].to_numpy() - TABLE["single"].to_numpy()).max() <= 2**-10


def test_a_scaler_transforms_by_its_names_and_clips(df):
    names = ["small", "single"]
    low = TABLE.slice(0, ROWS // 2).select(names)
    scaler = gb.MinMaxScaler(clip=True).fit(low)
    image = rows(ours.transform(df, scaler))
    wanted = scaler.set_output(transform="same").transform(TABLE.select(names))
    assert image.select(names) == wanted and image["small"].to_numpy().max() == 1
    named = gb.StandardScaler().fit(low["small"].to_numpy()[:, None])
    image = rows(ours.transform(df, named, ["small"]))
    assert np.array_equal(image["small"].to_numpy(), named.transform(TABLE["small"].to_numpy()[:, None])[:, 0])


@pytest.fixture(name="odd", scope="module")
def _odd(spark):
    return spark.createDataFrame(pa.table({"n": [1.0, 2.0, 3.0, -np.inf], "word": list("abcd")})).coalesce(1)


MAP = gb.Affine([0.0], [1.0])
WRONG = {
    "infinity": (
        lambda df, odd: ours.measure(odd),
        gb.DataError,
        r"values must be finite or missing, column 'n' of 'partition 0' holds -inf in row 4 \(the first row",
    ),
    "column of text": (
        lambda df, odd: ours.moments(df, ["word"]),
        gb.KindError,
        r"columns to scale must be of numbers, 'word' in 'Spark DataFrame' is not numeric \(string\)",
    ),
    "missing column": (
        lambda df, odd: ours.moments(odd, ["m"]),
        gb.DataError,
        "there is no column 'm' in 'Spark DataFrame'; it has 'n', 'word'",
    ),
    "no numeric column": (
        lambda df, odd: ours.extrema(odd.select("word")),
        gb.DataError,
        r"at least one numeric column is needed, 'Spark DataFrame' has none to scale \(word: string\)",
    ),
    "two of one name": (
        lambda df, odd: ours.measure(odd.toDF("a", "a")),
        gb.DataError,
        "column names must differ, but 'a' comes twice in 'Spark DataFrame'",
    ),
    "no DataFrame": (
        lambda df, odd: ours.measure(TABLE),
        gb.KindError,
        "df must be a Spark DataFrame, got pyarrow's Table",
    ),
    "no map": (
        lambda df, odd: ours.transform(odd, 3),
        gb.KindError,
        "by must be Statistics, a scaler or an Affine map, got int",
    ),
    "a map without names": (
        lambda df, odd: ours.transform(odd, MAP),
        gb.DataError,
        r"columns must name what a map of shape \(1,\) scales, one each, got None",
    ),
    "a map of more": (
        lambda df, odd: ours.transform(odd, MAP, ["n", "word"]),
        gb.DataError,
        r"one each, got \['n', 'word'\]",
    ),
    "a map of text": (lambda df, odd: ours.transform(odd, MAP, ["word"]), gb.KindError, "'word' in 'Spark DataFrame'"),
    "a map of what is not there": (
        lambda df, odd: ours.transform(odd, MAP, ["w*"]),
        gb.DataError,
        r"every column to scale must be there, 'w\*' not; there is 'n', 'word'",
    ),
    "statistics of other columns": (
        lambda df, odd: ours.transform(df, data.measure(TABLE), ["n"]),
        gb.DataError,
        "there is no column 'n' in 'statistics'; it has 'id', 'single'",
    ),
    "a column twice": (
        lambda df, odd: ours.transform(odd, gb.Affine([0.0, 1.0], 1.0), ["n", "n"]),
        gb.DataError,
        "column names must differ, but 'n' comes twice",
    ),
    "statistics of nothing": (
        lambda df, odd: ours.transform(df, data.measure(TABLE.slice(0, 0))),
        gb.DataError,
        "statistics of at least one row are needed to scale by, these are of none",
    ),
    "image of infinity": (
        lambda df, odd: ours.transform(odd, MAP, ["n"]).collect(),
        Exception,
        "DataError: values must be finite or missing, column 'n' of 'partition 0' holds -inf in row 4",
    ),
    "image beyond the type": (
        lambda df, odd: ours.transform(df, gb.Affine([0.0], [1e38]), ["single"]).collect(),
        Exception,
        "DataError: column 'single' of 'partition .' must stay within float32",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said(df, odd, wrong):
    run, kind, words = WRONG[wrong]
    with pytest.raises(kind, match=words):
        run(df, odd)
