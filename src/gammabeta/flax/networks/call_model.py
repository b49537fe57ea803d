"""How an nnx model is called with a batch of any kind."""

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Any

from jax import numpy as jnp

from gammabeta.backends import arrays
from gammabeta.networks import batches


def called(model: Any, batch: Any) -> Any:
    """model(batch), by the batch's kind.

    Of a tuple or a list the first element is the model's argument: the others are labels. Of a mapping or a dataclass
    those entries that `__call__` names are its keyword arguments.
    """
    x = batches.first(batch)
    if isinstance(x, Mapping):
        takes = signature(model.__call__).parameters
        everything = any(p.kind is Parameter.VAR_KEYWORD for p in takes.values())
        chosen = dict(x) if everything else batches.named(x, takes)
        return model(**{name: _array(value) for name, value in chosen.items()})
    batches.array(x)
    return model(_array(x))


def _array(value: Any) -> Any:
    """An array of any kind as JAX's; what is none stays itself."""
    return value if arrays.kind(value) == "other" else jnp.asarray(arrays.to_numpy(value))
