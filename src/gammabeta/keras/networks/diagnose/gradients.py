"""The two halves of a training step on each backend: the second may compute the first one's layers again."""

import sys
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from gammabeta.networks.diagnose.session import Run


def forward(model: Any, run: Run) -> Callable[[], Any]:
    """Run the model, and give what takes the gradients of its outputs' sum, as checkpointing asks for.

    JAX computes again only what has no effects.
    """
    if keras.config.backend() == "jax":
        run(model)
        return _nothing
    return (_on_torch if keras.config.backend() == "torch" else _on_tensorflow)(model, run)


def _on_torch(model: Any, run: Run) -> Callable[[], Any]:
    torch = sys.modules["torch"]
    with torch.enable_grad():
        total = _total(y for y in _outputs(run(model)) if y.requires_grad)
    weights = [weight.value for weight in model.trainable_variables if weight.value.requires_grad]
    if total is None or not weights:
        return _nothing
    return lambda: torch.autograd.grad(total, weights, allow_unused=True)


def _on_tensorflow(model: Any, run: Run) -> Callable[[], Any]:
    from tensorflow import GradientTape

    with GradientTape() as tape:
        total = _total(_outputs(run(model)))
    if total is None:
        return _nothing
    return lambda: tape.gradient(total, [weight.value for weight in model.trainable_variables])


def _outputs(result: Any) -> list[Any]:
    parts = [y for y in keras.tree.flatten(result) if ops.is_tensor(y)]
    return [y for y in parts if keras.backend.is_float_dtype(keras.backend.standardize_dtype(y.dtype))]


def _total(outputs: Any) -> Any:
    """The sum of all outputs in float32; None if there is none."""
    total = None
    for y in outputs:
        part = ops.sum(ops.cast(y, "float32"))
        total = part if total is None else total + part
    return total


def _nothing() -> None:
    """The backward pass where there is none: does nothing."""
