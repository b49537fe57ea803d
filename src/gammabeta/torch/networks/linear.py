"""torch's linear layers as `linear_map.Linear`, and back: each kind's weight layout, and the axis of its channels."""

from typing import Any

import numpy as np
import torch
from torch import nn

from gammabeta.backends import arrays
from gammabeta.norm.linear_map import Linear
from gammabeta.torch.networks.folded_norm import RefusalError

CONVOLUTIONS: dict[type, int] = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
TRANSPOSED: dict[type, int] = {nn.ConvTranspose1d: 1, nn.ConvTranspose2d: 2, nn.ConvTranspose3d: 3}
KINDS = (nn.Linear, nn.Embedding, *CONVOLUTIONS, *TRANSPOSED)

_SIZES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def kind(layer: Any) -> type:
    """torch's class of a linear layer, also of a subclass that neither calls nor keeps its weights otherwise."""
    own: type
    for own in KINDS:
        if isinstance(layer, own) and "weight" in vars(layer)["_parameters"] and _inherits(layer, own):
            return own
    return type(layer)


def _inherits(layer: Any, own: type) -> bool:
    names = ("__call__", "__getattr__", "forward", "_conv_forward", "_output_padding")
    same = all(getattr(type(layer), name, None) is getattr(own, name, None) for name in names)
    return same and not vars(layer).keys() & {"forward", "_conv_forward"}


def read(layer: Any) -> Linear:
    """A layer's weight and bias in float64. An embedding is a dense layer of as many inputs as it has rows."""
    weight = _floats(layer.weight)
    groups = getattr(layer, "groups", 1)
    if kind(layer) is nn.Embedding:
        weight = weight.T
    weight = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    if kind(layer) in TRANSPOSED:
        weight = weight.swapaxes(1, 2)
    bias = getattr(layer, "bias", None)
    outputs = weight.shape[0] * weight.shape[1]
    return Linear(weight, np.zeros(outputs) if bias is None else _floats(bias))


def written(layer: Any, linear: Linear) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Weight and bias as the layer has them, each value rounded once; an embedding has the bias in every row.

    Raises:
        RefusalError: the layer's type cannot hold them.
    """
    weight, bias = linear.weight, None
    if kind(layer) is nn.Embedding:
        weight = (weight.reshape(linear.outputs, -1) + linear.bias[:, None]).T
    else:
        bias = _rounded(linear.bias, layer.weight)
    if kind(layer) in TRANSPOSED:
        weight = weight.swapaxes(1, 2)
    return _rounded(weight.reshape(layer.weight.shape), layer.weight), bias


def replace(layer: Any, linear: Linear) -> None:
    """Give a layer new parameters; those it had, which other layers may share, stay as they are."""
    weight, bias = written(layer, linear)
    asked = layer.weight.requires_grad
    layer.weight = nn.Parameter(weight, asked)
    if bias is not None:
        layer.bias = nn.Parameter(bias, asked if layer.bias is None else layer.bias.requires_grad)


def spatial(layer: Any) -> int:
    """How many spatial axes: 0 unless it is a convolution."""
    return CONVOLUTIONS.get(kind(layer), 0) or TRANSPOSED.get(kind(layer), 0)


def channel_axis(layer: Any, rank: int, swapped: bool) -> int | None:
    """The axis of a layer's channels in data of `rank` axes, perhaps with the last two swapped; None if none is."""
    along = spatial(layer)
    if (along and rank != along + 2) or (swapped and rank != 3):
        return None
    axis = 1 if along else rank - 1
    return 3 - axis if swapped else axis


def unusable(layer: Any) -> str | None:
    """Why a layer's weight is not its own to change, if so."""
    if torch.nn.utils.parametrize.is_parametrized(layer):
        return "is parametrized: torch.nn.utils.parametrize.remove_parametrizations makes its weight one of its own"
    if kind(layer) not in KINDS:
        return "is not linear or not known to be"
    if hooked(layer):
        return "has hooks (weight_norm and spectral_norm of old are such): remove them first"
    if layer.weight.dtype not in _SIZES or layer.weight.is_meta:
        return f"has weights of {layer.weight.dtype} on {layer.weight.device}"
    if getattr(layer, "max_norm", None) is not None:
        return "has max_norm=, which changes its rows at each call"
    return None


def hooked(layer: Any) -> bool:
    """Whether something else happens when a module is called."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


def uneven(layer: Any) -> str | None:
    """Why a constant added to a layer's input does not add a constant to its output, if so."""
    if kind(layer) in TRANSPOSED:
        plain = all(n == 1 for n in (*layer.kernel_size, *layer.stride))
        if not plain or any((*layer.padding, *layer.output_padding)):
            return "a transposed convolution adds up fewer taps at some places than at others"
    elif kind(layer) in CONVOLUTIONS and layer.padding_mode == "zeros" and _pads(layer):
        return f"it pads with zeros (padding={layer.padding!r}), which the norm would have shifted"
    return None


def _pads(layer: Any) -> bool:
    if isinstance(layer.padding, str):
        return layer.padding == "same" and any(n > 1 for n in layer.kernel_size)
    return any(layer.padding)


def _floats(tensor: torch.Tensor) -> Any:
    return arrays.to_numpy(tensor.detach().to("cpu", torch.float64)).copy()


def _rounded(values: Any, like: torch.Tensor) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(values)).to(like.device, like.dtype)
    min_normal = torch.finfo(like.dtype).smallest_normal
    size = np.abs(values[values != 0])
    if not bool(torch.isfinite(tensor).all()) or (size.size and size.max() < min_normal):
        raise RefusalError(f"the folded weights are beyond {like.dtype}: up to {size.max(initial=0):.3g}")
    return tensor
