"""How often one training step moves each layer's running statistics; afterwards the model is as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gammabeta.networks.diagnose.accumulator import Moves
from gammabeta.networks.diagnose.session import Run
from gammabeta.torch.networks import stat_layers
from gammabeta.torch.networks.call_model import tensors
from gammabeta.torch.norm.layer import BatchNorm
from gammabeta.torch.norm.running_stats import recomputing


def tried(model: Any, layers: dict[str, Any], run: Run) -> dict[str, Moves]:
    """Run one step in training mode; return how often it moved each layer's statistics."""
    calls = {name: [0, 0] for name in layers}

    def counting(name: str) -> Any:
        def hook(layer: Any, *given: Any) -> None:
            if layer.training:
                calls[name][recomputing()] += 1

        return hook

    handles = [layer.register_forward_pre_hook(counting(name)) for name, layer in layers.items()]
    try:
        with _put_back(model), torch.enable_grad(), stat_layers.uncompiled():
            model.train()
            total: Any = sum(t.double().sum() for t in tensors(run(model)) if t.requires_grad)
            if isinstance(total, torch.Tensor):
                total.backward()
    finally:
        for handle in handles:
            handle.remove()
    return {name: _moves(layers[name], *counts) for name, counts in calls.items()}


def _moves(layer: Any, first: int, again: int) -> Moves:
    """The `Moves` of a layer: this library's does not move when checkpointing repeats a call."""
    again = 0 if isinstance(layer, BatchNorm) else again
    return Moves(first + again, again)


@contextmanager
def _put_back(model: Any) -> Iterator[None]:
    """Restore modes, buffers, gradients and random state at the end of the block."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    gradients = [(p, p.grad) for p in model.parameters()]
    devices = {p.device for p in model.parameters() if p.is_cuda}
    with torch.random.fork_rng([device.index for device in devices]):
        try:
            for parameter, _ in gradients:
                parameter.grad = None
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)
            for parameter, gradient in gradients:
                parameter.grad = gradient
