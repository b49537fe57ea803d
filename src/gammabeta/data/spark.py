"""Spark DataFrames: exact statistics and scaling through Arrow batches, each partition where it lies.

    from gammabeta.data import spark

    found = spark.measure(df)                # count, mean, variance, minimum, maximum: the bits of a single scan
    scaled = spark.transform(df, found)      # lazy: the same columns, those of numbers scaled

Of each partition only its statistics go to the driver, some hundred bytes a column; nothing is shuffled. gammabeta must
be installed where the workers are. `pip install 'gammabeta[spark]'`; Spark needs Java 17 or newer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import to_arrow_type
from pyspark.sql.types import DoubleType, FloatType, NumericType, StructField, StructType

from gammabeta import errors
from gammabeta.affine import Affine
from gammabeta.data.core import arrow_numpy
from gammabeta.data.core.columns import selected
from gammabeta.data.core.source import Column
from gammabeta.data.core.statistics import Recipe, Statistics, listed
from gammabeta.data.formats.table import unique
from gammabeta.data.passes import partition
from gammabeta.data.passes.partition import Batches, Map
from gammabeta.errors import DataError, GammabetaError, KindError
from gammabeta.scalers import MinMaxScaler, StandardScaler
from gammabeta.statistics import Extrema, Moments

__all__ = ["extrema", "measure", "moments", "transform"]

# Functions that run on workers are within others: they are sent as they are, and a worker does not load this file.

_FRAME = Path("Spark DataFrame")  # what errors call it
_PART = "statistics string, error string, words string"


def measure(df: DataFrame, columns: Sequence[str] | None = None, *, recipe: Recipe | None = None) -> Statistics:
    """The exact count, mean, variance, minimum and maximum of a Spark DataFrame's numeric columns, in one job.

    Args:
        df: a Spark DataFrame.
        columns: the columns to look at, names or patterns; without it every column of integers, floats or decimals.
        recipe: how the columns are to be scaled, kept with the statistics; standardization without it.

    Missing values, nulls and NaN, are left out, column by column. The bits are those of `gammabeta.data.measure` over
    the same rows, however they are partitioned.

    Raises:
        DataError: ±inf, with its column, partition and row; an unknown column, no numeric column.
        KindError: not a Spark DataFrame, or a column named in `columns` that is not of numbers.
    """
    chosen = selected(_columns(df), columns, None, _FRAME)

    def part(given: Batches) -> Iterator[pa.RecordBatch]:
        """A partition's statistics, or what is wrong with it: on the driver that becomes an error of its own class."""
        found: dict[str, str | None] = dict.fromkeys(("statistics", "error", "words"))
        try:
            statistics = partition.measured(given, chosen, f"partition {TaskContext.get().partitionId()}")
            found["statistics"] = statistics.to_json()
        except GammabetaError as error:
            found |= {"error": type(error).__name__, "words": str(error)}
        yield pa.record_batch({name: pa.array([text], pa.string()) for name, text in found.items()})

    parts = _numbered(df.select(*(_quoted(column.name) for column in chosen))).mapInArrow(part, _PART)
    total = partition.measured((), chosen, "nothing")
    for row in parts.collect():
        if row.error:
            raise getattr(errors, row.error)(row.words)
        total = total + Statistics.from_json(row.statistics)
    return replace(total, recipe=recipe or Recipe())


def moments(df: DataFrame, columns: Sequence[str] | None = None) -> Moments:
    """The exact moments of a Spark DataFrame's numeric columns, or of those named: shape (k,). See `measure`."""
    return measure(df, columns).moments


def extrema(df: DataFrame, columns: Sequence[str] | None = None) -> Extrema:
    """The least and greatest values of a Spark DataFrame's numeric columns, or of those named: shape (k,)."""
    return measure(df, columns).extrema


def transform(
    df: DataFrame, by: Statistics | Affine | StandardScaler | MinMaxScaler, columns: Sequence[str] | None = None
) -> DataFrame:
    """The DataFrame of the same columns with some of them scaled, lazily.

    Args:
        df: a Spark DataFrame.
        by: `Statistics`, which say how to scale; a fitted scaler; or an `Affine` map of shape (k,), such as
            `statistics.affine().inverse()` for the way back.
        columns: the names of the k columns, for a map or a scaler that knows no names; of statistics, those to scale.

    Columns are found by name. `float` and `double` keep their type, integers and decimals become `double`; nulls, the
    order of columns and all other columns stay. Values are computed in float64 and rounded once.

    Raises:
        DataError: a column is missing, the names are not as many as the map's, or statistics are of no rows. Of the job
            that meets it, in Spark's words around ours: ±inf, or a result beyond the column's type.
        KindError: `by` is none of these, or a column is not of numbers.
    """
    chosen, available = _map(by, columns), _columns(df)
    missing = [name for name in chosen.names if name not in df.columns]
    if missing:
        raise DataError(f"every column to scale must be there, {listed(missing)} not; there is {listed(df.columns)}")
    selected(available, chosen.names, None, _FRAME)  # refuses what is not of numbers
    names = df.columns

    def mapped(given: Batches) -> Iterator[pa.RecordBatch]:
        return partition.mapped(given, names, chosen, f"partition {TaskContext.get().partitionId()}")

    return _numbered(df).mapInArrow(mapped, _scaled_schema(df.schema, set(chosen.names)))


def _columns(df: DataFrame) -> tuple[Column, ...]:
    if not isinstance(df, DataFrame):
        raise KindError(
            f"df must be a Spark DataFrame, got {type(df).__module__.partition('.')[0]}'s {type(df).__name__}"
        )
    unique(df.columns, _FRAME)
    return tuple(_column(field) for field in df.schema.fields)


def _column(field: StructField) -> Column:
    if not isinstance(field.dataType, NumericType):
        return Column(field.name, field.dataType.simpleString(), "not numeric")
    return Column(field.name, arrow_numpy.type_name(to_arrow_type(field.dataType)))


def _quoted(name: str) -> str:
    """A column's name quoted for Spark, so that dots in it are no field access."""
    return f"`{name.replace('`', '``')}`"


def _numbered(df: DataFrame) -> DataFrame:
    """The DataFrame with numbers for names: `mapInArrow` takes a dot for a field of a struct."""
    return df.toDF(*map(str, range(len(df.columns))))


def _map(by: Any, columns: Sequence[str] | None) -> Map:
    """The columns to scale, with their map and clipping."""
    if isinstance(by, Statistics):
        if not by.rows:
            raise DataError("statistics of at least one row are needed to scale by, these are of none")
        chosen = by.select([column.name for column in selected(by.columns, columns, None, Path("statistics"))])
        return Map(chosen.names, chosen.affine())
    if isinstance(by, StandardScaler | MinMaxScaler):
        known = getattr(by, "feature_names_in_", None) if columns is None else columns
        clip = by.feature_range if isinstance(by, MinMaxScaler) and by.clip else None
        return _named(Map((), by.affine_, clip), known)
    if isinstance(by, Affine):
        return _named(Map((), by), columns)
    raise KindError(f"by must be Statistics, a scaler or an Affine map, got {type(by).__name__}")


def _named(by: Map, names: Any) -> Map:
    count = len(by.affine.center) if len(by.affine.shape) == 1 else None
    if names is None or len(names) != count:
        got = None if names is None else list(names)
        raise DataError(f"columns must name what a map of shape {by.affine.shape} scales, one each, got {got}")
    unique(names, _FRAME)
    return by._replace(names=tuple(str(name) for name in names))


def _scaled_schema(schema: StructType, names: set[str]) -> StructType:
    """The schema of the scaled DataFrame."""
    fields = []
    for field in schema.fields:
        kind = field.dataType
        changes = field.name in names and not isinstance(kind, FloatType | DoubleType)
        fields.append(StructField(field.name, DoubleType() if changes else kind, field.nullable, field.metadata))
    return StructType(fields)
