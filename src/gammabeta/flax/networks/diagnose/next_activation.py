"""Which activation follows each layer: a function, which no module tells of, and the model's jaxpr does."""

from contextlib import ExitStack
from typing import Any

import jax
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from gammabeta.flax.networks import stat_layers
from gammabeta.networks.diagnose import activations
from gammabeta.networks.diagnose.session import Run

_MARK = "gammabeta norm "


def found(model: Any, run: Run) -> dict[str, list[str]]:
    """The activation that takes a layer's output, for each of its calls in order, "" where none does or is known.

    A copy of the model is traced, with a name on each layer's output.
    """
    calls: list[str] = []

    def marking(kind: Any, names: dict[int, str]) -> Any:
        def intercept(call: Any, layer: Any, x: Any, use_running_average: Any = None, **given: Any) -> Any:
            if id(layer) not in names or type(layer) is not kind:
                return call(layer, x, use_running_average, **given)
            calls.append(names[id(layer)])
            mark = f"{_MARK}{len(calls) - 1}"
            return checkpoint_name(call(layer, x, True, **given), mark)

        return intercept

    def traced() -> Any:
        own = nnx.clone(model)
        names = {id(layer): name for name, layer in stat_layers.normalizing(own).items()}
        with ExitStack() as stack:
            for kind in {type(layer) for layer in stat_layers.normalizing(own).values()}:
                stack.enter_context(stat_layers.exchanged(kind, marking(kind, names)))
            return [leaf for leaf in jax.tree.leaves(run(own)) if isinstance(leaf, jax.Array)]

    kinds = _kinds(jax.make_jaxpr(traced)().jaxpr)
    following: dict[str, list[str]] = {}
    for call, name in enumerate(calls):
        following.setdefault(name, []).append(kinds.get(call, ""))
    return following


def _kinds(jaxpr: Any) -> dict[int, str]:
    """For each marked output that an activation takes, the first of these."""
    marked: dict[Any, int] = {}
    kinds: dict[int, str] = {}
    for equation in jaxpr.eqns:
        mark = str(equation.params.get("name", ""))
        if equation.primitive.name == "name" and mark.startswith(_MARK):
            marked[equation.outvars[0]] = int(mark.removeprefix(_MARK))
            continue
        kind = activations.named(_function(equation))
        taken = [marked[x] for x in equation.invars if not hasattr(x, "val") and x in marked]
        if kind and taken:
            kinds.setdefault(taken[0], kind)
    return kinds


def _function(equation: Any) -> str:
    """What an equation calls: a compiled function by its name, within custom derivatives or not; else a primitive."""
    if equation.primitive.name == "custom_jvp_call":
        inner = equation.params["call_jaxpr"].eqns
        return _function(inner[0]) if len(inner) == 1 else ""
    return str(equation.params.get("name", equation.primitive.name))
