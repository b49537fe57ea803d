"""The population's exact mean and variance at every batch-norm layer, in the place of what training left there."""

from collections.abc import Iterable
from typing import Any

from flax import nnx

from gammabeta.flax.networks import call_model
from gammabeta.flax.networks.stat_layers import StatLayers
from gammabeta.networks import recalibrate as shared
from gammabeta.networks.batches import BatchFeed, Call, Mask, Progress, no_progress
from gammabeta.networks.recalibrate_report import Recalibration


def recalibrate(
    model: nnx.Module,
    batches: Iterable[Any],
    *,
    call: Call | None = None,
    mask: Mask | None = None,
    sequential: bool = False,
    progress: Progress = no_progress,
) -> Recalibration:
    """Replace every batch-norm layer's running statistics by the exact ones of its inputs over all batches.

    running mean = Σx / n and running variance = Σ(x − mean)² / n, each value counting once whatever batch it came in,
    correctly rounded; / (n − 1) where the layer keeps the unbiased one. The model runs in evaluation: no dropout, and a
    batch of one is as good as any. A layer's inputs depend on the statistics of the layers before it:

    - in one pass each layer normalizes by its statistics so far, those of the batch included. The first layers' results
      are exact; those of later ones also tell, a little, in which order and in what pieces the data came.
    - `sequential=True` goes through the batches again, each layer under the statistics that the pass before gave, until
      none moves by a bit: after as many passes as layers follow one upon another. The result is that of the data alone,
      as far as the model's own operations round a row alike in every batch.

    Args:
        model: its layers are `gammabeta.flax.BatchNorm`, `flax.nnx.BatchNorm`, and what is made of them. What is frozen
            is left alone, and so is what the batches do not reach; the report names both. It must run outside
            `jax.jit`, where no values can be seen.
        batches: an iterable of arrays, of tuples that begin with one, of mappings or dataclasses whose entries
            `__call__` names.
        call: `call(model, batch)`, for any other batch.
        mask: `mask(batch)` gives a boolean array, True where a value counts, as a layer takes it; or a dict from
            layers' names to such arrays. A layer that the model calls with a mask has that one.
        progress: called after each batch with its number, and how many there are in a pass; 0 if that is not known.

    Returns:
        a report: for each layer what moved, and how far.

    Modes, parameters and random streams stay what they are, and on any error the statistics too.

    Raises:
        DataError: no layer with running statistics, no batch, none that reaches a layer, a NaN or an infinity in a
            layer's input; `sequential` with batches that can be gone through only once.
        KindError: a batch of a kind that needs `call`.

    Ioffe and Szegedy (2015), algorithm 2, of one population in the place of a mean over batches.

    >>> import numpy as np
    >>> model = nnx.Sequential(nnx.BatchNorm(1, rngs=nnx.Rngs(0)), nnx.relu)
    >>> recalibrate(model, [np.array([[1.0], [2.0]]), np.array([[6.0]])])
    Recalibration(1 of 1 layers, passes=1, settled=True)
    >>> norm = model.layers[0]
    >>> float(norm.mean[0]), round(float(norm.var[0]), 4)
    (3.0, 4.6667)
    """
    tracked = StatLayers(model).some("recalibrate")
    return shared.recalibrate(tracked, BatchFeed(batches, call or call_model.called, mask, progress), sequential)
