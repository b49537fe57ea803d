"""`adapt` for Flax: trained statistics mixed with the test batch's by count, while the adaptation lasts."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from flax import nnx
from jax import numpy as jnp

from gammabeta.backends import array_ops
from gammabeta.errors import DataError
from gammabeta.flax.networks import stat_layers
from gammabeta.flax.networks.stat_layers import StatLayers
from gammabeta.flax.norm import masks, validation
from gammabeta.networks import adapt as shared
from gammabeta.networks.adapt import Adaptation
from gammabeta.norm import functional


def adapt(model: nnx.Module, *, prior: float = 16.0) -> Adaptation:
    """Let every batch-norm layer, in evaluation, normalize by its trained statistics and the batch's, mixed by count.

        mean = (N · running mean + n · batch mean) / (N + n),    and so the variance, the batch's with divisor n

    N is `prior`, the number of samples that the trained statistics are worth; n is the batch's. With prior=0 the batch
    alone counts (Li et al.: AdaBN); the larger, the less it does. For data that have moved, as photographs in fog,
    that come in batches. Layers in training and frozen ones are left alone.

    The mixture is there during a layer's call alone, under `jax.jit` too: the model's state is that of before at any
    time between. Until it is undone a layer is of a subclass of its class, and so is that of a copy made meanwhile.

    Returns:
        an `Adaptation`: call its `undo()`, or use it in a `with` statement.

    Raises:
        DataError: no layer has running statistics, or one is adapted already; prior is negative or not finite.

    Li et al. (2016): https://arxiv.org/abs/1603.04779; Schneider et al. (2020): https://arxiv.org/abs/2006.16971

    >>> layer = nnx.BatchNorm(1, use_running_average=True, rngs=nnx.Rngs(0))
    >>> x = jnp.array([[8.0], [12.0]])
    >>> with adapt(layer, prior=0):
    ...     layer(x).round(3).tolist()
    [[-1.0], [1.0]]
    >>> jnp.rint(layer(x)).tolist()
    [[8.0], [12.0]]
    """
    shared.check_prior(prior)
    found = StatLayers(model).some("adapt")
    for name, layer in found.layers.items():
        if stat_layers.is_adapted(layer):
            raise DataError(f"{name or 'the model'} is adapted already: undo that first")
    return Adaptation(prior, [_begun(layer, prior) for layer in found.layers.values()])


def _begun(layer: Any, prior: float) -> Callable[[], None]:
    """Change a layer's class to the adapted one; return what changes it back."""
    undo = partial(stat_layers.become, layer, type(layer))
    stat_layers.become(layer, _kind(layer.__class__, float(prior)))
    return undo


@cache
def _kind(base: Any, prior: float) -> Any:
    """The adapted kind of a class: one for each prior, which is part of what `jax.jit` compiles."""

    def call(self: Any, x: Any, use_running_average: bool | None = None, **given: Any) -> Any:
        """Normalize by the mixture, in evaluation."""
        held, x = vars(self), jnp.asarray(x)
        evaluating = held["use_running_average"] if use_running_average is None else use_running_average
        if not evaluating or x.size == 0:
            return base.__call__(self, x, use_running_average, **given)
        before = {name: held[name] for name in ("mean", "var")}
        mixture = _mixture(self, prior, x, given.get("mask"))
        held.update({name: nnx.BatchStat(value) for name, value in zip(before, mixture, strict=True)})
        try:
            return base.__call__(self, x, True, **given)
        finally:
            held.update(before)

    return type(f"Adapted{base.__name__}", (base,), {"__call__": call, "__module__": __name__, "is_adapted": True})


def _mixture(layer: Any, prior: float, x: Any, mask: Any) -> list[Any]:
    """The mean and variance to normalize a batch by: new arrays of the features' shape."""
    space, reduced_axes = array_ops.of(x), validation.reduced(layer, x)
    mask = None if mask is None else masks.broadcast_mask(space, mask, x, reduced_axes)
    seen = functional.normalized(x, axis=reduced_axes, eps=layer.epsilon, mask=mask)
    count = shared.samples(space, x, mask, reduced_axes)
    return [
        shared.mixed(space, prior, count, old[...], batch)
        for old, batch in ((layer.mean, seen.mean), (layer.var, seen.var))
    ]
