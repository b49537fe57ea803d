"""Statistics and scaling of Dask arrays, block by block."""

from math import prod
from typing import Any

import dask.array as da
import numpy as np
from sklearn.utils.validation import check_array

from gammabeta import axes
from gammabeta.affine import Affine
from gammabeta.backends import arrays, masked
from gammabeta.data.dask.reduction import Array, Boxes, Kinds, Part, boxed, of, together
from gammabeta.errors import DataError, KindError
from gammabeta.scalers.base import Scaler
from gammabeta.statistics import Moments
from gammabeta.statistics.validation import repeated_weights


def check(x: da.Array, axis: axes.Axis) -> None:
    """Refuse, before any work, an axis or a type that the statistics of each block would refuse."""
    Moments.of(np.empty((0,) * x.ndim, x.dtype), axis)


def total(x: da.Array, axis: axes.Axis, kinds: Kinds, weights: Any = None) -> da.Array:
    """A lazy array of one `Part` for each block of features: a tree reduction over the blocks of the reduced axes."""
    others = () if weights is None else (_beside(x, weights),)
    parts = x.map_blocks(
        _part,
        *others,
        axis=axis,
        kinds=kinds,
        dtype=object,
        chunks=tuple((1,) * blocks for blocks in x.numblocks),
        meta=np.empty((0,) * x.ndim, object),
    )
    return parts.sum(axis=axes.reduced(axis, x.ndim), keepdims=True)


def _part(block: Any, weights: Array | None = None, *, axis: axes.Axis, kinds: Kinds) -> Boxes:
    values = arrays.to_numpy(block)
    factors = None if weights is None else repeated_weights(weights, axis, values.shape)
    statistics = tuple(of(kind, values, axis, factors) for kind in kinds)
    rows = prod(values.shape[i] for i in axes.reduced(axis, values.ndim))
    return boxed(Part(rows, statistics), values.ndim)


def _beside(x: da.Array, weights: Any) -> da.Array:
    """Weights of x's number of axes, in its chunks. weights: (n,), of the rows, or of length 1 where they repeat."""
    given = da.asarray(weights)
    if given.ndim == x.ndim > 1:
        return given.rechunk(tuple((1,) if n == 1 else own for n, own in zip(given.shape, x.chunks, strict=True)))
    if given.ndim != 1 or not (np.isnan(given.shape + x.shape[:1]).any() or len(given) == len(x)):
        raise DataError(f"sample_weight must be of shape ({x.shape[0]},), one for each row, got {given.shape}")
    known = not np.isnan(x.shape[0])
    along = given.rechunk((x.chunks[0],)) if known else given
    return along[(slice(None),) + (None,) * (x.ndim - 1)]


def template(x: da.Array, axis: axes.Axis) -> Array:
    """An array of ones with x's features and type and one row, for checks before any work.

    Raises:
        DataError: the number of features is not known.
    """
    reduced_axes = axes.reduced(axis, x.ndim)
    if any(np.isnan(n) for i, n in enumerate(x.shape) if i not in reduced_axes):
        raise DataError(f"the chunk sizes of the features must be known, got shape {x.shape}; x.compute_chunk_sizes()")
    return np.ones([1 if i in reduced_axes else n for i, n in enumerate(x.shape)], x.dtype)


def fit_statistic(scaler: Scaler, x: da.Array, weights: Any = None, sparse_formats: Any = False) -> tuple[Any, int]:
    """`Scaler._fit_statistic` of a Dask array: it is computed at once, block by block."""
    axis = scaler.axis or 0
    check(x, axis)
    small = Scaler._values(scaler, template(x, axis))
    scaler._check_features(small, small, not hasattr(scaler, "n_samples_seen_"))
    if weights is not None and np.ndim(weights) == 1 and axes.reduced(axis, x.ndim) != (0,):
        raise DataError(f"sample_weight of a Dask array is one for each row: axis must be 0, got {axis}")
    part = together(total(x, axis, (scaler._statistic_type,), weights).compute(), axis)
    return checked_part(scaler, part, x.dtype)


def checked_part(scaler: Scaler, part: Part, dtype: np.dtype[Any]) -> tuple[Any, int]:
    """A part's statistic and its number of rows. Raises if there are none, or an infinity."""
    (statistic,) = part.statistics
    if not part.rows:
        check_array(np.empty((0, *statistic.shape)), estimator=scaler, input_name="X", allow_nd=True)  # says so
    return scaler._finite(statistic, dtype), part.rows


def applied(scaler: Scaler, x: da.Array, affine: Affine, *, copy: bool, forward: bool) -> da.Array:
    """`Scaler._applied` of a Dask array, lazy. Nothing is changed in place, whatever `copy` says."""
    refuse_output(scaler)
    axis = scaler.axis or 0
    check(x, axis)
    like = Scaler._applied(scaler, template(x, axis), affine, copy=True, forward=forward)
    return image(x, scaler, affine, forward, like.dtype)


def refuse_output(scaler: Scaler) -> None:
    """Refuse `set_output` of a scaler that is given a Dask collection."""
    if scaler._output() not in ("default", "same"):
        raise KindError("a Dask collection comes back as one: set_output must be left alone, or compute X first")


def image(x: da.Array, scaler: Scaler, affine: Affine, forward: bool, dtype: np.dtype[Any]) -> da.Array:
    """The scaled x, a lazy array, by a copy of the scaler's parameters as they are now. dtype: that of the result."""
    reduced_axes = axes.reduced(scaler.axis or 0, x.ndim)
    shape = [1 if i in reduced_axes else n for i, n in enumerate(x.shape)]
    chunks = tuple((1,) if i in reduced_axes else sizes for i, sizes in enumerate(x.chunks))
    parameters = [da.from_array(p.reshape(shape), chunks) for p in affine._arrays]
    rules = scaler._rules().set_params(axis=None)  # the parameters' shape says which axes
    meta: Any = np.empty((0,) * x.ndim, dtype)
    meta = np.ma.array(meta) if masked.is_masked(x._meta) else meta
    return x.map_blocks(_image, *parameters, rules=rules, forward=forward, dtype=dtype, meta=meta)


def _image(block: Any, *parameters: Array, rules: Scaler, forward: bool) -> Any:
    affine = Affine._of_arrays(*parameters)
    return arrays.like(block, rules._image(arrays.to_numpy(block), affine, None, forward))
