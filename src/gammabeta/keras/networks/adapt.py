"""`adapt` for Keras: trained statistics mixed with the test batch's by count, while the adaptation lasts."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from gammabeta.backends import array_ops
from gammabeta.errors import DataError
from gammabeta.keras.networks import stat_layers
from gammabeta.keras.networks.stat_layers import StatLayers
from gammabeta.keras.norm import masks, validation
from gammabeta.networks import adapt as shared
from gammabeta.networks.adapt import Adaptation
from gammabeta.norm import functional

_MOVING = ("moving_mean", "moving_variance")


def adapt(model: keras.layers.Layer, *, prior: float = 16.0) -> Adaptation:
    """Let every batch-norm layer, in evaluation, normalize by its trained statistics and the batch's, mixed by count.

        mean = (N · moving mean + n · batch mean) / (N + n),    and so the variance, the batch's with divisor n

    N is `prior`, the number of samples that the trained statistics are worth; n is the batch's. With prior=0 the batch
    alone counts (Li et al.: AdaBN); the larger, the less it does. For data that have moved, as photographs in fog,
    that come in batches. Layers in training and frozen ones, `trainable=False` among them, are left alone.

    The mixture is there during a layer's call alone: weights and saved files are those of before at any time between.

    Returns:
        an `Adaptation`: call its `undo()`, or use it in a `with` statement.

    Raises:
        DataError: no layer has moving statistics; prior is negative or not finite.

    Li et al. (2016): https://arxiv.org/abs/1603.04779; Schneider et al. (2020): https://arxiv.org/abs/2006.16971

    >>> layer = keras.layers.BatchNormalization(epsilon=1e-5)
    >>> layer.build((None, 1))
    >>> x = keras.ops.array([[8.0], [12.0]])
    >>> with adapt(layer, prior=0):
    ...     keras.ops.convert_to_numpy(layer(x)).round(3).tolist()
    [[-1.0], [1.0]]
    >>> keras.ops.convert_to_numpy(layer(x)).round(3).tolist()
    [[8.0], [12.0]]
    """
    shared.check_prior(prior)
    found = StatLayers(model).some("adapt")
    for name, layer in found.layers.items():
        if "call" in vars(layer):
            raise DataError(f"{name or 'the model'} is adapted already: undo that first")
    stat_layers.recompile(model)
    return Adaptation(prior, [_begun(model, layer, prior) for layer in found.layers.values()])


def _begun(model: Any, layer: Any, prior: float) -> Callable[[], None]:
    """Replace a layer's call by the adapted one; return what puts it back."""
    call, held = layer.call, vars(layer)

    def called(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        if (training and layer.trainable) or getattr(layer, "is_frozen", False) or 0 in inputs.shape:
            return call(inputs, training=training, mask=mask)
        before = {name: held[name] for name in _MOVING}
        held.update(zip(_MOVING, _mixture(layer, prior, inputs, mask), strict=True))
        try:
            return call(inputs, training=False, mask=mask)
        finally:
            held.update(before)

    def undo() -> None:
        del held["call"]
        stat_layers.recompile(model)

    held["call"] = called
    return undo


def _mixture(layer: Any, prior: float, x: Any, mask: Any) -> list[Any]:
    """The mean and variance to normalize a batch by: new tensors of the features' shape."""
    space, reduced_axes = array_ops.of(x), validation.reduced(layer, x)
    mask = None if mask is None else masks.broadcast_mask(space, mask, x, reduced_axes)
    seen = functional.normalized(x, axis=reduced_axes, eps=layer.epsilon, mask=mask)
    count = shared.samples(space, x, mask, reduced_axes)
    trained = [ops.convert_to_tensor(getattr(layer, name)) for name in _MOVING]
    return [
        shared.mixed(space, prior, count, old, batch) for old, batch in zip(trained, (seen.mean, seen.var), strict=True)
    ]
