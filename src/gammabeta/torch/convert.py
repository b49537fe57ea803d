"""torch's batch-norm layers in a model replaced by this library's, and back; what they hold stays the same objects."""

from typing import Any

from torch import nn

from gammabeta.errors import DataError, KindError
from gammabeta.torch import checks
from gammabeta.torch.layer import EXTRAS, BatchNorm

Module = nn.Module

SOURCES = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def convert(model: Module) -> Module:
    """Put a `gammabeta.torch.BatchNorm` in the place of every torch.nn.BatchNorm1d, 2d, 3d and SyncBatchNorm.

    In place. Parameters and buffers stay the same objects, so that an optimizer keeps them; training flag, hooks and
    attributes stay too. Subclasses with a forward pass of their own are left alone, and so are lazy layers that have
    not yet seen a batch. A SyncBatchNorm keeps its process group.

    Returns:
        model, or its replacement if it is such a layer itself.

    >>> model = convert(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()))
    >>> type(model[1]).__name__, type(revert(model)[1]).__name__
    ('BatchNorm', 'BatchNorm2d')
    """
    return _replaced(model, lambda path, layer: _ours(layer) if type(layer) in SOURCES else layer)


def revert(model: Module, to: type[Module] | None = None) -> Module:
    """Put torch's layers back: what each one was, or `to` where it has not been converted from one. In place.

    Raises:
        DataError: a layer does what torch's cannot (an axis, a fused activation, …), or `to` is missing; then nothing
            is changed.
    """
    for path, layer in model.named_modules():
        if type(layer) is BatchNorm:
            _check(path or "the model", layer, to)
    return _replaced(model, lambda path, layer: _theirs(layer, to) if type(layer) is BatchNorm else layer)


def _replaced(model: Module, change: Any) -> Module:
    """The model with its modules changed; one that occurs twice becomes one that occurs twice."""
    if not isinstance(model, Module):
        raise KindError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    new = {layer: change(path, layer) for path, layer in model.named_modules()}
    for layer in new:
        for name, child in list(layer._modules.items()):
            if child is not None and new[child] is not child:
                layer._modules[name] = new[child]
    result: Module = new[model]
    return result


def _ours(layer: Any) -> BatchNorm:
    checks.options(layer.eps, layer.momentum, None, None, None, layer.track_running_stats)
    new = BatchNorm.__new__(BatchNorm)
    new.__dict__.update(layer.__dict__)
    new._buffers = dict(layer._buffers)
    extras = dict(EXTRAS)
    if isinstance(layer, nn.SyncBatchNorm):
        extras["sync"] = layer.process_group or True
    new._extend(**extras)
    new.__dict__["_source"] = type(layer)
    return new


def _theirs(layer: BatchNorm, to: type[Module] | None) -> Module:
    kind: Any = getattr(layer, "_source", None) or to
    new: Module = kind.__new__(kind)
    new.__dict__.update(
        {k: v for k, v in layer.__dict__.items() if k not in (*EXTRAS, "features", "_waiting", "_source")}
    )
    new._buffers = {name: value for name, value in layer._buffers.items() if name != "skipped"}
    new._non_persistent_buffers_set = set()
    return new


def _check(path: str, layer: BatchNorm, to: type[Module] | None) -> None:
    source = getattr(layer, "_source", None) or to
    used = {name: getattr(layer, name) for name in EXTRAS if getattr(layer, name) != EXTRAS[name]}
    if source is nn.SyncBatchNorm:
        used.pop("sync", None)
    if used:
        raise DataError(f"{path} must do what torch's layers do, and it has {used}: torch has no such layer")
    if source not in SOURCES:
        raise DataError(
            f"{path} was not converted from one of torch's layers, and to={source!r} does not say which it should be: "
            f"give to=torch.nn.BatchNorm1d, BatchNorm2d or BatchNorm3d"
        )
