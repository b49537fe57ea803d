"""The population's exact mean and variance at every batch-norm layer, in the place of what training left there."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from gammabeta.errors import DataError
from gammabeta.networks import batches as feeds
from gammabeta.networks import recalibrate_report
from gammabeta.networks.batches import Call, Progress, quiet
from gammabeta.networks.recalibrate_report import LayerReport, Recalibration
from gammabeta.torch.networks import call_model, stat_layers
from gammabeta.torch.networks.calibrate_pass import BatchFeed, CalibrationPass, Mask, run_calibration, together
from gammabeta.torch.norm import sync as processes

Statistics = dict[str, tuple[Any, Any]]


def recalibrate(
    model: torch.nn.Module,
    batches: Iterable[Any],
    *,
    call: Call | None = None,
    mask: Mask | None = None,
    sequential: bool = False,
    sync: Any = False,
    progress: Progress = quiet,
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
    feeds.iterable(batches, "sequential=True" if sequential else "")
    model = stat_layers.inside(model)
    found = stat_layers.some(model, "recalibrate")
    feed = BatchFeed(batches, call or call_model.called, mask, progress)
    group = None if sync is False else processes.group(sync)
    old = {name: stat_layers.statistics(layer) for name, layer in found.layers.items()}
    with _undone_on_error(found.layers):
        new, passes, settled = old, 0, False
        while not settled and passes < (len(found.layers) if sequential else 1):
            before = new
            seen = together(group, partial(run_calibration, model, found.layers, feed, adapting=passes == 0))
            new = _settle(found.layers, seen, old)
            passes += 1
            settled = passes > 1 and _same(before, new)
        alone = all(calls <= seen.batches for calls in seen.calls.values())
        settled = settled or (alone and passes >= len(seen.calls))
        _count(found.layers, seen)
    return Recalibration(_reports(model, found, seen, old, new), passes, settled)


def _settle(layers: dict[str, Any], seen: CalibrationPass, old: Statistics) -> Statistics:
    """Give each layer the statistics of what it has seen."""
    feeds.some(seen.batches)
    if not seen.moments:
        raise DataError(
            f"a batch must reach a layer with running statistics, {seen.batches} reached none of {', '.join(layers)}: "
            f"call the model itself in call=; within a scripted model no hook runs, recalibrate it before"
        )
    new = dict(old)
    for name, layer in layers.items():
        if name in seen.moments:
            new[name] = recalibrate_report.statistics(seen.moments[name], stat_layers.unbiased(layer), old[name])
        stat_layers.write_stats(layer, new[name])
    return new


def _same(before: Statistics, after: Statistics) -> bool:
    """Whether no statistic moved by a bit."""
    return all((a == b).all() for name in after for a, b in zip(before[name], after[name], strict=True))


def _count(layers: dict[str, Any], seen: CalibrationPass) -> None:
    for name, calls in seen.calls.items():
        counter = getattr(layers[name], "num_batches_tracked", None)
        if isinstance(counter, torch.Tensor):
            counter.fill_(calls)


def _reports(
    model: Any, found: stat_layers.StatLayers, seen: CalibrationPass, old: Statistics, new: Statistics
) -> tuple[LayerReport, ...]:
    reports = {name: LayerReport(name, reason) for name, reason in found.others.items()}
    for name in found.layers:
        reports[name] = LayerReport(name, "not reached")
        if name in seen.moments:
            reports[name] = recalibrate_report.report(name, seen.moments[name], seen.calls[name], old[name], new[name])
    return tuple(reports[name] for name, _ in model.named_modules() if name in reports)


@contextmanager
def _undone_on_error(layers: dict[str, Any]) -> Iterator[None]:
    """After an error, every statistic as it was, to the bit."""
    before = {name: (layer.running_mean.clone(), layer.running_var.clone()) for name, layer in layers.items()}
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for name, layer in layers.items():
                layer.running_mean.copy_(before[name][0])
                layer.running_var.copy_(before[name][1])
        raise
