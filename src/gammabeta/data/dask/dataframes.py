"""Statistics and scaling of Dask DataFrames, partition by partition."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pyarrow as pa

from gammabeta.affine import Affine
from gammabeta.backends import dataframes
from gammabeta.data.core import arrow_numpy
from gammabeta.data.core.columns import selected
from gammabeta.data.core.infinities import infinity_error
from gammabeta.data.core.source import Column
from gammabeta.data.dask.reduction import Boxes, Kinds, Part, boxed, of
from gammabeta.data.formats.table import unique
from gammabeta.scalers.base import Scaler, has_infinities, side_by_side

_FRAME = Path("Dask DataFrame")  # what errors call it


def numeric(x: Any, columns: Sequence[Any] | None) -> tuple[Column, ...]:
    """The selected columns, by the rules of `gammabeta.data.measure`: those named, or all that are numbers."""
    unique([str(label) for label in x.columns], _FRAME)
    available = [_column(str(label), x._meta.iloc[:, i]) for i, label in enumerate(x.columns)]
    return selected(available, None if columns is None else [str(label) for label in columns], None, _FRAME)


def _column(name: str, values: Any) -> Column:
    try:
        kind = pa.Array.from_pandas(values).type
    except pa.ArrowException:  # a type that Arrow does not know is no number's
        return Column(name, str(values.dtype), "not numeric")
    if arrow_numpy.is_number(kind):
        return Column(name, arrow_numpy.type_name(kind))
    return Column(name, str(values.dtype), "not numeric")


def total(x: Any, kinds: Kinds, *, refuse: bool, weights: Any = None) -> da.Array:
    """A lazy array of one `Part`, whose statistics are those of all columns: a tree reduction over the partitions."""
    others = () if weights is None else (weights,)
    return x.map_partitions(_part, *others, kinds=kinds, refuse=refuse, meta=np.empty(0, object)).sum(keepdims=True)


def _part(
    frame: Any, weights: Any = None, *, kinds: Kinds, refuse: bool, partition_info: dict[str, Any] | None = None
) -> Boxes:
    """The `Part` of one partition, boxed. refuse: whether infinities are an error."""
    rows, columns = frame.shape
    factors = None if weights is None else weights.to_numpy()
    statistics = tuple(_statistic(frame, kind, factors) if rows else kind.of(np.empty((0, columns))) for kind in kinds)
    if refuse and any(map(has_infinities, statistics)):
        _refuse_infinity(frame, (partition_info or {}).get("number", 0))
    return boxed(Part(rows, statistics), 1)


def _statistic(frame: Any, kind: Any, weights: Any) -> Any:
    blocks = (
        (places, of(kind, values, 0, weights if weights is None or rows is None else weights[rows]))
        for places, values, rows in dataframes.blocks(frame)
    )
    return side_by_side(blocks, frame.shape[1])


def _refuse_infinity(frame: Any, number: int) -> None:
    for places, values, rows in dataframes.blocks(frame):
        for row, column in np.argwhere(np.isinf(values))[:1]:
            at = int(row if rows is None else rows[row])
            name = str(frame.columns[places[column]])
            raise infinity_error(name, float(values[row, column]), at, Path(f"partition {number}"))


def image(x: Any, scaler: Scaler, affine: Affine, forward: bool, meta: Any) -> Any:
    """The scaled x, a lazy frame, by a copy of the scaler as it is now. meta: an empty frame like the result."""
    return x.map_partitions(_image, affine, rules=scaler._rules(), forward=forward, meta=meta)


def _image(frame: Any, affine: Affine, *, rules: Scaler, forward: bool) -> Any:
    return dataframes.mapped(frame, lambda block, places: rules._image(block, affine[places], None, forward))
