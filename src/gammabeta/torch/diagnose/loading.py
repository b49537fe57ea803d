"""A model and batches by what a command line can say: `module:name` and files."""

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gammabeta.errors import DataError, FileError, KindError

_FILES = ".npy", ".npz", ".pt", ".pth"


def named(place: str, what: str) -> Any:
    """What `module:name` stands for, called if it can be and is no module of a network; the working directory counts.

    Raises:
        DataError: it is not of that form, or cannot be imported or called; the message has the reason.
    """
    module, _, name = place.partition(":")
    if not module or not name:
        raise DataError(f"{what} must be given as module:name, such as my.networks:make, got {place!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return found() if callable(found) and not isinstance(found, torch.nn.Module) else found
    except Exception as error:
        raise DataError(f"{what} {place!r} could not be made: {type(error).__name__}: {error}") from error


def model(place: str, weights: Path | None) -> torch.nn.Module:
    """A network, with the weights of a state_dict if there are any."""
    made = named(place, "the model")
    if not isinstance(made, torch.nn.Module):
        raise KindError(f"{place} must give a torch.nn.Module, got {type(made).__name__}")
    if weights is not None:
        try:
            made.load_state_dict(_torch(weights))
        except RuntimeError as error:
            raise FileError(f"{str(weights)!r} does not hold the weights of {place}: {error}") from error
    return made


def batches(place: str, size: int) -> Iterable[Any]:
    """Batches of `size` rows of a .npy, .npz or .pt file, or those that `module:name` gives.

    Of a .npz with one array that one, else a mapping of all; of a .pt a tensor, a mapping or a tuple of them.
    """
    suffix = Path(place).suffix.lower()
    if ":" not in place and suffix not in _FILES:
        raise DataError(f"the data must be a .npy, .npz or .pt file, or module:name that gives batches, got {place!r}")
    if suffix not in _FILES:
        return named(place, "the data")
    found = _numpy(Path(place)) if suffix in (".npy", ".npz") else _torch(Path(place))
    rows = _rows(found, place)
    return [_part(found, slice(at, at + size)) for at in range(0, rows, size)]


def _numpy(path: Path) -> Any:
    try:
        found = np.load(path, allow_pickle=False)
        arrays = {"": found} if isinstance(found, np.ndarray) else dict(found)
    except (OSError, ValueError, EOFError) as error:
        raise FileError(f"{str(path)!r} could not be read as arrays: {error}") from error
    tensors = {name: torch.from_numpy(_floats(array)) for name, array in arrays.items()}
    return next(iter(tensors.values())) if len(tensors) == 1 else tensors


def _floats(array: Any) -> Any:
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise FileError(f"{str(path)!r} could not be read as tensors: {str(error).partition(chr(10))[0]}") from error


def _rows(found: Any, place: str) -> int:
    parts = found.values() if isinstance(found, dict) else found if isinstance(found, tuple | list) else [found]
    lengths = {len(part) for part in parts if isinstance(part, torch.Tensor) and part.ndim}
    if len(lengths) != 1 or not next(iter(lengths)):
        raise DataError(
            f"{place!r} must hold tensors with the same number of rows, at least one, got {sorted(lengths)}"
        )
    return next(iter(lengths))


def _part(found: Any, rows: slice) -> Any:
    if isinstance(found, dict):
        return {name: _part(value, rows) for name, value in found.items()}
    if isinstance(found, tuple | list):
        return tuple(_part(value, rows) for value in found)
    return found[rows] if isinstance(found, torch.Tensor) else found
