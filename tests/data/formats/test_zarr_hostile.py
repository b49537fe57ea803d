"""Zarr from anybody: nothing that it holds is run, and a few bytes cannot ask for hours or gigabytes."""

import json
import os
import pickle
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from gammabeta import Moments, data
from gammabeta.cli import main
from gammabeta.data.formats import zarr_metadata
from gammabeta.errors import DataError, FileError, GammabetaError, KindError

SECONDS = 5.0
BYTES = [{"name": "bytes", "configuration": {"endian": "little"}}]


class Runs:
    """What makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.file),)


def format_2(place: Path, **said: Any) -> Path:
    """An array whose one chunk is a pickle."""
    usual = {"zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "<f8", "fill_value": 0.0}
    place.mkdir()
    text = json.dumps({**usual, "order": "C", "filters": None, "compressor": None, **said})
    (place / ".zarray").write_text(text)
    (place / "0").write_bytes(pickle.dumps(Runs(place / "ran")))
    return place


def format_3(place: Path, chunk: list[int] = [4], **said: Any) -> Path:  # noqa: B006
    grid = {"name": "regular", "configuration": {"chunk_shape": chunk}}
    keys = {"name": "default", "configuration": {"separator": "/"}}
    usual = {"zarr_format": 3, "node_type": "array", "shape": [4], "data_type": "float64", "chunk_grid": grid}
    (place / "c").mkdir(parents=True)
    text = json.dumps(
        {**usual, "chunk_key_encoding": keys, "fill_value": 0.0, "codecs": BYTES, "attributes": {}, **said}
    )
    (place / "zarr.json").write_text(text)
    (place / "c" / "0").write_bytes(pickle.dumps(Runs(place / "ran")))
    return place


def sharded(chunk: list[int], codecs: Any = BYTES, index: Any = BYTES) -> list[dict[str, Any]]:
    inner = {"chunk_shape": chunk, "codecs": codecs, "index_codecs": index}
    return [{"name": "sharding_indexed", "configuration": inner}]


PICKLE_2 = {
    "a filter": {"filters": [{"id": "pickle"}]},
    "the second filter": {"filters": [{"id": "shuffle", "elementsize": 8}, {"id": "pickle"}]},
    "the compressor": {"compressor": {"id": "pickle"}},
    "within another": {"compressor": {"id": "zlib", "level": 1, "inner": {"id": "pickle"}}},
    "json": {"filters": [{"id": "json2"}]},
    "msgpack": {"filters": [{"id": "msgpack2"}]},
    "categories": {"filters": [{"id": "categorize", "labels": ["a"], "dtype": "<f8", "astype": "u1"}]},
    "text": {"filters": [{"id": "vlen-utf8"}]},
    "of another package": {"compressor": {"id": "somebodys_codec"}},
    "no name": {"compressor": {"id": ["pickle"]}},
}
PICKLE_3 = {
    "a codec": [*BYTES, {"name": "numcodecs.pickle", "configuration": {}}],
    "a name alone": [*BYTES, "pickle"],
    "by an id": [*BYTES, {"name": "numcodecs.zlib", "configuration": {"id": "pickle"}}],
    "in a shard": sharded([2], [*BYTES, {"name": "numcodecs.pickle"}]),
    "in a shard's index": sharded([2], BYTES, [*BYTES, "pickle"]),
    "in a shard in a shard": sharded([2], sharded([1], ["pickle"])),
    "text": [{"name": "vlen-utf8"}],
}


def refuses(place: Path) -> None:
    """Refused for its codec, by path and by a group's member, and nothing ran."""
    with pytest.raises(
        DataError, match="codecs of a Zarr array must be known to make numbers of bytes and to do nothing"
    ):
        data.measure(place)
    assert not (place / "ran").exists()


@pytest.mark.parametrize("said", PICKLE_2.values(), ids=PICKLE_2)
def test_a_codec_that_makes_objects_is_refused_in_format_2(tmp_path, said):
    refuses(format_2(tmp_path / "x.zarr", **said))


@pytest.mark.parametrize("codecs", PICKLE_3.values(), ids=PICKLE_3)
def test_a_codec_that_makes_objects_is_refused_in_format_3(tmp_path, codecs):
    refuses(format_3(tmp_path / "x.zarr", codecs=codecs))


def test_in_groups_and_consolidated_metadata_too(tmp_path):
    """Of a group no member is opened, and what it says of its members is not asked."""
    group = tmp_path / "g.zarr"
    group.mkdir()
    (group / ".zgroup").write_text('{"zarr_format": 2}')
    member = format_2(group / "t", filters=[{"id": "pickle"}])
    array = json.loads((member / ".zarray").read_text())
    harmless = {"metadata": {".zgroup": {"zarr_format": 2}, "t/.zarray": {**array, "filters": None}}}
    (group / ".zmetadata").write_text(json.dumps({"zarr_consolidated_format": 1, **harmless}))
    refuses(member)
    with pytest.raises(DataError, match=r"is a group of arrays: 't' \(4,\); add its name to the path"):
        data.measure(group)
    assert not (member / "ran").exists()


def test_the_command_says_so_in_one_line(tmp_path, capsys):
    place = format_2(tmp_path / "x.zarr", filters=[{"id": "pickle"}])
    assert main(["stats", str(place)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "'pickle'" in err
    assert not (place / "ran").exists()


def test_an_array_that_was_opened_elsewhere_is_checked_too(tmp_path, monkeypatch):
    """As where the metadata were changed after they had been read."""
    place = format_2(tmp_path / "x.zarr", filters=[{"id": "crc32"}])
    opened = zarr.open_array(place, mode="r")
    monkeypatch.setattr(zarr_metadata, "CODECS", zarr_metadata.CODECS - {"crc32"})
    for source in (opened, place):
        with pytest.raises(DataError, match="names 'crc32'"):
            data.measure(source)


@pytest.mark.parametrize("dtype", ["|O", "<U100000000", "|S9", "<M8[ns]", [["a", "<f8"]], "f8,f8", 5])
def test_what_is_no_number_is_refused(tmp_path, dtype):
    with pytest.raises(KindError, match="an array of real numbers is needed, "):
        data.measure(format_2(tmp_path / "x.zarr", dtype=dtype))
    if dtype != 5:
        with pytest.raises(KindError, match="an array of real numbers is needed, "):
            data.measure(format_2(tmp_path / "y.zarr", filters=[{"id": "astype", "encode_dtype": dtype}]))


@pytest.mark.parametrize(
    "kind", [{"name": "fixed_length_utf32", "configuration": {"length_bytes": 4 * 10**9}}, "string", "r16"]
)
def test_what_is_no_number_is_refused_in_format_3(tmp_path, kind):
    with pytest.raises(KindError, match="an array of real numbers is needed, "):
        data.measure(format_3(tmp_path / "x.zarr", data_type=kind))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("codec", ["blosc", "zstd", "gzip", "none"])
def test_codecs_of_numbers_are_read(tmp_path, version, codec):
    import numcodecs

    theirs = {
        (2, "blosc"): numcodecs.Blosc(),
        (2, "zstd"): numcodecs.Zstd(),
        (2, "gzip"): numcodecs.GZip(),
        (3, "blosc"): zarr.codecs.BloscCodec(),
        (3, "zstd"): zarr.codecs.ZstdCodec(),
        (3, "gzip"): zarr.codecs.GzipCodec(),
    }
    filters = [numcodecs.Delta("<f8"), numcodecs.Shuffle(8)] if version == 2 else "auto"
    x = np.arange(12.0)
    stored = zarr.create_array(
        tmp_path / "x.zarr", shape=x.shape, chunks=(5,), dtype="f8", zarr_format=version, filters=filters,
        compressors=theirs.get((version, codec)),
    )  # fmt: skip
    stored[...] = x
    assert data.moments(tmp_path / "x.zarr") == data.moments(stored) == Moments.of(x)


SIZES = {
    "a billion chunks": ({"shape": [10**9], "chunks": [1]}, "lacks 999,999,999 of 1,000,000,000, the first '1'"),
    "a billion of NaN": ({"shape": [10**9], "chunks": [1], "fill_value": "NaN"}, "has 1 of 1,000,000,000 chunks"),
    "40 axes": ({"shape": [2] * 40, "chunks": [1] * 40}, "lacks 1,099,511,627,776 of 1,099,511,627,776"),
    "40 axes of NaN": ({"shape": [2] * 40, "chunks": [1] * 40, "fill_value": "NaN"}, "has 0 of 1,099,511,627,776"),
    "a chunk of 40 axes": (
        {"shape": [2] * 40, "chunks": [2] * 40},
        "may have 512 MiB, .* 1,099,511,627,776 values of 8",
    ),
    "a chunk beyond the array": ({"chunks": [10**9]}, "may have 512 MiB, .* have 1,000,000,000 values of 8 bytes"),
    "a number for a shape": ({"shape": 10**9, "chunks": 10**9}, "may have 512 MiB"),
    "beyond 64 bits": ({"shape": [10**30], "chunks": [10**9, 10**9]}, "may have 512 MiB"),
    "a wide type in a filter": (
        {"chunks": [6 << 20], "filters": [{"id": "astype", "encode_dtype": "<c99", "decode_dtype": "<f8"}]},
        "values of 99 bytes",
    ),
    "features of no rows": (
        {"shape": [0, 10**8], "chunks": [1, 1000]},
        r"is of \(0, 100000000\) and has 0 of 0 chunks",
    ),
    "features of NaN": ({"shape": [1, 10**9], "chunks": [1, 10**6], "fill_value": "NaN"}, "has 0 of 1,000 chunks"),
}


@pytest.mark.parametrize(("said", "error"), SIZES.values(), ids=SIZES)
def test_a_few_bytes_cannot_ask_for_hours(tmp_path, said, error):
    before = time.monotonic()
    with pytest.raises(DataError, match=error):
        data.measure(format_2(tmp_path / "x.zarr", **said))
    assert time.monotonic() - before < SECONDS


def test_a_shard_of_too_many_chunks_is_refused(tmp_path):
    place = format_3(tmp_path / "x.zarr", [2**24], shape=[2**24], fill_value="NaN", codecs=sharded([1]))
    with pytest.raises(
        DataError, match=r"a shard may have 1,048,576 chunks, .* 16,777,216 values in chunks of 1; write"
    ):
        data.measure(place)
    within = sharded([2**24], sharded([1]))
    place = format_3(tmp_path / "y.zarr", [2**25], shape=[2**25], fill_value="NaN", codecs=within)
    with pytest.raises(DataError, match="a shard may have 1,048,576 chunks"):
        data.measure(place)


def test_many_missing_chunks_of_nan_are_read_where_enough_is_stored(tmp_path):
    stored = zarr.create_array(tmp_path / "x.zarr", shape=(1500,), chunks=(1,), dtype="f4", fill_value=np.nan)
    with pytest.raises(DataError, match=r"is of \(1500,\) and has 0 of 1,500 chunks"):
        data.moments(tmp_path / "x.zarr")
    stored[7] = 5
    assert data.moments(tmp_path / "x.zarr").count == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "cannot be read as Zarr: "),
        (b"[]", "metadata must be a JSON object, got \\[\\]"),
        (b"\xff", "cannot be read as Zarr: "),
        (b'{"codecs": ' + b"[" * 900 + b"]" * 900 + b"}", "cannot be read as Zarr: "),
        (b"[" * 100_000 + b"]" * 100_000, "cannot be read as Zarr: "),
        (b" " * (16 << 20) + b"{}", r"metadata may have 16 MiB, zarr\.json has 16"),
    ],
    ids=["empty", "a list", "no text", "deep", "deeper", "large"],
)
def test_metadata_that_are_none(tmp_path, text, said):
    place = format_3(tmp_path / "x.zarr")
    (place / "zarr.json").write_bytes(text)
    with pytest.raises(FileError, match=said):
        data.measure(place)


def stores(folder: Path) -> list[Path]:
    """Arrays of both formats, with filters, compressed and in shards."""
    import numcodecs

    x = np.random.default_rng(1).normal(size=(20, 3))
    kinds: dict[str, dict[str, Any]] = {
        "two": {"zarr_format": 2, "filters": [numcodecs.Delta("<f8")], "compressors": numcodecs.Zlib()},
        "three": {"zarr_format": 3, "compressors": zarr.codecs.GzipCodec()},
        "shards": {"zarr_format": 3, "shards": (10, 3)},
    }
    for name, said in kinds.items():
        place = folder / f"{name}.zarr"
        zarr.create_array(place, shape=x.shape, chunks=(5, 3), dtype="f8", fill_value=np.nan, **said)[...] = x
    return [folder / f"{name}.zarr" for name in kinds]


@pytest.mark.parametrize("times", [100, pytest.param(4000, marks=pytest.mark.long)])
def test_mutated_stores_end_in_our_errors_quickly(tmp_path, times):
    """Bytes of metadata and chunks are changed, cut, repeated, and numbers made large."""
    rng = random.Random(19)
    files = [file for place in stores(tmp_path) for file in sorted(place.rglob("*")) if file.is_file()]
    plain = {file: file.read_bytes() for file in files}
    refused = 0
    for _ in range(times):
        file = rng.choice(
            [file for file in files for _ in range(8 if file.suffix == ".json" or file.name[0] == "." else 1)]
        )
        file.write_bytes(mutated(plain[file], rng))
        before = time.monotonic()
        try:
            data.measure(tmp_path / file.relative_to(tmp_path).parts[0])
        except GammabetaError:
            refused += 1
        assert time.monotonic() - before < SECONDS, file.read_bytes()
        file.write_bytes(plain[file])
    assert refused > times / 4


def mutated(text: bytes, rng: random.Random) -> bytes:
    at, end = sorted(rng.randrange(len(text) + 1) for _ in range(2))
    match rng.randrange(5):
        case 0:
            return text[:at]
        case 1:
            return text[:at] + text[end:]
        case 2:
            return text[:at] + text[at:end] * 2 + text[end:]
        case 3:
            return text[:at] + bytes([rng.randrange(256)]) + text[at + 1 :]
    digits = [i for i, sign in enumerate(text) if chr(sign).isdigit()] or [0]
    at = rng.choice(digits)
    return text[:at] + rng.choice([b"0", b"-1", b"1e9", b"99999999999", b"9" * 30, b"null", b"[]"]) + text[at + 1 :]
