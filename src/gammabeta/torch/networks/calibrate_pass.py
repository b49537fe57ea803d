"""One pass of the batches through a model: the exact moments of every layer's inputs, over all processes."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Self

import torch
from torch import distributed

from gammabeta.errors import DataError, KindError, StateError
from gammabeta.kernels import calibrate
from gammabeta.networks import recalibrate_report
from gammabeta.networks.batches import Call, Progress, in_batch, numbered
from gammabeta.statistics import Moments
from gammabeta.statistics.accumulator import Running
from gammabeta.torch.networks import calibrate_step, stat_layers

Mask = Callable[[Any], torch.Tensor | Mapping[str, torch.Tensor]]


class BatchFeed(NamedTuple):
    """How batches reach a model."""

    batches: Iterable[Any]
    call: Call
    mask: Mask | None
    progress: Progress


class CalibrationPass(NamedTuple):
    """What came to each layer: its moments, and in how many calls; and how many batches there were."""

    moments: dict[str, Moments]
    calls: dict[str, int]
    batches: int

    def joined(self, other: Self) -> Self:
        """What both saw."""
        moments, calls = dict(self.moments), dict(self.calls)
        for name, part in other.moments.items():
            moments[name] = moments[name] + part if name in moments else part
            calls[name] = calls.get(name, 0) + other.calls[name]
        return type(self)(moments, calls, self.batches + other.batches)


def run_calibration(model: Any, layers: dict[str, Any], feed: BatchFeed, adapting: bool) -> CalibrationPass:
    """Run the model on all batches, in evaluation mode.

    With `adapting` each layer normalizes by its statistics so far, the batch's included, which are then its running
    ones: whatever they were before, those of the layers behind are not taken of nonsense.
    """
    watch = _Watch(adapting, {name: stat_layers.statistics(layer) for name, layer in layers.items()})
    count = 0
    with stat_layers.evaluating(model), stat_layers.watching(layers, watch.before):
        for count, batch in numbered(feed.batches, feed.progress):
            with in_batch(count):
                watch.masks = None if feed.mask is None else masks(feed.mask(batch), layers)
                feed.call(model, batch)
    return CalibrationPass({name: total.moments() for name, total in watch.totals.items()}, watch.calls, count)


class _Watch:
    """What a pass sees before each call of a layer."""

    def __init__(self, adapting: bool, old: dict[str, Any]) -> None:
        self.adapting, self.old = adapting, old
        self.totals: dict[str, Running] = {}
        self.calls: dict[str, int] = {}
        self.masks: torch.Tensor | Mapping[str, torch.Tensor] | None = None
        self._steps: dict[str, calibrate_step.CalibrationStep | None] = {}
        self._place = calibrate.Place(torch.get_num_threads())

    def before(self, name: str, layer: Any, x: Any, mask: torch.Tensor | None) -> None:
        """Add what a layer is about to be given."""
        if mask is None:
            mask = self.masks.get(name) if isinstance(self.masks, Mapping) else self.masks
        total = self.totals.get(name)
        if total is None:
            total = self.totals[name] = Running()
        step = None if mask is not None else self._step(total, name, layer, x)
        done = False
        if step is None:
            stat_layers.add(total, name, layer, x, mask)
        else:
            done = step.take(x)
            if not done:
                stat_layers.refuse(total, name)
        self.calls[name] = self.calls.get(name, 0) + 1
        if self.adapting and not done:
            stat_layers.write_stats(
                layer, recalibrate_report.statistics(total, stat_layers.unbiased(layer), self.old[name])
            )

    def _step(self, total: Running, name: str, layer: Any, x: Any) -> calibrate_step.CalibrationStep | None:
        step = self._steps.get(name)
        if step is None or not step.fits(layer, x):
            step = self._steps[name] = calibrate_step.step(total, name, layer, x, self.adapting, self._place)
        return step


def masks(given: Any, layers: dict[str, Any]) -> Any:
    """A batch's mask, or masks by the names of layers."""
    if isinstance(given, Mapping):
        if unknown := set(given) - set(layers):
            raise DataError(f"mask must name layers of the model, got {sorted(unknown)}: there are {', '.join(layers)}")
        return given
    if not isinstance(given, torch.Tensor):
        raise KindError(f"mask must give a boolean tensor, or a mapping from layers' names to them, got {given!r:.60}")
    return given


def together(group: Any, work: Callable[[], CalibrationPass]) -> CalibrationPass:
    """What all processes of a group saw; if one fails, each of them raises, and none waits for ever."""
    if group is None:
        return work()
    mine: CalibrationPass | None = None
    failed: Exception | None = None
    try:
        mine = work()
    except Exception as error:
        failed = error
    parts: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(parts, mine if failed is None else f"{type(failed).__name__}: {failed}", group=group)
    if failed is not None:
        raise failed
    total = CalibrationPass({}, {}, 0)
    for rank, part in enumerate(parts):
        if isinstance(part, str):
            raise StateError(f"all processes must get through their batches, process {rank} did not: {part}")
        total = total.joined(part)
    return total
