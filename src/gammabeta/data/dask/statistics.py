"""Statistics of Dask collections."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.utils import is_dataframe_like

from gammabeta import axes
from gammabeta.data.core.source import Column
from gammabeta.data.core.statistics import Recipe, Statistics
from gammabeta.data.dask import arrays, dataframes
from gammabeta.data.dask.reduction import Boxes, Kinds, Part, together
from gammabeta.errors import DataError, KindError
from gammabeta.statistics import Extrema, Moments


def is_array(x: Any) -> bool:
    """Whether x is a Dask array."""
    return isinstance(x, da.Array)


def is_frame(x: Any) -> bool:
    """Whether x is a Dask DataFrame."""
    return bool(dask.is_dask_collection(x) and is_dataframe_like(getattr(x, "_meta", None)))


def moments(x: Any, axis: axes.Axis = 0, *, columns: Sequence[Any] | None = None, compute: bool = True) -> Any:
    """The exact moments of a Dask collection, to the bits of `Moments.of` on one thread.

    Args:
        x: a Dask array of real numbers in any chunks, sizes unknown too, or a Dask DataFrame.
        axis: of an array, the axes that are reduced, as for `Moments.of`.
        columns: of a frame, the columns, names or patterns; without it every column of integers, floats or decimals.
        compute: False gives a `Delayed`. Those of one array that are computed together read it once; a frame's
            moments and extrema come from one reading by `measure`.

    Returns:
        `Moments`: of an array, of the shape of the axes that are left; of a frame, of shape (k,), one for each column
        in the frame's order.

    Missing values are left out. Infinities are counted apart in an array, as in the core, and refused in a frame, as in
    `gammabeta.data.measure`.

    Raises:
        KindError: not a Dask collection, an array that is not of real numbers, or a column named that is not.
        DataError: a wrong axis, no numeric column, an unknown column, ±inf in a frame.

    >>> import dask.array as da
    >>> moments(da.arange(10, chunks=3)).mean
    array(4.5)
    >>> import dask.dataframe as dd, pandas as pd
    >>> frame = dd.from_pandas(pd.DataFrame({"height": [1.5, 2.5, 3.5], "name": ["a", "b", "c"]}), npartitions=2)
    >>> moments(frame).mean
    array([2.5])
    """
    return _first(x, (Moments,), axis, columns, compute)


def extrema(x: Any, axis: axes.Axis = 0, *, columns: Sequence[Any] | None = None, compute: bool = True) -> Any:
    """The least and greatest values of a Dask collection. Arguments, result and errors are those of `moments`.

    >>> import dask.array as da
    >>> extrema(da.arange(10, chunks=3)).max
    array(9.)
    """
    return _first(x, (Extrema,), axis, columns, compute)


def measure(x: Any, columns: Sequence[Any] | None = None, *, recipe: Recipe | None = None, compute: bool = True) -> Any:
    """Count, mean, variance, minimum and maximum of a Dask DataFrame's numeric columns, as `gammabeta.data.measure`.

    Args:
        x: a Dask DataFrame.
        columns, compute: as for `moments`.
        recipe: how the columns are to be scaled, kept with the statistics; standardization without it.

    Returns:
        `gammabeta.data.Statistics`, which `gammabeta.data.save` keeps for `apply` and for the command line.

    Raises: as `moments`.

    >>> import dask.dataframe as dd, pandas as pd
    >>> frame = dd.from_pandas(pd.DataFrame({"height": [1.5, 2.5, 3.5], "name": ["a", "b", "c"]}), npartitions=2)
    >>> measure(frame).names
    ('height',)
    """
    if not is_frame(x):
        raise KindError(f"measure takes a Dask DataFrame, whose columns have names, got {_kind(x)}; see moments")
    chosen = dataframes.numeric(x, columns)
    boxes = dataframes.total(_only(x, chosen), (Moments, Extrema), refuse=True)
    return _result(boxes, partial(_statistics, columns=chosen, recipe=recipe or Recipe()), compute)


def _first(x: Any, kinds: Kinds, axis: axes.Axis, columns: Sequence[Any] | None, compute: bool) -> Any:
    """The statistic of one kind, of an array or a frame, computed or delayed."""
    if is_array(x):
        if columns is not None:
            raise DataError(f"a Dask array has no columns to choose from, got columns={list(columns)!r}; index it")
        arrays.check(x, axis)
        return _result(arrays.total(x, axis, kinds), partial(_only_statistic, axis=axis), compute)
    if not is_frame(x):
        raise KindError(f"x must be a Dask array or a Dask DataFrame, got {_kind(x)}")
    if axis not in (0, (0,)):
        raise DataError(f"a Dask DataFrame's columns are its features: axis must be 0, got {axis!r}")
    frame = _only(x, dataframes.numeric(x, columns))
    return _result(dataframes.total(frame, kinds, refuse=True), partial(_only_statistic, axis=0), compute)


def _only(x: Any, columns: tuple[Column, ...]) -> Any:
    """The frame with only these columns, so that no others are read."""
    names = {column.name for column in columns}
    return x[[label for label in x.columns if str(label) in names]]


def _only_statistic(boxes: Boxes, axis: axes.Axis) -> Any:
    return together(boxes, axis).statistics[0]


def _statistics(boxes: Boxes, columns: tuple[Column, ...], recipe: Recipe) -> Statistics:
    part: Part = boxes.item()
    moments, extrema = part.statistics
    return Statistics(columns, part.rows, moments, extrema, recipe)


def _result(boxes: da.Array, finish: Callable[[Boxes], Any], compute: bool) -> Any:
    if compute:
        return finish(boxes.compute())
    # not optimized yet: tasks that several results need must still be the same ones when they are computed together
    return dask.delayed(_finished)(finish, boxes.to_delayed(optimize_graph=False).tolist())


def _finished(finish: Callable[[Boxes], Any], boxes: list[Any]) -> Any:
    return finish(np.block(boxes))


def _kind(x: Any) -> str:
    hint = "; make a frame of it with .to_frame()" if type(x).__name__ == "Series" else ""
    return f"{type(x).__module__.partition('.')[0]}'s {type(x).__name__}{hint}"
