"""`adapt` for PyTorch: trained statistics mixed with the test batch's by count, while the adaptation lasts."""

from typing import Any

import torch

from gammabeta import axes
from gammabeta.backends import array_ops
from gammabeta.networks import adapt as shared
from gammabeta.networks.adapt import Adaptation
from gammabeta.norm import formula
from gammabeta.torch.networks import stat_layers
from gammabeta.torch.networks.stat_layers import StatLayers
from gammabeta.torch.norm import autograd_cpu
from gammabeta.torch.norm.autograd_cpu import Plan

Tensor = torch.Tensor

_RUNNING = ("running_mean", "running_var")


def adapt(model: torch.nn.Module, *, prior: float = 16.0, differentiable: bool = False) -> Adaptation:
    """Let every batch-norm layer, in evaluation, normalize by its trained statistics and the batch's, mixed by count.

        mean = (N · running mean + n · batch mean) / (N + n),    and so the variance, the batch's with divisor n

    N is `prior`, the number of samples that the trained statistics are worth; n is the batch's. With prior=0 the batch
    alone counts (Li et al.: AdaBN); the larger, the less it does. For data that have moved, as photographs in fog,
    that come in batches. Layers in training and frozen ones are left alone.

    The mixture never lies in a layer's buffers: running statistics, `state_dict` and modes are those of before at any
    time, and the model may be called from many threads. Of several adaptations of a layer the last that is not undone
    counts. A model may be copied and pickled while it is adapted, and the copy is adapted too: `unadapt` undoes that.

    Gradients flow to x, γ and β, with the mixture as a constant; with `differentiable` they flow through the batch's
    mean and variance too, as in training mode: TENT (Wang et al.) learns γ and β so, of the test data's own entropy.
    Each value is then rounded twice, once normalized and once with γ and β.

    Returns:
        an `Adaptation`: call its `undo()`, or use it in a `with` statement.

    Raises:
        DataError: no layer has running statistics; prior is negative or not finite.

    Li et al. (2016): https://arxiv.org/abs/1603.04779; Schneider et al. (2020):
    https://arxiv.org/abs/2006.16971; Wang et al. (2021): https://arxiv.org/abs/2006.10726

    >>> layer = torch.nn.BatchNorm1d(1).eval()
    >>> x = torch.tensor([[8.0], [12.0]])
    >>> with adapt(layer, prior=0):
    ...     layer(x).detach().round(decimals=3).tolist()
    [[-1.0], [1.0]]
    >>> layer(x).detach().round(decimals=3).tolist()
    [[8.0], [12.0]]
    """
    shared.check_prior(prior)
    found = StatLayers(stat_layers.inside(model)).some("adapt")
    mixing = [_Mixing(name, layer, prior, differentiable) for name, layer in found.layers.items()]
    return Adaptation(prior, [each.handle.remove for each in mixing])


def unadapt(model: torch.nn.Module) -> torch.nn.Module:
    """Undo every `adapt` of a model, or of what it was copied or unpickled from: the layers normalize as before it.

    In place; returns the model.

    >>> from copy import deepcopy
    >>> layer = torch.nn.BatchNorm1d(1).eval()
    >>> with adapt(layer, prior=0):
    ...     copied = unadapt(deepcopy(layer))
    >>> copied(torch.tensor([[8.0], [12.0]])).detach().round(decimals=3).tolist()
    [[8.0], [12.0]]
    """
    for layer in stat_layers.inside(model).modules():
        for hook in list(layer._forward_hooks.values()):
            if isinstance(hook, _Mixing):
                hook.handle.remove()
    return model


class _Mixing:
    """A forward hook that normalizes by the mixture what the layer has normalized by its trained statistics.

    It computes with a shallow copy of the layer that has other buffers, so that no thread sees them. Of several the
    newest counts, which is the first: each is put before those that are there.
    """

    def __init__(self, name: str, layer: Any, prior: float, differentiable: bool) -> None:
        self.name, self.prior, self.differentiable = name, prior, differentiable
        # A copy of the layer, or what pickle makes of it, has a copy of the handle too, which removes it there.
        self.handle = layer.register_forward_hook(self, prepend=True, with_kwargs=True)

    def __call__(self, layer: Any, given: tuple[Any, ...], named: dict[str, Any], y: Any) -> Any:
        newest = next(hook for hook in layer._forward_hooks.values() if isinstance(hook, _Mixing))
        if newest is not self or layer.training or stat_layers.frozen(layer):
            return None
        x, mask = stat_layers.call(layer, given, named)
        reduced_axes = stat_layers.reduced(self.name, layer, x)
        if not x.numel():
            return None
        kind: Any = type(layer)
        mixing = kind.__new__(kind)
        mixing.__dict__.update(layer.__dict__)
        with torch.set_grad_enabled(self.differentiable and torch.is_grad_enabled()):
            mixture = _mixture(layer, self.prior, x, mask, reduced_axes, self.differentiable)
        if self.differentiable:
            # No layer has a gradient for its buffers: it is given what is normalized, to which γ, β and the rest go.
            normal = _normal(layer, x, mask, reduced_axes, *(mixture[name] for name in _RUNNING))
            given, named = ((normal, *given[1:]), named) if given else ((), {**named, next(iter(named)): normal})
            mixture = {
                name: torch.full_like(layer._buffers[name], value)
                for name, value in zip(_RUNNING, (0.0, 1.0 - layer.eps), strict=True)
            }
        mixing._buffers = {**layer._buffers, **mixture}
        return kind.forward(mixing, *given, **named)


def _mixture(
    layer: Any, prior: float, x: Tensor, mask: Tensor | None, reduced_axes: tuple[int, ...], differentiable: bool
) -> dict[str, Tensor]:
    """The mean and variance to normalize a batch by: new tensors by the names of the layer's buffers."""
    space = array_ops.of(x)
    mask = None if mask is None else formula.broadcast_mask(space, mask, x, reduced_axes)
    x = x if differentiable else x.detach()
    seen = autograd_cpu.composed(x, None, None, None, Plan(reduced_axes, layer.eps), mask=mask)[1]
    count = shared.samples(space, x, mask, reduced_axes)
    return {
        name: shared.mixed(space, prior, count, layer._buffers[name], batch, differentiable=differentiable)
        for name, batch in zip(_RUNNING, (seen.mean, seen.var), strict=True)
    }


def _normal(
    layer: Any, x: Tensor, mask: Tensor | None, reduced_axes: tuple[int, ...], mean: Tensor, var: Tensor
) -> Tensor:
    """(x − mean) / √(var + eps) in torch's own operations, 0 where a mask leaves a value out; of x's type."""
    shape = axes.parameter_shape(reduced_axes, tuple(x.shape))
    computing = torch.promote_types(torch.promote_types(x.dtype, mean.dtype), torch.float32)
    mean, var = (value.to(computing).reshape(shape) for value in (mean, var))
    centred = x.to(computing) - mean
    if mask is not None:
        centred = torch.where(formula.broadcast_mask(array_ops.of(x), mask, x, reduced_axes), centred, 0.0)
    return (centred * torch.rsqrt(var + layer.eps)).to(x.dtype)
