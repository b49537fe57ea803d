"""Source of a folder of images: every pixel of every image is a row, every channel a column.

The standard deviation of all pixels is not the mean of those of the images: what differs from image to image, light and
dark, is in the first and not in the second.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gammabeta import axes
from gammabeta.data.core.statistics import listed
from gammabeta.data.formats.array import ArraySource, BlockChunk, Part
from gammabeta.data.formats.iterables import together
from gammabeta.data.io.paths import FORMATS
from gammabeta.errors import DataError, FileError, KindError
from gammabeta.kernels import thread_pool

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = {".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_CODED = {"1": "L", "P": "RGB", "PA": "RGBA"}  # modes whose numbers are no intensities, and what to make of them
_NODATA = 42113  # GDAL's tag in a TIFF
_DEEP = ("I", "F")  # modes of more than 8 bits begin so


def images(folder: str | Path | Iterable[str | Path], *, mode: str | None = None) -> "ImageSource":
    """The images in a folder and in its folders, or images that are named, to be measured channel by channel.

    Args:
        folder: where they are; other files, and hidden ones, are passed by. Of several frames the first counts.
        mode: what all images are converted to, as Pillow calls it: "RGB", "L". Without it they must be of one mode.

    The values are those that are stored: 0 to 255, or 0 to 65535 for 16-bit images. Mean and standard deviation of the
    values between 0 and 1 are these divided by 255. The channels are called as in Pillow, "R", "G" and "B".

    Raises:
        FileError: there is no image, one cannot be decoded, or Pillow is not installed.
        DataError: later, images of several modes.
        KindError: images with a palette or of one bit, or of 16 that would lose bits in `mode`.

    >>> import tempfile, PIL.Image, gammabeta as gb
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for i, color in enumerate([(255, 0, 0), (255, 100, 0)]):
    ...         PIL.Image.new("RGB", (20, 10), color).save(f"{folder}/{i}.png")
    ...     gb.data.moments(images(folder))
    Moments(shape=(3,), count=[400. 400. 400.], mean=[255.  50.   0.], std=[ 0. 50.  0.])
    """
    if isinstance(folder, str | Path):
        root = Path(folder)
        return ImageSource(root, sorted(_found(root)), mode)
    paths = [Path(path) for path in folder]
    return ImageSource(Path(f"{len(paths)} images"), paths, mode)


def holds_images(folder: Path) -> bool:
    """Whether a folder, with the folders in it, holds images and no data files."""
    if next(_found(folder), None) is None:
        return False
    data = FORMATS.keys() - {".json"}
    return not any(Path(name).suffix.lower() in data for _, _, files in os.walk(folder) for name in files)


def _found(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(place) / name


class ImageSource(ArraySource):
    """The pixels of images, (pixels, channels), decoded by several threads."""

    def __init__(self, path: Path, paths: Sequence[Path], mode: str | None) -> None:
        try:
            import PIL.Image  # noqa: F401
        except ImportError:
            raise FileError(f"{str(path)!r} is read with Pillow: pip install 'gammabeta[images]'") from None
        if not paths:
            raise FileError(f"at least one image is needed, there is none in {str(path)!r}")
        self.path, self._paths, self._convert = path, paths, mode
        self._mode = mode or _with_image(paths[0], lambda image: str(image.mode))
        if mode is None and self._mode in _CODED:
            raise KindError(
                f"{str(paths[0])!r} is of mode {self._mode}, whose numbers are no intensities; "
                f"convert: gammabeta.data.images({str(path)!r}, mode={_CODED[self._mode]!r})"
            )
        self._bands, self.dtype = _bands(self._mode)
        self.shape, self.rows = (0, len(self._bands)), None
        self._sizes = [path.stat().st_size for path in paths]
        self.size = sum(self._sizes)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the channels, as Pillow gives them."""
        return self._bands

    def over(self, axis: axes.Axis) -> "ImageSource":
        """Raise DataError: images are measured by channel, whatever the axes."""
        raise DataError(f"axis goes with arrays, the statistics of images are by channel; got axis={axis!r}")

    def parts(self) -> Iterator[Part]:
        """The pixels of some images at a time."""
        start = 0
        for array, done in together(zip(self._decoded(), accumulate(self._sizes), strict=True)):
            yield Part(array, (start, 0), done)
            start += len(array)

    def chunks(self, names: Sequence[str] | None = None) -> Iterator[BlockChunk]:
        """The pixels of one image after the other."""
        start = 0
        for array, done in zip(self._decoded(), accumulate(self._sizes), strict=True):
            yield BlockChunk(array, self.place, start, done)
            start += len(array)

    def _decoded(self) -> Iterator[NDArray[Any]]:
        """The pixels of each image, (pixels, channels), in order, decoded as many at a time as there are threads."""
        waiting: deque[Future[NDArray[Any]]] = deque()
        pool = ThreadPoolExecutor(thread_pool.count(), "gammabeta-images")
        try:
            for path in self._paths:
                waiting.append(thread_pool.submit(pool, self._pixels, path))
                if len(waiting) > 2 * thread_pool.count():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except _OtherMode:
            raise DataError(self._modes()) from None
        finally:
            pool.shutdown(cancel_futures=True)

    def _pixels(self, path: Path) -> NDArray[Any]:
        array: NDArray[Any] = _with_image(path, partial(self._array, path))
        return array.reshape(-1, len(self._bands))

    def _array(self, path: Path, image: "Image") -> NDArray[Any]:
        if _NODATA in getattr(image, "tag_v2", ()):
            raise KindError(
                f"{str(path)!r} is a GeoTIFF with a number for pixels that have no value; measure such files with "
                "gammabeta.data.geotiff(path), one by one, and add up their statistics"
            )
        if image.mode == self._mode:
            return np.asarray(image)
        if self._convert is None:
            raise _OtherMode
        if image.mode.startswith(_DEEP) and not self._mode.startswith(_DEEP):
            raise KindError(
                f"{str(path)!r} is of mode {image.mode}, more than 8 bits a value, which {self._mode} has no room for; "
                "measure such images apart"
            )
        return np.asarray(image.convert(self._mode))

    def _modes(self) -> str:
        """The message that images have several modes, with some files of each."""
        files: dict[str, list[str]] = {}
        for path in self._paths:
            files.setdefault(_with_image(path, lambda image: str(image.mode)), []).append(path.name)
        modes = "; ".join(f"{len(names)} {mode} ({listed(names)})" for mode, names in files.items())
        return (
            f"images must be of one mode to be measured together, those in {str(self.path)!r} are {modes}; "
            f"convert them: gammabeta.data.images({str(self.path)!r}, mode='RGB')"
        )


class _OtherMode(Exception):  # noqa: N818
    """Raised when an image has another mode than the first."""


def _bands(mode: str) -> tuple[tuple[str, ...], np.dtype[Any]]:
    """The names of a mode's channels, and the dtype of their values."""
    import PIL.Image

    try:
        image = PIL.Image.new(mode, (1, 1))
    except (KeyError, ValueError):
        raise DataError(f"mode must be one of Pillow's, such as RGB or L, got {mode!r}") from None
    return image.getbands(), np.asarray(image).dtype


def _with_image(path: Path, act: Any) -> Any:
    """The result of `act` on the opened image.

    Raises:
        FileError: it cannot be read as one.
    """
    import PIL.Image

    try:
        with PIL.Image.open(path) as image:
            return act(image)
    except (_OtherMode, KindError):
        raise
    except Exception as error:  # each of Pillow's formats has errors of its own
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FileError(f"{str(path)!r} cannot be read as an image: {said}") from error
