"""flax' `StatLayers`: layers with running statistics, and how these are read, written and watched."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import numpy as jnp

from gammabeta.backends import array_ops
from gammabeta.backends.array_ops import Axes
from gammabeta.errors import DataError, KindError
from gammabeta.flax.norm import masks, validation
from gammabeta.networks import recalibrate
from gammabeta.networks.recalibrate import Before, Pair
from gammabeta.statistics.accumulator import MomentsAccumulator

WHICH = "mean and var, of flax.nnx.BatchNorm"
_MODES = ("deterministic", "use_running_average")


class StatLayers(recalibrate.StatLayers):
    """The layers with running statistics that may move: all but frozen ones."""

    which = WHICH

    def __init__(self, model: Any) -> None:
        layers: dict[str, Any] = {}
        others: dict[str, str] = {}
        for name, layer in normalizing(model).items():
            if getattr(layer, "is_frozen", False):
                others[name] = "frozen"
            else:
                layers[name] = layer
        super().__init__(model, layers, others)

    def variables(self, layer: Any) -> tuple[Any, ...]:
        found = (layer.mean, layer.var, getattr(layer, "batches", None))
        return tuple(variable for variable in found if variable is not None)

    def read(self, variable: Any) -> Any:
        return np.array(variable[...])

    def write(self, variable: Any, value: Any) -> None:
        variable[...] = jnp.asarray(value)

    def write_stats(self, layer: Any, values: Pair) -> None:
        for variable, value in zip((layer.mean, layer.var), values, strict=True):
            self.write(variable, recalibrate.rounded(value, variable.dtype))

    def counted(self, layer: Any, calls: int) -> None:
        for counter in self.variables(layer)[2:]:
            self.write(counter, np.array(calls, counter.dtype))

    def add(self, total: MomentsAccumulator, name: str, layer: Any, x: Any, mask: Any) -> None:
        total.join(recalibrate.moments(name, *counting(name, layer, x, mask)))

    @contextmanager
    def watching(self, before: Before) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(evaluating(self.model))
            names = {id(layer): name for name, layer in self.layers.items()}
            for kind in {type(layer) for layer in self.layers.values()}:
                stack.enter_context(_watched(kind, names, before))
            yield


def counting(name: str, layer: Any, x: Any, mask: Any) -> tuple[Any, Axes, Any]:
    """A call's input as a NumPy array, its reduced axes, and its mask of x's shape, or None."""
    values = np.asarray(x)
    try:
        reduced_axes = validation.reduced(layer, values)
        mask = (
            None if mask is None else masks.broadcast_mask(array_ops.of(values), np.asarray(mask), values, reduced_axes)
        )
    except (DataError, KindError) as error:
        raise type(error)(f"{name or 'the model'}: {error}") from None
    return values, reduced_axes, mask


def modules(model: Any) -> dict[str, Any]:
    """Every module of a model, by its path.

    Raises:
        KindError: model is no nnx.Module.
    """
    if not isinstance(model, nnx.Module):
        raise KindError(f"model must be a flax.nnx.Module, got {type(model).__name__}")
    return {".".join(map(str, path)): module for path, module in nnx.iter_modules(model)}


def normalizing(model: Any) -> dict[str, Any]:
    """Every batch norm of a model, by its path: `flax.nnx.BatchNorm`, this library's, and what is made of them."""
    return {name: module for name, module in modules(model).items() if isinstance(module, nnx.BatchNorm)}


def become(layer: Any, kind: Any) -> None:
    """Give a layer another class of the same attributes."""
    object.__setattr__(layer, "__class__", kind)


def is_adapted(layer: Any) -> bool:
    """Whether `adapt` has begun with a layer and not been undone."""
    return bool(getattr(layer, "is_adapted", False))


@contextmanager
def evaluating(model: Any, now: bool = True) -> Iterator[None]:
    """Run the block with every module in evaluation, or in training if not `now`; then restore the modes."""
    modes = [
        (module, mode, vars(module)[mode])
        for module in modules(model).values()
        for mode in _MODES
        if mode in vars(module)
    ]
    try:
        for module, mode, _ in modes:
            setattr(module, mode, now)
        yield
    finally:
        for module, mode, was in modes:
            setattr(module, mode, was)


def _watched(kind: Any, names: dict[int, str], before: Before) -> Any:
    """Let a class' calls of the named layers run in evaluation, each after `before`."""

    def intercept(call: Any, layer: Any, x: Any, use_running_average: Any = None, **given: Any) -> Any:
        visible(x)
        if id(layer) not in names or type(layer) is not kind:
            return call(layer, x, use_running_average, **given)
        before(names[id(layer)], layer, x, given.get("mask"))
        return call(layer, x, True, **given)

    return exchanged(kind, intercept)


def visible(x: Any) -> None:
    """Raise if x is traced, and has no values yet."""
    if isinstance(x, jax.core.Tracer):
        raise DataError(
            "the layers must be called with values, and x is traced: call the model outside jax.jit, vmap, scan "
            "and remat, as by call=lambda model, batch: model(batch)"
        )


@contextmanager
def exchanged(kind: Any, intercept: Callable[..., Any]) -> Iterator[None]:
    """flax has no hooks: the class' call is exchanged for `intercept`, which is given the call that it replaces."""
    call, own = kind.__call__, "__call__" in vars(kind)

    @wraps(call)
    def called(module: Any, *given: Any, **named: Any) -> Any:
        return intercept(call, module, *given, **named)

    kind.__call__ = called
    try:
        yield
    finally:
        if own:
            kind.__call__ = call
        else:
            del kind.__call__
