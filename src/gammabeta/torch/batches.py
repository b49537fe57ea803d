"""How a model is called with a batch of any kind, and what is said if that fails."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from inspect import Parameter, signature
from itertools import chain
from typing import Any

import torch

from gammabeta.errors import DataError, KindError

Call = Callable[[Any, Any], Any]
Progress = Callable[[int, int], None]


def called(model: Any, batch: Any) -> Any:
    """model(batch), by the batch's kind.

    A tensor is the model's argument. Of a tuple or a list it is the first element, as in
    `torch.optim.swa_utils.update_bn`: the others are labels. Of a mapping or a dataclass those entries that `forward`
    names are its keyword arguments. Tensors go to the device of the model's first parameter.
    """
    place = next(chain(model.parameters(), model.buffers()), torch.empty(0)).device
    if isinstance(batch, tuple | list) and batch:
        batch = batch[0]
    if is_dataclass(batch) and not isinstance(batch, type):
        batch = {field.name: getattr(batch, field.name) for field in fields(batch)}
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
    chosen = {name: value for name, value in batch.items() if name in takes}
    if not chosen:
        raise DataError(
            f"a batch must have an entry that forward names, which are {list(takes)}, got {list(batch)}: say how the "
            f"model takes it with call=lambda model, batch: …"
        )
    return chosen


def _there(value: Any, place: torch.device) -> Any:
    return value.to(place) if isinstance(value, torch.Tensor) else value


def quiet(done: int, size: int) -> None:
    """Report no progress."""


def numbered(batches: Iterable[Any], progress: Progress) -> Iterator[tuple[int, Any]]:
    """(number, batch) for each batch, from 1; progress hears of each that is done, and of how many, 0 if not known."""
    size = len(batches) if isinstance(batches, Sized) else 0
    for number, batch in enumerate(batches, 1):
        yield number, batch
        progress(number, size)


@contextmanager
def in_batch(number: int) -> Iterator[None]:
    """Say in an error's note which batch it came with."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in batch {number}; the model is as it was before")
        raise


def iterable(batches: Any, again: str = "") -> None:
    """Refuse what is no iterable of batches, or if they are needed `again` what can be gone through only once."""
    if isinstance(batches, torch.Tensor | Mapping | str) or not isinstance(batches, Iterable):
        raise KindError(
            f"batches must be a list of batches, a DataLoader or another iterable, got {type(batches).__name__}: one "
            f"batch alone is [batch]"
        )
    if again and iter(batches) is batches:
        raise DataError(
            f"{again} goes through the batches more than once, and {type(batches).__name__} can be gone through only "
            f"once: give a list or a DataLoader"
        )


def some(count: int) -> None:
    """Refuse to have had no batch."""
    if not count:
        raise DataError("batches must give at least one batch, got none: is the loader empty, or a generator used up?")


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
