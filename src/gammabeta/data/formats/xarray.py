"""xarray's DataArrays and Datasets: statistics over dimensions by name, labelled by the dimensions that are left.

xarray has decoded what the attributes of its variables say. A DataArray that Dask holds is read chunk by chunk.
"""

import sys
from copy import copy
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gammabeta.backends import masked, named_dims
from gammabeta.backends.named_dims import Dim, is_data_array, reduced_axes
from gammabeta.data.core.results import Variables
from gammabeta.data.core.source import Column
from gammabeta.data.formats.array import Part
from gammabeta.data.formats.array_like import ArrayLikeSource
from gammabeta.errors import DataError, KindError
from gammabeta.statistics import Moments
from gammabeta.statistics.validation import repeated_weights


class DataArraySource(ArrayLikeSource):
    """A DataArray, whose dimensions have names."""

    def __init__(self, array: Any) -> None:
        self.dims = tuple(array.dims)
        name = getattr(array, "name", None)
        values = array.variable if hasattr(array, "variable") else array
        self._labelled = array
        self._weights: NDArray[Any] | None = None
        super().__init__(_Values(values), Path(type(array).__name__ if name is None else str(name)), None)

    def weighted(self, weights: Any) -> Self:
        """The same array, with weights: a DataArray of some of its dimensions, which is computed here.

        Raises: as `named_dims.broadcast_like`.
        """
        other = copy(self)
        other._weights = np.asarray(named_dims.broadcast_like(weights, self._labelled))
        return other

    def weights_of(self, part: Part) -> NDArray[Any] | None:
        """The weights of a part's values."""
        if self._weights is None:
            return None
        box = zip(part.start, part.values.shape, self._weights.shape, strict=True)
        own = self._weights[tuple(slice(at, at + n) if length != 1 else slice(None) for at, n, length in box)]
        return repeated_weights(own, self.axis, part.values.shape)


class _Values:
    """The values of a DataArray as an array-like: slices of them are computed, and nothing else is."""

    def __init__(self, variable: Any) -> None:
        self._variable = variable
        self.shape, self.dtype = variable.shape, variable.dtype
        chunks = variable.chunks
        self.chunks = tuple(max(sizes, default=1) for sizes in chunks) if chunks else None

    def __getitem__(self, at: tuple[slice, ...]) -> Any:
        return self._variable[at].values


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


def variables_of(
    dataset: Any, dim: Dim | None, weights: Any = None
) -> tuple[dict[str, DataArraySource], tuple[Column, ...]]:
    """The variables of a Dataset that can be measured, each over those of the dimensions that it has; and the others.

    dim: the dimensions that are reduced; without it the first, which must be the same of all. weights: a DataArray.

    Raises:
        DataError: there is no such dimension, the variables' first ones differ, or none can be measured.
    """
    numeric = {name: variable for name, variable in dataset.data_vars.items() if not _unfit(variable)}
    if dim is None:
        first = {variable.dims[0]: name for name, variable in numeric.items()}
        if len(first) > 1:
            shown = ", ".join(f"{dim!r} of {name!r}" for dim, name in first.items())
            raise DataError(
                f"without dim the first dimension is reduced, which must be the same of all: {shown}; say dim"
            )
        dim = tuple(first)
    names = tuple(dataset.dims) if (names := named_dims.names_of(dim)) == (...,) else names
    absent = [name for name in names if name not in dataset.dims]
    if absent:
        raise DataError(f"dim must name dimensions of the Dataset, {tuple(dataset.dims)}, got {absent[0]!r}")
    found: dict[str, DataArraySource] = {}
    left_out: list[Column] = []
    for name, variable in dataset.data_vars.items():
        why = _unfit(variable) or _lacks(variable, names, weights)
        if why:
            left_out.append(Column(str(name), str(variable.dtype), why))
            continue
        source = DataArraySource(masked.read(variable))
        source = source if weights is None else source.weighted(weights)
        found[str(name)] = source.over(named_dims.reduced_axes(variable, [d for d in names if d in variable.dims]))
    if not found:
        shown = "; ".join(f"{column.name!r}: {column.skip_reason}" for column in left_out) or "it has none"
        raise DataError(f"one variable at least must be fit to be measured, in this Dataset none is: {shown}")
    return found, tuple(left_out)


def _unfit(variable: Any) -> str:
    """Why a variable cannot be measured; "" if it can."""
    if variable.dtype.kind not in "iuf":
        return "not numeric"
    return "" if variable.dims else "a single number"


def _lacks(variable: Any, dims: tuple[Any, ...], weights: Any) -> str:
    if not any(name in variable.dims for name in dims):
        return f"lacks the dimension {', '.join(map(repr, dims))}"
    absent = [name for name in getattr(weights, "dims", ()) if name not in variable.dims]
    return f"lacks the weights' dimension {absent[0]!r}" if absent else ""


def to_xarray(statistic: Any, array: Any, dim: Dim | None = None) -> Any:
    """The numbers of a statistic as an xarray Dataset, labelled by the dimensions that are left and their coordinates.

    Args:
        statistic: `moments(array, dim=dim)` or `extrema(array, dim=dim)`.
        array: the DataArray that it is of; or the Dataset. The variables have its names then, and the numbers of each
            lie along a new dimension, `statistic`: `.sel(statistic="mean")`.
        dim: the dimensions that were reduced; the first without it.

    Raises:
        DataError: the statistic is of other features, or there is no such dimension.
        KindError: it is no DataArray.

    >>> import xarray as xr
    >>> t = xr.DataArray([[1.0, 10.0], [3.0, 30.0]], dims=("time", "place"), coords={"place": ["a", "b"]})
    >>> float(to_xarray(Moments.of(t.values), t, dim="time")["mean"].sel(place="b"))
    20.0
    """
    if isinstance(statistic, Variables) and named_dims.is_dataset(array):
        return _of_dataset(statistic, array, dim)
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


def _of_dataset(found: Variables[Any], dataset: Any, dim: Dim | None) -> Any:
    module = sys.modules["xarray"]
    names = None if dim is None else named_dims.names_of(dim)
    whole = {}
    for name, statistic in found.items():
        variable = dataset[name]
        own = names if names is None or names == (...,) else [each for each in names if each in variable.dims]
        whole[name] = to_xarray(statistic, variable, own).to_dataarray("statistic")
    return module.Dataset(whole)
