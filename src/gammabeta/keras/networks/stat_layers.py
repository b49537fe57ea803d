"""Keras' `StatLayers`: layers with moving statistics, and how these are read, written and watched."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import keras
import numpy as np
from keras import ops

from gammabeta.backends import array_ops
from gammabeta.backends.array_ops import Axes
from gammabeta.errors import DataError, KindError
from gammabeta.keras.norm import masks, validation
from gammabeta.networks import recalibrate
from gammabeta.networks.recalibrate import Before, Pair
from gammabeta.statistics.accumulator import MomentsAccumulator

WHICH = "moving_mean and moving_variance"
_FOLLOWING = ("moving_stddev", "renorm_mean", "renorm_stddev")  # Keras' renorm has these too


class StatLayers(recalibrate.StatLayers):
    """The layers with moving statistics that may move: all but those with `trainable=False`, and frozen ones."""

    which = WHICH

    def __init__(self, model: Any) -> None:
        layers: dict[str, Any] = {}
        others: dict[str, str] = {}
        for name, layer in normalizing(model).items():
            if layer.moving_mean is None:
                raise DataError(
                    f"{name or 'the model'} must have its statistics in memory, and it is not built: call the model on "
                    f"one batch, or load its weights, first"
                )
            if not layer.trainable or getattr(layer, "is_frozen", False):
                others[name] = "frozen"
            else:
                layers[name] = layer
        super().__init__(model, layers, others)

    def variables(self, layer: Any) -> tuple[Any, ...]:
        names = ("moving_mean", "moving_variance", *_FOLLOWING)
        return tuple(getattr(layer, name) for name in names if hasattr(layer, name))

    def read(self, variable: Any) -> Any:
        return np.array(ops.convert_to_numpy(variable))

    def write(self, variable: Any, value: Any) -> None:
        variable.assign(value)

    def write_stats(self, layer: Any, values: Pair) -> None:
        mean, var = values
        deviation = np.sqrt(var + layer.epsilon)
        given = (mean, var, deviation, mean, deviation)
        for variable, value in zip(self.variables(layer), given, strict=False):
            variable.assign(recalibrate.rounded(value, self.read(variable).dtype))

    def counted(self, layer: Any, calls: int) -> None:
        """Keras counts no batches."""

    def add(self, total: MomentsAccumulator, name: str, layer: Any, x: Any, mask: Any) -> None:
        total.join(recalibrate.moments(name, *counting(name, layer, x, mask)))

    @contextmanager
    def watching(self, before: Before) -> Iterator[None]:
        """As `networks.recalibrate.StatLayers` says; without gradients, which torch would keep."""
        with ExitStack() as stack:
            for name, layer in self.layers.items():
                stack.enter_context(_watched(name, layer, before))
            stack.enter_context(without_gradients())
            yield


def counting(name: str, layer: Any, x: Any, mask: Any) -> tuple[Any, Axes, Any]:
    """A call's input as a NumPy array, its reduced axes, and its mask of x's shape, or None."""
    values = array(name, x)
    try:
        reduced_axes = validation.reduced(layer, values)
        mask = (
            None
            if mask is None
            else masks.broadcast_mask(array_ops.of(values), array(name, mask), values, reduced_axes)
        )
    except (DataError, KindError) as error:
        raise type(error)(f"{name or 'the model'}: {error}") from None
    return values, reduced_axes, mask


def normalizing(model: Any) -> dict[str, Any]:
    """Every layer with a moving mean and variance, whoever wrote it, by its names from the model on.

    Raises:
        KindError: model is no Keras layer.
    """
    return {name: layer for name, layer in inside(model).items() if is_norm(layer)}


def is_norm(layer: Any) -> bool:
    """Whether a layer is a batch norm of any library: it has, or will have, a moving mean and variance."""
    return all(hasattr(layer, name) for name in ("moving_mean", "moving_variance", "axis"))


def inside(model: Any) -> dict[str, Any]:
    """A model and all layers in it, each by its names from the model on; a name that comes again has a number."""
    if not isinstance(model, keras.layers.Layer):
        raise KindError(f"model must be a Keras model or layer, got {type(model).__name__}")
    found: dict[str, Any] = {}
    seen: set[int] = set()

    def walk(prefix: str, layer: Any) -> None:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        found[prefix if prefix not in found else f"{prefix}#{len(found)}"] = layer
        for part in layer._layers:
            walk(f"{prefix}/{part.name}" if prefix else part.name, part)

    walk("", model)
    return found


def _watched(name: str, layer: Any, before: Before) -> Any:
    """Keras has no hooks: the layer's call is exchanged."""
    call = layer.call

    def called(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        before(name, layer, inputs, mask)
        return call(inputs, training=False, mask=mask)

    return exchanged(layer, "call", called)


@contextmanager
def exchanged(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Another method in the place of an object's own, past what Keras does when an attribute is set."""
    held = vars(owner)
    before = held.get(name)
    held[name] = value
    try:
        yield
    finally:
        if before is None:
            del held[name]
        else:
            held[name] = before


def recompile(model: Any) -> None:
    """Let `fit`, `evaluate` and `predict` compile anew what they run."""
    for name in ("train_function", "test_function", "predict_function"):
        if hasattr(model, name):
            setattr(model, name, None)


def without_gradients() -> Any:
    """Where torch keeps no gradients; other backends keep them only where they are asked to."""
    if keras.config.backend() != "torch":
        return nullcontext()
    return sys.modules["torch"].no_grad()


def array(name: str, x: Any) -> Any:
    """The values of an array as NumPy's, perhaps in the same memory. DataError if it is traced."""
    try:
        return np.asarray(ops.convert_to_numpy(x))
    except Exception:
        raise DataError(
            f"{name or 'the model'} must be called with values, got {type(x).__name__}: in call= call the model "
            f"itself, as by model(batch), and not predict() or a compiled function"
        ) from None
