"""Keras' linear layers as `linear_map.Linear`, and back: each kind's weight layout, and the axis of its channels."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from gammabeta.networks.fold.planner import check_size, from_channels_last, layer_weights
from gammabeta.norm.linear_map import Linear

CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
KINDS = (layers.Dense, layers.Embedding, *CONVOLUTIONS, *DEPTHWISE, *SEPARABLE, *TRANSPOSED)

_SIZES = ("float16", "bfloat16", "float32", "float64")


def read(layer: Any) -> Linear:
    """A layer's weight and bias in float64; of a separable convolution those of its second part.

    An embedding is a dense layer of as many inputs as it has rows.
    """
    values, groups = floats(_weight(layer)), 1
    if type(layer) in TRANSPOSED:
        values = values.swapaxes(-1, -2)
    if type(layer) in DEPTHWISE:
        groups = values.shape[-2]
        values = values.reshape(*values.shape[:-2], 1, -1)
    if type(layer) in CONVOLUTIONS:
        groups = layer.groups
    weight = from_channels_last(values, groups)
    bias = getattr(layer, "bias", None)
    return Linear(weight, np.zeros(weight.shape[0] * weight.shape[1]) if bias is None else floats(bias))


def written(layer: Any, linear: Linear) -> tuple[Any, Any]:
    """Weight and bias as the layer has them, each value rounded once; an embedding has the bias in every row.

    Raises:
        RefusalError: the layer's type cannot hold them.
    """
    like = _weight(layer)
    form = tuple(like.shape), type(layer) in TRANSPOSED, type(layer) is layers.Embedding
    weight, bias = layer_weights(linear, *form)
    return _rounded(weight, like.dtype), None if bias is None else _rounded(bias, like.dtype)


def write(layer: Any, source: Any, linear: Linear) -> None:
    """Give a copy of `source` its weights, those of `linear` in the place of its own."""
    weight, bias = written(source, linear)
    own = _weight(layer)
    for new, old in zip(_others(layer, own), _others(source, _weight(source)), strict=True):
        new.assign(np.array(ops.convert_to_numpy(old)))  # not shared: JAX's `predict` gives its arrays away
    own.assign(weight)
    if bias is not None:
        layer.bias.assign(bias)


def unusable(layer: Any, after: bool) -> str | None:
    """Why a layer before a norm, or `after` one, does not take its map, if so."""
    if type(layer) not in KINDS:
        return "is not linear or not known to be"
    if after and type(layer) is layers.Embedding:
        return "takes no values but indices"
    if after and type(layer) in SEPARABLE:
        return "is two convolutions, of which the first has no bias"
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        return "is quantized or has LoRA weights beside its own"
    if not after and getattr(layer, "activation", None) not in (None, keras.activations.linear):
        return f"has an activation, {layer.activation.__name__}, behind it"
    if str(_weight(layer).dtype) not in _SIZES:
        return f"has weights of {_weight(layer).dtype}"
    return None


def uneven(layer: Any) -> str | None:
    """Why a constant added to a layer's input does not add a constant to its output, if so."""
    if type(layer) in TRANSPOSED:
        if any(n != 1 for n in (*layer.kernel_size, *layer.strides)):
            return "a transposed convolution adds up fewer taps at some places than at others"
    elif hasattr(layer, "padding") and layer.padding != "valid" and any(n != 1 for n in layer.kernel_size):
        return f"it pads with zeros (padding={layer.padding!r}), which the norm would have shifted"
    return None


def channel_axis(layer: Any, rank: int) -> int:
    """The axis of a layer's channels in data of that many axes."""
    return 1 if getattr(layer, "data_format", "channels_last") == "channels_first" else rank - 1


def floats(variable: Any) -> Any:
    """A variable's values in float64."""
    return np.asarray(ops.convert_to_numpy(variable)).astype(np.float64)


def limits(dtype: Any) -> Any:
    """Of a floating type: what `numpy.finfo` says, bfloat16's too."""
    import ml_dtypes

    return ml_dtypes.finfo(str(dtype))


def _weight(layer: Any) -> Any:
    if type(layer) is layers.Embedding:
        return layer.embeddings
    return layer.pointwise_kernel if type(layer) in SEPARABLE else layer.kernel


def _others(layer: Any, own: Any) -> list[Any]:
    return [weight for weight in layer.weights if weight is not own and weight is not getattr(layer, "bias", None)]


def _rounded(values: Any, dtype: Any) -> Any:
    bounds = limits(dtype)
    check_size(values, str(dtype), float(bounds.max), float(bounds.smallest_normal))
    return ops.convert_to_tensor(values.astype(bounds.dtype), dtype)
