"""Validation of the arguments of statistics, and sums of counts that refuse to overflow."""

from collections.abc import Mapping, Sequence
from math import isfinite, prod
from pathlib import PurePath
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gammabeta import axes
from gammabeta.backends import array_ops, arrays, masked
from gammabeta.errors import DataError, KindError, StateError
from gammabeta.statistics import serialization

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
MissingRule = Literal["omit", "propagate", "raise"]

_RULES = ("omit", "propagate", "raise")


class Shaped(Protocol):
    """The protocol of a statistic: it has a shape, that of its features."""

    @property
    def shape(self) -> tuple[int, ...]: ...


def checked(x: Any, nan_rule: str, *, stays: bool = False) -> Any:
    """x as an array of at least one dimension, the rule for NaN being known; with `stays` x itself, a tensor.

    A masked array stays one: `without_mask` takes it apart.
    """
    if nan_rule not in _RULES:
        raise DataError(f"nan must be one of {', '.join(_RULES)}, got {nan_rule!r}")
    x = masked.read(x)
    refuse_no_array(x)
    refuse_traced(x)
    array = x if stays else np.asanyarray(arrays.to_numpy(arrays.detached(x)))
    if hasattr(x, "columns") and array.dtype.kind in "OU":
        _refuse_text(x)
    if not stays and not masked.is_masked(array):
        array = np.asarray(array)
    if array.ndim == 0:
        raise DataError("statistics need an array of at least one dimension, got a single number; wrap it in a list")
    return array


def _refuse_text(frame: Any) -> None:
    """Raise `KindError` for a data frame with columns that hold no numbers: it names them, and the call to make."""
    names = list(frame.columns)
    text = [name for name in names if np.asarray(frame[name]).dtype.kind in "OUSM"]
    if text:
        shown = ", ".join(map(repr, text[:5])) + (f" and {len(text) - 5} more" if len(text) > 5 else "")
        numbers = [name for name in names if name not in text]
        call = f"take the others: Moments.of(frame[{numbers!r}])" if 0 < len(numbers) <= 5 else "leave them out"
        raise KindError(f"statistics need columns of real numbers, {shown} hold something else; {call}")


def refuse_no_array(x: Any) -> None:
    """Raise `KindError`, which says what to call, if x is not a dense array, a sequence, a frame or a number."""
    what = _instead(x)
    if what:
        kind = f"{type(x).__module__.partition('.')[0]}'s {type(x).__name__}".removeprefix("builtins's ")
        raise KindError(f"statistics need a dense array of real numbers, got {kind}; {what}")


def refuse_traced(x: Any) -> None:
    """Raise `KindError` if x is a tensor without values, that only stands for some in a trace."""
    if arrays.is_tensor(x) and not array_ops.of(x).known(x):
        raise KindError(
            f"exact statistics need values, got one of {arrays.kind(x)}'s tensors that stands for them in a trace; "
            "take them outside of it, or inside call gammabeta.batch_norm, which has statistics of its own"
        )


def _instead(x: Any) -> str:
    """What to call for data that is no dense array; "" for an array, or what NumPy makes one of."""
    if isinstance(x, (np.ndarray, np.generic, list, tuple, int, float)):
        return ""
    if hasattr(x, "tocsr"):
        return "take StandardScaler(with_mean=False).fit(x).moments_, or x.toarray()"
    if isinstance(x, Mapping):
        return "take the statistics of each of its values"
    if isinstance(x, (str, bytes, PurePath)):
        return "for a file call gammabeta.data.measure"
    if arrays.kind(x) == "torch":
        nested = getattr(x, "is_nested", False)
        if nested or str(x.layout) != "torch.strided":
            return "take x.values(), which are there" if nested else "take x.to_dense()"
        return ""
    if hasattr(x, "flat_values"):
        return "take x.flat_values, which are there"
    if hasattr(x, "dense_shape"):
        return "take tensorflow.sparse.to_dense(x)"
    known = any(hasattr(x, name) for name in ("__array__", "__array_interface__", "__dlpack__", "__buffer__"))
    if known or isinstance(x, (Sequence, memoryview)) or arrays.kind(x) != "other":
        return ""
    if hasattr(x, "__iter__") or hasattr(x, "__getitem__"):
        return "for a data set, a loader or an iterator of chunks call gammabeta.data.measure"
    return "make an array of it" if np.asarray(x).dtype.kind == "O" else ""


def without_mask(array: Any, *, fill: bool) -> tuple[Any, Any]:
    """A masked array as one with NaN where there is no value, and None; or its values, and True where one counts.

    The second is for what NaN cannot say: that NaN propagates, or is refused, where it is not masked; and for integers
    that float64 would round. An array without a mask stays itself.

    Args:
        fill: whether NaN is left out, so that it may stand for a masked value.
    """
    if not masked.is_masked(array):
        return array, None
    if fill and masked.is_exact(array):
        return masked.filled(array), None
    values, present = masked.split(array)
    return values, present


def missing_counts(array: Any, axis: axes.Axis) -> Counts:
    """How many values of each feature are masked, (f,); 0 where there is no mask."""
    if not masked.is_masked(array):
        return np.zeros(1, np.int64)
    return np.asarray(masked.mask_of(array).sum(axis=axes.reduced(axis, array.ndim), dtype=np.int64)).reshape(-1)


def refuse_nan(counts: Counts) -> None:
    """Raise if any feature has NaN. counts: in the features' shape."""
    if counts.any():
        at = tuple(int(i) for i in np.argwhere(counts)[0])
        raise DataError(f"there must be no NaN with nan='raise', got {counts.sum()}, the first in feature {at}")


def check_ddof(ddof: float) -> None:
    """Refuse a ddof that is not a number of float64."""
    try:
        finite = isfinite(ddof)
    except (OverflowError, TypeError):
        finite = False
    if not finite:
        raise DataError(f"ddof must be a finite number, got {ddof!r}")


def added(counts: Counts) -> Counts:
    """The sums of counts (…, parts, features) over the parts; `StateError` if they are more than 64 bits can hold."""
    most = int(counts.max(initial=0))
    if (
        most > serialization.MOST // max(1, counts.shape[-2])
        and (counts.sum(-2, np.float64) > serialization.MOST).any()
    ):
        raise StateError(f"statistics must be of 2^62 values at most to be added, got {most} in one of them")
    return np.asarray(counts.sum(axis=-2))


def plus(a: Counts, b: Counts) -> Counts:
    """a + b; `StateError` if that is more than 64 bits can hold."""
    total = a + b
    if (
        total.max(initial=0) > serialization.MOST or total.min(initial=0) < -2
    ):  # past 2^63 it begins anew, far below zero
        raise StateError("statistics must be of 2^62 values at most together, got more")
    return total


def chosen(shape: tuple[int, ...], index: Any) -> tuple[tuple[int, ...], NDArray[np.intp]]:
    """The shape of some features indexed as NumPy would index an array of `shape`, and their places among all."""
    at = np.asarray(np.arange(prod(shape)).reshape(shape)[index])
    return at.shape, at.reshape(-1)


def same_features(parts: Sequence[Shaped]) -> None:
    """Refuse statistics of different features."""
    shapes = {part.shape for part in parts}
    if len(shapes) != 1:
        raise DataError(f"statistics combine only over the same features, got shapes {sorted(shapes)}")


def repeated_weights(weights: NDArray[Any], axis: axes.Axis, shape: tuple[int, ...]) -> NDArray[Any]:
    """Weights of as many axes as the data, of length 1 where they repeat, as `full_weights` takes them.

    They stay small where they do not vary from feature to feature.
    """
    reduced_axes = axes.reduced(axis, len(shape))
    if any(n != 1 for i, n in enumerate(weights.shape) if i not in reduced_axes):
        return np.broadcast_to(weights, shape)
    along = weights.reshape([weights.shape[i] for i in reduced_axes])
    return np.broadcast_to(along, [shape[i] for i in reduced_axes])


def full_weights(
    weights: ArrayLike, axis: axes.Axis, shape: tuple[int, ...], present: NDArray[np.bool_] | None = None
) -> Floats:
    """Weights as float64, checked and broadcast to the shape of the data, which need not be writable.

    present: False where the data are masked, and the weight 0 for that; None for all.
    """
    read: Any = masked.read(weights)
    given = np.asarray(read.filled(0) if masked.is_masked(read) else read)
    if given.dtype.kind not in "biuf":
        raise KindError(f"weights must be real numbers, got dtype {given.dtype}")
    factors = given.astype(np.float64)
    if not np.isfinite(factors).all() or (factors < 0).any():
        raise DataError("weights must be finite and not negative; leave a value out with a weight of 0")
    reduced_axes = axes.reduced(axis, len(shape))
    along = tuple(shape[i] for i in reduced_axes)
    if factors.shape == along and factors.shape != shape:
        factors = factors.reshape([n if i in reduced_axes else 1 for i, n in enumerate(shape)])
    elif factors.shape != shape:
        raise DataError(f"weights must have the data's shape {shape} or its reduced axes' {along}, got {factors.shape}")
    return np.broadcast_to(factors, shape) if present is None else np.where(present, factors, 0.0)
