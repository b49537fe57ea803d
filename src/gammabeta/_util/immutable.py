"""A base class of immutable values, which can be shared between threads, hashed and used as keys."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Immutable:
    """A base that refuses to set or delete attributes; `__init__` fills `__dict__`."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: make a new one instead of setting {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name!r} cannot be deleted")


def frozen(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A view of values in a shape, set read-only."""
    out = values.reshape(shape)
    out.flags.writeable = False
    return out


def short(values: NDArray[Any]) -> str:
    """Values as text for a `repr`: six digits, the middle of many left out."""
    return np.array2string(values, precision=6, threshold=6, edgeitems=2)
