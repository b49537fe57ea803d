"""Batch norm in evaluation is an affine map, and so is the layer before or after it: the two are one layer."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import numpy as jnp

from gammabeta.affine import Affine
from gammabeta.backends import arrays
from gammabeta.errors import DataError
from gammabeta.flax.networks import linear, stat_layers
from gammabeta.flax.networks.fold_graph import LayerGraph
from gammabeta.networks.fold import report as fold_report
from gammabeta.networks.fold.planner import FoldPlanner, features_of
from gammabeta.networks.fold.report import Difference, Report


def fold(
    model: nnx.Module, *, scaler: Any = None, example: Any = None, within: Iterable[str] = ()
) -> tuple[nnx.Module, Report]:
    """A model for evaluation without its batch norms, each folded into the layers before it or after it.

    y = γ · (W·x + b − mean) / √(var + eps) + β is one linear layer, and so is W·(norm of x) + b. nnx modules keep no
    graph, and a run on an example does not prove what another would do: layers meet where an `nnx.Sequential` calls
    them, one after the other, and nowhere else. What is not proven is not folded but reported. Weights are computed in
    float64 and rounded once to their own type. In the place of a norm comes `nnx.identity`.

    Args:
        model: an `nnx.Sequential`, with others in it or not. `flax.nnx.BatchNorm` and `gammabeta.flax.BatchNorm` of
            axis -1 in it are folded into Linear, Embed, Conv and ConvTranspose.
        scaler: what the raw data would go through before the model: a fitted `StandardScaler` or `MinMaxScaler` of
            gammabeta or scikit-learn, a pipeline of such, or an `Affine` of the input's features, on its last axis. The
            folded model then takes raw data.
        example: the model's input, for which the difference is measured; raw data if there is a scaler.
        within: names of the `nnx.Sequential`s to fold in a model that is none. They must only ever be called as a
            whole, which is for the caller to know.

    Returns:
        The folded model, a copy in evaluation mode, and the report. The model itself stays as it is.

    Raises:
        KindError: model is no nnx.Module.
        DataError: there is nothing to fold, the way through the model is not known, or the scaler cannot be folded into
            the first layer.

    >>> rngs = nnx.Rngs(0)
    >>> model = nnx.Sequential(nnx.Linear(3, 8, use_bias=False, rngs=rngs), nnx.BatchNorm(8, rngs=rngs), nnx.relu)
    >>> folded, report = fold(model)
    >>> print(report)
    1 folded, 0 skipped; traced through nnx.Sequential
      layers.1 folded into layers.0, before it
    >>> folded.layers[1] is nnx.identity
    True
    """
    within = tuple(within)
    features = None if scaler is None else features_of(scaler)
    if not stat_layers.normalizing(model) and features is None:
        raise DataError(
            "model must have batch norms (flax.nnx.BatchNorm or gammabeta.flax.BatchNorm), or scaler= be given: there "
            "is nothing to fold"
        )
    if features is not None and within:
        raise DataError("scaler= needs the way from the input on, which within= leaves unknown: give one of them")
    graph = LayerGraph(model, within)
    work = FoldPlanner(graph)
    work.fold_norms()
    notes: tuple[str, ...] = ()
    if features is not None:
        first = graph.modules[work.fold_scaler(features, (0, -1))]
        dtype = str(first.param_dtype.dtype if hasattr(first.param_dtype, "dtype") else np.dtype(first.param_dtype))
        notes = fold_report.digits(features.affine, float(jnp.finfo(dtype).eps), dtype, "a float64 model")
    result = _result(model, graph, work)
    report = Report(tuple(work.done), work.skipped(), "through nnx.Sequential", notes=notes)
    if example is not None:
        plain: Any = nnx.clone(model)
        plain.eval()
        outputs = result(jnp.asarray(example)), plain(jnp.asarray(_scaled(example, scaler)))
        pairs = zip(*map(jax.tree.leaves, outputs), strict=True)
        report = replace(report, difference=max((_difference(*pair) for pair in pairs), key=lambda d: d.ulps))
    return result, report


def _result(model: Any, graph: LayerGraph, work: FoldPlanner) -> Any:
    """The folded copy."""
    result: Any = nnx.clone(model)
    result.eval()
    modules = stat_layers.modules(result)
    for name, weights in work.layers.items():
        linear.write(modules[name], weights)
    gone = {id(modules[name]) for name in graph.gone}
    for chain in modules.values():
        if type(chain) is nnx.Sequential:
            for place, step in enumerate(chain.layers):
                if id(step) in gone:
                    chain.layers[place] = nnx.identity
    return result


def _difference(got: Any, want: Any) -> Difference:
    limits = jnp.finfo(want.dtype)
    return fold_report.difference(np.asarray(got), np.asarray(want), float(limits.eps), float(limits.smallest_normal))


def _scaled(example: Any, scaler: Any) -> Any:
    """The example as the scaler gives it."""
    if scaler is None:
        return example
    values = arrays.to_numpy(example)
    image = scaler(values) if isinstance(scaler, Affine) else scaler.transform(values)
    return np.asarray(image, dtype=values.dtype)
