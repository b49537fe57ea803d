"""Recalibration in any framework: batches go through a model until each layer has the statistics of its inputs.

A framework's own `StatLayers` reads, writes and watches its layers. The public functions of the frameworks repeat their
docstring on purpose: each names its own layers and defaults, and `help()` shows it whole.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gammabeta import axes
from gammabeta.errors import DataError, KindError
from gammabeta.networks import batches as feeds
from gammabeta.networks import recalibrate_report
from gammabeta.networks.batches import BatchFeed
from gammabeta.networks.recalibrate_report import Floats, LayerReport, Recalibration
from gammabeta.statistics import Moments
from gammabeta.statistics.accumulator import MomentsAccumulator

Array = NDArray[Any]
Pair = tuple[Floats, Floats]
Before = Callable[[str, Any, Any, Any], None]
"""before(name, layer, x, mask): called before each call of a layer."""

Add = Callable[[MomentsAccumulator, str, Any, Any, Any], bool]
"""add(total, name, layer, x, mask): adds a call's values to its layer's total."""


def no_hook(name: str, layer: Any, x: Any, mask: Any) -> None:
    """The default `Before`: does nothing."""


class CalibrationPass(NamedTuple):
    """What one pass of the batches gave: each layer's moments and number of calls, and the number of batches."""

    moments: dict[str, Moments]
    calls: dict[str, int]
    batches: int

    def joined(self, other: Self) -> Self:
        """The pass over the batches of both."""
        moments, calls = dict(self.moments), dict(self.calls)
        for name, part in other.moments.items():
            moments[name] = moments[name] + part if name in moments else part
            calls[name] = calls.get(name, 0) + other.calls[name]
        return type(self)(moments, calls, self.batches + other.batches)


class StatLayers(ABC):
    """The layers of a model whose statistics may move, by name; and why those of others may not.

    Attributes:
        which: the names of the statistics, for messages.
        none_left: why a model may have lost such layers, for messages.
        unseen: where a layer's calls are not seen, for messages.
        mask_type: the type of a mask; None for any array.
        read_elsewhere: whether a pass found statistics that are read outside their layer, whose input may then depend
            on them.
    """

    which: str
    none_left = ""
    unseen = "within a compiled function no call is seen"
    mask_type: type | None = None
    read_elsewhere = False

    def __init__(self, model: Any, layers: dict[str, Any], others: dict[str, str]) -> None:
        self.model, self.layers, self.others = model, layers, others

    def some(self, verb: str) -> Self:
        """Refuse a model without such layers."""
        if not self.layers:
            why = "".join(f"; {name or 'the model'}: {reason}" for name, reason in self.others.items())
            raise DataError(
                f"{verb} needs a layer with running statistics ({self.which}), {type(self.model).__name__} has none"
                f"{self.none_left}{why}"
            )
        return self

    @property
    def names(self) -> list[str]:
        """All layers with running statistics, in the order of the report."""
        return [*self.others, *self.layers]

    @abstractmethod
    def variables(self, layer: Any) -> tuple[Any, ...]:
        """The framework's variables of a layer's running mean, variance and what is derived from these."""

    @abstractmethod
    def read(self, variable: Any) -> Any:
        """A copy of a variable's value, of its own type, as `write` takes it."""

    @abstractmethod
    def write(self, variable: Any, value: Any) -> None:
        """Give a variable another value."""

    @abstractmethod
    def write_stats(self, layer: Any, values: Pair) -> None:
        """Write the running mean and variance, float64 of the shape of the features, and all that follows from them."""

    @abstractmethod
    def counted(self, layer: Any, calls: int) -> None:
        """Write the number of calls that the statistics are of, where the layer keeps one."""

    @abstractmethod
    def add(self, total: MomentsAccumulator, name: str, layer: Any, x: Any, mask: Any) -> None:
        """Add the values of a call that count to the layer's total.

        Raises:
            DataError: one of them is NaN or infinite; the message says in which layer.
        """

    @abstractmethod
    def watching(self, before: Before) -> AbstractContextManager[None]:
        """Run the model in evaluation, with `before(name, layer, x, mask)` before each call of a layer."""

    def adder(self, adapting: bool) -> Add:
        """A function that adds the calls of one pass to totals; it returns whether it wrote the statistics too."""

        def add(total: MomentsAccumulator, name: str, layer: Any, x: Any, mask: Any) -> bool:
            self.add(total, name, layer, x, mask)
            return False

        return add

    def looking(self, count: int) -> AbstractContextManager[Any]:
        """Look in a batch, the first of which has the number 1, for statistics that are read outside their layer."""
        return nullcontext()

    def over_processes(self, run: Callable[[], CalibrationPass]) -> CalibrationPass:
        """The pass that `run` makes, joined with those of the other processes, if there are any."""
        return run()

    def unbiased(self, layer: Any) -> bool:
        """Whether the running variance is Σ(x − mean)² / (n − 1); / n unless the layer says so."""
        return bool(getattr(layer, "unbiased", False))

    def statistics(self, layer: Any) -> Pair:
        """The running mean and variance, copies in float64."""
        mean, var = (self.read(variable).astype(np.float64) for variable in self.variables(layer)[:2])
        return mean, var


def recalibrate(tracked: StatLayers, feed: BatchFeed, sequential: bool) -> Recalibration:
    """Recalibrate a framework's layers on the batches of a feed, in one pass or until nothing moves."""
    feeds.iterable(feed.batches, "sequential=True" if sequential else "")
    layers = tracked.layers
    old = {name: tracked.statistics(layer) for name, layer in layers.items()}
    with undone_on_error(tracked):
        new, passes, settled = old, 0, False
        while not settled and passes < (len(layers) if sequential else 1):
            before = new
            seen = tracked.over_processes(partial(run_calibration, tracked, feed, adapting=passes == 0))
            new = _settle(tracked, reached(seen, tracked), old)
            passes += 1
            settled = passes > 1 and _same(before, new)
        alone = all(calls <= seen.batches for calls in seen.calls.values()) and not tracked.read_elsewhere
        settled = settled or (alone and passes >= len(seen.calls))
        for name, calls in seen.calls.items():
            tracked.counted(layers[name], calls)
    return Recalibration(_reports(tracked, seen, old, new), passes, settled)


def run_calibration(tracked: StatLayers, feed: BatchFeed, adapting: bool) -> CalibrationPass:
    """Run the model on all batches once, and return each layer's moments.

    With `adapting` each layer normalizes by its statistics so far, the batch's included, which are then its running
    ones: whatever they were before, those of the layers behind are not taken of nonsense.
    """
    totals: dict[str, MomentsAccumulator] = {}
    calls: dict[str, int] = {}
    old = {name: tracked.statistics(layer) for name, layer in tracked.layers.items()}
    add = tracked.adder(adapting)
    masks: Any = None
    count = 0

    def before(name: str, layer: Any, x: Any, mask: Any) -> None:
        if mask is None:
            mask = masks.get(name) if isinstance(masks, Mapping) else masks
        total = totals.get(name)
        if total is None:
            total = totals[name] = MomentsAccumulator()
        written = add(total, name, layer, x, mask)
        calls[name] = calls.get(name, 0) + 1
        if adapting and not written:
            tracked.write_stats(layer, recalibrate_report.statistics(total, tracked.unbiased(layer), old[name]))

    with tracked.watching(before):
        for count, batch in feeds.numbered(feed.batches, feed.progress):
            with feeds.in_batch(count):
                masks = None if feed.mask is None else masked(feed.mask(batch), tracked.layers, tracked.mask_type)
                with tracked.looking(count):
                    feed.call(tracked.model, batch)
    return CalibrationPass({name: total.moments() for name, total in totals.items()}, calls, count)


def reached(seen: CalibrationPass, tracked: StatLayers) -> CalibrationPass:
    """Refuse a pass without batches, or whose batches reached no layer."""
    feeds.some(seen.batches)
    if not seen.moments:
        raise DataError(
            f"a batch must reach a layer with running statistics, {seen.batches} reached none of "
            f"{', '.join(tracked.layers)}: call the model itself in call=; {tracked.unseen}"
        )
    return seen


def masked(given: Any, layers: dict[str, Any], kind: type | None = None) -> Any:
    """Check what `mask` gave for a batch: a mask, or a mapping from layers' names to masks.

    kind: a mask's type; None for any array.

    Raises:
        DataError: a name is that of no layer.
        KindError: it is neither.
    """
    if isinstance(given, Mapping):
        if unknown := set(given) - set(layers):
            raise DataError(f"mask must name layers of the model, got {sorted(unknown)}: there are {', '.join(layers)}")
        return given
    if not (hasattr(given, "shape") if kind is None else isinstance(given, kind)):
        word = "array" if kind is None else kind.__name__.lower()
        raise KindError(f"mask must give a boolean {word}, or a mapping from layers' names to such, got {given!r:.60}")
    return given


def _settle(tracked: StatLayers, seen: CalibrationPass, old: dict[str, Pair]) -> dict[str, Pair]:
    """Write the statistics of a pass into its layers, and return all layers' statistics."""
    new = dict(old)
    for name, layer in tracked.layers.items():
        if name in seen.moments:
            new[name] = recalibrate_report.statistics(seen.moments[name], tracked.unbiased(layer), old[name])
            tracked.write_stats(layer, new[name])
    return new


def _same(before: dict[str, Pair], after: dict[str, Pair]) -> bool:
    """Whether all statistics are equal to the bit."""
    return all((a == b).all() for name in after for a, b in zip(before[name], after[name], strict=True))


def _reports(
    tracked: StatLayers, seen: CalibrationPass, old: dict[str, Pair], new: dict[str, Pair]
) -> tuple[LayerReport, ...]:
    reports = []
    for name in tracked.names:
        if name in seen.moments:
            reports.append(recalibrate_report.report(name, seen.moments[name], seen.calls[name], old[name], new[name]))
        else:
            reports.append(LayerReport(name, tracked.others.get(name, "not reached")))
    return tuple(reports)


@contextmanager
def undone_on_error(tracked: StatLayers) -> Iterator[None]:
    """Restore every statistic, to the bit, if the block raises."""
    held = [variable for layer in tracked.layers.values() for variable in tracked.variables(layer)]
    before = [(variable, tracked.read(variable)) for variable in held]
    try:
        yield
    except BaseException:
        for variable, value in before:
            tracked.write(variable, value)
        raise


def moments(name: str, x: Array, reduced_axes: axes.Axis, mask: Array | None) -> Moments:
    """The exact moments of the values of a call that count: all of them, or those where `mask`, of x's rank, is True.

    Raises:
        DataError: one of them is NaN or infinite; the message says in which layer.
    """
    try:
        found = Moments.of(
            x, axis=reduced_axes, weights=None if mask is None else np.broadcast_to(mask, x.shape), nan="raise"
        )
    except DataError as error:
        raise DataError(f"{name or 'the model'}: {error}") from None
    if found.infinities.any():
        features = [tuple(map(int, at)) for at in np.argwhere(found.infinities)[:5]]
        raise DataError(
            f"{name or 'the model'} must be given finite values, got infinities in features {features}: find "
            f"where they arise with diagnose(model, batches)"
        )
    return found


def rounded(value: Floats, dtype: Any) -> Array:
    """A float64 statistic as a new array of a layer's dtype.

    Raises:
        DataError: it is beyond that type.
    """
    with np.errstate(over="ignore"):
        result: Array = value.astype(dtype)
    if not np.isfinite(result.astype(np.float64)).all():
        raise DataError(
            f"statistics must be within {np.dtype(dtype).name}, the type in which the layer keeps them, got up to "
            f"{np.abs(value).max():.3g}: scale the layer's inputs"
        )
    return result
