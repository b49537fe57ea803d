"""The table of containers in docs/sources.md: each row with a real file, what is heard of it and what is refused."""

import json
import re
from pathlib import Path

import deltalake
import h5py
import netCDF4
import numpy as np
import PIL.Image
import pyarrow as pa
import pytest
import rasterio
import rasterio.env
import xarray as xr
import zarr

from gammabeta import Affine, Moments, StandardScaler, data
from gammabeta.errors import DataError, FileError, KindError

PAGE = Path(__file__).parents[3] / "docs" / "sources.md"
STORED = np.array([[9800, 200], [-32768, 400], [100, 0]], np.int16)
PACKED = {"scale_factor": np.float64(0.01), "add_offset": np.float64(3.0), "_FillValue": np.int16(-32768)}
WANTED = Moments.of(np.where(STORED == -32768, np.nan, STORED * 0.01 + 3.0))

pytestmark = pytest.mark.skipif(
    not PAGE.exists(), reason="the tests run outside a checkout: there is no docs/sources.md"
)


def masked_arrays(tmp_path):
    x = np.ma.masked_equal(STORED, -32768)
    assert data.moments(x) == Moments.of(np.where(x.mask, np.nan, STORED.astype(float)))
    assert data.moments(x.data) == Moments.of(STORED)
    with pytest.raises(DataError, match="must have a value for every feature"):
        Affine(np.ma.array([1.0, 2.0], mask=[True, False]), 1.0)


def zarr_arrays(tmp_path):
    for form in (2, 3):
        array = zarr.create_array(tmp_path / f"{form}.zarr", data=STORED, zarr_format=form)
        array.attrs.update({name: value.item() for name, value in PACKED.items()})
        assert data.moments(tmp_path / f"{form}.zarr") == data.moments(array) == WANTED
        assert data.moments(data.zarr(array, decode=False)) == Moments.of(STORED)
    zarr.create_array(tmp_path / "lacking.zarr", shape=(4, 2), chunks=(1, 2), dtype="f4", fill_value=0)
    with pytest.raises(DataError, match="every chunk must be in the store"):
        data.moments(tmp_path / "lacking.zarr")


def hdf5(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("t", data=STORED).attrs.update(PACKED)
    assert data.moments(tmp_path / "x.h5") == WANTED
    with h5py.File(tmp_path / "x.h5", "a") as file:
        assert data.moments(file["t"]) == WANTED
        assert data.moments(file["t"].astype("f8")[...]) == Moments.of(STORED)
        file["far"] = h5py.ExternalLink("y.h5", "/t")
        file["other"] = STORED
    assert data.moments(f"{tmp_path}/x.h5::t") == WANTED
    with pytest.raises(DataError, match=r"it is a link to 'y\.h5'"):
        data.moments(f"{tmp_path}/x.h5::far")
    with pytest.raises(DataError, match=r"one array is needed, .* say which"):
        data.moments(tmp_path / "x.h5")


def netcdf(tmp_path):
    dataset = xr.Dataset({"t": (("time", "x"), STORED, dict(PACKED))})
    dataset.to_netcdf(tmp_path / "x.nc", engine="netcdf4")
    assert data.moments(tmp_path / "x.nc") == WANTED
    with netCDF4.Dataset(tmp_path / "y.nc", "w") as file:
        file.createDimension("time", 3)
        file.createVariable("a", "f8", ("time",))[:2] = [1.0, 3.0]  # the third is netCDF's own fill value
    assert data.moments(tmp_path / "y.nc") == Moments.of([1.0, 3.0])
    xr.Dataset({"a": ("time", [1.0]), "b": ("time", [2.0])}).to_netcdf(tmp_path / "z.nc", engine="netcdf4")
    with pytest.raises(DataError, match=r"one array is needed, .* say which"):
        data.moments(tmp_path / "z.nc")


def netcdf4_variables(tmp_path):
    xr.Dataset({"t": (("time", "x"), STORED, dict(PACKED))}).to_netcdf(tmp_path / "x.nc", engine="netcdf4")
    with netCDF4.Dataset(tmp_path / "x.nc") as file:
        assert data.moments(file["t"]) == WANTED
        file["t"].set_auto_maskandscale(False)
        assert data.moments(file["t"]) == Moments.of(STORED)
        with pytest.raises(DataError, match="is a group with 't'"):
            data.moments(file)


def xarrays(tmp_path):
    xr.Dataset({"t": (("time", "x"), STORED, dict(PACKED))}).to_netcdf(tmp_path / "x.nc", engine="netcdf4")
    with xr.open_dataset(tmp_path / "x.nc") as decoded:
        assert data.moments(decoded, dim="time")["t"] == data.moments(decoded["t"], dim="time") == WANTED
        labelled = decoded["t"].assign_coords(x=["a", "b"])
        with pytest.raises(DataError, match="the coordinate 'x' must be that of the fit"):
            StandardScaler(dim="time").fit(labelled).transform(labelled[:, ::-1])
    with xr.open_dataset(tmp_path / "x.nc", mask_and_scale=False) as stored:
        with pytest.raises(DataError, match=r"DataArray has _FillValue, scale_factor, add_offset: .* xarray.decode_cf"):
            data.moments(stored["t"])
        assert data.moments(stored["t"].values) == Moments.of(STORED)


def geotiff(tmp_path):
    place = tmp_path / "x.tif"
    profile = {"driver": "GTiff", "width": 2, "height": 3, "count": 1, "dtype": "int16", "nodata": -32768}
    with (
        rasterio.env.Env(),
        rasterio.open(place, "w", **profile, transform=rasterio.Affine(2, 0, 10, 0, -2, 20)) as file,
    ):
        file.write(STORED, 1)
        file.scales, file.offsets = (0.01,), (3.0,)
    assert data.moments(data.geotiff(place)) == WANTED.total()[None]
    assert data.moments(data.geotiff(place, decode=False)) == Moments.of(STORED.reshape(-1, 1))
    (tmp_path / "none.tif").write_bytes(b"none")
    with pytest.raises((FileError, KindError), match=r"none\.tif"):
        data.moments(data.geotiff(tmp_path / "none.tif"))


def ann_data(tmp_path):
    anndata = pytest.importorskip("anndata", reason="anndata asks for pandas before 3")
    cells = anndata.AnnData(STORED.astype(np.float32), layers={"half": STORED / 2})
    cells.write_h5ad(tmp_path / "x.h5ad")
    assert data.moments(tmp_path / "x.h5ad") == data.moments(cells) == Moments.of(STORED)
    assert data.moments(f"{tmp_path}/x.h5ad::layers/half") == data.moments(cells.layers["half"])
    with pytest.raises(DataError, match="AnnData must have the genes of the fit in its order"):
        StandardScaler().fit(cells).transform(cells[:, ::-1])


def delta(tmp_path):
    for values in ([1.0, 2.0], [5.0, 7.0]):
        deltalake.write_deltalake(tmp_path / "t", pa.table({"x": values}), mode="overwrite")
    assert data.moments(tmp_path / "t") == Moments.of([[5.0], [7.0]])
    assert data.moments(sorted((tmp_path / "t").glob("*.parquet"))).count == 4
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7}
    protocol |= {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    log = tmp_path / "t" / "_delta_log" / "00000000000000000002.json"
    log.write_text(json.dumps({"protocol": protocol}) + "\n")
    with pytest.raises(KindError, match="may have rows that are deleted within its files"):
        data.moments(tmp_path / "t")


def iceberg(tmp_path):
    catalogs = pytest.importorskip("pyiceberg.catalog.sql", reason="pyiceberg reads Iceberg's metadata")
    catalog = catalogs.SqlCatalog("c", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{tmp_path}/lake")
    catalog.create_namespace("n")
    table = catalog.create_table("n.t", pa.schema([("x", pa.float64())]))
    table.append(pa.table({"x": [1.0, 2.0]}))
    table.overwrite(pa.table({"x": [5.0, 7.0]}))
    assert data.moments(table) == Moments.of([[5.0], [7.0]])
    with pytest.raises(DataError, match="of which its catalog knows it"):
        data.moments(table.location().removeprefix("file://"))
    with table.update_schema() as change:
        change.rename_column("x", "y")
    with pytest.raises(KindError, match="has columns that were renamed, added or dropped"):
        data.moments(table)
    catalog.destroy_tables()
    catalog.close()


def images(tmp_path):
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    PIL.Image.fromarray(gray).save(tmp_path / "a.png")
    assert data.moments(tmp_path) == Moments.of(gray.reshape(-1, 1))
    PIL.Image.fromarray(np.stack([gray] * 3, axis=2)).save(tmp_path / "b.png")
    with pytest.raises((DataError, KindError), match="mode"):
        data.moments(tmp_path)
    assert data.moments(data.images(tmp_path, mode="L")).count == 24


ROWS = {
    "NumPy's masked arrays": masked_arrays,
    "Zarr arrays": zarr_arrays,
    "HDF5 files, h5py datasets": hdf5,
    "netCDF files": netcdf,
    "netCDF4 variables": netcdf4_variables,
    "xarray": xarrays,
    "GeoTIFF": geotiff,
    "AnnData, `.h5ad`": ann_data,
    "Delta tables": delta,
    "Iceberg tables": iceberg,
    "folders of images": images,
}


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_the_table(tmp_path, row):
    ROWS[row](tmp_path)


def test_the_table_has_these_rows():
    text = PAGE.read_text(encoding="utf-8")
    table = text.partition("| container | what is heard |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| ([^|]+) \|", table, re.M) == list(ROWS)
