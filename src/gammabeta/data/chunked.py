"""Zarr: arrays in chunks, each a file or an object of its own, in a folder, a zip file or at an address."""

import sys
from collections.abc import Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gammabeta.data.grid import GridSource
from gammabeta.data.remote import Place, Remote, located
from gammabeta.errors import DataError, FileError, KindError

if TYPE_CHECKING:
    from zarr import Array

MARKS = ("zarr.json", ".zarray", ".zgroup")

Missing = Literal["raise", "fill"]


def zarr(store: "str | Path | Array[Any]", *, missing_chunks: Missing = "raise") -> "ZarrSource":
    """A Zarr array, by its folder, its address or itself, to be measured or scanned chunk by chunk.

    Args:
        store: where it is, perhaps within a group: "store.zarr/temperature"; or a `zarr.Array`.
        missing_chunks: Zarr writes no chunk that holds nothing but the fill value, and a copy that broke off lacks
            chunks too: nothing tells one from the other. "raise" refuses chunks that are not in the store, unless the
            fill value is NaN, which is left out anyway; "fill" counts them as the fill value.

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
        return ZarrSource(store, _name(store), fill)
    if not isinstance(store, str | Path):
        raise KindError(f"a Zarr array is needed, or the place of one, got {type(store).__name__}")
    return zarr_at(located(store), fill)


def zarr_at(path: Place, fill: bool = False) -> "ZarrSource":
    """The Zarr array at a place."""
    return ZarrSource(opened_array(path), path, fill)


def is_zarr(x: Any) -> bool:
    """Whether x is a Zarr array."""
    kind = getattr(sys.modules.get("zarr"), "Array", None)
    return kind is not None and isinstance(x, kind)


def is_store(path: Place) -> bool:
    """Whether a place is a Zarr array or group: by its name, or a folder by what is in it."""
    if isinstance(path, Remote):
        return any(part.endswith(".zarr") for part in path.parts)
    return path.name.endswith((".zarr", ".zarr.zip")) or any((path / mark).is_file() for mark in MARKS)


def opened_array(path: Place) -> Any:
    """The Zarr array at a place.

    Raises:
        FileError: there is none, or Zarr is not installed.
        DataError: there is a group of arrays.
    """
    try:
        import zarr
    except ImportError:
        raise FileError(f"{str(path)!r} is read with Zarr: pip install 'gammabeta[zarr]'") from None
    try:
        store: Any = path.address if isinstance(path, Remote) else path
        found = zarr.open(zarr.storage.ZipStore(store, mode="r") if path.suffix == ".zip" else store, mode="r")
    except Exception as error:  # those of the store, of fsspec and of JSON
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FileError(f"{str(path)!r} cannot be read as Zarr: {said}") from error
    if isinstance(found, zarr.Group):
        arrays = ", ".join(f"{name!r} {array.shape}" for name, array in sorted(found.arrays())) or "none"
        raise DataError(f"one array is needed, {str(path)!r} is a group of arrays: {arrays}; add its name to the path")
    return found


class ZarrSource(GridSource):
    """A Zarr array. A chunk is decoded once for each pass, by Zarr's own threads."""

    def __init__(self, array: Any, path: Place, fill: bool) -> None:
        super().__init__(array, path, _cell(array))
        self._fill = fill

    def _boxes(self, box: tuple[int, ...]) -> Any:
        if not self._fill and not _is_nan(self._array.fill_value):
            _refuse_missing(self._array, self.path)
        return super()._boxes(box)

    def _read(self, at: tuple[slice, ...]) -> Any:
        try:
            return super()._read(at)
        except Exception as error:  # each codec and each store has errors of its own
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            first = tuple(part.start for part in at)
            raise FileError(f"{str(self.path)!r} cannot be read as Zarr near {first}: {said}") from error


def _name(array: Any) -> Path:
    """Where an array is, as people write it: a store calls itself file:///…"""
    told = str(array.store_path).rstrip("/")
    return Path(told.removeprefix("file://")) if told.startswith("file://") else Path(told)


def _cell(array: Any) -> Sequence[int] | None:
    try:
        return tuple(array.chunks)
    except NotImplementedError:  # chunks of many sizes
        return None


def _is_nan(value: Any) -> bool:
    return bool(value is not None and np.asarray(value).dtype.kind == "f" and np.isnan(value))


def _refuse_missing(array: Any, path: Place) -> None:
    """Refuse an array of which the store lacks a chunk, or a shard. Stores that cannot list their keys are believed."""
    store = array.store_path.store
    cell = array.shards or _cell(array)
    if not store.supports_listing or cell is None:
        return
    from zarr.core.sync import sync

    prefix = array.store_path.path
    there = sync(_listed(store, prefix))
    counts = [-(-n // step) for n, step in zip(array.shape, cell, strict=True)]
    keys = (array.metadata.encode_chunk_key(at) for at in product(*map(range, counts)))
    missing = [key for key in keys if (f"{prefix}/{key}" if prefix else key) not in there]
    if missing:
        raise DataError(
            f"every chunk must be in the store, {str(path)!r} lacks {len(missing):,} of {prod(counts):,}, the first "
            f"{missing[0]!r}; if they hold nothing but the fill value {array.fill_value}, which Zarr does not write: "
            "gammabeta.data.zarr(store, missing_chunks='fill'), else copy them again"
        )


async def _listed(store: Any, prefix: str) -> set[str]:
    return {key async for key in store.list_prefix(f"{prefix}/" if prefix else "")}
