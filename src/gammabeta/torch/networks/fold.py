"""Batch norm in evaluation is an affine map, and so is the layer before or after it: the two are one layer."""

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx, nn

from gammabeta.affine import Affine
from gammabeta.backends import arrays
from gammabeta.errors import DataError
from gammabeta.networks.fold import report as fold_report
from gammabeta.networks.fold.planner import features_of
from gammabeta.norm import linear_map
from gammabeta.norm.linear_map import Features
from gammabeta.torch.networks import linear, modules, norm_affine, trace
from gammabeta.torch.networks.fold_graph import Chains, LayerLink
from gammabeta.torch.networks.folded_norm import FoldedNorm, RefusalError, Report, SkippedNorm, difference
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
    work = _Folding(model, scaled, within)
    if not work.norms and features is None:
        raise DataError(
            "model must have batch norms (torch.nn.BatchNorm1d, 2d, 3d, SyncBatchNorm or gammabeta.torch.BatchNorm), "
            "or scaler= be given: there is nothing to fold"
        )
    work.fold_norms()
    notes = () if features is None else work.fold_scaler(features)
    result = work.result()
    if trace.traced(result, scaled, within).steps() != work.trace.steps():
        raise DataError("the forward pass must not ask what its batch norms are: folded, it goes another way")
    report = Report(tuple(work.done), work.skipped(), work.trace.how, notes=notes)
    if example is not None:
        with torch.no_grad():
            outputs = modules.called(result, example), modules.called(modules.skeleton(model), scaled)
        found = difference(*outputs)
        notes = notes if found else (*notes, "the output has no tensors to be compared")
        report = replace(report, difference=found, notes=notes)
    return result, report


class _Plan(NamedTuple):
    """What layers become where they take a map, and for data of which ranks that is right; None for any."""

    layers: dict[str, linear_map.Linear]
    ranks: set[int] | None

    @property
    def into(self) -> tuple[str, ...]:
        return tuple(self.layers)


class _Folding:
    """A model on its way: what its layers become, in float64, and what the norms leave."""

    def __init__(self, model: Module, example: Any, within: tuple[str, ...]) -> None:
        self.model, self.within = model, within
        self.norms = [path for path, layer in model.named_modules() if modules.is_norm(layer)]
        self.ranks = {} if example is None else norm_affine.ranks(model, self.norms, example)
        self.trace = trace.traced(model, example, within)
        self.chains = Chains(model, self.trace)
        self.layers: dict[str, linear_map.Linear] = {}
        self.places: dict[str, Module] = {}
        self.done: list[FoldedNorm] = []
        self.why: dict[str, str] = {}

    def fold_norms(self) -> None:
        """Fold what can be, until nothing more can: a norm that is gone may have stood between two others."""
        found = True
        while found:
            found = sum(self._fold(path) for path in self.norms if path not in self.places) > 0

    def _fold(self, path: str) -> bool:
        reasons = []
        for order, way in (("before", self._into_sources), ("after", self._into_sinks)):
            try:
                features = norm_affine.features(self.model, path, self.chains, self.trace)
                plan = way(path, features)
                self._check(plan, path)
            except RefusalError as refused:
                reasons.append(str(refused))
                continue
            self.layers.update(plan.layers)
            self.places[path], passes = norm_affine.left(
                self.model.get_submodule(path), self.chains.sites[path], plan.ranks
            )
            if passes:
                self.chains.gone.add(path)
            self.done.append(FoldedNorm(path, plan.into, order))
            return True
        self.why[path] = "; ".join(dict.fromkeys(reasons))
        return False

    def _into_sources(self, path: str, features: Features) -> _Plan:
        """The layers before a norm."""
        ends = [self.chains.source(site) for site in self.chains.sites[path]]
        layers = self._linears(ends, "its input comes from")
        ranks = set.intersection(*(self._ranks(features, self.trace.paths[e.node], e.swapped) for e in ends))
        return _Plan({name: layer.after(features.affine) for name, layer in layers.items()}, ranks)

    def _into_sinks(self, path: str, features: Features) -> _Plan:
        """The layers after a norm."""
        layer = self.model.get_submodule(path)
        if norm_affine.does_more(layer, self.chains.sites[path]):
            raise RefusalError("a ReLU or a residual follows within it")
        return self._taking(self.chains.sites[path], features)

    def _taking(self, starts: list[fx.Node], features: Features) -> _Plan:
        """The layers that a map's output goes to, all of them, with the map in them."""
        ends = [(start, end) for start in starts for end in self.chains.sinks(start)]
        layers = self._linears([end for _, end in ends], "its output goes to")
        ranks: set[int] | None = None
        for start, end in ends:
            self.chains.unchanged(start, end.node)
            path = self.trace.paths[end.node]
            layer = self.model.get_submodule(path)
            if type(layer) is nn.Embedding:
                raise RefusalError(
                    f"its output goes to {self.chains.name(end.node)}, which takes no values but indices"
                )
            if (why := linear.uneven(layer)) and linear_map.origin_of(features.affine).any():
                raise RefusalError(f"{self.chains.name(end.node)} cannot take it: {why}")
            if not end.flat:
                found = self._ranks(features, path, end.swapped)
                ranks = found if ranks is None else ranks & found
        taken = {self.trace.paths[end.node]: end for _, end in ends}
        return _Plan({p: self._before(layers[p], end, features) for p, end in taken.items()}, ranks)

    def _before(self, layer: linear_map.Linear, end: LayerLink, features: Features) -> linear_map.Linear:
        affine = features.flat(layer.inputs) if end.flat else features.affine
        if affine is None or affine.shape != (layer.inputs,):
            raise RefusalError(
                f"{self.chains.name(end.node)} takes {layer.inputs} features, and the map has {features.affine.shape}"
            )
        return layer.before(affine)

    def _linears(self, ends: list[LayerLink], words: str) -> dict[str, linear_map.Linear]:
        """The layers that are called at the ends, which must be called nowhere else."""
        for end in ends:
            path = self.trace.paths.get(end.node)
            if path is None:
                raise RefusalError(f"{words} {self.chains.name(end.node)}, which is not linear or not known to be")
            layer = self.model.get_submodule(path)
            if why := linear.unusable(layer):
                raise RefusalError(f"{words} {self.chains.name(end.node)}, which {why}")
            if {id(p) for p in layer.parameters(recurse=False)} & self.trace.read:
                raise RefusalError(f"{words} {path}, whose parameters are also read on their own")
            if set(self.chains.sites[path]) - {e.node for e in ends}:
                raise RefusalError(f"{words} {path}, which is also called elsewhere")
        paths = dict.fromkeys(self.trace.paths[end.node] for end in ends)
        return {p: self.layers.get(p) or linear.read(self.model.get_submodule(p)) for p in paths}

    def _ranks(self, features: Features, path: str, swapped: bool) -> set[int]:
        """For data of which ranks the map's features are a layer's."""
        layer = self.model.get_submodule(path)
        along = {rank: linear.channel_axis(layer, rank, swapped) for rank in range(2, 6)}
        found = {rank for rank, axis in along.items() if axis is not None and features.axes(rank) == (axis,)}
        if not found:
            raise RefusalError(f"its features lie on another axis than those of {path}")
        return found

    def _check(self, plan: _Plan, norm: str) -> None:
        """Refuse what a layer's type cannot hold, and data of other ranks than the plan is for."""
        seen = self.ranks.get(norm, set())
        if plan.ranks is not None and (len(plan.ranks) != 1 or seen - plan.ranks):
            given = f", which has {', '.join(map(str, sorted(seen)))} axes" if seen else ""
            raise RefusalError(f"its features lie on another axis of x{given}, than those of {', '.join(plan.into)}")
        for path, layer in plan.layers.items():
            linear.written(self.model.get_submodule(path), layer)

    def fold_scaler(self, features: Features) -> tuple[str, ...]:
        """Fold what raw data go through into the layers that take the model's first argument."""
        if self.within:
            raise DataError("scaler= needs the way from the input on, which within= leaves untraced: give one of them")
        if linear.hooked(self.model):
            raise DataError(
                "a model with hooks must not be given a scaler, since they may change its input: remove them"
            )
        start = next(node for node in self.trace.graphs[0].nodes if node.op == "placeholder")
        try:
            plan = self._taking([start], features)
            self._check(plan._replace(ranks=None), "scaler")
        except RefusalError as refused:
            raise DataError(
                f"the input must go into linear layers of the scaler's features and nowhere else, for the scaler to be "
                f"folded into them: {refused}. Nothing is folded"
            ) from None
        self.layers.update(plan.layers)
        self.done.append(FoldedNorm("scaler", plan.into, "after"))
        return _digits(features.affine, self.model.get_submodule(plan.into[0]).weight)

    def skipped(self) -> tuple[SkippedNorm, ...]:
        """The norms that stay, and calls of the function."""
        layers = [SkippedNorm(path, self.why[path]) for path in self.norms if path not in self.places]
        return (*layers, *(SkippedNorm(*found) for found in norm_affine.functions(self.trace)))

    def result(self) -> Module:
        """The folded copy."""
        result = copy.deepcopy(self.model).eval()
        for path, layer in self.layers.items():
            linear.replace(result.get_submodule(path), layer)
        new = {result.get_submodule(path): module.eval() for path, module in self.places.items()}
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
