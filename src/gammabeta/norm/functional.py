"""The formula, for any array: y = γ · (x − mean) / √(var + eps) + β.

Batch, layer, instance and group normalization differ in the axes that are reduced, and in those along which γ and β
vary. In nothing else. NumPy arrays and torch's tensors on the CPU go to the kernels; all else, and what is masked, goes
through `formula`, in the frameworks' own operations: it is differentiable, and can be traced and compiled.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammabeta import axes
from gammabeta.backends import masked
from gammabeta.backends.array_ops import ArrayOps, Axes
from gammabeta.errors import DataError
from gammabeta.kernels import batchnorm, group
from gammabeta.kernels.group import Rows
from gammabeta.norm import formula

Array = NDArray[Any]

_STATIC = ("reduced_axes", "eps", "zero_masked")  # the arguments of `by_operations` that are no arrays


class Normalized(NamedTuple):
    """A normalized batch, and its statistics per feature."""

    y: Any
    mean: Any
    var: Any
    """Biased: Σ(x − mean)² / count."""
    count: Any
    """How many values: an int, or an array under a mask, and of all processes together."""


def batch_norm(
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    *,
    axis: axes.Axis = 0,
    eps: float = 1e-5,
    mean: Any = None,
    var: Any = None,
    mask: Any = None,
) -> Any:
    """y = γ · (x − mean) / √(var + eps) + β, with one mean and one variance per feature.

    The variance is the biased one, Σ(x − mean)² / n, of differences (never E[x²] − E[x]²). float16 and bfloat16 are
    computed in float32, and the result rounded to x's type. A NaN or an infinity makes its whole feature NaN.

    Args:
        x: float16, bfloat16, float32 or float64, of any shape: NumPy, torch, JAX, TensorFlow or CuPy. What a masked
            array hides does not count, and y is masked there.
        gamma, beta: γ and β, of the shape of the features: x's shape without the reduced axes; 1 and 0 if None.
        axis: the axes that are **reduced**, an int or a tuple, None for all. 0 gives a statistic for each position;
            (0, 2, 3) one for each channel of (n, c, h, w).
        eps: greater than 0.
        mean, var: the statistics to use instead of x's own, both or neither, as in evaluation. A mean with more digits
            than x's type, a list or float64, is subtracted with all of them.
        mask: boolean, True where a value counts: of x's shape with lengths of 1 allowed, or of the shape of the reduced
            axes alone. Where it is False y is 0, and x may be anything; no gradient flows there.

    Returns:
        y, of x's kind, shape and dtype.

    Raises:
        DataError: an axis, a shape, or eps, is not as above; or a feature has no values.
        KindError: x is not of a floating type, or mask not boolean.

    Ioffe and Szegedy (2015), algorithm 1: https://arxiv.org/abs/1502.03167

    >>> batch_norm(np.array([[1.0, 10.0], [3.0, 30.0]]), eps=1e-8).round(3)
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    return normalized(x, gamma, beta, axis=axis, eps=eps, mean=mean, var=var, mask=mask).y


def normalized(
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    *,
    axis: axes.Axis = 0,
    eps: float = 1e-5,
    mean: Any = None,
    var: Any = None,
    mask: Any = None,
    add: formula.Add | None = None,
    zero_masked: bool = True,
) -> Normalized:
    """`batch_norm` with the statistics that it took, from which a layer updates its running ones.

    add: what makes one batch of all processes' batches, or None.
    zero_masked: whether y is 0 where `mask` is False; if not, x is normalized there like everywhere.
    """
    given_x, space, x, reduced_axes, present = _read(x, axis, eps)
    if (mean is None) != (var is None):
        raise DataError("mean and var must be given together, or neither: then they are those of x")
    features = axes.feature_axes(reduced_axes, len(x.shape))
    mean_lo = formula.lower_digits(space, mean, x, features)
    given = (("gamma", gamma), ("beta", beta), ("mean", mean), ("var", var))
    gamma, beta, mean, var = (formula.broadcast_like(space, name, value, x, features) for name, value in given)
    mask = None if mask is None else formula.broadcast_mask(space, mask, x, reduced_axes)
    mask = mask if present is None else present if mask is None else mask & present
    if mask is None and add is None and mean_lo is None:
        by_kernels: Callable[..., Normalized] | None = (
            _by_kernels if space.xp is np and x.size else space.kernels(x, mean, var)
        )
        if by_kernels is not None:
            return by_kernels(x, reduced_axes, eps, gamma, beta, mean, var)
    with formula.ignore_fp_warnings(space):
        compute = space.compiled(by_operations, _STATIC) if add is None else partial(by_operations, space, add=add)
        found = compute(x, reduced_axes, eps, gamma, beta, mean, var, mask, zero_masked=zero_masked, mean_lo=mean_lo)
        if mask is None and add is None:
            found = found._replace(count=formula.counted(space, x, reduced_axes))
    return found._replace(y=masked.like(given_x, found.y))


def _read(x: Any, axis: axes.Axis, eps: float) -> tuple[Any, ArrayOps, Any, Axes, Any]:
    """What was given; its operations, its values, the axes to reduce, and where it is masked, or None."""
    given = masked.read(x)
    x, present = masked.split(given)
    return given, *formula.checked(x, axis, eps), present


def by_operations(
    space: ArrayOps,
    x: Any,
    reduced_axes: Axes,
    eps: float,
    gamma: Any,
    beta: Any,
    mean: Any,
    var: Any,
    mask: Any = None,
    add: formula.Add | None = None,
    zero_masked: bool = True,
    mean_lo: Any = None,
) -> Normalized:
    """`normalized` in the framework's own operations, of what it has checked and shaped.

    gamma, beta, mean, var: broadcast against x. mask: True at x's positions that count, or None for all.
    mean_lo: what a given mean has beyond the type that is computed in, or None.
    """
    values = space.cast(x, formula.computing(space, x))
    unmasked = None if mask is None or zero_masked else values
    if mask is not None and (zero_masked or mean is None):
        # Before anything else: a NaN in the padding must not reach a gradient, where 0 · NaN would be NaN.
        values = space.xp.where(mask, values, space.constant(0.0, values))
    if mean is None:
        centred, root, mean, var, count = formula.standardized(space, values, reduced_axes, eps, mask, add, unmasked)
    else:
        centred = values - mean if mean_lo is None else space.subtract(values, mean, mean_lo)
        root = space.xp.sqrt(var + eps)
        count = formula.counted(space, values, reduced_axes, mask)
    y = formula.affine(centred, root, gamma, beta)
    if mask is not None:
        count = space.squeeze(count, reduced_axes)
    if mask is not None and zero_masked:
        y = space.xp.where(mask, y, space.constant(0.0, y))
    return Normalized(
        space.cast(y, x.dtype), space.squeeze(mean, reduced_axes), space.squeeze(var, reduced_axes), count
    )


def _by_kernels(x: Array, reduced_axes: Axes, eps: float, gamma: Any, beta: Any, mean: Any, var: Any) -> Normalized:
    """`normalized` of a NumPy array."""
    shape = tuple(x.shape[i] for i in axes.feature_axes(reduced_axes, x.ndim))
    gamma, beta, mean, var = (
        p if p is None else np.broadcast_to(np.reshape(p, -1), math.prod(shape)).copy()
        for p in (1.0 if gamma is None else gamma, 0.0 if beta is None else beta, mean, var)
    )
    if mean is None:
        y, batch = batchnorm.forward(x, reduced_axes, gamma, beta, eps)
        mean, var = batch.mean, batch.var
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = gamma / np.sqrt(var + eps)
        y = batchnorm.applied(x, reduced_axes, mean, np.zeros_like(mean), scale, beta)
    return Normalized(y, mean.reshape(shape), var.reshape(shape), math.prod(x.shape[i] for i in reduced_axes))


def layer_norm(x: Any, gamma: Any = None, beta: Any = None, *, axis: axes.Axis = -1, eps: float = 1e-5) -> Any:
    """y = γ · (x − mean) / √(var + eps) + β, the statistics being those of each sample over `axis`.

    As `batch_norm`, but γ and β vary along the axes that are reduced: their shape is that of these axes, or any that
    broadcasts to it (ONNX LayerNormalization, opset 17; its axis a is here the tuple of all axes from a on).

    Ba, Kiros and Hinton (2016): https://arxiv.org/abs/1607.06450

    >>> layer_norm(np.array([[1.0, 3.0], [10.0, 30.0]]), eps=1e-8).round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    return _within(x, gamma, beta, axis, eps, centred=True)


def _within(x: Any, gamma: Any, beta: Any, axis: axes.Axis, eps: float, *, centred: bool) -> Any:
    """x normalized over the axes along which γ and β vary."""
    given_x, space, x, reduced_axes, present = _read(x, axis, eps)
    given = (("gamma", gamma), ("beta", beta))
    gamma, beta = (formula.broadcast_like(space, name, value, x, reduced_axes, broadcast=True) for name, value in given)
    y = None if present is not None else _axes_by_rows(space, x, reduced_axes, eps, gamma, beta, centred)
    if y is None:
        y = by_formula(space, x, reduced_axes, eps, gamma, beta, centred, present)
    return masked.like(given_x, y)


def by_formula(
    space: ArrayOps,
    x: Any,
    reduced_axes: Axes,
    eps: float,
    gamma: Any,
    beta: Any,
    centred: bool = True,
    present: Any = None,
) -> Any:
    """y = γ · (x − mean) / √(var + eps) + β in the framework's own operations, without the mean if not `centred`.

    gamma, beta: broadcast against x. present: True at x's positions that count, or None for all.
    """
    with formula.ignore_fp_warnings(space):
        values = _present(space, space.cast(x, formula.computing(space, x)), present)
        if centred:
            above, root, *_ = formula.standardized(space, values, reduced_axes, eps, present)
        else:
            above, _, floor = formula.in_range(space, values, reduced_axes, eps)
            square = space.mean(above * above, reduced_axes)
            if present is not None:
                square = square / np.mean(present, axis=reduced_axes, keepdims=True)
            root = space.xp.sqrt(square + floor)
        return space.cast(formula.affine_within(above, root, gamma, beta), x.dtype)


def _axes_by_rows(space: ArrayOps, x: Any, reduced_axes: Axes, eps: float, gamma: Any, beta: Any, centred: bool) -> Any:
    """`by_formula` by the kernels; None where they cannot have x."""
    by_rows = _rows_kernel(space, x)
    if by_rows is None:
        return None
    order = (*axes.feature_axes(reduced_axes, x.ndim), *reduced_axes)
    shape = [x.shape[i] if i in reduced_axes else 1 for i in range(x.ndim)]
    size = math.prod(shape)
    gamma, beta = (
        p
        if p is None
        else space.xp.reshape(p if math.prod(p.shape) == size else space.xp.broadcast_to(p, shape), (-1,))
        for p in (gamma, beta)
    )
    rows = Rows(math.prod(x.shape) // size, size, 1, 1, centred, eps)
    if order == tuple(range(x.ndim)):
        return by_rows(x, rows, gamma, beta)
    permute = np.transpose if space.xp is np else space.xp.permute
    y = by_rows(permute(x, order), rows, gamma, beta)
    return y if y is None else permute(y, tuple(map(order.index, range(x.ndim))))


def _rows_kernel(space: ArrayOps, x: Any) -> Callable[..., Any] | None:
    """What normalizes rows of x by kernels: a function of x, `Rows`, and γ and β as vectors or None."""
    return _rows_of_array if space.xp is np and x.size else space.rows(x)


def _rows_of_array(x: Array, rows: Rows, gamma: Array | None, beta: Array | None) -> Array | None:
    """x, of any strides and byte order, normalized row by row; None where squares are not finite."""
    if gamma is None and beta is None:
        rows = rows._replace(groups=1, width=rows.size)
    native = np.require(x, x.dtype.newbyteorder("="), ["C", "A"])
    gamma, beta = (p if p is None else np.ascontiguousarray(p, np.float64) for p in (gamma, beta))
    y, statistics = group.forward(native, rows, gamma, beta)
    if x.dtype.itemsize != 4 and not np.isfinite(statistics[2]).all():
        return None
    return y.astype(x.dtype, copy=False)


def _present(space: ArrayOps, values: Any, present: Any) -> Any:
    """Values with 0 where they do not count; all of them if `present` is None."""
    return values if present is None else space.xp.where(present, values, space.constant(0.0, values))


def rms_norm(x: Any, gamma: Any = None, *, axis: axes.Axis = -1, eps: float = 1e-5) -> Any:
    """y = γ · x / √(mean(x²) + eps): `layer_norm` without a centre (ONNX RMSNormalization, opset 23).

    Zhang and Sennrich (2019): https://arxiv.org/abs/1910.07467

    >>> rms_norm(np.array([3.0, 4.0]), eps=1e-8).round(3)
    array([0.849, 1.131])
    """
    return _within(x, gamma, None, axis, eps, centred=False)


def instance_norm(x: Any, gamma: Any = None, beta: Any = None, *, eps: float = 1e-5) -> Any:
    """y = γ · (x − mean) / √(var + eps) + β, the statistics being those of each channel of each sample.

    Args:
        x: (n, c, …), with at least one more axis.
        gamma, beta: (c,).

    Ulyanov, Vedaldi and Lempitsky (2016): https://arxiv.org/abs/1607.08022; ONNX InstanceNormalization, opset 6.

    >>> instance_norm(np.array([[[1.0, 3.0], [10.0, 30.0]]]), eps=1e-8).round(3)
    array([[[-1.,  1.],
            [-1.,  1.]]])
    """
    ndim = len(np.shape(x) if isinstance(x, list | tuple) else x.shape)
    if ndim < 3:
        raise DataError(
            f"x must have at least three axes (n, c, …), got {ndim}: without the last there is one value each"
        )
    return _grouped(x, None, gamma, beta, eps)


def group_norm(x: Any, groups: int, gamma: Any = None, beta: Any = None, *, eps: float = 1e-5) -> Any:
    """y = γ · (x − mean) / √(var + eps) + β, the statistics being those of groups of channels of each sample.

    Args:
        x: (n, c, …).
        groups: how many; divides c. 1 is a layer norm over all axes but the first, c an instance norm.
        gamma, beta: (c,).

    Wu and He (2018): https://arxiv.org/abs/1803.08494; ONNX GroupNormalization, opset 21.

    >>> group_norm(np.array([[1.0, 3.0, 10.0, 30.0]]), 2, eps=1e-8).round(3)
    array([[-1.,  1., -1.,  1.]])
    """
    return _grouped(x, groups, gamma, beta, eps)


def _grouped(x: Any, groups: int | None, gamma: Any, beta: Any, eps: float) -> Any:
    """x, (n, c, …), normalized over groups of channels, as many as there are channels if None; γ and β by channel."""
    given_x, space, x, _, present = _read(x, -1, eps)
    if len(x.shape) < 2:
        raise DataError(f"x must have at least two axes (n, c, …), got shape {tuple(x.shape)}")
    channels = x.shape[1]
    if groups is None:
        groups = channels
    if not isinstance(groups, int) or groups < 1 or channels is None or channels % groups:
        raise DataError(
            f"groups must be an integer that divides the {channels} channels of x, its axis 1, got {groups!r}"
        )
    first, _, *others = space.lengths(x)
    split = [first, groups, channels // groups, *others]
    reduced_axes = tuple(range(2, len(split)))
    if 0 in x.shape[2:]:
        raise DataError(f"x must have at least one value for each channel, got shape {tuple(x.shape)}")
    given = (("gamma", gamma), ("beta", beta))
    gamma, beta = (formula.broadcast_like(space, name, value, x, (1,)) for name, value in given)
    y = None if present is not None else _channels_by_rows(space, x, groups, eps, gamma, beta)
    if y is None:
        by_channel = [1, groups, -1, *[1] * len(others)]
        gamma, beta = (
            p if p is None or math.prod(p.shape) == 1 else space.xp.reshape(p, by_channel) for p in (gamma, beta)
        )
        present = None if present is None else present.reshape(split)
        y = by_formula(space, space.xp.reshape(x, split), reduced_axes, eps, gamma, beta, present=present)
        y = space.xp.reshape(y, space.lengths(x))
    return masked.like(given_x, y)


def _channels_by_rows(space: ArrayOps, x: Any, groups: int, eps: float, gamma: Any, beta: Any) -> Any:
    """`by_formula` of groups of channels, γ and β with x's number of axes, by the kernels; None where they cannot."""
    by_rows = _rows_kernel(space, x)
    if by_rows is None:
        return None
    channels, width = x.shape[1], math.prod(x.shape[2:])
    shape = [channels if i == 1 else 1 for i in range(x.ndim)]
    gamma, beta = (p if p is None else space.xp.reshape(space.xp.broadcast_to(p, shape), (-1,)) for p in (gamma, beta))
    rows = Rows(x.shape[0] * groups, channels // groups * width, groups, width, True, eps)
    return by_rows(x, rows, gamma, beta)
