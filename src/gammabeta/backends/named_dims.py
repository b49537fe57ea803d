"""Arrays whose dimensions have names, xarray's: the axes that names stand for, and arrays joined by their names.

Arrays are joined as xarray joins them, by the names of their dimensions, but for one thing: where both have coordinates
along a dimension these must be the same, in the same order. xarray would take what both have, and say nothing.
"""

import sys
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gammabeta.backends import arrays
from gammabeta.errors import DataError, KindError

Dim: TypeAlias = Hashable | Iterable[Hashable]
Labels: TypeAlias = dict[Any, list[Any] | None]
"""The labels along each of some dimensions, in their order; None where a dimension has no coordinate."""


def is_data_array(x: Any) -> bool:
    """Whether x is an xarray DataArray or Variable."""
    return _is(x, "DataArray", "Variable")


def is_dataset(x: Any) -> bool:
    """Whether x is an xarray Dataset."""
    return _is(x, "Dataset")


def is_tree(x: Any) -> bool:
    """Whether x is an xarray DataTree."""
    return _is(x, "DataTree")


def _is(x: Any, *names: str) -> bool:
    module = sys.modules.get("xarray")
    return module is not None and isinstance(x, tuple(filter(None, (getattr(module, name, None) for name in names))))


def is_lazy(x: Any) -> bool:
    """Whether a DataArray's values are a Dask array."""
    return x.chunks is not None and arrays.is_lazy(x.data)  # without chunks `data` may read a file


def names_of(dim: Dim) -> tuple[Any, ...]:
    """The names in what was given as a dimension or several."""
    return tuple(dim) if isinstance(dim, Iterable) and not isinstance(dim, str) else (dim,)


def reduced_axes(array: Any, dim: Dim) -> tuple[int, ...]:
    """The axes of some dimensions, by their names. `...` is all of them.

    Raises:
        DataError: there is no such dimension, or none is named.
    """
    names = names_of(dim)
    if names == (...,):
        return tuple(range(len(array.dims)))
    absent = [name for name in names if name not in array.dims]
    if absent:
        raise DataError(f"dim must name dimensions of the array, {tuple(array.dims)}, got {absent[0]!r}")
    if not names:
        raise DataError("dim must name at least one dimension to reduce, got none")
    return tuple(sorted({array.dims.index(name) for name in names}))


def labels_of(array: Any, dims: Sequence[Any]) -> Labels:
    """The labels along dimensions of an array: plain numbers and texts, which compare and are kept as JSON."""
    coords = getattr(array, "coords", {})
    return {name: _plain(coords[name]) if name in coords else None for name in dims}


def _plain(coordinate: Any) -> list[Any] | None:
    values = np.asarray(coordinate.values)
    if values.ndim != 1:
        return None
    if values.dtype.kind in "biuU":
        return list(values.tolist())
    if values.dtype.kind == "f":
        return [value if value == value else "nan" for value in values.tolist()]
    return [str(value) for value in values]


def refuse_other_labels(own: Labels, other: Labels, whose: str) -> None:
    """Refuse arrays that both have labels along a dimension, and not the same ones.

    whose: what `own` are the labels of, in the error.

    Raises:
        DataError: they differ, with the first place.
    """
    for name, wanted in own.items():
        got = other.get(name)
        if wanted is None or got is None or wanted == got:
            continue
        at = next((i for i, (a, b) in enumerate(zip(wanted, got, strict=False)) if a != b), min(len(wanted), len(got)))
        shown = [repr(labels[at]) if at < len(labels) else "no more" for labels in (wanted, got)]
        raise DataError(
            f"the coordinate {name!r} must be that of {whose}, where place {at} is {shown[0]}, got {shown[1]}; "
            f"select or sort by it first: x.reindex({name}=…)"
        )


def broadcast_like(weights: Any, array: Any) -> Any:
    """Weights, a DataArray, over an array's dimensions in its order, of length 1 along those that they lack.

    Lazy where the weights are.

    Raises:
        DataError: they have a dimension that the array lacks, or other labels or lengths along one.
        KindError: they are no DataArray.
    """
    if not is_data_array(weights):
        raise KindError(
            f"weights must be a DataArray, whose dimensions say what they go with, got {type(weights).__name__}"
        )
    absent = [name for name in weights.dims if name not in array.dims]
    if absent:
        raise DataError(f"weights must have dimensions of the array, {tuple(array.dims)}, got {absent[0]!r}")
    refuse_other_labels(labels_of(array, weights.dims), labels_of(weights, weights.dims), "the array")
    for name in weights.dims:
        if weights.sizes[name] != array.sizes[name]:
            raise DataError(
                f"weights must be as long as the array along {name!r}, {array.sizes[name]}, got {weights.sizes[name]}"
            )
    order = [name for name in array.dims if name in weights.dims]
    values = values_of(weights.transpose(*order))
    return values.reshape([weights.sizes.get(name, 1) for name in array.dims])


def values_of(array: Any) -> Any:
    """The values of a DataArray: a Dask array where it holds one, else NumPy's."""
    return array.data if is_lazy(array) else array.values


def like(array: Any, dims: Sequence[Any], values: NDArray[Any] | Any) -> Any:
    """An array of these values, along `dims`, with another's order of dimensions, coordinates, attributes and name.

    Its encoding is not kept: it says how other numbers are packed in a file.
    """
    module = sys.modules["xarray"]
    if isinstance(array, module.Variable):
        return module.Variable(dims, values, array.attrs).transpose(*array.dims)
    made = module.DataArray(values, dims=dims, coords=array.coords, attrs=array.attrs, name=array.name)
    return made.transpose(*array.dims)
