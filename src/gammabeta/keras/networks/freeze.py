"""Batch norms that keep to their moving statistics, whatever the model is told of training."""

from typing import Any, Self

import keras

from gammabeta.errors import DataError
from gammabeta.keras.networks import stat_layers
from gammabeta.keras.networks.stat_layers import WHICH
from gammabeta.keras.norm import layer as ours

_KINDS: dict[type, Any] = {}
_STATE = "_before_freeze"


def freeze(model: keras.layers.Layer, *, affine: bool = True) -> keras.layers.Layer:
    """Let every batch-norm layer evaluate, y = γ · (x − moving mean) / √(moving variance + ε) + β, in training too.

    In place. Nothing moves the moving statistics then: not `fit`, `training=True`, `recalibrate` or `adapt`. A layer's
    `trainable=False` does as much until somebody sets the model's `trainable` to True, which sets that of all its
    layers; `freeze` outlives that, and with `affine=False` lets γ and β learn. A frozen layer has the same weights in
    the same order, is an instance of its class still, and shows as Frozen… in `summary()`. A saved file is frozen like
    the layer: import gammabeta.keras before loading it. Compile the model again, as after any change of `trainable`.

    Args:
        model: or a part of one, such as a nested model.
        affine: whether γ and β are frozen too, as by `trainable=False`. Called again, with the other value, it changes
            that alone.

    Returns:
        model.

    Raises:
        KindError: model is no Keras layer.
        DataError: no layer has moving statistics to keep to.

    >>> layer = keras.layers.BatchNormalization(name="norm")
    >>> layer.build((None, 2))
    >>> freeze(layer).trainable = True
    >>> layer, layer.trainable
    (<FrozenBatchNormalization name=norm, built=True>, False)
    >>> unfreeze(layer).trainable
    True
    """
    found = stat_layers.normalizing(model)
    if not found:
        raise DataError(f"freeze needs a layer with running statistics ({WHICH}), {type(model).__name__} has none")
    for layer in found.values():
        if not isinstance(layer, _Frozen):
            vars(layer)[_STATE] = {"affine": affine, "trainable": layer.trainable, "weights": _learning(layer)}
            layer.__class__ = kind_of(type(layer))
        vars(layer)[_STATE]["affine"] = affine
        layer.trainable = vars(layer)[_STATE]["trainable"]
    stat_layers.recompile(model)
    return model


def unfreeze(model: keras.layers.Layer) -> keras.layers.Layer:
    """Undo `freeze`: the layers are what they were, and as trainable as they were told to be since.

    In place. Layers that are not frozen by `freeze` stay what they are, those with `trainable=False` too.
    """
    for layer in stat_layers.inside(model).values():
        if isinstance(layer, _Frozen):
            before = vars(layer).pop(_STATE)
            layer.__class__ = layer.thawed
            layer.trainable = before["trainable"]
            for weight, learned in zip(layer._trainable_variables, before["weights"], strict=False):
                weight.trainable = learned and before["trainable"]
    stat_layers.recompile(model)
    return model


class _Frozen:
    """The first base of every frozen class: overrides what a frozen layer does differently."""

    is_frozen = True
    thawed: Any
    _trainable_variables: Any

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Evaluate."""
        own: Any = super()
        return own.call(inputs, training=False, mask=mask)

    @property
    def trainable(self) -> bool:
        """Whether γ and β may learn."""
        return bool(keras.layers.Layer.trainable.fget(self))

    @trainable.setter
    def trainable(self, value: bool) -> None:
        """Remember it, for `unfreeze`."""
        before = vars(self)[_STATE]
        before["trainable"] = bool(value)
        keras.layers.Layer.trainable.fset(self, bool(value) and not before["affine"])

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "trainable":  # on TensorFlow Keras sets nothing that reads as the same already
            vars(_Frozen)[name].fset(self, value)
        else:
            super().__setattr__(name, value)

    def get_config(self) -> dict[str, Any]:
        """The layer's own, and what `unfreeze` needs to know."""
        own: Any = super()
        before = vars(self)[_STATE]
        return {**own.get_config(), "trainable": before["trainable"], "frozen": {"affine": before["affine"]}}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """A frozen layer, as it was saved."""
        config = dict(config)
        frozen = config.pop("frozen")
        layer = cls.thawed.from_config(config)
        return freeze(layer, **frozen)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}{'' if vars(self)[_STATE]['affine'] else ', learning γ and β'}>"


def kind_of(base: Any) -> Any:
    """The frozen class of a layer's class, made once and registered by its own name for saved files."""
    if base not in _KINDS:
        name = keras.saving.get_registered_name(base)
        own = type(f"Frozen{base.__name__}", (_Frozen, base), {"thawed": base, "__module__": __name__})
        _KINDS[base] = keras.saving.register_keras_serializable("gammabeta", f"Frozen.{name}")(own)
    return _KINDS[base]


def _learning(layer: Any) -> list[bool]:
    return [weight.trainable for weight in layer._trainable_variables]


for _kind in (keras.layers.BatchNormalization, ours.BatchNormalization):
    kind_of(_kind)  # so that a file with a frozen one can be loaded
