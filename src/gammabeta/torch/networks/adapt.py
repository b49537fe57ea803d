"""Statistics of the test batch, mixed with the trained ones by count, for as long as that is wanted."""

from types import TracebackType
from typing import Any, Self

import torch

from gammabeta.backends import array_ops
from gammabeta.networks import adapt as shared
from gammabeta.networks import recalibrate_report
from gammabeta.norm import formula
from gammabeta.torch.networks import stat_layers
from gammabeta.torch.norm import autograd_cpu
from gammabeta.torch.norm.autograd_cpu import Plan

Tensor = torch.Tensor


def adapt(model: torch.nn.Module, *, prior: float = 16.0) -> "Adaptation":
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
    return Adaptation(stat_layers.some(stat_layers.inside(model), "adapt").layers, prior)


class Adaptation:
    """What `adapt` has begun, until `undo()` or the end of its `with` statement."""

    def __init__(self, layers: dict[str, Any], prior: float) -> None:
        self._prior = prior
        self._trained: dict[Any, dict[str, Tensor]] = {}
        self._handles: list[Any] = []
        for name, layer in layers.items():
            before = layer.register_forward_pre_hook(self._before(name), with_kwargs=True)
            self._handles += [before, layer.register_forward_hook(self._after, always_call=True)]

    def undo(self) -> None:
        """Let each layer normalize as it did before; a second time it does nothing."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()

    def __repr__(self) -> str:
        layers = len(self._handles) // 2
        return f"Adaptation({layers} layers, prior={self._prior:g})" if layers else "Adaptation(undone)"

    def _before(self, name: str) -> Any:
        def hook(layer: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            if not layer.training and not stat_layers.frozen(layer):
                x, mask = stat_layers.call(layer, given, named)
                reduced_axes = stat_layers.reduced(name, layer, x)
                if count := _samples(x, mask, reduced_axes):
                    self._put(layer, *_statistics(layer, x, mask, reduced_axes), count)

        return hook

    def _put(self, layer: Any, mean: Tensor, var: Tensor, count: int) -> None:
        """Other tensors in the buffers' places: those of before stay what a backward pass may need them to be."""
        self._trained[layer] = {name: layer._buffers[name] for name in ("running_mean", "running_var")}
        for (name, trained), batch in zip(self._trained[layer].items(), (mean, var), strict=True):
            mixture = recalibrate_report.mixed(self._prior, count, trained.to(batch.dtype), batch)
            layer._buffers[name] = mixture.to(trained.dtype)

    def _after(self, layer: Any, given: Any, result: Any) -> None:
        layer._buffers.update(self._trained.pop(layer, {}))


@torch.no_grad()
def _statistics(layer: Any, x: Tensor, mask: Tensor | None, reduced_axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    found = autograd_cpu.composed(x.detach(), None, None, None, Plan(reduced_axes, layer.eps), mask=mask)[1]
    return found.mean, found.var


def _samples(x: Tensor, mask: Tensor | None, reduced_axes: tuple[int, ...]) -> int:
    """How many rows along axis 0 have a value that counts; one if axis 0 is not reduced."""
    if x.numel() == 0:
        return 0
    if mask is None:
        return x.shape[0] if 0 in reduced_axes else 1
    mask = formula.spread(array_ops.of(x), mask, x, reduced_axes)
    return int(mask.flatten(1).any(1).sum()) if 0 in reduced_axes else int(mask.any())
