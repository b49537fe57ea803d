"""Zarr groups: each array is measured, by its name."""

import json

import numpy as np
import pytest
import xarray as xr
import zarr

from gammabeta import Extrema, Moments, data
from gammabeta.errors import DataError, FileError, KindError

A = np.random.default_rng(1).normal(10, 3, (9, 4))
B = np.arange(18, dtype=np.int16).reshape(9, 2)


@pytest.fixture(params=[2, 3])
def group(tmp_path, request):
    root = zarr.create_group(tmp_path / "x.zarr", zarr_format=request.param)
    root.create_array("a", data=A, chunks=(4, 2))
    inner = root.create_group("inner")
    inner.create_array("b", data=B)
    root.create_array("one", shape=(), dtype="f8")[...] = 1.0
    root.create_array("flags", data=np.ones(9, bool))
    return tmp_path / "x.zarr"


def test_each_array_of_a_group(group):
    found = data.moments(group)
    assert found == {"a": Moments.of(A), "inner/b": Moments.of(B)}
    assert {column.name: column.skip_reason for column in found.left_out} == {
        "one": "a single number",
        "flags": "not numeric",
    }
    assert data.extrema(group) == {"a": Extrema.of(A), "inner/b": Extrema.of(B)}
    assert data.moments(str(group), axis=(0, 1)) == {
        "a": Moments.of(A, axis=(0, 1)),
        "inner/b": Moments.of(B, axis=(0, 1)),
    }
    assert data.moments(f"{group}::/inner") == {"b": Moments.of(B)}
    assert data.moments(zarr.open_group(group, mode="r")) == found


def test_an_array_by_its_name(group):
    for place in (f"{group}::/inner/b", f"{group}::inner/b", f"{group}/inner/b"):
        assert data.moments(place) == Moments.of(B)
        assert data.measure(place).moments == Moments.of(B)
    assert data.moments(data.zarr(f"{group}::a")) == Moments.of(A)
    with pytest.raises(FileError, match=r"x\.zarr/c.: no such file"):
        data.moments(f"{group}::c")


def test_what_xarray_writes(tmp_path):
    dataset = xr.Dataset(
        {"tas": (("time", "lat"), A), "pr": (("time", "x"), B)}, coords={"time": np.arange(9), "lat": np.arange(4.0)}
    )
    for form in (2, 3):
        dataset.to_zarr(tmp_path / f"{form}.zarr", zarr_format=form, consolidated=form == 2)
        found = data.moments(tmp_path / f"{form}.zarr")
        assert found == {"tas": Moments.of(A), "pr": Moments.of(B)}
        assert {column.name: column.skip_reason for column in found.left_out} == {
            "time": "a coordinate",
            "lat": "a coordinate",
        }
        assert found == data.moments(xr.open_zarr(tmp_path / f"{form}.zarr", consolidated=False), dim="time")


def test_what_does_not_go_with_groups(group):
    with pytest.raises(KindError, match=r"columns are of one table or array, got \['a'\]"):
        data.moments(group, ["a"])
    with pytest.raises(KindError, match="dim and weights go with xarray"):
        data.moments(group, dim="time")
    with pytest.raises(DataError, match="axis must be within an array of 2 dimensions"):
        data.moments(group, axis=2)
    with pytest.raises(DataError, match="is a group of arrays"):
        data.measure(group)
    empty = zarr.create_group(group.parent / "empty.zarr")
    with pytest.raises(DataError, match=r"a group must hold an array to measure, .*: there are none"):
        data.moments(group.parent / "empty.zarr")
    empty.create_array("flags", data=np.ones(9, bool))
    with pytest.raises(DataError, match="does not: 'flags': not numeric"):
        data.moments(group.parent / "empty.zarr")


def test_no_member_of_another_kind_is_opened(group):
    """A codec that runs code is refused, and a link out of the store is not followed."""
    (group / "evil").mkdir()
    array = {"zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "<f8", "order": "C", "fill_value": 0}
    text = {**array, "filters": [{"id": "pickle"}], "compressor": None}
    (group / "evil" / ".zarray").write_text(json.dumps(text))
    with pytest.raises(DataError, match="names 'pickle'"):
        data.moments(group)
    (group / "evil" / ".zarray").write_text("[1]")
    with pytest.raises(FileError, match=r"cannot be read as Zarr: .*JSON object"):
        data.moments(group)
    (group / "evil" / ".zarray").unlink()
    zarr.create_array(group.parent / "elsewhere.zarr", data=A)
    (group / "link").symlink_to(group.parent / "elsewhere.zarr")
    assert "link" not in data.moments(group)
