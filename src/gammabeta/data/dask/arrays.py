"""Statistics and scaling of Dask arrays, block by block."""

from math import prod
from typing import Any

import dask.array as da
import numpy as np

from gammabeta import axes
from gammabeta.affine import Affine
from gammabeta.backends import arrays, masked
from gammabeta.data.dask.reduction import Array, Boxes, Kinds, Part, boxed, of
from gammabeta.errors import DataError
from gammabeta.scalers.base import Scaler
from gammabeta.statistics import Moments


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
    factors = None if weights is None else weights.reshape(-1)
    statistics = tuple(of(kind, values, axis, factors) for kind in kinds)
    rows = prod(values.shape[i] for i in axes.reduced(axis, values.ndim))
    return boxed(Part(rows, statistics), values.ndim)


def _beside(x: da.Array, weights: Any) -> da.Array:
    """Weights of the rows, (n,), rechunked as the rows are and of x's number of axes."""
    given = da.asarray(weights)
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
