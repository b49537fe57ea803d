"""torch's batch-norm layers in a model replaced by this library's, and back; what they hold stays the same objects."""

import warnings
from collections.abc import Callable
from typing import Any

from torch import nn

from gammabeta.errors import DataError, KindError
from gammabeta.torch.networks import modules, norm_kinds
from gammabeta.torch.networks.norm_kinds import SOURCES
from gammabeta.torch.norm import group_layers, validation
from gammabeta.torch.norm.layer import EXTRAS, BatchNorm
from gammabeta.torch.norm.norm_act import NormAct

Module = nn.Module


def convert(
    model: Module,
    to: type[Module] = BatchNorm,
    *,
    of: type[Module] | None = None,
    groups: int | Callable[[int], int] | None = None,
) -> Module:
    """Put a `gammabeta.torch.BatchNorm`, or another norm, in the place of every batch norm. In place.

    `to=LayerNorm`, `RMSNorm`, `InstanceNorm1d`, `2d` or `3d`, this library's or torch's, exchanges the other's layers
    of that name instead, and so does `to=GroupNorm` with `of` the other one: the same norm, nothing is approximate.

    Parameters and buffers stay the same objects, so that an optimizer keeps them; training flag, hooks and attributes
    stay too. A SyncBatchNorm keeps its process group, and timm's BatchNormAct2d its dropout and activation. Subclasses
    with a forward pass of their own are left alone, and so are frozen layers and lazy ones that have not yet seen a
    batch: `left_alone` names them, and a warning those that are not frozen.

    Args:
        model: with torch.nn.BatchNorm1d, 2d, 3d, SyncBatchNorm, subclasses of these that only change defaults, timm's
            BatchNormAct2d, or `gammabeta.torch.BatchNorm`.
        to: one of these, or a GroupNorm, torch's or this library's. A BatchNorm2d takes the place of those that may be
            2d. A GroupNorm is an approximation, and a warning says so: γ, β and eps stay, but each sample is normalized
            by its own statistics, so that the model must be trained on.
        of: a GroupNorm, torch's or this library's, to exchange these instead: for the other GroupNorm; or for a batch
            norm, the approximation the other way, whose running statistics are those of a new layer.
        groups: how many groups a GroupNorm has, or a function that gives that for a layer's features, such as
            `lambda features: features // 16`; it must divide every layer's features.

    Returns:
        model, or its replacement if it is such a layer itself.

    Raises:
        DataError: a layer does what `to` cannot, or groups does not divide its features; then nothing is changed.
        KindError: model is no module, or `to` or `of` no such class.

    >>> model = convert(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()))
    >>> type(model[1]).__name__, type(convert(model, to=nn.SyncBatchNorm)[1]).__name__
    ('BatchNorm', 'SyncBatchNorm')
    """
    namesake = _NAMESAKES.get(to)
    if groups is None and namesake is not None and of in ((namesake,) if to in _GROUPS else (None, namesake)):
        return _replaced(model, lambda _, layer: _renamed(layer, to) if type(layer) is namesake else layer)
    kinds = (*SOURCES, BatchNorm, *_GROUPS)
    if to not in kinds or of not in (None, *kinds):
        raise KindError(
            f"to and of must be among {', '.join(k.__name__ for k in kinds[:-1])}, or to alone one of "
            f"{', '.join(k.__name__ for k in _OTHERS)}, got to={to!r}, of={of!r}"
        )
    if (to in _GROUPS) != (groups is not None):
        raise DataError(f"groups must be given for GroupNorm, and for nothing else, got {groups} for {to.__name__}")
    sources = (*SOURCES, BatchNorm) if of is None else (of,)

    def change(path: str, layer: Any) -> Module:
        known = norm_kinds.kind(layer)
        if known is to or known not in sources or not _may_be(layer, to):
            return layer
        if to is BatchNorm and known not in _GROUPS:
            return _ours(layer)
        if norm_kinds.has_activation(layer):
            return layer
        if to in _GROUPS:
            return _grouped(path, layer, to, groups)
        if known in _GROUPS:
            return _ungrouped(layer, to)
        if known is BatchNorm:
            _check_same(path, layer, to)
            return _theirs(layer, to)
        return _exchanged(layer, to)

    new = _replaced(model, change)
    if (to in _GROUPS) != (of in _GROUPS):
        warnings.warn(_APPROXIMATE[to in _GROUPS], UserWarning, stacklevel=2)
    if of is None:
        _warn(left_alone(new, to))
    return new


def left_alone(model: Module, to: type[Module] = BatchNorm) -> dict[str, str]:
    """The batch norms of a model that `convert(model, to)` leaves alone, by name, each with the reason.

    >>> left_alone(nn.Sequential(nn.BatchNorm1d(3), nn.LazyBatchNorm1d()))
    {'1': 'it is lazy: run the model on one batch first'}
    """
    if not isinstance(model, Module):
        raise KindError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    found = {}
    for path, layer in model.named_modules():
        if modules.is_norm(layer) and norm_kinds.kind(layer) is not to:
            reason = norm_kinds.reason(layer)
            if not reason and to is not BatchNorm and norm_kinds.has_activation(layer):
                reason = f"{type(layer).__name__} has an activation inside, and {to.__name__} has none"
            if not reason and not _may_be(layer, to):
                reason = f"{to.__name__} takes data of other ranks"
            if reason:
                found[path or "the model"] = reason
    return found


def _warn(left: dict[str, str]) -> None:
    """Name what was left alone though nobody wanted it to be."""
    named = [f"{path} ({reason})" for path, reason in left.items() if "frozen" not in reason and "ranks" not in reason]
    if named:
        more = f", and {len(named) - 3} more: left_alone(model) names them" if len(named) > 3 else ""
        warnings.warn(f"left alone: {', '.join(named[:3])}{more}", UserWarning, stacklevel=3)


def _may_be(layer: Module, kind: type[Module]) -> bool:
    """Whether a norm may be of that kind: not if both are for data of so many axes, and of others."""
    known = getattr(layer, "_source", norm_kinds.kind(layer))
    known = next((kind for kind in _BY_RANK if issubclass(known, kind)), known)
    return known not in _BY_RANK or kind not in _BY_RANK or known is kind


_BY_RANK = SOURCES[:3]

_GROUPS = (nn.GroupNorm, group_layers.GroupNorm)

_OTHERS = (
    group_layers.LayerNorm,
    group_layers.RMSNorm,
    group_layers.InstanceNorm1d,
    group_layers.InstanceNorm2d,
    group_layers.InstanceNorm3d,
)

_PAIRS = [(kind, getattr(nn, kind.__name__)) for kind in (*_OTHERS, group_layers.GroupNorm)]

_NAMESAKES: dict[type[Module], type[Module]] = dict([*_PAIRS, *((theirs, own) for own, theirs in _PAIRS)])
"""This library's class for each of torch's, and torch's for each of this library's: the same norm."""

_OURS = (BatchNorm, NormAct)

_RANKS: dict[type, tuple[int, ...]] = {nn.BatchNorm1d: (2, 3), nn.BatchNorm2d: (4,), nn.BatchNorm3d: (5,)}

_APPROXIMATE = {
    True: "GroupNorm takes the place of batch norm approximately: γ, β and eps stay, but each sample is now normalized "
    "by its own statistics, and the outputs are others: train the model on",
    False: "batch norm takes the place of GroupNorm approximately: γ, β and eps stay, but the running statistics are "
    "those of a new layer: train the model on before it is evaluated",
}


def revert(model: Module, to: type[Module] | None = None) -> Module:
    """Put torch's layers back: what each one was, or `to` where it has not been converted from one. In place.

    Raises:
        DataError: a layer does what torch's cannot (an axis, a fused activation, …), or `to` is missing; then nothing
            is changed.
    """
    for path, layer in model.named_modules():
        if type(layer) in _OURS:
            _check(path or "the model", layer, to)

    def change(path: str, layer: Any) -> Module:
        return _theirs(layer, getattr(layer, "_source", None) or to) if type(layer) in _OURS else layer

    return _replaced(model, change)


def _replaced(model: Module, change: Any) -> Module:
    """The model with its modules changed; one that occurs twice becomes one that occurs twice."""
    if not isinstance(model, Module):
        raise KindError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    new = {layer: change(path or "the model", layer) for path, layer in model.named_modules()}
    for layer in new:
        for name, child in list(layer._modules.items()):
            if child is not None and new[child] is not child:
                layer._modules[name] = new[child]
    result: Module = new[model]
    return result


def _ours(layer: Any) -> BatchNorm:
    validation.options(layer.eps, layer.momentum, None, None, None, layer.track_running_stats)
    kind = NormAct if norm_kinds.has_activation(layer) else BatchNorm
    new = kind.__new__(kind)
    new.__dict__.update(layer.__dict__)
    new._buffers = dict(layer._buffers)
    extras = dict(EXTRAS)
    if isinstance(layer, nn.SyncBatchNorm):
        extras["sync"] = layer.process_group or True
    new._extend(**extras)
    new._ranks = _RANKS.get(norm_kinds.kind(layer))
    new.__dict__["_source"] = type(layer)
    return new


def _theirs(layer: BatchNorm, kind: Any) -> Module:
    new: Module = kind.__new__(kind)
    new.__dict__.update(
        {k: v for k, v in layer.__dict__.items() if k not in (*EXTRAS, "_waiting", "_ranks", "_skipped", "_source")}
    )
    new._buffers = dict(layer._buffers)
    return _with_group(new, layer.sync if layer.sync is not True and layer.sync is not False else None)


def _exchanged(layer: Any, kind: Any) -> Module:
    """One of torch's batch norms as another."""
    new: Module = kind.__new__(kind)
    new.__dict__.update(layer.__dict__)
    return _with_group(new, None)


def _with_group(layer: Any, group: Any) -> Module:
    """The layer with the process group that a SyncBatchNorm must have, and no other may."""
    layer.__dict__.pop("process_group", None)
    if isinstance(layer, nn.SyncBatchNorm):
        layer.process_group = group
    result: Module = layer
    return result


def _renamed(layer: Module, kind: Any) -> Module:
    """A layer as its namesake, with all that it holds."""
    new: Module = kind.__new__(kind)
    new.__dict__.update(layer.__dict__)
    return new


def _grouped(path: str, layer: Any, to: Any, groups: Any) -> Module:
    """γ, β and eps of a batch norm in a GroupNorm."""
    other = {name: getattr(layer, name, None) for name in ("axis", "activation")}
    if any(value is not None for value in other.values()):
        raise DataError(f"{path} must do what GroupNorm does, and it has {other}. Nothing is changed")
    groups = groups(layer.num_features) if callable(groups) else groups
    if not isinstance(groups, int) or groups < 1 or layer.num_features % groups:
        raise DataError(
            f"groups must divide the {layer.num_features} features of {path}, got {groups}. Nothing is changed"
        )
    return _taking(to(groups, layer.num_features, layer.eps, affine=False), layer)


def _ungrouped(layer: Any, kind: Any) -> Module:
    """γ, β and eps of a GroupNorm in a batch norm, whose statistics are new."""
    device = None if layer.weight is None else layer.weight.device
    return _taking(kind(layer.num_channels, eps=layer.eps, affine=False, device=device), layer)


def _taking(new: Any, layer: Any) -> Module:
    """A new norm with the parameters, the flag and the hooks of another."""
    new.affine = layer.affine
    new.weight, new.bias = layer.weight, layer.bias
    new.training = layer.training
    for name, value in layer.__dict__.items():
        if name.startswith("_") and "hook" in name:
            new.__dict__[name] = value
    result: Module = new
    return result


def _check(path: str, layer: BatchNorm, to: type[Module] | None) -> None:
    source = getattr(layer, "_source", None) or to
    _check_same(path, layer, source)
    if source is None or not issubclass(source, SOURCES):
        raise DataError(
            f"{path} was not converted from one of torch's layers, and to={source!r} does not say which it should be: "
            f"give to=torch.nn.BatchNorm1d, BatchNorm2d or BatchNorm3d"
        )


def _check_same(path: str, layer: BatchNorm, to: type[Module] | None) -> None:
    used = layer._extras()
    if to is not None and issubclass(to, nn.SyncBatchNorm):
        used.pop("sync", None)
    if used:
        raise DataError(f"{path} must do what torch's layers do, and it has {used}: torch has no such layer")
