"""What a variable's attributes say of its numbers, by netCDF's conventions: missing values, scale and offset.

The stored ("packed") number p stands for p · scale_factor + add_offset, or for no value if it is `_FillValue` or one of
`missing_value`, or outside `valid_min` and `valid_max` (or `valid_range`). NetCDF writes these attributes, xarray in
Zarr too. The CF conventions, section 8.1: https://cfconventions.org/cf-conventions/cf-conventions.html#packed-data
"""

import base64
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.backends import masked
from gammabeta.data.io.remote import Place
from gammabeta.errors import DataError

_NAMES = (*masked.PACKED, "valid_range", "valid_min", "valid_max")


@dataclass(frozen=True)
class Decoding:
    """How stored numbers become values."""

    unsigned: bool
    missing: tuple[Any, ...]
    """Stored numbers that stand for no value, of the stored type."""
    low: float | None
    high: float | None
    scale: float
    offset: float

    def __call__(self, stored: NDArray[Any]) -> NDArray[Any]:
        """The values: masked where there are none, float64 where there is a scale or an offset."""
        if self.unsigned:
            stored = stored.view(np.dtype(f"{stored.dtype.byteorder}u{stored.dtype.itemsize}"))
        hidden = np.zeros(stored.shape, bool)
        for value in self.missing:
            hidden |= stored == value
        with np.errstate(invalid="ignore"):
            if self.low is not None:
                hidden |= stored < self.low
            if self.high is not None:
                hidden |= stored > self.high
        values = stored
        if (self.scale, self.offset) != (1.0, 0.0):
            values = stored.astype(np.float64) * self.scale + self.offset
        return np.ma.array(values, mask=hidden, copy=False)


def decoding(attributes: Mapping[str, Any], dtype: np.dtype[Any], path: Place) -> Decoding | None:
    """What a variable's attributes say; None if they say nothing of its numbers.

    Raises:
        DataError: an attribute is no number.

    >>> from pathlib import Path
    >>> decode = decoding({"scale_factor": 0.5, "_FillValue": -1}, np.dtype("i2"), Path("x.nc"))
    >>> decode(np.array([4, -1], np.int16)).tolist()
    [2.0, None]
    """
    said = {name: attributes[name] for name in _NAMES if name in attributes and attributes[name] is not None}
    unsigned = dtype.kind == "i" and str(_text(attributes.get("_Unsigned", ""))).lower() == "true"
    if dtype.kind not in "iuf" or not (said or unsigned):
        return None
    stored = np.dtype(f"u{dtype.itemsize}") if unsigned else dtype.newbyteorder("=")

    def numbers(name: str) -> NDArray[Any]:
        return _numbers(name, said[name], path) if name in said else np.empty(0)

    missing = [found for name in _NAMES[:2] for found in _stored(numbers(name), stored)]
    bounds = numbers("valid_range")
    low, high = (bounds[0], bounds[1]) if bounds.size == 2 else (None, None)
    low, high = (_one(numbers(name), other) for name, other in (("valid_min", low), ("valid_max", high)))
    scale, offset = _one(numbers("scale_factor"), 1.0), _one(numbers("add_offset"), 0.0)
    found = Decoding(unsigned, tuple(missing), low, high, float(scale), float(offset))
    return found if unsigned or found != Decoding(False, (), None, None, 1.0, 0.0) else None


def _one(found: NDArray[Any], other: Any) -> Any:
    return found[0] if found.size else other


def _text(value: Any) -> Any:
    value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _numbers(name: str, value: Any, path: Place) -> NDArray[Any]:
    """An attribute as numbers, which Zarr's JSON may hold as text: "NaN", or xarray's eight bytes in base 64."""
    value = _text(value)
    if isinstance(value, str):
        with suppress(ValueError, struct.error):
            return np.array(struct.unpack("<d", base64.b64decode(value, validate=True)))
    try:
        found = np.atleast_1d(np.asarray(value))
        return found if found.dtype.kind in "iuf" else found.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"attribute {name} of {str(path)!r} must be a number, got {value!r}; correct it, or read what is stored "
            "as it is with decode=False"
        ) from None


def _stored(values: NDArray[Any], dtype: np.dtype[Any]) -> list[Any]:
    """Values as the stored type has them, without NaN and those that it cannot hold."""
    found = []
    for value in values:
        if dtype.kind == "f":
            with np.errstate(over="ignore"):
                number = dtype.type(value)
            found += [] if np.isnan(number) else [number]
        elif value == np.floor(value):
            whole, size = int(value), np.iinfo(dtype)
            whole += 2 ** (8 * dtype.itemsize) if dtype.kind == "u" and whole < 0 else 0
            found += [dtype.type(whole)] if size.min <= whole <= size.max else []
    return found
