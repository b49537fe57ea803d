"""Layer, group, instance and RMS norm as `nn.Module`s in the place of torch's, of which they are subclasses.

Signatures, parameters, `state_dict`, `repr` and errors are torch's own. On a CPU the kernels compute, in float64, of 16
bits in float32, rounded once; under `torch.func` and in `torch.compile` the formula in torch's operations does. Torch's
own forward pass does what is left: other devices, exported programs, running statistics, an eps of 0, and inputs that
torch refuses.
"""

from math import prod

import torch
from torch import nn
from torch.nn.modules.instancenorm import _InstanceNorm

from gammabeta.kernels.group import Rows
from gammabeta.torch.norm import autograd_cpu, autograd_group
from gammabeta.torch.norm.validation import FLOATS

Tensor = torch.Tensor

_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def _ours(x: Tensor, eps: float, weight: Tensor | None, bias: Tensor | None) -> bool:
    """Whether x is for the kernels or the formula: on a CPU, of a floating type, not empty, and not being exported."""
    return (
        isinstance(x, Tensor)
        and x.device.type == "cpu"
        and x.dtype in FLOATS
        and x.numel() > 0
        and eps > 0
        and all(p is None or (p.device == x.device and p.dtype in (x.dtype, torch.float32)) for p in (weight, bias))
        and not torch.compiler.is_exporting()
        and not torch.onnx.is_in_onnx_export()
    )


def _normalized(x: Tensor, rows: Rows, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """By the kernels, or by the formula where somebody traces or transforms the operations."""
    if torch.compiler.is_compiling() or not autograd_cpu.fits(x):
        return autograd_group.composed(x, rows, weight, bias)
    weight, bias = (p if p is None else p.reshape(-1) for p in (weight, bias))
    return autograd_group.normalized(x, rows, weight, bias)


def _in_channels(x: Tensor, groups: int, eps: float, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Group norm of (n, c, …), in x's memory format."""
    width = prod(x.shape[2:])
    rows = Rows(x.shape[0] * groups, x.shape[1] // groups * width, groups, width, True, eps)
    y = _normalized(x, rows, weight, bias)
    last = _LAST.get(x.ndim)
    if last is None or x.is_contiguous() or not x.is_contiguous(memory_format=last):
        return y
    return y.contiguous(memory_format=last)


class LayerNorm(nn.LayerNorm):
    """y = γ · (x − mean) / √(var + eps) + β over the last axes: `torch.nn.LayerNorm`, exact to one rounding on a CPU.

    Arguments, parameters and `state_dict` are torch's.

    Ba, Kiros and Hinton (2016): https://arxiv.org/abs/1607.06450

    >>> LayerNorm(2)(torch.tensor([[1.0, 3.0], [10.0, 30.0]])).detach().round(decimals=3)
    tensor([[-1.,  1.],
            [-1.,  1.]])
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Normalize each sample; input: (…, *normalized_shape)."""
        shape, weight, bias = tuple(self.normalized_shape), self.weight, self.bias
        if not _ours(input, self.eps, weight, bias) or tuple(input.shape[-len(shape) :]) != shape:
            return super().forward(input)
        size = prod(shape)
        rows = Rows(input.numel() // size, size, 1, 1, True, self.eps)
        return _normalized(input, rows, weight, bias)


class RMSNorm(nn.RMSNorm):
    """y = γ · x / √(mean(x²) + eps) over the last axes: `torch.nn.RMSNorm`, exact to one rounding on a CPU.

    Arguments, parameters and `state_dict` are torch's; eps=None is `torch.finfo(x.dtype).eps`. Of 16 bits torch's own
    forward pass then computes, which takes float32's eps in some versions.

    Zhang and Sennrich (2019): https://arxiv.org/abs/1910.07467

    >>> RMSNorm(2, eps=1e-8)(torch.tensor([3.0, 4.0])).detach().round(decimals=3)
    tensor([0.8490, 1.1310])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each sample; x: (…, *normalized_shape)."""
        shape, weight = tuple(self.normalized_shape), self.weight
        known = isinstance(x, Tensor) and x.dtype in FLOATS
        eps = self.eps if self.eps is not None else torch.finfo(x.dtype).eps if known and x.itemsize > 2 else 0.0
        if not _ours(x, eps, weight, None) or tuple(x.shape[-len(shape) :]) != shape:
            return super().forward(x)
        size = prod(shape)
        return _normalized(x, Rows(x.numel() // size, size, 1, 1, False, eps), weight, None)


class GroupNorm(nn.GroupNorm):
    """y = γ · (x − mean) / √(var + eps) + β over groups of channels: `torch.nn.GroupNorm`.

    Exact to one rounding on a CPU. Arguments, parameters and `state_dict` are torch's.

    Wu and He (2018): https://arxiv.org/abs/1803.08494

    >>> GroupNorm(2, 4)(torch.tensor([[1.0, 3.0, 10.0, 30.0]])).detach().round(decimals=3)
    tensor([[-1.,  1., -1.,  1.]])
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Normalize each group of channels of each sample; input: (n, c, …)."""
        if not _ours(input, self.eps, self.weight, self.bias) or input.ndim < 2 or input.shape[1] != self.num_channels:
            return super().forward(input)
        if prod([input.shape[0], *input.shape[2:], self.num_channels // self.num_groups]) == 1:
            return super().forward(input)  # one value of each: torch refuses it
        return _in_channels(input, self.num_groups, self.eps, self.weight, self.bias)


class _Instance(_InstanceNorm):
    """What the three classes share: torch calls this once the number of axes and channels has been checked."""

    def _apply_instance_norm(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        alone = self.running_mean is not None or prod(input.shape[2:]) < 2  # the second is an error of torch's
        weight, bias = self.weight, self.bias
        if alone or not _ours(input, self.eps, weight, bias):
            y: Tensor = super()._apply_instance_norm(input)
            return y
        return _in_channels(input, input.shape[1], self.eps, weight, bias)


class InstanceNorm1d(_Instance, nn.InstanceNorm1d):
    """y = γ · (x − mean) / √(var + eps) + β of each channel of each sample of (n, c, l): `torch.nn.InstanceNorm1d`.

    Exact to one rounding on a CPU. Arguments, parameters and `state_dict` are torch's; with running statistics torch's
    own forward pass computes.

    Ulyanov, Vedaldi and Lempitsky (2016): https://arxiv.org/abs/1607.08022

    >>> InstanceNorm1d(2)(torch.tensor([[[1.0, 3.0], [10.0, 30.0]]])).round(decimals=3)
    tensor([[[-1.,  1.],
             [-1.,  1.]]])
    """


class InstanceNorm2d(_Instance, nn.InstanceNorm2d):
    """`InstanceNorm1d` for (n, c, h, w), in the place of `torch.nn.InstanceNorm2d`."""


class InstanceNorm3d(_Instance, nn.InstanceNorm3d):
    """`InstanceNorm1d` for (n, c, d, h, w), in the place of `torch.nn.InstanceNorm3d`."""
