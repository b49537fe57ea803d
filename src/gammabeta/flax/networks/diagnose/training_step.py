"""How often a forward pass in training moves each layer's statistics; afterwards the model is as it was."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from flax import nnx

from gammabeta.flax.networks import stat_layers
from gammabeta.networks.diagnose.accumulator import Moves
from gammabeta.networks.diagnose.session import Run


def tried(model: Any, layers: dict[str, Any], run: Run) -> dict[str, Moves]:
    """Run one forward pass in training; return how often it moved each layer's statistics."""
    counts = dict.fromkeys(layers, 0)
    names = {id(layer): name for name, layer in layers.items()}

    def counting(kind: Any) -> Any:
        def intercept(call: Any, layer: Any, *given: Any, **named: Any) -> Any:
            if id(layer) not in names or type(layer) is not kind:
                return call(layer, *given, **named)
            before = layer.mean.get_raw_value()
            y = call(layer, *given, **named)
            counts[names[id(layer)]] += layer.mean.get_raw_value() is not before
            return y

        return intercept

    with ExitStack() as stack:
        stack.enter_context(restored(model))
        stack.enter_context(stat_layers.evaluating(model, False))
        for kind in {type(layer) for layer in layers.values()}:
            stack.enter_context(stat_layers.exchanged(kind, counting(kind)))
        run(model)
    return {name: Moves(count) for name, count in counts.items()}


@contextmanager
def restored(model: Any) -> Iterator[None]:
    """Restore every variable at the end of the block: parameters, statistics, random streams."""
    before = [(variable, variable.get_raw_value()) for _, variable in variables(model)]
    try:
        yield
    finally:
        for variable, value in before:
            if variable.get_raw_value() is not value:
                variable.set_raw_value(value)


def variables(model: Any) -> Iterator[tuple[str, Any]]:
    """Every variable of a model, by its path."""
    for path, part in nnx.iter_graph(model):
        if isinstance(part, nnx.Variable):
            yield ".".join(map(str, path)), part
