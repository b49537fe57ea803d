"""Samples and batches: which of the two an iterable gives, and samples as arrays.

A batch holds many samples along its first axis, a sample none. An array (32, 3) may be either, and the statistics
differ: so what an iterable gives is taken from what is known of it, or asked for.
"""

import sys
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gammabeta.backends import arrays, masked
from gammabeta.data.formats.array import as_array, is_array
from gammabeta.errors import KindError

Gives = Literal["samples", "batches", "probably batches", "unknown"]
"""What an iterable gives; of lists and generators arrays of two axes and more are batches, as torch's loaders give."""


class Indexed:
    """The items of an object that has a length and indices, and no iterator of its own, in order."""

    def __init__(self, items: Any) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Any]:
        return (self._items[i] for i in range(len(self._items)))


def is_map_style(x: Any) -> bool:
    """Whether x is a data set of samples by index: torch's with a length, Hugging Face's."""
    if _is(x, "torch.utils.data", "IterableDataset") or not (hasattr(x, "__getitem__") and hasattr(x, "__len__")):
        return False
    return _is(x, "torch.utils.data", "Dataset") or _is(x, "datasets", "Dataset")


def given_by(x: Any, select: Any) -> Gives:
    """Whether an iterable gives samples or batches, by its type."""
    if is_map_style(x):
        return "samples"
    if _is(x, "torch.utils.data", "DataLoader"):
        return "batches" if x.batch_sampler is not None else given_by(x.dataset, select)
    if hasattr(x, "element_spec"):
        return _given_by_tensorflow(x, select)
    streams = (("torch.utils.data", "IterableDataset"), ("datasets", "IterableDataset"))  # which may be batched
    return "unknown" if any(_is(x, *stream) for stream in streams) else "probably batches"


def _given_by_tensorflow(x: Any, select: Any) -> Gives:
    """What a tf.data.Dataset gives: by the last of its steps that makes batches or undoes them, or by its source.

    Where none says it, by the shape that it declares: a vector of a known length is a sample, of any length a batch.
    """
    stage = x
    while stage is not None:
        name = type(stage).__name__
        if "Unbatch" in name or "TensorSlice" in name:
            return "samples"
        if "Batch" in name:
            return "batches"
        stage = getattr(stage, "_input_dataset", None)
    shape = _declared_shape(x.element_spec, select)
    if shape is not None and len(shape) < 2:
        return "batches" if None in shape else "samples"
    return "unknown"


def _declared_shape(spec: Any, select: Any) -> tuple[int | None, ...] | None:
    """The shape that a specification declares for the selected part of an item; None if that is not known."""
    try:
        shape = (spec if select is None else spec[select]).shape
        return None if shape.rank is None else tuple(shape.as_list())
    except (AttributeError, IndexError, KeyError, TypeError):
        return None


def are_samples(found: NDArray[Any], gives: Gives, name: str) -> bool:
    """Whether items such as `found` are samples, not batches.

    Raises:
        KindError: they could be either, with both readings.
    """
    if gives in ("samples", "batches"):
        return gives == "samples"
    shape = found.shape
    if not shape:
        return True
    if len(shape) > 1 and gives == "probably batches":
        return False
    one, several = (
        (f"one sample of {shape[0]} features", f"{shape[0]} samples of one feature")
        if len(shape) == 1
        else (f"one sample of shape {shape}", f"a batch of {shape[0]} samples of shape {shape[1:]}")
    )
    raise KindError(
        f"it must be known whether {name!r} gives samples or batches: its first item, an array of shape {shape}, may "
        f"be {one}, or {several}; say which: gammabeta.data.batches(…, samples=True), or samples=False"
    )


def sample_array(found: Any, number: int, name: str) -> NDArray[Any]:
    """A sample as an array: a number, numbers in lists, None among them for a missing one, an image, a tensor.

    Raises:
        KindError: it is none of these.
    """
    found = masked.read(found)
    if is_array(found):
        return as_array(found)
    if found is None or isinstance(found, Real):
        return np.asarray(np.nan if found is None else found)
    if is_image(found):
        return np.asarray(found)
    if isinstance(found, list | tuple):
        parts = [as_array(part) if is_array(part) else part for part in found]
        try:
            array = np.asarray(parts)
            return array if array.dtype.kind in "biuf" else array.astype(np.float64)
        except (TypeError, ValueError):
            pass
    inner = f" with {', '.join(map(repr, found))}; name one with select" if isinstance(found, Mapping) else ""
    raise KindError(
        f"each sample must be a number, numbers in lists or an array, item {number} of {name!r} is "
        f"{type(found).__name__}{inner}"
    )


def is_image(x: Any) -> bool:
    """Whether x is an image such as Pillow's, which no batch is."""
    return hasattr(x, "__array_interface__") and not is_array(x)


def is_numbers(x: Any) -> bool:
    """Whether x is a number, or a list of numbers at any depth: no array and no list of several arrays."""
    if isinstance(x, list | tuple):
        return bool(x) and all(is_numbers(part) for part in x[:3])
    return isinstance(x, Real) and not arrays.is_tensor(x)


def _is(x: Any, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(x, kind)
