"""A model's weights and its batches from files that torch wrote, and NumPy's arrays as tensors."""

from pathlib import Path
from typing import Any

import torch

from gammabeta.errors import FileError


def weigh(model: torch.nn.Module, path: Path, place: str) -> None:
    """Give a model the weights of a state_dict.

    Raises:
        FileError: it holds others, or cannot be read; the message has the reason.
    """
    weights = read(path)
    try:
        model.load_state_dict(weights)
    except Exception as error:
        raise FileError(f"{str(path)!r} does not hold the weights of {place}: {error}") from error


def read(path: Path) -> Any:
    """What torch.save wrote, of tensors and plain values alone."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise FileError(f"{str(path)!r} could not be read as tensors: {str(error).partition(chr(10))[0]}") from error


def given(array: Any) -> Any:
    """An array as the model takes it."""
    return torch.from_numpy(array)
