"""Sources of iterables of chunks: a torch DataLoader, a generator of arrays or frames, a list of record batches."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta import axes
from gammabeta.backends import masked
from gammabeta.data.core.source import Source
from gammabeta.data.formats.array import ArraySource, BlockChunk, Part, as_array, dtype_of, is_array, native
from gammabeta.data.formats.record_batches import speaks_arrow, tables_of
from gammabeta.data.formats.samples import (
    Gives,
    Indexed,
    are_samples,
    given_by,
    is_image,
    is_map_style,
    is_numbers,
    sample_array,
)
from gammabeta.data.io.peekable import PeekedIterable, name_of
from gammabeta.errors import DataError, KindError

TOGETHER = 4 << 20  # bytes: smaller chunks are put together, since a call costs as much as 100,000 values

Select = int | str | Callable[[Any], Any] | None


def batches(chunks: Iterable[Any], select: Select = None, *, samples: bool | None = None) -> Source:
    """An iterable of chunks or of samples, to be measured: a torch DataLoader or Dataset, a generator, a list.

    Args:
        chunks: arrays or tensors that are alike but for the reduced axes, or record batches, tables or frames with the
            same columns. An iterator can be read once: it can be measured, and not scaled by its own statistics.
        select: where the data is in a chunk that holds more: an index, a key, or a function of the chunk.
        samples: True says that each item is one sample, without an axis along which samples follow one another: an
            array, an image, numbers in lists, a number. `axis` then names axes of a sample that are reduced as well,
            `axis=(1, 2)` of images (c, h, w); every other place of a sample is a feature. False says that each item is
            a batch. Without it that is taken from the type of `chunks` where it says so: torch's and Hugging Face's
            data sets with a length give samples, a DataLoader batches, tf.data what its transformations make. Arrays
            of two and more axes from other iterables are batches; what could be either is refused.

    Chunks are asked for in the caller's thread, and none is kept when the next is asked for.

    Raises:
        DataError: there is no chunk, or the first holds several things and `select` says not which; later, chunks
            that are not alike.
        KindError: the chunks are neither arrays nor tables, or may be samples or batches. What the iterable raises
            passes through, with a note.

    >>> import numpy as np, gammabeta as gb
    >>> loader = [(np.full((2, 3, 4, 4), 5.0), np.array([0, 1])) for _ in range(10)]
    >>> gb.data.moments(batches(loader, select=0), axis=(0, 2, 3))
    Moments(shape=(3,), count=[320. 320. 320.], mean=[5. 5. 5.], std=[0. 0. 0.])
    >>> robot = ({"state": [float(i), 100.0 * i]} for i in range(3))
    >>> gb.data.moments(batches(robot, select="state", samples=True)).mean
    array([  1., 100.])
    """
    gives: Gives = given_by(chunks, select) if samples is None else "samples" if samples else "batches"
    peeked = PeekedIterable(Indexed(chunks) if is_map_style(chunks) else chunks, name_of(chunks))

    def pick(chunk: Any) -> Any:
        return _picked(chunk, select, peeked.name)

    first = pick(peeked.first)
    if samples or (gives != "batches" and is_image(first)) or (gives == "samples" and _is_sample(first)):
        return SamplesSource(peeked, pick)
    alone = is_array(first) or is_numbers(first)
    if alone and are_samples(sample_array(first, 1, peeked.name), gives, peeked.name):
        return SamplesSource(peeked, pick)
    if is_array(first):
        return BatchesSource(peeked, pick)
    if speaks_arrow(first):
        return tables_of(peeked, pick)
    if isinstance(first, Mapping | tuple | list):
        key = next(iter(first), "") if isinstance(first, Mapping) else 0
        raise DataError(
            f"each chunk must be one array or table, {peeked.name!r} gives {_described(first)}; "
            f"say which is the data: gammabeta.data.batches(…, select={key!r})"
        )
    raise KindError(
        f"data to measure must be a file, an array, a table or an iterable of these, {peeked.name!r} "
        f"gives {type(first).__name__}"
    )


class BatchesSource(ArraySource):
    """A source of arrays that follow one another along their first axis."""

    def __init__(self, chunks: PeekedIterable, pick: Callable[[Any], Any]) -> None:
        self.path, self.single_pass, self.in_caller_thread = Path(chunks.name), chunks.single_pass, True
        self._chunks, self._pick = chunks, pick
        first = self._array(chunks.first, 1)
        if not first.ndim:
            raise DataError(f"each chunk must have at least one dimension, {chunks.name!r} gives single numbers")
        self.shape, self.dtype = first.shape, dtype_of(first)
        self.rows, self.size = None, 0

    def over(self, axis: axes.Axis) -> "BatchesSource":
        """The same chunks with other axes reduced, the first among them."""
        other = super().over(axis)
        if 0 not in other.axis:
            raise DataError(f"axis must have 0 in it, along which chunks follow one another, got {axis!r}")
        return other

    def parts(self) -> Iterator[Part]:
        """The chunks, small ones together."""
        start = 0
        for array, done in together(self._arrays(self.feature_axes)):
            yield Part(array, (start, *(0 for _ in self.shape[1:])), done)
            start += len(array)

    def chunks(self, names: Sequence[str] | None = None) -> Iterator[BlockChunk]:
        """The chunks as they come."""
        start = 0
        for array, done in self._arrays(range(1, len(self.shape))):
            yield BlockChunk(masked.filled(array), self.place, start, done)
            start += len(array)

    def _arrays(self, alike: Sequence[int]) -> Iterator[tuple[NDArray[Any], int]]:
        """The checked arrays, of one length along the axes `alike`, with the number of bytes so far."""
        done = 0
        for number, chunk in enumerate(self._chunks, 1):
            array = self._array(chunk, number)
            if array.ndim != len(self.shape) or any(array.shape[i] != self.shape[i] for i in alike):
                raise DataError(
                    f"chunks must be alike but for axis {self.axis}, the first of {str(self.path)!r} has the shape "
                    f"{self.shape}, chunk {number} {array.shape}"
                )
            done += array.nbytes
            yield array, done

    def _array(self, chunk: Any, number: int) -> NDArray[Any]:
        found = self._pick(chunk)
        if not is_array(found):
            raise KindError(
                f"chunks must all be arrays, chunk {number} of {str(self.path)!r} is {type(found).__name__}"
            )
        array = native(as_array(found))
        self._check_numbers(array, number)
        return array

    def _check_numbers(self, array: NDArray[Any], number: int) -> None:
        if array.dtype.name != "bfloat16" and (array.dtype.kind not in "iuf" or array.dtype.itemsize > 8):
            raise KindError(
                f"chunks must be of real numbers of 64 bits at most, chunk {number} of {str(self.path)!r} is of "
                f"{array.dtype}"
            )


class SamplesSource(BatchesSource):
    """A source of samples, each an array of one shape but for the reduced axes."""

    def over(self, axis: axes.Axis) -> "SamplesSource":
        """The same samples with axes of theirs reduced too.

        Raises:
            DataError: the axis is the number 0, which may mean the first of a sample's axes or that of the samples.
        """
        if isinstance(axis, int) and axis == 0:
            raise DataError(
                f"axis counts the axes of a sample of {str(self.path)!r}, and 0 may be meant for that of the samples; "
                "samples are always reduced: leave axis out for a statistic of each place in a sample, or "
                "say axis=(0,) to reduce the first axis of each sample too"
            )
        within = axes.reduced(axis, len(self.shape) - 1) if axis != () else ()
        other = copy(self)
        other.axis = (0, *(i + 1 for i in within))
        for name in ("names", "place", "columns", "schema"):
            other.__dict__.pop(name, None)
        return other

    def _array(self, chunk: Any, number: int) -> NDArray[Any]:
        array = native(sample_array(self._pick(chunk), number, str(self.path)))
        self._check_numbers(array, number)
        return array[None]


def _is_sample(first: Any) -> bool:
    return is_array(first) or is_numbers(first) or first is None


# Apart from core.batches: arrays are copied as they come, and must be of one type and shape to be joined.
def together(chunks: Iterable[tuple[NDArray[Any], int]]) -> Iterator[tuple[NDArray[Any], int]]:
    """The same rows in longer arrays, copies of short ones, each with the bytes read up to its end."""
    held: list[NDArray[Any]] = []
    size = at = 0
    for array, done in chunks:
        unlike = held and (array.dtype != held[0].dtype or array.shape[1:] != held[0].shape[1:])
        if held and (unlike or size + array.nbytes > TOGETHER):
            yield _concatenated(held), at
            held, size = [], 0
        if array.nbytes > TOGETHER:
            yield array, done
        elif array.size:
            held.append(array.copy())  # a generator may fill the same array again
            size, at = size + array.nbytes, done
    if held:
        yield _concatenated(held), at


def _concatenated(held: Sequence[NDArray[Any]]) -> NDArray[Any]:
    if any(map(masked.is_masked, held)):
        joined: Any = np.ma.concatenate  # untyped
        return np.asanyarray(joined(held))
    return np.concatenate(held)


def _picked(chunk: Any, select: Select, name: str) -> Any:
    if select is None:
        return chunk
    if callable(select):
        return select(chunk)
    try:
        return chunk[select]
    except (KeyError, IndexError, TypeError):
        raise DataError(f"each chunk must have {select!r} to select, {name!r} gives {_described(chunk)}") from None


def _described(chunk: Any) -> str:
    """A description of a chunk's contents, for messages."""
    if isinstance(chunk, Mapping):
        inner = ", ".join(f"{key!r}: {_kind(value)}" for key, value in list(chunk.items())[:6])
        return f"a {type(chunk).__name__} of {inner or 'nothing'}"
    if isinstance(chunk, tuple | list):
        return f"a {type(chunk).__name__} of {', '.join(map(_kind, chunk[:6])) or 'nothing'}"
    return _kind(chunk)


def _kind(x: Any) -> str:
    shape = getattr(x, "shape", None)
    return type(x).__name__ if shape is None else f"{type(x).__name__} {tuple(shape)}"
