"""A network and its batches by what a command line can say: `module:name` and files."""

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gammabeta.data.io.paths import reason
from gammabeta.errors import DataError, FileError, KindError

_KINDS = {"torch": ("torch.nn", "Module"), "keras": ("keras", "Layer"), "flax": ("flax.nnx", "Module")}
_TENSORS = ".pt", ".pth"
_ARRAYS = ".npy", ".npz"


class Network(NamedTuple):
    """A model, the verb of its framework, and what that framework makes of files."""

    model: Any
    diagnose: Callable[[Any, Iterable[Any]], Any]
    loading: Any


def network(place: str, weights: Path | None) -> Network:
    """The model that `module:name` stands for, with the weights of a file if there is one."""
    made = named(place, "the model")
    framework = _framework(made)
    if not framework:
        raise KindError(
            f"{place} must give a torch.nn.Module, a Keras model or a flax.nnx.Module, got {type(made).__name__}"
        )
    loading = import_module(f"gammabeta.{framework}.networks.load")
    if weights is not None:
        loading.weigh(made, weights, place)
    return Network(made, import_module(f"gammabeta.{framework}").diagnose, loading)


def named(place: str, what: str) -> Any:
    """What `module:name` stands for, called if it can be and is no network; the working directory counts.

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
        return found() if callable(found) and not _framework(found) else found
    except Exception as error:
        raise DataError(f"{what} {place!r} could not be made: {type(error).__name__}: {error}") from error


def _framework(made: Any) -> str:
    """Whose network this is, "" if it is none; a framework that nobody imported made none."""
    for framework, (module, kind) in _KINDS.items():
        if module in sys.modules and isinstance(made, getattr(sys.modules[module], kind)):
            return framework
    return ""


def batches(place: str, size: int, to: Network) -> Iterable[Any]:
    """Batches of `size` rows of a .npy, .npz or .pt file, or those that `module:name` gives.

    Of a .npz with one array that one, else a mapping of all; of a .pt a tensor, a mapping or a tuple of them.
    """
    path = Path(place)
    suffix = path.suffix.lower()
    if suffix in _ARRAYS:
        found = _arrays(path, to.loading.given)
    elif suffix in _TENSORS and hasattr(to.loading, "read"):
        found = to.loading.read(path)
    elif ":" in place:
        loader: Iterable[Any] = named(place, "the data")
        return loader
    else:
        raise DataError(
            f"the data must be a .npy or .npz file, a .pt file for torch, or module:name that gives batches, got "
            f"{place!r}"
        )
    rows = _rows(found, place)
    return [_part(found, slice(at, at + size)) for at in range(0, rows, size)]


def _arrays(path: Path, given: Callable[[Any], Any]) -> Any:
    try:
        arrays = _loaded(path)
    except Exception as error:  # the zip file, its compression and NumPy's header each have errors of their own
        raise FileError(f"{str(path)!r} could not be read as arrays: {reason(error)}") from error
    try:
        taken = {name: given(_floats(array)) for name, array in arrays.items()}
    except (TypeError, ValueError) as error:
        raise KindError(f"{str(path)!r} must hold arrays that the model's framework takes: {reason(error)}") from error
    return next(iter(taken.values())) if len(taken) == 1 else taken


def _loaded(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        found = np.load(file, allow_pickle=False)
        return {"": found} if isinstance(found, np.ndarray) else dict(found)


def _floats(array: Any) -> Any:
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _rows(found: Any, place: str) -> int:
    parts = found.values() if isinstance(found, dict) else found if isinstance(found, tuple | list) else [found]
    lengths = {len(part) for part in parts if _has_rows(part)}
    if len(lengths) != 1 or not next(iter(lengths)):
        raise DataError(f"{place!r} must hold arrays with the same number of rows, at least one, got {sorted(lengths)}")
    return next(iter(lengths))


def _part(found: Any, rows: slice) -> Any:
    if isinstance(found, dict):
        return {name: _part(value, rows) for name, value in found.items()}
    if isinstance(found, tuple | list):
        return tuple(_part(value, rows) for value in found)
    return found[rows] if _has_rows(found) else found


def _has_rows(value: Any) -> bool:
    return bool(getattr(value, "shape", ()))
