"""Batch norms that keep to their running statistics, whatever the model's mode or the call says."""

from functools import cache
from typing import Any

from flax import nnx

from gammabeta.errors import DataError
from gammabeta.flax.networks import stat_layers
from gammabeta.flax.networks.stat_layers import WHICH


class FrozenParam(nnx.Variable[Any]):
    """γ or β of a frozen layer: no `nnx.Param`, so that `nnx.grad` and optimizers, which take those, leave it alone."""


def freeze(model: nnx.Module, *, affine: bool = True) -> nnx.Module:
    """Let every batch-norm layer evaluate, y = γ · (x − running mean) / √(running var + eps) + β, in training too.

    In place. Nothing moves the running statistics then: not `train()`, a call's `use_running_average=False`,
    `recalibrate` or `adapt`; `eval()` alone does not outlive the next `train()`. The layers have the same state under
    the same names, are instances of their classes still, and show as Frozen….

    Args:
        model: or a part of one, such as `model.backbone`.
        affine: whether γ and β are frozen too: they are `FrozenParam`s then instead of `Param`s. An optimizer that is
            there already was made for these: make a new one. Called again, with the other value, it changes that alone.

    Returns:
        model.

    Raises:
        KindError: model is no nnx.Module.
        DataError: no layer has running statistics to keep to, or one is adapted.

    >>> layer = freeze(nnx.BatchNorm(2, rngs=nnx.Rngs(0)))
    >>> layer.train()
    >>> type(layer).__name__, isinstance(layer, nnx.BatchNorm), len(nnx.state(layer, nnx.Param))
    ('FrozenBatchNorm', True, 0)
    >>> len(nnx.state(unfreeze(layer), nnx.Param))
    2
    """
    found = stat_layers.normalizing(model)
    if not found:
        raise DataError(f"freeze needs a layer with running statistics ({WHICH}), {type(model).__name__} has none")
    for name, layer in found.items():
        if stat_layers.is_adapted(layer):
            raise DataError(f"{name or 'the model'} is adapted: undo that before freezing it")
    for layer in found.values():
        if not _is_frozen(layer):
            stat_layers.become(layer, _kind(layer.__class__))
        (_hold if affine else _release)(layer)
    return model


def unfreeze(model: nnx.Module) -> nnx.Module:
    """Undo `freeze`: the layers are what they were, in the mode that the model is in, γ and β `Param`s as before.

    In place. Layers that are not frozen by `freeze` stay what they are.
    """
    for layer in stat_layers.modules(model).values():
        if _is_frozen(layer):
            _release(layer)
            stat_layers.become(layer, layer.thawed)
    return model


@cache
def _kind(base: Any) -> Any:
    """The frozen class of a layer's class, made once; with one base, since an object may not take a class with two."""

    def call(self: Any, x: Any, use_running_average: bool | None = None, **given: Any) -> Any:
        """Evaluate."""
        return base.__call__(self, x, True, **given)

    def reduced(self: Any) -> Any:
        return _rebuilt, (base,), vars(self)

    more = {"__call__": call, "__reduce__": reduced, "__module__": __name__, "is_frozen": True, "thawed": base}
    return type(f"Frozen{base.__name__}", (base,), more)


def _is_frozen(layer: Any) -> bool:
    return hasattr(type(layer), "thawed")


def _rebuilt(base: Any) -> Any:
    return object.__new__(_kind(base))


def _hold(layer: Any) -> None:
    """Make γ and β `FrozenParam`s that remember what they were."""
    for name in ("scale", "bias"):
        variable = getattr(layer, name)
        if isinstance(variable, nnx.Param):
            setattr(layer, name, FrozenParam(variable[...], thawed=type(variable), **variable.get_metadata()))


def _release(layer: Any) -> None:
    """Undo `_hold`."""
    for name in ("scale", "bias"):
        variable = getattr(layer, name)
        if isinstance(variable, FrozenParam):
            metadata = dict(variable.get_metadata())
            kind = metadata.pop("thawed")
            setattr(layer, name, kind(variable[...], **metadata))
