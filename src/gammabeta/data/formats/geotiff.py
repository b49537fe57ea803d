"""Source of GeoTIFF files, (bands, height, width), read with rasterio: each band is a feature.

GDAL's tags say which number stands for no value, or which pixels have none (a mask or an alpha band), and by which
scale and offset numbers become values.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gammabeta.data.formats.array import dtype_of
from gammabeta.data.formats.sliced_array import GridSource
from gammabeta.data.io.paths import existing, reason, state_of
from gammabeta.data.io.remote import Place
from gammabeta.errors import FileError, GammabetaError, KindError

SUFFIXES = {".tif", ".tiff"}


def is_geotiff(path: Place) -> bool:
    """Whether a place is a TIFF file, by its name."""
    return path.suffix.lower() in SUFFIXES


def geotiff(path: str | Path, *, decode: bool = True) -> "GeotiffSource":
    """A TIFF file of any number of bands, to be measured band by band, or over other axes of (bands, height, width).

    Args:
        path: where it is.
        decode: leave out pixels that nodata, a mask or an alpha band marks, and apply each band's scale and offset.
            With False the numbers that are stored are the values.

    Without `axis` height and width are reduced: the statistics are those of each band.

    Raises:
        FileError: it cannot be read, or rasterio is not installed.
        KindError: the bands are of different types.

    >>> import tempfile, numpy as np, rasterio, gammabeta as gb
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     form = {"driver": "GTiff", "width": 2, "height": 1, "count": 1, "dtype": "int16", "nodata": -9999}
    ...     with rasterio.open(f"{folder}/a.tif", "w", transform=rasterio.Affine.scale(2.0), **form) as file:
    ...         file.write(np.array([[[2, -9999]]], np.int16))
    ...     gb.data.moments(geotiff(f"{folder}/a.tif")).mean
    array([2.])
    """
    place = Path(path)
    existing(place)
    state = state_of(place)
    try:
        import rasterio
    except ImportError:
        raise FileError(f"{str(path)!r} is read with rasterio: pip install 'gammabeta[raster]'") from None
    with _reading(place), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)  # a place on Earth is not needed
        file = rasterio.open(place, driver="GTiff")
    source = GeotiffSource(file, place, decode)
    source.state = state
    return source


@contextmanager
def _reading(path: Place) -> Iterator[None]:
    try:
        yield
    except (GammabetaError, MemoryError):
        raise
    except Exception as error:  # rasterio's and GDAL's
        raise FileError(f"{str(path)!r} cannot be read as TIFF: {reason(error)}") from error


class _Bands:
    """A raster file as an array-like, (bands, height, width)."""

    def __init__(self, file: Any, decode: bool) -> None:
        self._file, self._decode = file, decode
        self.shape = (file.count, file.height, file.width)
        self.dtype = np.dtype(file.dtypes[0])

    def __getitem__(self, at: tuple[slice, ...]) -> Any:
        bands, rows, columns = (range(*part.indices(n)) for part, n in zip(at, self.shape, strict=True))
        window = ((rows.start, rows.stop), (columns.start, columns.stop))
        values = self._file.read([band + 1 for band in bands], window=window, masked=self._decode)
        said = self._file.scales, self._file.offsets
        scales, offsets = (np.array([of[band] for band in bands])[:, None, None] for of in said)
        plain = not self._decode or ((scales == 1).all() and (offsets == 0).all())
        return values if plain else values.astype(np.float64) * scales + offsets


def _cell(file: Any) -> tuple[int, int, int]:
    """The shape of what is stored as one: a block, of all bands where they lie pixel by pixel."""
    height, width = file.block_shapes[0]
    return (file.count if "pixel" in str(file.interleaving).lower() else 1, height, width)


class GeotiffSource(GridSource):
    """The bands of a TIFF file, read block by block."""

    def __init__(self, file: Any, path: Place, decode: bool) -> None:
        if len(set(file.dtypes)) != 1:
            raise KindError(f"all bands must be of one type, those of {str(path)!r} are {', '.join(file.dtypes)}")
        bands = _Bands(file, decode)
        super().__init__(bands, path, _cell(file))
        if self.is_numeric:
            self.dtype = dtype_of(self._read((slice(0, 1),) * 3))
        self.axis = (1, 2)

    def _read(self, at: tuple[slice, ...]) -> Any:
        with _reading(self.path):
            return super()._read(at)
