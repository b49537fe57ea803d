"""What a model's batch-norm layers do on data: the numbers of each channel, and what to watch, in words."""

from collections.abc import Iterable
from typing import Any

import torch

from gammabeta.networks.batches import BatchFeed, Call, Progress, no_progress
from gammabeta.networks.diagnose import Diagnosis
from gammabeta.torch.networks import call_model as kinds
from gammabeta.torch.networks import stat_layers
from gammabeta.torch.networks.calibrate_pass import Mask
from gammabeta.torch.networks.diagnose.hooks import Watch

__all__ = ["diagnose"]


def diagnose(
    model: torch.nn.Module,
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
    - layers that one training step moves twice, that no batch has moved, or fewer than others.

    The model is as it was before, also after an error: mode, statistics, gradients, random state.

    Args:
        model, batches, call, mask, progress: as for `recalibrate`; with two batches or more also the effective values.
        training_step: whether to try a step in training mode on the first batch, the model being put back after it.

    Returns:
        a `gammabeta.networks.diagnose.Diagnosis`: print it, ask its `findings`, keep its `to_json()`, or make a page of
        it by `gammabeta.report.network`.

    Raises:
        DataError: no layer with running statistics, or no batch.
        KindError: a batch of a kind that needs `call`.

    >>> model = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.ReLU())
    >>> found = diagnose(model, torch.randn(64, 2).split(32))
    >>> print(found.findings[0].text)
    No batch has moved its running statistics.
    """
    model = stat_layers.inside(model)
    feed = BatchFeed(batches, call or kinds.called, mask, progress)
    return Watch(model, _layers(model)).look(feed, training_step)


def _layers(model: Any) -> dict[str, Any]:
    """The layers with running statistics, the frozen ones too."""
    found = stat_layers.StatLayers(model)
    frozen = {name for name, reason in found.others.items() if reason == "frozen"}
    layers = {name: layer for name, layer in model.named_modules() if name in found.layers or name in frozen}
    return layers or found.some("diagnose").layers
