"""Updates of the torch layer's running statistics: by one finite batch, or by several as by one."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

_NUMPY = (torch.float32, torch.float64)  # the types that NumPy adds up itself


class BatchStats(NamedTuple):
    """The statistics of a batch, of the shape of the features; var is biased."""

    mean: torch.Tensor
    var: torch.Tensor
    values: torch.Tensor | int

    def joined(self, other: "BatchStats") -> "BatchStats":
        """The statistics of both batches together, float64 (Chan, Golub and LeVeque 1979)."""
        count = self.values + other.values
        weight = other.values / torch.clamp(torch.as_tensor(count), min=1).double()
        # What has no values may have any mean: it must not come in as 0 · NaN.
        difference = torch.where(weight > 0, other.mean.double() - self.mean.double(), 0.0)
        theirs = torch.where(weight > 0, other.var.double(), 0.0)
        mean = self.mean.double() + difference * weight
        var = self.var.double() + (theirs - self.var.double()) * weight + difference**2 * weight * (1 - weight)
        return BatchStats(mean, var, count)


def recomputing() -> bool:
    """Whether this is a forward pass inside a backward pass: activation checkpointing doing a batch again."""
    return torch._C._current_graph_task_id() != -1


@torch.no_grad()
def move(layer: Any, seen: BatchStats) -> None:
    """running ← running + weight · (batch − running) for each feature with two values or more, if that is finite."""
    compiling = torch.compiler.is_compiling()
    if not compiling and recomputing():
        return
    transformed = not compiling and torch._C._are_functorch_transforms_active()
    # Only what is on the host and nobody's stand-in may be asked for values.
    silent = compiling or transformed or not seen.mean.is_cpu
    if not silent and layer._waiting is None and _moved_on_host(layer, seen):
        return
    seen = BatchStats(seen.mean.detach().double(), seen.var.detach().double(), seen.values)
    if layer._waiting is None or compiling:
        finite = _move(layer, seen)
    else:
        finite = torch.isfinite(seen.mean + seen.var)
        layer._waiting = _join(layer._waiting, seen, finite)
    # An exported program cannot count in what is no buffer.
    if not transformed and not torch.compiler.is_exporting() and (silent or not finite.all()):
        _skip(layer, finite, silent)


def count_empty(layer: Any) -> None:
    """Count a batch without values, as torch does; it moves nothing else."""
    if torch.compiler.is_compiling() or not (recomputing() or layer._waiting is not None):
        layer.num_batches_tracked.add_(1)


# Apart from `norm.running_stats.moved`: in float64 and in place, and on the host in a tenth of the time.
def _move(layer: Any, seen: BatchStats) -> torch.Tensor:
    """Move the running statistics; return for which features the new ones are finite in their own type, (f,)."""
    count = seen.values
    if not isinstance(count, torch.Tensor):
        count = torch.full((), count, device=seen.mean.device)
    count = count.double()
    weight = 1 / (layer.num_batches_tracked + 1).double() if layer.momentum is None else layer.momentum
    var = seen.var * (count / (count - 1).clamp(min=1)) if layer.unbiased else seen.var
    places = layer.running_mean, layer.running_var
    old = [running.double() for running in places]
    new = [was + (batch - was) * weight for was, batch in zip(old, (seen.mean, var), strict=True)]
    rounded = [value.to(running.dtype) for value, running in zip(new, places, strict=True)]
    finite = torch.isfinite(rounded[0]) & torch.isfinite(rounded[1])
    moved = finite & (count > 1)
    layer.num_batches_tracked.add_(moved.any())
    for running, value in zip(places, rounded, strict=True):
        running.copy_(torch.where(moved, value, running))
    return finite


def _moved_on_host(layer: Any, seen: BatchStats) -> bool:
    """`_move` of finite statistics in NumPy's operations, a tenth of the time of torch's; or False, nothing done."""
    places = layer.running_mean, layer.running_var
    if not isinstance(seen.values, int) or any(p.dtype not in _NUMPY or not p.is_cpu for p in places):
        return False
    if seen.values < 2 or seen.var.dtype != torch.float64 or type(seen.var) is not torch.Tensor or not seen.var.is_cpu:
        return False
    mean, var = seen.mean.numpy(), seen.var.numpy()
    limit = torch.finfo(places[1].dtype).max / 2  # the unbiased variance is at most twice the biased one
    if not (np.abs(mean) < limit).all() or not (var < limit).all():
        return False
    layer.num_batches_tracked.add_(1)
    weight = 1 / int(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
    factor = seen.values / (seen.values - 1) if layer.unbiased else 1.0
    for running, batch in zip(places, (mean, var * factor), strict=True):
        old = running.numpy()
        old[...] = old + (batch - old) * weight
    return True


def _skip(layer: Any, finite: torch.Tensor, silent: bool) -> None:
    """Count a batch with a feature that is not finite, and say so the first time, unless `silent`."""
    if not silent and not layer.skipped:
        warnings.warn(
            f"a batch has NaN or infinity, or a variance beyond {layer.running_var.dtype}, in features "
            f"{torch.nonzero(~finite)[:5].squeeze(1).tolist()}: their running statistics stay as they were. This is "
            f"said once; `layer.skipped` counts such batches",
            RuntimeWarning,
            stacklevel=2,
        )
    count_there(layer, finite.device)
    layer._skipped.add_(~finite.all())


def count_there(layer: Any, device: torch.device) -> None:
    """Let the layer count on that device."""
    if layer._skipped.device != device:
        layer._skipped = torch.full((), layer.skipped, dtype=torch.long, device=device)


def _join(before: BatchStats | tuple[()], seen: BatchStats, finite: torch.Tensor) -> BatchStats:
    count = torch.where(finite, torch.as_tensor(seen.values), 0)
    mean, var = (torch.where(finite, value, 0.0) for value in seen[:2])
    return (
        before.joined(BatchStats(mean, var, count)) if isinstance(before, BatchStats) else BatchStats(mean, var, count)
    )


@contextmanager
def waiting(layer: Any) -> Iterator[None]:
    """Let the batches within a `with` block move the running statistics once, at its end, as one batch of all."""
    before, layer._waiting = layer._waiting, ()
    try:
        yield
        seen = layer._waiting
    finally:
        layer._waiting = before
    if seen:
        with torch.no_grad():
            finite = _move(layer, seen)
            if not seen.mean.is_cpu or not finite.all():
                _skip(layer, finite, not seen.mean.is_cpu)


@contextmanager
def accumulate(model: torch.nn.Module) -> Iterator[None]:
    """Let micro-batches move the running statistics of a model's layers as the one large batch they are.

    The statistics of the batches within the `with` block are joined by Chan's formula, exactly those of all their
    values, and each layer's running statistics move once, when the block ends. After an exception nothing moves.

    >>> from gammabeta.torch import BatchNorm
    >>> layer, x = BatchNorm(1), torch.arange(8.0).reshape(8, 1)
    >>> with accumulate(layer):
    ...     for part in x.split(2):
    ...         _ = layer(part)
    >>> layer.running_mean.item(), layer.num_batches_tracked.item()  # 0.1 · 3.5
    (0.3499999940395355, 1)
    """
    with ExitStack() as stack:
        for layer in model.modules():
            if hasattr(layer, "_waiting"):
                stack.enter_context(waiting(layer))
        yield
