"""Replaces the backend functions in which all of Keras' operations end, to watch their calls."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from types import FunctionType
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src import backend  # whose functions keras.ops looks up at each call, and nothing public tells of them

from gammabeta.errors import DataError
from gammabeta.keras.networks import stat_layers
from gammabeta.networks.diagnose import numpy_measures

_MODULES = ("nn", "numpy", "math")

Intercept = Callable[[str, Callable[[], Any], tuple[Any, ...]], Any]
"""intercept(function, run, arguments), in the place of a call that is run()."""


@contextmanager
def functions(intercept: Intercept, wanted: Callable[[str], Any] = bool) -> Iterator[None]:
    """Call `intercept` in the place of the backend's functions whose names are wanted, within the block."""
    with ExitStack() as stack:
        for name in _MODULES:
            module = getattr(backend, name)
            for function, value in list(vars(module).items()):
                if isinstance(value, FunctionType) and not function.startswith("_") and wanted(function):
                    stack.enter_context(stat_layers.exchanged(module, function, _calling(intercept, function, value)))
        yield


def _calling(intercept: Intercept, name: str, function: Any) -> Any:
    @wraps(function)
    def called(*given: Any, **named: Any) -> Any:
        return intercept(name, partial(function, *given, **named), (*given, *named.values()))

    return called


def has(value: Any) -> set[str]:
    """Which of NaN and infinity there are among the floating arrays that are there, in whatever holds them."""
    found: set[str] = set()
    for part in keras.tree.flatten(value):
        if isinstance(part, np.ndarray | keras.Variable) or ops.is_tensor(part):
            found |= _has(part)
    return found


def _has(x: Any) -> set[str]:
    if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype)):
        return set()
    try:
        return numpy_measures.has(stat_layers.array("", x))
    except DataError:  # within what is compiled
        return set()
