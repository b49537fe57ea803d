"""A model's weights and its batches from files that torch wrote, and NumPy's arrays as tensors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gammabeta.errors import FileError

_WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and trainers put before the names of a model's weights."""


def weigh(model: torch.nn.Module, path: Path, place: str) -> None:
    """Give a model the weights of a state_dict, or of a checkpoint's entry of that name.

    Raises:
        FileError: it holds others, or cannot be read; the message has the reason.
    """
    weights = _named(read(path), model)
    try:
        model.load_state_dict(weights)
    except Exception as error:
        raise FileError(f"{str(path)!r} does not hold the weights of {place}: {error}") from error


def _named(weights: Any, model: torch.nn.Module) -> Any:
    """A state_dict as the model names it: out of a checkpoint's entry, and without the prefixes of wrappers."""
    if isinstance(weights, Mapping) and isinstance(weights.get("state_dict"), Mapping):
        weights = weights["state_dict"]
    own = model.state_dict().keys()
    for prefix in _WRAPPERS * 2:  # one may be within the other
        foreign = isinstance(weights, Mapping) and not weights.keys() & own
        if foreign and all(isinstance(name, str) and name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def read(path: Path) -> Any:
    """What torch.save wrote, of tensors and plain values alone."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise FileError(f"{str(path)!r} could not be read as tensors: {str(error).partition(chr(10))[0]}") from error


def given(array: Any) -> Any:
    """An array as the model takes it."""
    return torch.from_numpy(array)
