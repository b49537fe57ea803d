"""Batch norm in evaluation is an affine map, and so is the layer before or after it: the two are one layer."""

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from gammabeta.affine import Affine
from gammabeta.backends import arrays
from gammabeta.errors import DataError
from gammabeta.networks.fold import report as fold_report
from gammabeta.networks.fold.planner import FoldPlanner, features_of
from gammabeta.norm.linear_map import Features
from gammabeta.torch.networks import linear, modules, norm_affine, trace
from gammabeta.torch.networks.fold_graph import LayerGraph
from gammabeta.torch.networks.folded_norm import Report, SkippedNorm, difference
from gammabeta.torch.networks.freeze import is_frozen, thawed

Module = nn.Module


def fold(
    model: Module, *, scaler: Any = None, example: Any = None, within: Iterable[str] = ()
) -> tuple[Module, Report]:
    """A model for evaluation without its batch norms, each folded into the layers before it or after it.

    y = γ · (W·x + b − mean) / √(var + eps) + β is one linear layer, and so is W·(norm of x) + b. Which layers meet is
    found by tracing, and what is not proven is not folded but reported. Weights are computed in float64 and rounded
    once to their own type. In the place of a norm comes an `nn.Identity`, or a module that does what it did besides: a
    fused ReLU or residual, and a check of the number of axes where the norm took several.

    Args:
        model: `torch.nn.BatchNorm1d`, `2d`, `3d`, `SyncBatchNorm` and `gammabeta.torch.BatchNorm` in it are folded into
            Linear, Embedding, Conv1d to 3d and ConvTranspose1d to 3d.
        scaler: what the raw data would go through before the model: a fitted `StandardScaler` or `MinMaxScaler` of
            gammabeta or scikit-learn, a pipeline of such, or an `Affine` of the input's features. The folded model then
            takes raw data as its first argument.
        example: the model's input, for which the difference is measured: a tensor, a tuple of arguments or a dict of
            keyword arguments; raw data if there is a scaler. A model that cannot be traced symbolically is traced on
            it: it is then proven for inputs of those shapes.
        within: names of submodules to trace alone instead of the model, where that cannot be traced. They must only
            ever be called as a whole, which is for the caller to know.

    Returns:
        The folded model, a copy in evaluation mode, and the report. The model itself stays as it is.

    Raises:
        KindError: model is no `torch.nn.Module`, or one that is compiled, scripted or spread over devices.
        DataError: there is nothing to fold, a lazy layer has not seen a batch, the model cannot be traced (the message
            names the line), or the scaler cannot be folded into the first layer.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    >>> folded, report = fold(model)
    >>> print(report)
    1 folded, 0 skipped; traced symbolically
      1 folded into 0, before it
    >>> folded
    Sequential(
      (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
      (1): Identity()
      (2): ReLU()
    )
    """
    modules.check(model)
    modules.check_values(model)
    if any(map(is_frozen, model.modules())):
        model = thawed(modules.skeleton(model))
    within = tuple(within)
    if modules.leaf(model):
        whole, report = fold(nn.Sequential(model), scaler=scaler, example=example)
        return whole.get_submodule("0"), report
    features = None if scaler is None else features_of(scaler)
    scaled = example if example is None or features is None else _scaled(example, scaler)
    traced = trace.traced(model, scaled, within)
    graph = LayerGraph(model, traced, scaled)
    if not graph.norms and features is None:
        raise DataError(
            "model must have batch norms (torch.nn.BatchNorm1d, 2d, 3d, SyncBatchNorm or gammabeta.torch.BatchNorm), "
            "or scaler= be given: there is nothing to fold"
        )
    work = FoldPlanner(graph)
    work.fold_norms()
    notes = () if features is None else _fold_scaler(work, graph, features, within)
    result = _result(graph, work)
    if trace.traced(result, scaled, within).steps() != traced.steps():
        raise DataError("the forward pass must not ask what its batch norms are: folded, it goes another way")
    functions = (SkippedNorm(*found) for found in norm_affine.functions(traced))
    skipped = (*work.skipped(), *functions)
    report = Report(tuple(work.done), skipped, traced.how, notes=notes)
    if example is not None:
        with torch.no_grad():
            trials = modules.skeleton(result), modules.skeleton(model)
            outputs = modules.called(trials[0], example), modules.called(trials[1], scaled)
        found = difference(*outputs)
        notes = notes if found else (*notes, "the output has no tensors to be compared")
        report = replace(report, difference=found, notes=notes)
    return result, report


def _fold_scaler(work: FoldPlanner, graph: LayerGraph, features: Features, within: tuple[str, ...]) -> tuple[str, ...]:
    """Fold what raw data go through into the layers that take the model's first argument, and return notes on it."""
    if within:
        raise DataError("scaler= needs the way from the input on, which within= leaves untraced: give one of them")
    if linear.hooked(graph.model):
        raise DataError("a model with hooks must not be given a scaler, since they may change its input: remove them")
    start = next(node for node in graph.trace.graphs[0].nodes if node.op == "placeholder")
    return _digits(features.affine, graph.model.get_submodule(work.fold_scaler(features, start)).weight)


def _result(graph: LayerGraph, work: FoldPlanner) -> Module:
    """The folded copy."""
    result = copy.deepcopy(graph.model).eval()
    for path, layer in work.layers.items():
        linear.replace(result.get_submodule(path), layer)
    new = {result.get_submodule(path): module.eval() for path, module in graph.places.items()}
    for parent in list(result.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and child in new:
                parent._modules[name] = new[child]
    return result


def _scaled(example: Any, scaler: Any) -> Any:
    """The example with its first argument scaled."""
    args, kwargs = modules.arguments(example)
    name = "" if args else next(iter(kwargs))
    raw = args[0] if args else kwargs[name]
    image = scaler(arrays.to_numpy(raw)) if isinstance(scaler, Affine) else scaler.transform(arrays.to_numpy(raw))
    tensor = torch.from_numpy(np.ascontiguousarray(image)).to(raw.device, raw.dtype)
    return (tensor, *args[1:]) if args else {**kwargs, name: tensor}


def _digits(affine: Affine, weight: Any) -> tuple[str, ...]:
    kind = str(weight.dtype).removeprefix("torch.")
    return fold_report.digits(affine, torch.finfo(weight.dtype).eps, kind, "model.double()")
