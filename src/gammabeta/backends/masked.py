"""Masked arrays: what NumPy's `ma` hides is a missing value, and comes back masked.

netCDF4 and rasterio give all their data so. `np.asarray` drops the mask and shows what lies beneath it, a fill value
such as 1e20, so whatever takes arrays asks here first. A mask that NumPy has (True where there is no value) is the
inverse of the masks of layers (True where a value counts).
"""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.errors import DataError

Array = NDArray[Any]

PACKED = ("_FillValue", "missing_value", "scale_factor", "add_offset")
"""netCDF's attributes by which stored numbers stand for others, or for none."""

_EXACT = 2**53  # integers up to here are float64 exactly


def is_masked(x: Any) -> bool:
    """Whether x is a NumPy array with a mask, be it one that hides nothing."""
    return isinstance(x, np.ma.MaskedArray)


def read(x: Any) -> Any:
    """x, with its mask where one would be lost: netCDF4's variables and lists of masked arrays become masked arrays.

    Raises:
        DataError: x is an array of Zarr's or HDF5's whose attributes say that its numbers stand for others.

    >>> read([np.ma.array([1.0, 2.0], mask=[False, True])]).tolist()
    [[1.0, None]]
    """
    if isinstance(x, np.ndarray):
        return x
    if isinstance(x, list | tuple):
        return np.ma.array(x) if any(map(is_masked, x)) else x
    variable = getattr(sys.modules.get("netCDF4"), "Variable", None)
    if variable is not None and isinstance(x, variable):
        return x[...]
    attributes = getattr(x, "attrs", None) if hasattr(x, "dtype") and hasattr(x, "shape") else None
    if isinstance(attributes, Mapping):
        packed = [name for name in PACKED if _says(attributes.get(name))]
        if packed:
            raise DataError(
                f"values must be read as their attributes say, and {type(x).__name__} has {', '.join(packed)}: "
                "gammabeta.data.moments reads Zarr and HDF5 so, xarray.decode_cf xarray's; numpy.asarray(x) is what is "
                "stored"
            )
    return x


def _says(attribute: Any) -> bool:
    """Whether an attribute changes what numbers mean: a fill value of NaN does not."""
    return attribute is not None and not (np.size(attribute) == 1 and np.any(attribute != attribute))


def refuse(name: str, value: Any) -> None:
    """Raise `DataError` if a parameter of features, such as γ or a mean, has masked entries: none can be left out."""
    if is_masked(value) and (hidden := int(np.count_nonzero(mask_of(value)))):
        raise DataError(f"{name} must have a value for every feature, got a masked array that hides {hidden}; fill it")


def mask_of(x: Any) -> NDArray[np.bool_]:
    """True where a masked array has no value, of its full shape."""
    return np.ma.getmaskarray(x)


def filled(x: Any) -> Any:
    """A masked array with NaN where there is no value: a copy, float64 of integers; what is not masked stays itself.

    >>> filled(np.ma.array([1, 2], mask=[False, True]))
    array([ 1., nan])
    """
    if not is_masked(x):
        return x
    floating = x.dtype.kind == "f" or x.dtype.name == "bfloat16"
    if not floating and x.dtype.kind not in "biu":
        return x.data  # no number: what takes it says so
    values = np.array(x.data, dtype=None if floating else np.float64, subok=False)
    values[mask_of(x)] = np.nan
    return values


def is_exact(x: Any) -> bool:
    """Whether `filled` changes no value of x: integers of more than 53 bits are rounded to float64."""
    if x.dtype.kind not in "iu" or x.dtype.itemsize < 8:
        return True
    present = x.compressed()
    return not present.size or (int(present.min()) >= -_EXACT and int(present.max()) <= _EXACT)


def split(x: Any) -> tuple[Any, Array | None]:
    """The values beneath a mask, and True where a value counts; x itself and None where nothing is masked."""
    return (x.data, ~mask_of(x)) if is_masked(x) else (x, None)


def like(x: Any, result: Any) -> Any:
    """A result of x's shape, masked where x is; as it is where x has no mask."""
    return np.ma.array(result, mask=mask_of(x).copy(), copy=False) if is_masked(x) else result
