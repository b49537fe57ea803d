"""`adapt` for PyTorch: trained statistics mixed with the test batch's by count, while the adaptation lasts."""

from collections.abc import Callable
from typing import Any

import torch

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


def adapt(model: torch.nn.Module, *, prior: float = 16.0) -> Adaptation:
    """Let every batch-norm layer, in evaluation, normalize by its trained statistics and the batch's, mixed by count.

        mean = (N · running mean + n · batch mean) / (N + n),    and so the variance, the batch's with divisor n

    N is `prior`, the number of samples that the trained statistics are worth; n is the batch's. With prior=0 the batch
    alone counts (Li et al.: AdaBN); the larger, the less it does. For data that have moved, as photographs in fog,
    that come in batches. Layers in training and frozen ones are left alone.

    The mixture is there during a layer's call alone: running statistics, `state_dict` and modes are those of before
    at any time between.

    Returns:
        an `Adaptation`: call its `undo()`, or use it in a `with` statement.

    Raises:
        DataError: no layer has running statistics; prior is negative or not finite.

    Li et al. (2016): https://arxiv.org/abs/1603.04779; Schneider et al. (2020):
    https://arxiv.org/abs/2006.16971

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
    return Adaptation(prior, [_begun(name, layer, prior) for name, layer in found.layers.items()])


def _begun(name: str, layer: Any, prior: float) -> Callable[[], None]:
    """Register hooks that exchange a layer's statistics during its calls; return what removes them.

    Other tensors take the buffers' places: those of before stay what a backward pass may need them to be.
    """
    trained: dict[str, Tensor] = {}

    def before(layer: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if layer.training or stat_layers.frozen(layer):
            return
        x, mask = stat_layers.call(layer, given, named)
        reduced_axes = stat_layers.reduced(name, layer, x)
        if x.numel():
            trained.update({name: layer._buffers[name] for name in _RUNNING})
            layer._buffers.update(_mixture(layer, prior, x, mask, reduced_axes))

    def after(layer: Any, given: Any, result: Any) -> None:
        layer._buffers.update(trained)
        trained.clear()

    handles = (
        layer.register_forward_pre_hook(before, with_kwargs=True),
        layer.register_forward_hook(after, always_call=True),
    )

    def undo() -> None:
        for handle in handles:
            handle.remove()

    return undo


@torch.no_grad()
def _mixture(
    layer: Any, prior: float, x: Tensor, mask: Tensor | None, reduced_axes: tuple[int, ...]
) -> dict[str, Tensor]:
    """The mean and variance to normalize a batch by: new tensors by the names of the layer's buffers."""
    space = array_ops.of(x)
    mask = None if mask is None else formula.broadcast_mask(space, mask, x, reduced_axes)
    seen = autograd_cpu.composed(x.detach(), None, None, None, Plan(reduced_axes, layer.eps), mask=mask)[1]
    count = shared.samples(space, x, mask, reduced_axes)
    return {
        name: shared.mixed(space, prior, count, layer._buffers[name], batch)
        for name, batch in zip(_RUNNING, (seen.mean, seen.var), strict=True)
    }
