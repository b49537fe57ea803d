"""Source of Zarr arrays, whose chunks are files or objects in a folder, a zip file or at an address."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gammabeta.data.core.source import Column
from gammabeta.data.formats.array import dtype_of
from gammabeta.data.formats.cf import decoding
from gammabeta.data.formats.sliced_array import GridSource, corners
from gammabeta.data.formats.zarr_metadata import MARKS, arrays_within, check, check_place, is_group, unfit
from gammabeta.data.io.paths import reason
from gammabeta.data.io.remote import Place, Remote, located
from gammabeta.errors import DataError, FileError, GammabetaError, KindError

if TYPE_CHECKING:
    from zarr import Array

Missing = Literal["raise", "fill"]

# What may stand for the fill value: so much for each chunk that is stored, and a little where none is. A few bytes of
# metadata can claim any number of chunks, and to read one that is not there takes Zarr half a millisecond.
FILLED = 1_000
FILLED_CHUNKS = 1_000
FILLED_VALUES = 1 << 21


def zarr(store: "str | Path | Array[Any]", *, missing_chunks: Missing = "raise", decode: bool = True) -> "ZarrSource":
    """A Zarr array, by its folder, its address or itself, to be measured or scanned chunk by chunk.

    Args:
        store: where it is, perhaps within a group: "store.zarr::/temperature"; or a `zarr.Array`.
        missing_chunks: Zarr writes no chunk that holds nothing but the fill value, and a copy that broke off lacks
            chunks too: nothing tells one from the other. "raise" refuses chunks that are not in the store, unless the
            fill value is NaN, which is left out anyway; "fill" counts them as the fill value.
        decode: read values as the array's attributes say, by netCDF's conventions: `scale_factor`, `add_offset`,
            `_FillValue`, `missing_value`, `valid_range`. With False the numbers that are stored are the values.

    Raises:
        FileError: there is no Zarr array, or it cannot be read.
        DataError: it is a group of arrays, or chunks are missing.
        KindError: it is neither a place nor an array.

    >>> import tempfile, numpy as np, zarr as store, gammabeta as gb
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     a = store.create_array(f"{folder}/a.zarr", shape=(4, 3), chunks=(2, 3), dtype="f4", fill_value=0)
    ...     a[:2] = 1
    ...     gb.data.moments(zarr(a, missing_chunks="fill")).mean
    array([0.5, 0.5, 0.5])
    """
    if missing_chunks not in ("raise", "fill"):
        raise DataError(f"missing_chunks must be raise or fill, got {missing_chunks!r}")
    fill = missing_chunks == "fill"
    if is_zarr(store):
        return ZarrSource(store, _name(store), fill, decode)
    if not isinstance(store, str | Path):
        raise KindError(f"a Zarr array is needed, or the place of one, got {type(store).__name__}")
    return zarr_at(within_store(located(store)), fill, decode)


def zarr_at(path: Place, fill: bool = False, decode: bool = True) -> "ZarrSource":
    """The Zarr array at a path or address, opened and checked."""
    return ZarrSource(array_at(path), path, fill, decode)


def is_zarr(x: Any) -> bool:
    """Whether x is a Zarr array."""
    kind = getattr(sys.modules.get("zarr"), "Array", None)
    return kind is not None and isinstance(x, kind)


def is_store(path: Place) -> bool:
    """Whether a place is a Zarr array or group: by its name, or a folder by what is in it."""
    if isinstance(path, Remote):
        return any(part.endswith(".zarr") for part in path.parts)
    return path.name.endswith((".zarr", ".zarr.zip")) or any((path / mark).is_file() for mark in MARKS)


def within_store(path: Place) -> Place:
    """A place "store.zarr::/group/name" as the folder of that array; others as they are."""
    store, found, name = str(path).partition("::")
    if not found or isinstance(path, Remote) or not is_store(Path(store)):
        return path
    return Path(store) / name.strip("/")


def group_of(x: Any) -> Path | None:
    """The folder of a Zarr group, given by its place or as an open group; None if x is none, or is elsewhere."""
    kind = getattr(sys.modules.get("zarr"), "Group", None)
    if kind is not None and isinstance(x, kind):
        place: Any = _name(x)
    elif isinstance(x, str | Path):
        place = within_store(located(x))
    else:
        return None
    if not (isinstance(place, Path) and place.is_dir() and is_store(place)):
        return None
    with _reading(place):
        return place if is_group(place) else None


def sources_of_group(group: Path) -> tuple[dict[str, "ZarrSource"], tuple[Column, ...]]:
    """Each array of real numbers in a group and the groups in it, by name; and the others, with the reason.

    Raises:
        FileError, DataError: an array that cannot be read; or there is none to measure.
    """
    with _reading(group):
        arrays = dict(arrays_within(group))
    reasons = {name: unfit(name, found) for name, found in arrays.items()}
    left_out = tuple(
        Column(name, str(found.get("data_type", found.get("dtype"))), reasons[name])
        for name, found in arrays.items()
        if reasons[name]
    )
    sources = {name: zarr_at(group / name) for name in arrays if not reasons[name]}
    if not sources:
        shown = "; ".join(f"{column.name!r}: {column.skip_reason}" for column in left_out) or "there are none"
        raise DataError(f"a group must hold an array to measure, {str(group)!r} does not: {shown}")
    return sources, left_out


def array_at(path: Place) -> Any:
    """The Zarr array at a path or address, opened and checked.

    Raises:
        FileError: there is none, or Zarr is not installed.
        DataError: there is a group of arrays.
    """
    try:
        import zarr
    except ImportError:
        raise FileError(f"{str(path)!r} is read with Zarr: pip install 'gammabeta[zarr]'") from None
    with _reading(path):
        store = _store(path, zarr.storage)
        check_place(path, store)
        return zarr.open_array(store, mode="r")


def _store(path: Place, storage: Any) -> Any:
    if isinstance(path, Remote):
        return storage.FsspecStore.from_url(path.address, read_only=True)
    return storage.ZipStore(path, mode="r") if path.suffix == ".zip" else storage.LocalStore(path, read_only=True)


@contextmanager
def _reading(path: Place, where: str = "") -> Iterator[None]:
    """Turn what each store, each codec, fsspec and JSON raise into one error that names the place."""
    try:
        yield
    except GammabetaError:
        raise
    except Exception as error:
        raise FileError(f"{str(path)!r} cannot be read as Zarr{where}: {reason(error)}") from error


class ZarrSource(GridSource):
    """A Zarr array. A chunk is decoded once for each pass, by Zarr's own threads."""

    def __init__(self, array: Any, path: Place, fill: bool, decode: bool) -> None:
        check(_metadata(array), path)
        super().__init__(array, path, _cell(array), np.dtype(array.dtype))
        self._decode = decoding(_attributes(array), self.dtype, path) if decode else None
        self._fill = fill or _is_nan(array.fill_value) or self._is_missing(array.fill_value)
        _check_stored(array, path, self._fill)  # before anything is made as large as the array says it is
        self._is_fresh = True
        if self._decode is not None:
            self.dtype = dtype_of(self._decode(np.zeros(1, self.dtype)))

    def _boxes(self, box: tuple[int, ...]) -> Any:
        if not self._is_fresh:
            _check_stored(self._array, self.path, self._fill)
        self._is_fresh = False
        return super()._boxes(box)

    def _read(self, at: tuple[slice, ...]) -> Any:
        with _reading(self.path, f" near {tuple(part.start for part in at)}"):
            values = super()._read(at)
        return values if self._decode is None else self._decode(values)

    def _is_missing(self, value: Any) -> bool:
        """Whether the fill value stands for no value."""
        return bool(self._decode and np.ma.getmaskarray(self._decode(np.array([value], self.dtype))).all())


def _name(array: Any) -> Path:
    """The path or address of an array, without the file:// of local stores."""
    address = str(array.store_path).rstrip("/")
    return Path(address.removeprefix("file://")) if address.startswith("file://") else Path(address)


def _cell(array: Any) -> Sequence[int] | None:
    try:
        return tuple(array.chunks)
    except NotImplementedError:  # chunks of many sizes
        return None


def _attributes(array: Any) -> dict[str, Any]:
    """An array's attributes; xarray writes format 2's `_FillValue` as Zarr's fill value, beside its own mark."""
    found = dict(array.attrs)
    if array.metadata.zarr_format == 2 and "_ARRAY_DIMENSIONS" in found and array.fill_value is not None:
        found.setdefault("_FillValue", array.fill_value)
    return found


def _is_nan(value: Any) -> bool:
    return bool(value is not None and np.asarray(value).dtype.kind == "f" and np.isnan(value))


def _metadata(array: Any) -> dict[str, Any]:
    """The metadata of an open array, read anew from its store: it may have changed since."""
    from zarr.core.buffer import default_buffer_prototype

    texts = array.metadata.to_buffer_dict(default_buffer_prototype())
    found: dict[str, Any] = json.loads(next(texts[mark] for mark in MARKS if mark in texts).to_bytes())
    return found


def _check_stored(array: Any, path: Place, fill: bool) -> None:
    """Refuse an array of which the store lacks chunks, or shards, that do not stand for the fill value, or too many.

    Stores that cannot list their keys are believed.
    """
    store = array.store_path.store
    cell = array.shards or _cell(array)
    if not store.supports_listing or cell is None:
        return
    counts = [-(-n // max(step, 1)) for n, step in zip(array.shape, cell, strict=True)]
    there = _stored(array, counts)
    lacking = prod(counts) - len(there)
    if lacking and not fill:
        first = next(key for key in map(array.metadata.encode_chunk_key, corners(counts)) if key not in there)
        raise DataError(
            f"every chunk must be in the store, {str(path)!r} lacks {lacking:,} of {prod(counts):,}, the first "
            f"{first!r}; if they hold nothing but the fill value {array.fill_value}, which Zarr does not write: "
            "gammabeta.data.zarr(store, missing_chunks='fill'), else copy them again"
        )
    values = prod(max(n, 1) for n in array.shape)  # an axis of no length leaves as many features as the others say
    present = f"{len(there):,} of {prod(counts):,} chunks"
    if lacking > FILLED_CHUNKS + FILLED * len(there) or values > FILLED_VALUES + FILLED * len(there) * prod(cell):
        raise DataError(
            f"for each chunk in the store {FILLED:,} may stand for the fill value, {str(path)!r} is of {array.shape} "
            f"and has {present}; copy the others again, or measure the part that is there"
        )


def _stored(array: Any, counts: Sequence[int]) -> set[str]:
    """The keys of those chunks of an array that its store has."""
    from zarr.core.sync import sync

    prefix = array.store_path.path
    listed = sync(_listed(array.store_path.store, prefix))
    keys = (key.removeprefix(f"{prefix}/") if prefix else key for key in listed)
    return {key for key in keys if _is_chunk(key, counts, array.metadata.encode_chunk_key)}


def _is_chunk(key: str, counts: Sequence[int], encode: Callable[[tuple[int, ...]], str]) -> bool:
    at = tuple(map(int, re.findall(r"[0-9]{1,19}", key)))
    at = at if counts else ()  # of no axes: the one chunk is called c, or 0
    return len(at) == len(counts) and all(i < n for i, n in zip(at, counts, strict=True)) and encode(at) == key


async def _listed(store: Any, prefix: str) -> list[str]:
    return [key async for key in store.list_prefix(f"{prefix}/" if prefix else "")]
