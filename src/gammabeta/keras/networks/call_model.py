"""How a Keras model is called with a batch of any kind."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

import keras

from gammabeta.networks import batches


def called(model: Any, batch: Any) -> Any:
    """model(batch, training=False), by the batch's kind.

    Of a tuple or a list the first element is the model's input, as in `fit`: the others are labels and weights. Of a
    mapping or a dataclass those entries are that the model's inputs are named by; a model without named inputs takes
    those that `call` names, or the whole of it.
    """
    x = batches.first(batch)
    if isinstance(x, Mapping):
        return _named(model, x)
    if isinstance(x, tuple | list):
        for part in x:
            batches.array(part)
        return model(list(x), training=False)
    batches.array(x)
    return model(x, training=False)


def _named(model: Any, batch: Mapping[str, Any]) -> Any:
    if getattr(model, "inputs", None):
        return _by_inputs(model, batch)
    takes = set(signature(model.call).parameters) & set(batch)
    return model(**batches.named(batch, takes), training=False) if takes else model(dict(batch), training=False)


def _by_inputs(model: Any, batch: Mapping[str, Any]) -> Any:
    """A model of Keras' graph, whose inputs have names."""
    form = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    if isinstance(form, Mapping):
        return model(batches.named(batch, form), training=False)
    names = [x.name for x in model.inputs]
    given = batches.named(batch, names)
    values = [given.get(name) for name in names]
    return model(values if isinstance(form, tuple | list) else values[0], training=False)
