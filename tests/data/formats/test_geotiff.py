"""GeoTIFF: pixels without a value are left out, bands are features, scales and offsets are applied."""

import numpy as np
import PIL.Image
import pytest
import rasterio

from gammabeta import Extrema, Moments, data
from gammabeta.errors import DataError, FileError, KindError

BANDS = np.random.default_rng(2).integers(0, 1000, (3, 70, 90)).astype(np.int16)
NONE = np.random.default_rng(3).random(BANDS.shape) < 0.3


def written(place, bands, then=lambda file: None, **options):
    """The place of a GeoTIFF of these bands, on which `then` has acted."""
    form = {"driver": "GTiff", "count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
    with rasterio.open(
        place, "w", dtype=bands.dtype, transform=rasterio.Affine(2, 0, 5, 0, -2, 7), crs="EPSG:3857", **form, **options
    ) as file:
        file.write(bands)
        then(file)
    return place


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tiled": True, "blockxsize": 32, "blockysize": 16, "compress": "deflate"},
        {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "lzw", "interleave": "band"},
        {"interleave": "pixel", "compress": "lzw", "predictor": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("axis", [None, 0, (0, 1, 2), 2])
def test_nodata_is_left_out(tmp_path, options, axis):
    place = written(tmp_path / "x.tif", np.where(NONE, np.int16(-9999), BANDS), nodata=-9999, **options)
    wanted, over = np.ma.array(BANDS, mask=NONE), (1, 2) if axis is None else axis
    assert data.moments(place, axis=axis) == Moments.of(wanted, axis=over)
    assert data.extrema(place, axis=axis) == Extrema.of(wanted, axis=over)
    assert data.moments(data.geotiff(place, decode=False)).mean[0] == np.where(NONE, -9999, BANDS)[0].mean()


def test_scales_offsets_and_nan(tmp_path):
    def scaled(file):
        file.scales, file.offsets = (0.5, 1.0, 0.25), (0.0, -100.0, 3.0)

    place = written(tmp_path / "x.tif", np.where(NONE, np.int16(-1), BANDS), scaled, nodata=-1)
    values = BANDS * np.array([0.5, 1.0, 0.25])[:, None, None] + np.array([0.0, -100.0, 3.0])[:, None, None]
    assert data.moments(place) == Moments.of(np.ma.array(values, mask=NONE), axis=(1, 2))
    floats = np.where(NONE, np.nan, BANDS).astype(np.float32)
    assert data.moments(written(tmp_path / "y.tif", floats, nodata=np.nan)) == Moments.of(floats, axis=(1, 2))


def test_a_mask_of_its_own(tmp_path):
    place = written(tmp_path / "x.tif", BANDS, lambda file: file.write_mask(~NONE[0]))
    hidden = np.broadcast_to(NONE[0], BANDS.shape)
    assert data.moments(place) == Moments.of(np.ma.array(BANDS, mask=hidden), axis=(1, 2))


def test_a_tiff_without_a_place_on_earth(tmp_path):
    PIL.Image.fromarray(BANDS[0]).save(tmp_path / "x.tif")
    assert data.moments(tmp_path / "x.tif") == Moments.of(BANDS[:1], axis=(1, 2))


def test_what_is_no_geotiff(tmp_path):
    (tmp_path / "x.tif").write_bytes(b"II*\x00" + b"\xff" * 40)
    with pytest.raises(FileError, match=r"x.tif' cannot be read as TIFF"):
        data.moments(tmp_path / "x.tif")
    with pytest.raises(FileError, match="cannot read"):
        data.geotiff(tmp_path / "absent.tif")
    with pytest.raises(DataError, match="axis"):
        data.moments(written(tmp_path / "y.tif", BANDS), axis=3)


def test_a_folder_of_images_knows_nodata(tmp_path):
    folder = tmp_path / "tiles"
    folder.mkdir()
    written(folder / "x.tif", BANDS[:1].astype(np.uint8), nodata=0)
    with pytest.raises(KindError, match="is a GeoTIFF with a number for pixels that have no value"):
        data.moments(folder)
