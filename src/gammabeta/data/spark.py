"""Spark DataFrames: exact statistics and scaling through Arrow batches, each partition where it lies.

    from gammabeta.data import spark

    found = spark.measure(df)                # count, mean, variance, minimum, maximum: the bits of a single scan
    scaled = spark.transform(df, found)      # lazy: the same columns, those of numbers scaled

Of each partition only its statistics go to the driver, some hundred bytes a column; nothing is shuffled. gammabeta must
be installed where the workers are. `pip install 'gammabeta[spark]'`; Spark needs Java 17 or newer.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import to_arrow_type
from pyspark.sql.types import DoubleType, FloatType, NumericType, StructField, StructType

from gammabeta import errors
from gammabeta.affine import Affine
from gammabeta.data import first_pass, vectors
from gammabeta.data.batches import BatchSource
from gammabeta.data.second_pass import image
from gammabeta.data.select import selected
from gammabeta.data.source import Column, Scaling
from gammabeta.data.state import Recipe, Statistics, listed
from gammabeta.data.tables import unique
from gammabeta.data.write import outcome
from gammabeta.errors import DataError, GammabetaError, KindError
from gammabeta.scalers import MinMaxScaler, StandardScaler
from gammabeta.statistics import Extrema, Moments

_FRAME = Path("Spark DataFrame")  # what errors call it
_PART = "statistics string, error string, words string"


class _Map(NamedTuple):
    """What happens to some columns: an affine map, and the range to keep to, if any."""

    names: tuple[str, ...]
    affine: Affine
    clip: tuple[float, float] | None = None


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
    picked = df.select(*(_quoted(column.name) for column in chosen))
    parts = _numbered(picked).mapInArrow(partial(_measured, columns=chosen), _PART)
    total = first_pass.measure(BatchSource((), chosen, "nothing"))
    for part in parts.collect():
        if part.error:
            raise getattr(errors, part.error)(part.words)
        total = total + Statistics.from_json(part.statistics)
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
    mapped = partial(_mapped, names=df.columns, by=chosen)
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
    return Column(field.name, vectors.type_name(to_arrow_type(field.dataType)))


def _quoted(name: str) -> str:
    """A name as Spark reads it, be there dots in it."""
    return f"`{name.replace('`', '``')}`"


def _numbered(df: DataFrame) -> DataFrame:
    """The DataFrame with numbers for names: `mapInArrow` takes a dot for a field of a struct."""
    return df.toDF(*map(str, range(len(df.columns))))


def _named_batches(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    return (batch.rename_columns(list(names)) for batch in batches)


def _partition() -> str:
    return f"partition {TaskContext.get().partitionId()}"


def _measured(batches: Iterable[pa.RecordBatch], columns: tuple[Column, ...]) -> Iterator[pa.RecordBatch]:
    """A partition's statistics, or what is wrong with it: on the driver that becomes an error of its own class."""
    source = BatchSource(_named_batches(batches, [column.name for column in columns]), columns, _partition())
    row: tuple[str | None, ...]
    try:
        row = (first_pass.measure(source).to_json(), None, None)
    except GammabetaError as error:
        row = (None, type(error).__name__, str(error))
    fields = zip(("statistics", "error", "words"), row, strict=True)
    yield pa.record_batch({name: pa.array([value], pa.string()) for name, value in fields})


def _map(by: Any, columns: Sequence[str] | None) -> _Map:
    """What happens to which columns."""
    if isinstance(by, Statistics):
        if not by.rows:
            raise DataError("statistics of at least one row are needed to scale by, these are of none")
        chosen = by.select([column.name for column in selected(by.columns, columns, None, Path("statistics"))])
        return _Map(chosen.names, chosen.affine())
    if isinstance(by, StandardScaler | MinMaxScaler):
        known = getattr(by, "feature_names_in_", None) if columns is None else columns
        clip = by.feature_range if isinstance(by, MinMaxScaler) and by.clip else None
        return _named(_Map((), by.affine_, clip), known)
    if isinstance(by, Affine):
        return _named(_Map((), by), columns)
    raise KindError(f"by must be Statistics, a scaler or an Affine map, got {type(by).__name__}")


def _named(by: _Map, names: Any) -> _Map:
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


def _mapped(batches: Iterable[pa.RecordBatch], names: Sequence[str], by: _Map) -> Iterator[pa.RecordBatch]:
    """A partition's batches under the map."""
    path, scaling = _partition(), None
    for chunk in BatchSource(_named_batches(batches, names), (), path).chunks():
        scaling = scaling or Scaling(by.names, by.affine, outcome(chunk.batch.schema, by.names))
        batch = image(chunk, scaling, Path(path)).batch
        yield batch if by.clip is None else _clipped(batch, by.names, *by.clip)


def _clipped(batch: pa.RecordBatch, names: tuple[str, ...], low: float, high: float) -> pa.RecordBatch:
    columns = batch.columns
    for name in names:
        at = batch.schema.get_field_index(name)
        columns[at] = vectors.restored(np.clip(vectors.raw(columns[at]), low, high), columns[at])
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)
