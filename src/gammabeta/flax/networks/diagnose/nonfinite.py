"""Where a NaN or an infinity first arose: in which module, and by which of JAX' operations, if JAX finds it there."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import replace
from io import StringIO
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

from gammabeta.flax.networks import stat_layers
from gammabeta.flax.networks.diagnose.training_step import restored
from gammabeta.networks import recalibrate
from gammabeta.networks.diagnose import Origin, numpy_measures
from gammabeta.networks.diagnose.nonfinite import NonfiniteTracer
from gammabeta.networks.diagnose.session import Run


def found(model: Any, run: Run, batch: int) -> tuple[Origin, ...]:
    """Run the model again, looking at each module: where an infinity first arose, and where a NaN did."""
    trace = NonfiniteTracer(has, batch)

    def intercept(call: Any, name: str, module: Any, given: Any, named: Any) -> Any:
        return trace.around(name, (given, named), lambda: call(module, *given, **named))

    with _modules(model, intercept):
        run(model)
    return tuple(_searched(model, run, origin) for origin in trace.origins.values())


def _searched(model: Any, run: Run, origin: Origin) -> Origin:
    """The origin with the operation where JAX' own search stops, if that is in the same module."""
    places: list[str] = []

    def intercept(call: Any, name: str, module: Any, given: Any, named: Any) -> Any:
        try:
            return call(module, *given, **named)
        except FloatingPointError:
            places.append(name)
            raise

    search = jax.debug_nans if origin.what == "NaN" else jax.debug_infs
    try:
        with _modules(model, intercept), search(True), redirect_stdout(StringIO()):  # JAX prints that it looks closer
            run(model)
    except FloatingPointError as error:
        name = re.search(r"encountered in (\w+)", str(error))
        if name and origin.operation and origin.module in places[:1]:
            operation = f"jax.lax.{name[1]}" if hasattr(lax, name[1]) else name[1]
            return replace(origin, operation=operation)
    return origin


@contextmanager
def _modules(model: Any, intercept: Any) -> Iterator[None]:
    """The model in evaluation, each module's call intercept(call, name, module, given, named); afterwards as it was."""
    names = {id(module): f"{name or 'the model'} ({type(module).__name__})" for name, module in _called(model).items()}

    def telling(kind: Any) -> Any:
        def own(call: Any, module: Any, *given: Any, **named: Any) -> Any:
            if id(module) not in names or type(module) is not kind:
                return call(module, *given, **named)
            return intercept(call, names[id(module)], module, given, named)

        return own

    with restored(model), stat_layers.StatLayers(model).watching(recalibrate.no_hook), ExitStack() as stack:
        for kind in {type(module) for module in _called(model).values()}:
            stack.enter_context(stat_layers.exchanged(kind, telling(kind)))
        yield


def _called(model: Any) -> dict[str, Any]:
    """The modules that can be called; some only hold others."""
    return {name: module for name, module in stat_layers.modules(model).items() if callable(module)}


def has(value: Any) -> set[str]:
    """Which of NaN and infinity there are among the floating arrays in whatever holds them."""
    found: set[str] = set()
    for leaf in jax.tree.leaves(value):
        there = hasattr(leaf, "dtype") and not isinstance(leaf, jax.core.Tracer)
        if there and jnp.issubdtype(leaf.dtype, jnp.floating):
            found |= numpy_measures.has(leaf)
    return found
