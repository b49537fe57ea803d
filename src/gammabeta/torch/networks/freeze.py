"""Batch norms that keep to their running statistics whatever mode the model is in."""

from typing import Any

import torch

from gammabeta.torch.networks import stat_layers
from gammabeta.torch.networks.stat_layers import StatLayers

Module = torch.nn.Module

_KINDS: dict[type[Module], type[Module]] = {}


def freeze(model: Module, *, affine: bool = True) -> Module:
    """Let every batch-norm layer evaluate, y = γ · (x − running mean) / √(running var + eps) + β, after `.train()` too.

    In place. Nothing moves the running statistics then: not training, `recalibrate` or `adapt`. The layers stay what
    they are, with the same parameters, buffers and `state_dict`, and are instances of their classes still.

    Args:
        model: or a part of one, such as `model.backbone`.
        affine: whether γ and β are frozen too: their requires_grad becomes False. Called again, with the other value,
            it changes that alone.

    Returns:
        model, or its replacement if it is such a layer itself: the same object.

    Raises:
        DataError: no layer has running statistics to keep to.

    >>> layer = freeze(torch.nn.BatchNorm1d(2)).train()
    >>> layer
    BatchNorm1d(2, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True, frozen=True)
    >>> layer.training, layer.weight.requires_grad, unfreeze(layer).training, layer.weight.requires_grad
    (False, False, True, True)
    """
    for layer in _freezable(model).values():
        if not isinstance(layer, _Frozen):
            layer.__dict__["_before_freeze"] = layer.training, _gradients(layer)
            layer.__class__ = _kind(type(layer))
            layer.training = False
        before = layer.__dict__["_before_freeze"][1]
        _require(layer, dict.fromkeys(before, False) if affine else before)
    return model


def unfreeze(model: Module) -> Module:
    """Undo `freeze`: the layers are what they were, in the mode that the model is in, γ and β as learnable as before.

    In place. Layers that are not frozen by `freeze` stay what they are.
    """
    for layer in stat_layers.inside(model).modules():
        if isinstance(layer, _Frozen):
            layer.training, before = layer.__dict__.pop("_before_freeze")
            _require(layer, before)
            layer.__class__ = layer.thawed
    return model


def is_frozen(layer: Module) -> bool:
    """Whether `freeze` has frozen a layer."""
    return isinstance(layer, _Frozen)


def thawed(model: Module) -> Module:
    """Give a copy's frozen layers their own classes back, in evaluation; nothing else that `unfreeze` restores."""
    for layer in model.modules():
        if isinstance(layer, _Frozen):
            del layer.__dict__["_before_freeze"]
            layer.__class__ = layer.thawed
    return model


class _Frozen(Module):
    """The first base of every frozen class: overrides what a frozen layer does differently."""

    is_frozen = True
    thawed: Any

    def train(self, mode: bool = True) -> Any:
        """Remember the mode, for `unfreeze`, and stay in evaluation."""
        self.__dict__["_before_freeze"] = mode, self.__dict__["_before_freeze"][1]
        return super().train(False)

    def extra_repr(self) -> str:
        """The layer's own, and that it is frozen; whether γ and β learn all the same."""
        learning = any(p.requires_grad for p in self.parameters(recurse=False))
        own = super().extra_repr()
        return f"{own}{', ' if own else ''}frozen=True{', learning γ and β' if learning else ''}"

    def _get_name(self) -> str:
        return self.thawed.__name__

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuilt, (self.thawed,), self.__dict__


def _kind(base: type[Module]) -> Any:
    """The frozen class of a layer's class, made once."""
    if base not in _KINDS:
        _KINDS[base] = type(f"Frozen{base.__name__}", (_Frozen, base), {"thawed": base, "__module__": base.__module__})
    return _KINDS[base]


def _rebuilt(base: type[Module]) -> Module:
    kind = _kind(base)
    new: Module = kind.__new__(kind)
    return new


def _freezable(model: Any) -> dict[str, Any]:
    found = StatLayers(stat_layers.inside(model))
    frozen = {n: m for n, m in found.model.named_modules() if isinstance(m, _Frozen)}
    # Where all is frozen by its author there is nothing to do, and what was asked for is so.
    return found.layers | frozen or ({} if "frozen" in found.others.values() else found.some("freeze").layers)


def _gradients(layer: Module) -> dict[str, bool]:
    return {name: p.requires_grad for name, p in layer.named_parameters(recurse=False)}


def _require(layer: Module, wanted: dict[str, bool]) -> None:
    for name, p in layer.named_parameters(recurse=False):
        p.requires_grad_(wanted.get(name, p.requires_grad))
