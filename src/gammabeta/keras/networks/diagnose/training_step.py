"""How often one training step moves each layer's statistics; afterwards the model is as it was."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import keras
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR

from gammabeta.keras.networks import stat_layers
from gammabeta.keras.networks.diagnose import gradients
from gammabeta.networks.diagnose.accumulator import Moves
from gammabeta.networks.diagnose.session import Run


def tried(model: Any, layers: dict[str, Any], run: Run) -> dict[str, Moves]:
    """Run one step in training; return how often it moved each layer's statistics."""
    counts = dict.fromkeys(layers, 0)

    def counting(name: str, assign: Any) -> Any:
        def assigned(*given: Any, **named: Any) -> Any:
            counts[name] += 1
            return assign(*given, **named)

        return assigned

    with ExitStack() as stack:
        stack.enter_context(restored(model))
        for name, layer in layers.items():
            mean = layer.moving_mean
            stack.enter_context(stat_layers.exchanged(mean, "assign", counting(name, mean.assign)))
        with _training(), _plain_errors():
            back = gradients.forward(model, run)
        first = dict(counts)
        back()
    return {name: Moves(counts[name], counts[name] - first[name]) for name in layers}


@contextmanager
def restored(model: Any) -> Iterator[None]:
    """Restore every weight, statistic and seed of the model, and Keras' own seed, at the end of the block."""
    before = [(variable, stat_layers.array("", variable).copy()) for variable in variables(model)]
    own = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    if own is not None:
        before.append((own.state, stat_layers.array("", own.state).copy()))
    try:
        yield
    finally:
        global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, own)
        for variable, value in before:
            variable.assign(value)


def variables(model: Any) -> list[Any]:
    """All variables of a model and its layers, each once."""
    found = {id(v): v for layer in stat_layers.inside(model).values() for v in layer.variables}
    return list(found.values())


@contextmanager
def _training() -> Iterator[None]:
    """Set training=True in every outermost call of a layer; calls within a layer keep what it passes on."""
    call, depth = keras.layers.Layer.__call__, 0

    @wraps(call)
    def called(layer: Any, *given: Any, **named: Any) -> Any:
        nonlocal depth
        if not depth:
            named["training"] = True
        depth += 1
        try:
            return call(layer, *given, **named)
        finally:
            depth -= 1

    keras.layers.Layer.__call__ = called
    try:
        yield
    finally:
        keras.layers.Layer.__call__ = call


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn off Keras' traceback filtering, which would wrap errors."""
    filtering = keras.config.is_traceback_filtering_enabled()
    keras.config.disable_traceback_filtering()
    try:
        yield
    finally:
        if filtering:
            keras.config.enable_traceback_filtering()
