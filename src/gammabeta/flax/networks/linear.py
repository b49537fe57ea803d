"""flax' linear layers as `linear_map.Linear`, and back: each kind's weight layout, and its padding."""

from typing import Any

import numpy as np
from flax import nnx
from jax import lax
from jax import numpy as jnp

from gammabeta.networks.fold.planner import check_size, from_channels_last, layer_weights
from gammabeta.norm.linear_map import Linear

KINDS = (nnx.Linear, nnx.Embed, nnx.Conv, nnx.ConvTranspose)
_OPERATIONS = {"dot_general": lax.dot_general, "conv_general_dilated": lax.conv_general_dilated}


def read(layer: Any) -> Linear:
    """A layer's weight and bias in float64. An embedding is a dense layer of as many inputs as it has rows."""
    values = floats(_weight(layer))
    if getattr(layer, "transpose_kernel", False):
        values = values.swapaxes(-1, -2)
    weight = from_channels_last(values, getattr(layer, "feature_group_count", 1))
    bias = getattr(layer, "bias", None)
    return Linear(weight, np.zeros(weight.shape[0] * weight.shape[1]) if bias is None else floats(bias))


def written(layer: Any, linear: Linear) -> tuple[Any, Any]:
    """Weight and bias as the layer has them, each value rounded once; an embedding has the bias in every row.

    Raises:
        RefusalError: the layer's type cannot hold them.
    """
    like = _weight(layer)
    form = like.shape, getattr(layer, "transpose_kernel", False), type(layer) is nnx.Embed
    weight, bias = layer_weights(linear, *form)
    return _rounded(weight, like.dtype), None if bias is None else _rounded(bias, like.dtype)


def write(layer: Any, linear: Linear) -> None:
    """Give a layer other weights."""
    weight, bias = written(layer, linear)
    _weight(layer)[...] = weight
    if bias is None:
        return
    if layer.bias is None:
        layer.bias, layer.use_bias = nnx.Param(bias), True
    else:
        layer.bias[...] = bias


def unusable(layer: Any, after: bool) -> str | None:
    """Why a layer before a norm, or `after` one, does not take its map, if so."""
    if type(layer) not in KINDS:
        return "is not linear or not known to be"
    if after and type(layer) is nnx.Embed:
        return "takes no values but indices"
    if any(getattr(layer, name, own) is not own for name, own in _OPERATIONS.items()):
        return "multiplies in a way of its own"
    if getattr(layer, "mask", None) is not None:
        return "has a mask on its weights"
    return None


def uneven(layer: Any) -> str | None:
    """Why a constant added to a layer's input does not add a constant to its output, if so."""
    if type(layer) not in (nnx.Conv, nnx.ConvTranspose) or _ones(layer.kernel_size, layer.strides, layer):
        return None
    if type(layer) is nnx.ConvTranspose:
        return "a transposed convolution adds up fewer taps at some places than at others"
    padding = layer.padding.upper() if isinstance(layer.padding, str) else layer.padding
    nothing = not isinstance(padding, str) and not np.any(padding)
    if nothing or padding in ("VALID", "CIRCULAR", "REFLECT"):
        return None
    return f"it pads with zeros (padding={layer.padding!r}), which the norm would have shifted"


def rank(layer: Any) -> int:
    """How many axes the data have that a layer is given, with one for the samples."""
    return len(np.ravel(layer.kernel_size)) + 2 if type(layer) in (nnx.Conv, nnx.ConvTranspose) else 2


def floats(variable: Any) -> Any:
    """A variable's values in float64."""
    return np.asarray(variable[...]).astype(np.float64)


def _ones(kernel_size: Any, strides: Any, layer: Any) -> bool:
    """Whether each output is of one input alone: a kernel of 1, of a transposed convolution without strides."""
    sizes = np.ravel(kernel_size).tolist() + (
        np.ravel(strides or 1).tolist() if type(layer) is nnx.ConvTranspose else []
    )
    padded = not isinstance(layer.padding, str) and bool(np.any(layer.padding))
    return all(n == 1 for n in sizes) and not padded


def _weight(layer: Any) -> Any:
    return layer.embedding if type(layer) is nnx.Embed else layer.kernel


def _rounded(values: Any, dtype: Any) -> Any:
    bounds = jnp.finfo(dtype)
    check_size(values, str(dtype), float(bounds.max), float(bounds.smallest_normal))
    return jnp.asarray(values.astype(dtype))
