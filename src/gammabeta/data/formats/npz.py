"""Source of `.npz` files: one of its arrays, or several of equal length as one table."""

from collections.abc import Iterator, Sequence
from itertools import chain
from math import prod
from pathlib import Path

import pyarrow as pa

from gammabeta.data.core.source import CHUNK_BYTES, Column, Source, TableChunk
from gammabeta.data.core.statistics import listed
from gammabeta.data.formats.array import BlockChunk
from gammabeta.data.formats.npy import FEATURES, FEATURES_OF_NOTHING, NpySource
from gammabeta.data.formats.table import unique
from gammabeta.data.formats.zip_member import Member, members
from gammabeta.data.io.paths import existing, state_of
from gammabeta.data.io.remote import Place, located
from gammabeta.errors import DataError, KindError


def npz(path: str | Path, name: str) -> NpySource:
    """One array of a `.npz` file, to be measured or scanned. What is not compressed is read where it lies.

    Raises:
        FileError: the file cannot be read.
        DataError: there is no such array.
        KindError: it is not of numbers.

    >>> import tempfile, numpy as np, gammabeta as gb
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/digits.npz", x=np.arange(12.0).reshape(3, 2, 2), y=np.array([7, 1, 4]))
    ...     gb.data.moments(npz(f"{folder}/digits.npz", "x"), axis=(0, 2)).mean
    array([4.5, 6.5])
    """
    place = existing(located(path))
    state, known = state_of(place), members(place)
    for member in known:
        if member.filename == f"{name}.npy":
            found = NpySource(place, member)
            found.state = state
            return found
    raise DataError(f"there is no array {name!r} in {str(place)!r}; it has {_names_of(known)}")


def npz_at(path: Place) -> Source:
    """The file's only array of numbers, or a table of several that have as many rows.

    Raises:
        DataError: there is no such array, or they differ in length.
    """
    known = members(path)
    arrays = list(chain.from_iterable(_numeric(path, member) for member in known))
    if not arrays:
        raise DataError(f"at least one array of numbers is needed, {str(path)!r} has {_names_of(known)}")
    return arrays[0] if len(arrays) == 1 else NpzSource(path, arrays)


def _numeric(path: Place, member: Member) -> Iterator[NpySource]:
    """Yield the source of a member, if it is an array of numbers: not text, Python objects or a single number."""
    try:
        found = NpySource(path, member)
    except (KindError, DataError):
        return
    yield found


def _names_of(found: Sequence[Member]) -> str:
    return listed([member.filename.removesuffix(".npy") for member in found]) or "none"


class NpzSource(Source):
    """Arrays with as many rows as a table: the columns of `x`, if it has two axes, are called "x,0" and "x,1"."""

    def __init__(self, path: Place, arrays: Sequence[NpySource]) -> None:
        self.path, self._arrays = path, arrays
        lengths = {array.shape[0] for array in arrays}
        if len(lengths) > 1:
            shapes = ", ".join(f"{array.label} {array.shape}" for array in arrays)
            raise DataError(
                f"arrays must be of one length to be columns, {str(path)!r} has {shapes}; "
                f"choose one: gammabeta.data.npz({str(path)!r}, {arrays[0].label!r})"
            )
        count, limit = (
            sum(prod(array.features) for array in arrays),
            FEATURES if lengths != {0} else FEATURES_OF_NOTHING,
        )
        if count > limit:
            raise DataError(f"at most {limit:,} columns can be measured, the arrays of {str(path)!r} have {count:,}")
        self.rows, self.size = arrays[0].shape[0], sum(array.size for array in arrays)
        self.schema = pa.schema([field for array in arrays for field in array.schema])
        unique(self.schema.names, path)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every place in every array, in the file's order."""
        return tuple(column for array in self._arrays for column in array.columns)

    def chunks(self, names: Sequence[str] | None = None) -> Iterator[TableChunk]:
        """The rows in order, some columns or all; a new pass at each call."""
        chosen = None if names is None else set(names)
        arrays = [array for array in self._arrays if chosen is None or chosen & set(array.names)]
        step = max(1, CHUNK_BYTES // sum(array.row_bytes for array in arrays))
        start = 0
        for slabs in zip(*(array.slabs(step) for array in arrays), strict=True):
            parts = [BlockChunk(s, array.place, start, 0).batch for array, s in zip(arrays, slabs, strict=True)]
            fields = [name for part in parts for name in part.schema.names]
            batch = pa.RecordBatch.from_arrays([column for part in parts for column in part.columns], names=fields)
            rows = len(slabs[0])
            start += rows
            done = self.size * start // max(self.rows or 0, 1)
            yield TableChunk(batch if names is None else batch.select(list(names)), start - rows, done)
