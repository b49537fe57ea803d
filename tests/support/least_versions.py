"""The main verbs, run in an environment of the least versions: `python least.py FOLDER`. No pandas, no framework."""

import sys
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import gammabeta as gb
from gammabeta import cli, data

X = np.random.default_rng(0).normal(50, 10, (500, 3))
MOMENTS = gb.Moments.of(X)


def command(*arguments: object) -> str:
    """What the command prints."""
    with patch("sys.stdout", StringIO()) as said:
        status = cli.main([str(argument) for argument in arguments])
    assert status == 0, (arguments, status, said.getvalue())
    return said.getvalue()


def help_of_every_command() -> None:
    for verb in ("scale", "stats", "apply", "invert", "report", "lab", "diagnose"):
        assert f"gammabeta {verb}" in command(verb, "--help")


def scalers() -> None:
    scaler = gb.StandardScaler().fit(X[:200]).partial_fit(X[200:])
    assert scaler.moments_ == MOMENTS
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(X)), X, rtol=1e-12)
    assert gb.MinMaxScaler().fit_transform(X).max() == 1
    assert gb.StandardScaler.from_json(scaler.to_json()).affine_ == scaler.affine_
    frame = pa.table({f"c{i}": X[:, i] for i in range(3)})
    same = gb.StandardScaler().set_output(transform="same")
    assert same.fit(frame).transform(frame).column_names == ["c0", "c1", "c2"]
    assert gb.batch_norm(X.astype(np.float32)).dtype == np.float32


def files(folder: Path) -> None:
    """Every kind of column of numbers, in every format."""
    values = np.arange(500) % 100
    columns = {
        kind: pa.array(values.astype(kind)) for kind in ("int8", "uint16", "int64", "float16", "float32", "float64")
    }
    columns["decimal"] = columns["int8"].cast(pa.decimal128(6, 2))
    table = pa.table(columns | {"kind": ["a", "b"] * 250})
    found = data.measure(table)
    assert set(found.names) == set(columns)
    assert (found.moments.mean == np.mean(values)).all()
    pq.write_table(table, folder / "in.parquet")
    for kind in ("csv", "feather", "arrow", "parquet"):
        narrow = table.drop_columns("float16") if kind == "csv" else table
        write(narrow, folder / f"in.{kind}")
        command("scale", folder / f"in.{kind}", "-o", folder / f"out.{kind}", "--stats", folder / f"{kind}.json")
        command("apply", folder / f"{kind}.json", folder / f"in.{kind}", "-o", folder / f"applied.{kind}")
        command("invert", folder / f"{kind}.json", folder / f"out.{kind}", "-o", folder / f"back.{kind}")
        assert (folder / f"applied.{kind}").read_bytes() == (folder / f"out.{kind}").read_bytes()
        assert abs(data.moments(folder / f"back.{kind}").mean - 49.5).max() < 1e-3
    command("stats", folder / "in.parquet", "--by", "kind", "-o", folder / "kinds.json")
    command("scale", folder / "in.parquet")
    np.save(folder / "x.npy", X)
    assert data.moments(folder / "x.npy") == MOMENTS


def write(table: pa.Table, path: Path) -> None:
    from pyarrow import csv, feather

    if path.suffix == ".csv":
        csv.write_csv(table, path)
    elif path.suffix in (".feather", ".arrow"):
        feather.write_feather(table, str(path))


def folders(folder: Path) -> None:
    """A folder into another, and its ledger."""
    (folder / "many").mkdir()
    for i in range(3):
        pq.write_table(pa.table({"c": X[:, i]}), folder / "many" / f"{i}.parquet")
    for _ in range(2):
        command("stats", folder / "many", "-o", folder / "many.json")
        command("scale", folder / "many", "-o", folder / "scaled")
    assert data.load(folder / "many.json").moments.mean == gb.Moments.of(X.ravel()).mean


def extras(folder: Path) -> None:
    """What each extra is for, of those that are here."""
    import zarr
    from PIL import Image

    array = zarr.create_array(str(folder / "x.zarr"), shape=X.shape, chunks=(100, 3), dtype="f8")
    array[:] = X
    assert data.moments(folder / "x.zarr") == MOMENTS
    (folder / "images").mkdir()
    Image.fromarray(np.full((4, 4), 7, np.uint8)).save(folder / "images" / "a.png")
    assert data.moments(folder / "images").mean == 7
    command("report", folder / "in.parquet", "-o", folder / "page.html")
    assert "<svg" in (folder / "page.html").read_text(encoding="utf-8")
    files_of_arrays(folder)
    import fsspec

    fsspec.filesystem("memory").pipe("/in.parquet", (folder / "in.parquet").read_bytes())
    assert data.measure("memory://in.parquet").moments == data.measure(folder / "in.parquet").moments


def files_of_arrays(folder: Path) -> None:
    """HDF5, netCDF, GeoTIFF, and a Delta table."""
    import deltalake
    import h5py
    import netCDF4
    import rasterio

    with h5py.File(folder / "x.h5", "w") as file:
        file["x"] = X
    with netCDF4.Dataset(folder / "x.nc", "w") as file:
        file.createDimension("row", len(X))
        file.createDimension("column", X.shape[1])
        file.createVariable("x", "f8", ("row", "column"), fill_value=-1.0)[:] = X
    assert data.moments(folder / "x.h5") == data.moments(folder / "x.nc") == MOMENTS
    form = {"driver": "GTiff", "count": 1, "height": 2, "width": 2, "dtype": "int16", "nodata": -1}
    with rasterio.open(folder / "x.tif", "w", transform=rasterio.Affine(2, 0, 5, 0, -2, 7), **form) as file:
        file.write(np.array([[[7, -1], [-1, 9]]], np.int16))
    assert data.moments(folder / "x.tif").mean == 8
    for values in ([1.0], [3.0]):
        deltalake.write_deltalake(str(folder / "delta"), pa.table({"x": values}), mode="overwrite")
    assert data.moments(folder / "delta").mean == 3


def lab() -> None:
    """The page's cells run to the end."""
    from gammabeta.lab.app import app

    app.run()


def main(folder: Path) -> None:
    help_of_every_command()
    scalers()
    files(folder)
    folders(folder)
    extras(folder)
    lab()
    loaded = {"pandas", "torch", "tensorflow"} & set(sys.modules)
    assert not loaded, loaded
    sys.stdout.write("all verbs ran\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
