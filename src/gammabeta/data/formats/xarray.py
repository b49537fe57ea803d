"""xarray's DataArrays and Datasets: statistics over dimensions by name, labelled by the dimensions that are left.

xarray has decoded what the attributes of its variables say. A DataArray that Dask holds is read chunk by chunk.
"""

import sys
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from gammabeta.data.formats.array_like import ArrayLikeSource
from gammabeta.errors import DataError, KindError
from gammabeta.statistics import Extrema, Moments

Dim: TypeAlias = Hashable | Iterable[Hashable]


def is_data_array(x: Any) -> bool:
    """Whether x is an xarray DataArray or Variable."""
    module = sys.modules.get("xarray")
    return module is not None and isinstance(x, (module.DataArray, module.Variable))


def is_dataset(x: Any) -> bool:
    """Whether x is an xarray Dataset."""
    module = sys.modules.get("xarray")
    return module is not None and isinstance(x, module.Dataset)


class DataArraySource(ArrayLikeSource):
    """A DataArray, whose dimensions have names."""

    def __init__(self, array: Any) -> None:
        self.dims = tuple(array.dims)
        name = getattr(array, "name", None)
        values = array.variable if hasattr(array, "variable") else array
        super().__init__(_Values(values), Path(type(array).__name__ if name is None else str(name)), None)


class _Values:
    """The values of a DataArray as an array-like: slices of them are computed, and nothing else is."""

    def __init__(self, variable: Any) -> None:
        self._variable = variable
        self.shape, self.dtype = variable.shape, variable.dtype
        chunks = variable.chunks
        self.chunks = tuple(max(sizes, default=1) for sizes in chunks) if chunks else None

    def __getitem__(self, at: tuple[slice, ...]) -> Any:
        return self._variable[at].values


def reduced_axes(array: Any, dim: Dim) -> tuple[int, ...]:
    """The axes of some dimensions, by their names.

    Raises:
        DataError: there is no such dimension.
    """
    names: tuple[Any, ...] = tuple(dim) if isinstance(dim, Iterable) and not isinstance(dim, str) else (dim,)
    if names == (...,):
        return tuple(range(len(array.dims)))
    absent = [name for name in names if name not in array.dims]
    if absent:
        raise DataError(f"dim must name dimensions of the array, {tuple(array.dims)}, got {absent[0]!r}")
    return tuple(sorted(array.dims.index(name) for name in names))


def one_array(x: Any) -> Any:
    """The only numeric variable of a Dataset.

    Raises:
        DataError: there are several, with their names.
    """
    names = [name for name, variable in x.data_vars.items() if variable.dtype.kind in "iuf"]
    if len(names) != 1:
        shown = ", ".join(map(repr, names)) or "none"
        raise DataError(f"one array is needed, the Dataset has {shown}; pass one after the other: dataset[name]")
    return x[names[0]]


def to_xarray(statistic: Moments | Extrema, array: Any, dim: Dim | None = None) -> Any:
    """The numbers of a statistic as an xarray Dataset, labelled by the dimensions that are left and their coordinates.

    Args:
        statistic: `moments(array, dim=dim)` or `extrema(array, dim=dim)`.
        array: the DataArray that it is of.
        dim: the dimensions that were reduced; the first without it.

    Raises:
        DataError: the statistic is of other features, or there is no such dimension.
        KindError: it is no DataArray.

    >>> import xarray as xr
    >>> t = xr.DataArray([[1.0, 10.0], [3.0, 30.0]], dims=("time", "place"), coords={"place": ["a", "b"]})
    >>> float(to_xarray(Moments.of(t.values), t, dim="time")["mean"].sel(place="b"))
    20.0
    """
    if not is_data_array(array):
        raise KindError(f"array must be a DataArray, whose dimensions have names, got {type(array).__name__}")
    axes = (0,) if dim is None else reduced_axes(array, dim)
    left = [name for i, name in enumerate(array.dims) if i not in axes]
    shape = tuple(array.sizes[name] for name in left)
    if statistic.shape != shape:
        raise DataError(f"the statistic must be of the features {left} of shape {shape}, got {statistic.shape}")
    coordinates = {
        name: coordinate
        for name, coordinate in getattr(array, "coords", {}).items()
        if set(coordinate.dims) <= set(left)
    }
    names = ("count", "mean", "var", "std") if isinstance(statistic, Moments) else ("count", "min", "max")
    values = {name: (left, np.array(getattr(statistic, name))) for name in names}
    return sys.modules["xarray"].Dataset(values, coords=coordinates)
