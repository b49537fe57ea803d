"""Calls a torch model with a batch of any kind."""

from collections.abc import Iterator, Mapping
from inspect import Parameter, signature
from itertools import chain
from typing import Any

import torch

from gammabeta.errors import KindError
from gammabeta.networks.batches import first, named


def called(model: Any, batch: Any) -> Any:
    """model(batch), by the batch's kind.

    A tensor is the model's argument. Of a tuple or a list it is the first element, as in
    `torch.optim.swa_utils.update_bn`: the others are labels. Of a mapping or a dataclass those entries that `forward`
    names are its keyword arguments. Tensors go to the device of the model's first parameter.
    """
    place = next(chain(model.parameters(), model.buffers()), torch.empty(0)).device
    batch = first(batch)
    if isinstance(batch, Mapping):
        return model(**{name: _there(value, place) for name, value in _named(model, batch).items()})
    if not isinstance(batch, torch.Tensor):
        raise KindError(
            f"a batch must be a tensor, a tuple that begins with one, a mapping or a dataclass, got "
            f"{type(batch).__name__}: say how the model takes it with call=lambda model, batch: …"
        )
    return model(_there(batch, place))


def _named(model: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    takes = signature(model.forward).parameters
    if any(p.kind is Parameter.VAR_KEYWORD for p in takes.values()):
        return dict(batch)
    return named(batch, takes)


def _there(value: Any, place: torch.device) -> Any:
    return value.to(place) if isinstance(value, torch.Tensor) else value


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors of floating type in whatever a model takes or gives."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors(part)
