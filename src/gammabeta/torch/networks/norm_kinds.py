"""Which of the known batch norms a module computes as: subclasses that only change defaults, and others' norms."""

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _LazyNormBase

from gammabeta.torch.norm.layer import BatchNorm
from gammabeta.torch.norm.norm_act import NormAct

Module = nn.Module

SOURCES = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

_DEFAULTS = {"__init__", "extra_repr", "__constants__"}
"""What a subclass may define and compute as its base all the same; names of classes' own, such as __doc__, besides."""

_BOOKKEEPING = {
    *("__module__", "__doc__", "__qualname__", "__annotations__", "__dict__", "__weakref__", "__parameters__"),
    *("__orig_bases__", "__firstlineno__", "__static_attributes__", "__annotate_func__", "__annotations_cache__"),
}

_WITH_ACTIVATION = {("timm", "BatchNormAct2d"): nn.BatchNorm2d, ("timm", "SyncBatchNormAct"): nn.SyncBatchNorm}
"""Norms that are act(drop(norm)), by package and class: a package is never imported to find out."""

_FROZEN = {"torchvision", "detectron2", "transformers"}
"""Packages whose classes *FrozenBatchNorm2d are the affine map of their four buffers."""


def kind(layer: Any) -> type[Module]:
    """The class that a norm computes as, `drop` and `act` after it apart; its own where that is not known."""
    for cls in type(layer).__mro__:
        if cls in (*SOURCES, BatchNorm, NormAct):
            return BatchNorm if cls is NormAct else cls
        if (base := _WITH_ACTIVATION.get(_named(cls))) is not None:
            return base if _whole(layer) else type(layer)
        if _own(cls):
            break
    return type(layer)


def known(layer: Any) -> bool:
    """Whether a module is a batch norm, and what it computes is known."""
    return kind(layer) in (*SOURCES, BatchNorm)


def follows(layer: Any) -> tuple[Module, ...]:
    """The modules that a known norm calls after it has normalized: dropout and activation."""
    within = any(cls is NormAct or _named(cls) in _WITH_ACTIVATION for cls in type(layer).__mro__)
    parts = (layer._modules.get(name) for name in ("drop", "act")) if within else ()
    return tuple(part for part in parts if part is not None and type(part) is not nn.Identity)


def has_activation(layer: Any) -> bool:
    """Whether a norm's class is one that has an activation inside."""
    return any(cls is NormAct or _named(cls) in _WITH_ACTIVATION for cls in type(layer).__mro__)


def frozen_eps(layer: Any) -> float | None:
    """eps of a norm that its author wrote frozen, of which everything is a buffer; None if it is no such layer."""
    package, name = _named(type(layer))
    if package not in _FROZEN or not name.endswith("FrozenBatchNorm2d") or "weight" not in layer._buffers:
        return None
    return float(getattr(layer, "eps", 1e-5))  # transformers' have it in the forward pass, as detectron2's default


def reason(layer: Any) -> str:
    """Why a batch norm's way of computing is not known; "" where it is."""
    if known(layer):
        return ""
    if isinstance(layer, _LazyNormBase):
        return "it is lazy: run the model on one batch first"
    if getattr(layer, "is_frozen", False) is True:
        return "it is frozen: unfreeze it first"
    if frozen_eps(layer) is not None:
        return "it was written to be frozen"
    return f"{type(layer).__name__} has a forward pass of its own"


def _named(cls: type) -> tuple[str, str]:
    return cls.__module__.partition(".")[0], cls.__name__


def _own(cls: type) -> set[str]:
    """What a class defines besides defaults."""
    return set(vars(cls)) - _DEFAULTS - _BOOKKEEPING


def _whole(layer: Any) -> bool:
    """Whether a norm has a dropout and an activation, and nothing else."""
    return layer._modules.keys() == {"drop", "act"}
