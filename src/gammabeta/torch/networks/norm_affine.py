"""Batch norms of torch and of this library as affine maps, and what replaces one that was folded away."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn

from gammabeta.backends import arrays
from gammabeta.networks.fold import planner
from gammabeta.norm.linear_map import Features, feature_axes_at
from gammabeta.torch.networks import modules, norm_kinds, trace
from gammabeta.torch.networks.folded_norm import FoldedNormStub, RefusalError
from gammabeta.torch.networks.linear import hooked

_EXACT_RANK = (nn.BatchNorm2d, nn.BatchNorm3d)  # they refuse data of another rank themselves

_RANKS: dict[type, set[int]] = {nn.BatchNorm1d: {2, 3}, nn.BatchNorm2d: {4}, nn.BatchNorm3d: {5}}


def features(model: nn.Module, path: str, sites: list[fx.Node], traced: trace.Trace) -> Features:
    """A norm's map in evaluation, and where its features lie. sites: where it is called.

    Raises:
        RefusalError: it is no such map, or not its own.
    """
    layer: Any = model.get_submodule(path)
    frozen_eps = norm_kinds.frozen_eps(layer)
    if frozen_eps is None and (reason := norm_kinds.reason(layer)):
        raise RefusalError(reason)
    if layer.running_mean is None or layer.running_var is None:
        raise RefusalError("it normalizes by each batch's own statistics (track_running_stats=False)")
    if hooked(layer):
        raise RefusalError("it has hooks: remove them first")
    if not sites:
        raise RefusalError("it is not called")
    if {id(t) for t in (*layer.parameters(), *layer.buffers())} & traced.read:
        raise RefusalError("its parameters or buffers are also read on their own")
    if any(_argument(site, 1, "mask") is not None for site in sites):
        raise RefusalError("it is called with a mask, where its output is 0")
    mean, var, gamma, beta = (_floats(t) for t in (layer.running_mean, layer.running_var, layer.weight, layer.bias))
    return Features(
        planner.norm_affine(mean, var, gamma, beta, layer.eps if frozen_eps is None else frozen_eps),
        feature_axes_at(getattr(layer, "axis", None)),
    )


def does_more(layer: Any, sites: list[fx.Node]) -> bool:
    """Whether a norm adds a residual, or applies an activation or a dropout."""
    residual = any(_argument(site, 2, "residual") is not None for site in sites)
    return residual or getattr(layer, "activation", None) is not None or bool(norm_kinds.follows(layer))


def possible_ranks(layer: Any) -> set[int] | None:
    """How many axes a norm's input may have; None for any number."""
    if norm_kinds.frozen_eps(layer) is not None:
        return {4}
    own = getattr(layer, "_ranks", None)  # of this library's, in the place of one of torch's
    return _RANKS.get(norm_kinds.kind(layer)) if own is None else set(own)


def left(layer: Any, sites: list[fx.Node], ranks: set[int] | None) -> tuple[nn.Module, bool]:
    """The module that replaces a folded norm, and whether it is the identity for all x that it takes."""
    more = does_more(layer, sites)
    exact = norm_kinds.kind(layer) in _EXACT_RANK or norm_kinds.frozen_eps(layer) is not None
    rank = None if ranks is None or exact else next(iter(ranks))
    if rank is None and not more:
        return nn.Identity(), True
    then = nn.Sequential(*(copy.deepcopy(part) for part in norm_kinds.follows(layer)))
    return FoldedNormStub(rank, getattr(layer, "activation", None), then or None), not more


def functions(traced: trace.Trace) -> Iterator[tuple[str, str]]:
    """Yield (name, reason) for each call of batch norm as a function, which is not folded."""
    for graph in traced.graphs:
        for node in graph.nodes:
            if node.op == "call_function" and "batch_norm" in getattr(node.target, "__name__", ""):
                yield f"the function {node.target.__name__}", "a call in a forward pass is no module to replace"


def ranks(model: nn.Module, paths: list[str], example: Any) -> dict[str, set[int]]:
    """The ranks of the inputs that each norm is given in a run on an example."""
    own, found = modules.skeleton(model), {path: set[int]() for path in paths}
    for path in paths:
        own.get_submodule(path).register_forward_pre_hook(
            lambda layer, args, kwargs, path=path: found[path].add(next(iter((*args, *kwargs.values()))).ndim),
            with_kwargs=True,
        )
    with torch.no_grad():
        modules.called(own, example)
    return found


def _argument(site: fx.Node, place: int, name: str) -> Any:
    return site.args[place] if len(site.args) > place else site.kwargs.get(name)


def _floats(tensor: torch.Tensor | None) -> Any:
    return None if tensor is None else arrays.to_numpy(tensor.detach().to("cpu", torch.float64))
