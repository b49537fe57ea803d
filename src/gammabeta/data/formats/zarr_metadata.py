"""The check of a Zarr array's metadata before Zarr opens it: codecs, dtype, sizes of chunks.

A store may come from anybody, and it is the store that says how its chunks are decoded: a codec's name in its metadata
makes Zarr load and run whatever is installed under that name. One of them, `pickle`, runs code that the chunk holds. So
numbers alone are read, by codecs that make numbers of bytes.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from math import prod
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from gammabeta.data.io.remote import Place, Remote
from gammabeta.errors import DataError, FileError, KindError

MARKS = ("zarr.json", ".zarray", ".zgroup")

# Of the formats 2 and 3 alike; format 3 writes "numcodecs.lz4" for what format 2 calls "lz4". Not among them are those
# that make Python objects (pickle, json2, msgpack2, categorize and all that begin with vlen-), and those of other
# packages, of which nobody knows what they do.
CODECS = frozenset(
    [
        *("bytes", "endian", "transpose", "sharding_indexed", "packbits", "base64"),
        *("astype", "cast_value", "delta", "fixedscaleoffset", "scale_offset", "quantize", "bitround", "shuffle"),
        *("blosc", "bz2", "gzip", "lz4", "lzma", "pcodec", "zfpy", "zlib", "zstd"),
        *("adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3"),
    ]
)
_LISTS = ("filters", "compressor", "codecs", "index_codecs")  # a text in these may be a codec's name
_SHAPES = ("chunks", "chunk_grid")
_TYPES = ("dtype", "data_type", "astype", "encode_dtype", "decode_dtype")

_REAL = re.compile(r"[<>|=]?[iuf]\d{1,2}|(u?int|b?float)\d{1,3}")

METADATA_BYTES = 16 << 20
CHUNK_BYTES = 512 << 20  # while a chunk is decoded there are several copies of it; Blosc's own limit is four times this
INNER_CHUNKS = 1 << 20  # of a shard: its index has 16 bytes for each of them, and Zarr visits them in Python
MEMBERS = 20  # of a group, to choose from

_NUMBER = re.compile(r"[<>|=]?[biufc](?P<bytes>\d{1,2})|(bool|(u?int|b?float|complex)(?P<bits>\d{1,3}))")


def check_place(path: Place, store: Any) -> None:
    """Refuse a store that is no array, or an array whose chunks must not be decoded.

    Args:
        path: the place.
        store: Zarr's store there, which is asked where the place is not on this machine.

    Raises:
        FileError: there are no metadata, or they are no JSON, or larger than 16 MiB.
        DataError: it is a group of arrays, or an array that `check` refuses.
        KindError: it is not of numbers.
    """
    for mark in MARKS:
        text = _text(path, store, mark)
        if text is not None:
            found = _document(text)
            if mark == ".zgroup" or found.get("node_type") == "group":
                raise DataError(
                    f"one array is needed, {str(path)!r} is a group of arrays{_members(path)}; add its name to the path"
                )
            return check(found, path)
    raise FileError(f"{str(path)!r} cannot be read as Zarr: there is none of {', '.join(MARKS)}")


def check(found: Mapping[str, Any], path: Place) -> None:
    """Refuse an array whose chunks must not be decoded, by its metadata.

    Raises:
        DataError: a codec is not known to make numbers of bytes, or a chunk or a shard is too large.
        KindError: the array is not of numbers.
    """
    decoding = _said(found, _LISTS)
    kinds = [kind for key, kind in (*_said(found, _TYPES), *decoding) if key in _TYPES and kind is not None]
    item = max([_item_bytes(kind, path) for kind in kinds], default=1)
    for key, name in decoding:
        if key in ("id", "name") or (key in _LISTS and isinstance(name, str)):
            _check_codec(name, path)
    shapes = [
        shape
        for key, shape in (*_said(found, _SHAPES), *decoding)
        if key in ("chunks", "chunk_shape") and shape is not None
    ]
    _check_chunks([_values(shape) for shape in shapes], item, path)


def _said(found: Mapping[str, Any], keys: Sequence[str]) -> list[tuple[str, Any]]:
    """All values in metadata under some keys, at any depth."""
    return [pair for key in keys for pair in _walk(key, found.get(key))]


def _walk(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Pairs of key and value, of a value and everything in it; items of a list, except numbers, have the list's key."""
    yield key, value
    if isinstance(value, list):
        for item in value:
            if not isinstance(item, int | float):
                yield from _walk(key, item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _walk(name, item)


def _check_codec(name: Any, path: Place) -> None:
    if not isinstance(name, str) or name.removeprefix("numcodecs.") not in CODECS:
        raise DataError(
            "the codecs of a Zarr array must be known to make numbers of bytes and to do nothing else, "
            f"{str(path)!r} names {_short(name)}; if you trust it, read it with Zarr and pass on what it holds, "
            "as an array or an iterable of arrays"
        )


def _item_bytes(kind: Any, path: Place) -> int:
    found = _NUMBER.fullmatch(kind) if isinstance(kind, str) else None
    if found is None:
        raise KindError(f"an array of real numbers is needed, {str(path)!r} is of {_short(kind)}")
    return int(found["bytes"] or 0) or int(found["bits"] or 8) // 8


def _values(shape: Any) -> int:
    """The number of values in a chunk of a shape, which may be a single number."""
    given = shape if isinstance(shape, list) else [shape]
    return prod(n for n in given if isinstance(n, int))


def _check_chunks(values: Sequence[int], item: int, path: Place) -> None:
    """Refuse chunks that are too large, and shards of too many. values: in a chunk, or in a shard and in its chunks."""
    decoded = values[:2][-1:]  # of a shard, the chunks in it are decoded each by itself
    if decoded and decoded[0] * item > CHUNK_BYTES:
        raise DataError(
            f"a chunk may have {CHUNK_BYTES >> 20} MiB, those of {str(path)!r} have {decoded[0]:,} values of {item} "
            "bytes; write it with smaller chunks"
        )
    for shard, chunk in pairwise(values):
        if shard > INNER_CHUNKS * chunk:
            raise DataError(
                f"a shard may have {INNER_CHUNKS:,} chunks, those of {str(path)!r} have {shard:,} values in chunks of "
                f"{chunk:,}; write it with smaller shards"
            )


def _document(text: bytes) -> Mapping[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"metadata must be a JSON object, got {_short(found)}")
    return found


def _text(path: Place, store: Any, name: str) -> bytes | None:
    """The bytes of a file in a store, None if there is none."""
    if isinstance(path, Remote):
        return _fetched(store, name)
    if path.suffix == ".zip":
        with ZipFile(path) as archive:
            if name not in archive.namelist():
                return None
            _check_size(archive.getinfo(name).file_size, name)
            return archive.read(name)
    if not (path / name).is_file():
        return None
    _check_size((path / name).stat().st_size, name)
    return (path / name).read_bytes()


def _fetched(store: Any, name: str) -> bytes | None:
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    found = sync(store.get(name, default_buffer_prototype()))
    return None if found is None else bytes(found.to_bytes())


def _check_size(size: int, name: str) -> None:
    if size > METADATA_BYTES:
        raise ValueError(f"metadata may have {METADATA_BYTES >> 20} MiB, {name} has {size / 2**20:,.0f}")


def _members(path: Place) -> str:
    """The arrays of a group and their shapes, as text for a message, where they can be read without Zarr."""
    if isinstance(path, Remote) or not path.is_dir():
        return ""
    found = list(islice(_arrays(path), MEMBERS + 1))
    more = ", …" if len(found) > MEMBERS else ""
    return f": {', '.join(found[:MEMBERS]) or 'none'}{more}"


def _arrays(group: Path) -> Iterator[str]:
    for member in sorted(group.iterdir()):
        for mark in ("zarr.json", ".zarray"):
            text = _text(member, None, mark) if member.suffix != ".zip" else None
            shape = _document(text).get("shape") if text is not None else None
            if isinstance(shape, list):
                yield f"{member.name!r} {_short(tuple(shape))}"
                break


def is_group(path: Path) -> bool:
    """Whether a folder is a Zarr group, by what is in it."""
    if (path / ".zgroup").is_file():
        return True
    text = _text(path, None, "zarr.json") if path.suffix != ".zip" else None
    return text is not None and _document(text).get("node_type") == "group"


def arrays_within(group: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The name of each array in a group and the groups in it, with "/" between, and its metadata; Zarr opens none."""
    for folder, inner, files in os.walk(group):
        inner.sort()
        found = _document(_text(Path(folder), None, mark) or b"{}") if (mark := _mark(files)) else {}
        if isinstance(found.get("shape"), list):
            inner.clear()  # of chunks
            attributes = _text(Path(folder), None, ".zattrs") if mark == ".zarray" else None
            found = found if attributes is None else {**found, "attributes": _document(attributes)}
            yield Path(folder).relative_to(group).as_posix(), found


def _mark(files: Sequence[str]) -> str | None:
    return next((mark for mark in ("zarr.json", ".zarray") if mark in files), None)


def unfit(name: str, found: Mapping[str, Any]) -> str:
    """Why an array of a group is not one to measure, by its metadata; "" if it is."""
    kind = found.get("data_type", found.get("dtype"))
    if not (isinstance(kind, str) and _REAL.fullmatch(kind)):
        return "not numeric"
    if not found["shape"]:
        return "a single number"
    attributes = found.get("attributes")
    dims = found.get("dimension_names") or (attributes or {}).get("_ARRAY_DIMENSIONS")
    return "a coordinate" if dims == [name.rpartition("/")[2]] else ""


def _short(value: Any) -> str:
    """The repr of a value, cut to 100 characters."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
