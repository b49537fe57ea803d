"""The population's exact mean and variance at every batch-norm layer, in the place of what training left there."""

from collections.abc import Iterable
from typing import Any

import torch

from gammabeta.networks import recalibrate as shared
from gammabeta.networks.batches import BatchFeed, Call, Progress, no_progress
from gammabeta.networks.recalibrate_report import Recalibration
from gammabeta.torch.networks import call_model, stat_layers
from gammabeta.torch.networks.calibrate_pass import CalibratedLayers, Mask
from gammabeta.torch.norm import sync as processes


def recalibrate(
    model: torch.nn.Module,
    batches: Iterable[Any],
    *,
    call: Call | None = None,
    mask: Mask | None = None,
    sequential: bool = False,
    sync: Any = False,
    progress: Progress = no_progress,
) -> Recalibration:
    """Replace every batch-norm layer's running statistics by the exact ones of its inputs over all batches.

    running mean = Σx / n and running variance = Σ(x − mean)² / (n − 1), each value counting once whatever batch it came
    in, correctly rounded; / n where the layer keeps the biased one. The model runs in evaluation mode: no dropout, and
    a batch of one is as good as any. A layer's inputs depend on the statistics of the layers before it:

    - in one pass each layer normalizes by its statistics so far, those of the batch included. The first layers' results
      are exact; those of later ones also tell, a little, in which order and in what pieces the data came.
    - `sequential=True` goes through the batches again, each layer under the statistics that the pass before gave, until
      none moves by a bit: after as many passes as layers follow one upon another. The result is that of the data alone,
      as far as the model's own operations round a row alike in every batch.

    Args:
        model: its layers are `gammabeta.torch.BatchNorm`, `torch.nn.BatchNorm1d`, `2d`, `3d`, `SyncBatchNorm`, and all
            others with the buffers running_mean and running_var, features on axis 1. What is frozen is left alone, and
            so is what the batches do not reach; the report names both.
        batches: an iterable of tensors, of tuples that begin with one, of mappings or dataclasses whose entries
            `forward` names.
        call: `call(model, batch)`, for any other batch.
        mask: `mask(batch)` gives a boolean tensor, True where a value counts, of the shape of the layers' reduced axes,
            or a mapping from layers' names to such tensors. A layer that the model calls with a mask has that one.
        sync: True, or a process group, whose processes each call this with batches of their own.
        progress: called after each batch with its number, and how many there are in a pass; 0 if that is not known.

    Returns:
        a report: for each layer what moved, and how far.

    num_batches_tracked becomes the number of the layer's calls. Mode, requires_grad, momentum and gradients stay what
    they are, and on any error the statistics too.

    Raises:
        DataError: no layer with running statistics, no batch, none that reaches a layer, a NaN or an infinity in a
            layer's input; `sequential` with batches that can be gone through only once.
        KindError: a batch of a kind that needs `call`.
        StateError: another process failed, or there is no process group.

    Ioffe and Szegedy (2015), algorithm 2, of one population in the place of a mean over batches.

    >>> model = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.ReLU())
    >>> recalibrate(model, [torch.tensor([[1.0], [2.0]]), torch.tensor([[6.0]])])
    Recalibration(1 of 1 layers, passes=1, settled=True)
    >>> model[0].running_mean.item(), model[0].running_var.item()
    (3.0, 7.0)
    """
    tracked = CalibratedLayers(stat_layers.inside(model), None if sync is False else processes.group(sync))
    feed = BatchFeed(batches, call or call_model.called, mask, progress)
    return shared.recalibrate(tracked.some("recalibrate"), feed, sequential)
