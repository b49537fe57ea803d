"""What the command line needs of flax: nnx names no file of weights, and its modules take JAX' arrays."""

from pathlib import Path
from typing import Any

from flax import nnx
from jax import numpy as jnp

from gammabeta.errors import DataError


def weigh(model: nnx.Module, path: Path, place: str) -> None:
    """Refuse: what makes the model must load its weights.

    Raises:
        DataError: always.
    """
    raise DataError(
        f"weights are read for torch and Keras, and {place} gives a {type(model).__name__} of flax: load them there"
    )


def given(array: Any) -> Any:
    """An array as the model takes it."""
    return jnp.asarray(array)
