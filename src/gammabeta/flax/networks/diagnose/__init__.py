"""What a model's batch-norm layers do on data: the numbers of each channel, and what to watch, in words."""

from collections.abc import Iterable
from typing import Any

from flax import nnx

from gammabeta.flax.networks import call_model as kinds
from gammabeta.flax.networks import stat_layers
from gammabeta.flax.networks.diagnose.hooks import Watch
from gammabeta.networks.batches import BatchFeed, Call, Mask, Progress, no_progress
from gammabeta.networks.diagnose import Diagnosis

__all__ = ["diagnose"]


def diagnose(
    model: nnx.Module,
    batches: Iterable[Any],
    *,
    call: Call | None = None,
    mask: Mask | None = None,
    training_step: bool = True,
    progress: Progress = no_progress,
) -> Diagnosis:
    """Look at every batch-norm layer of a model on data, in evaluation, and say what to watch.

    - how far evaluation's output is from training's, predicted from the data's exact statistics and the running ones;
    - how many independent values a batch's mean is worth, from how much the means vary between batches;
    - channels that are dead (γ about 0) and what β then gives the activation; never active or saturated ones;
    - |mean| / std, and the digits that it costs; an eps larger than the variance;
    - in which module, by which operation, a NaN or an infinity first arose, batch norm or not;
    - layers that one training step moves twice, that nothing has moved, or frozen ones whose data have moved since.

    The model is as it was before, also after an error: parameters, statistics, modes, random streams.

    Args:
        model, batches, call, mask, progress: as for `recalibrate`; with two batches or more also the effective values.
        training_step: whether to try a forward pass in training mode on the first batch, the model being put back after
            it.

    Returns:
        a `gammabeta.networks.diagnose.Diagnosis`: print it, ask its `findings`, keep its `to_json()`, or make a page of
        it by `gammabeta.report.network`. flax counts no batches: but for this library's layers with momentum=None a
        layer's `tracked` is 0 where its mean and variance are still 0 and 1, else None. Which activation follows a
        layer is read from the model's jaxpr; where the model cannot be traced a note says so.

    Raises:
        DataError: no layer with running statistics, no batch, or a layer within `jax.jit`, where no values can be seen.
        KindError: a batch of a kind that needs `call`.

    >>> import numpy as np
    >>> model = nnx.Sequential(nnx.BatchNorm(2, rngs=nnx.Rngs(0)), nnx.relu)
    >>> found = diagnose(model, list(np.random.default_rng(0).normal(size=(2, 32, 2)).astype("float32")))
    >>> print(found.findings[0].text)
    No batch has moved its running statistics.
    """
    feed = BatchFeed(batches, call or kinds.called, mask, progress)
    return Watch(model, _layers(model)).look(feed, training_step)


def _layers(model: Any) -> dict[str, Any]:
    """The layers with running statistics, the frozen ones too."""
    layers = stat_layers.normalizing(model)
    if not layers:
        stat_layers.StatLayers(model).some("diagnose")
    return layers
