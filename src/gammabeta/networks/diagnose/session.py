"""The course of `diagnose` in any framework: batches run through a watched model, then one training step is tried.

How a framework's models are watched, read and put back, its `DiagnosisSession` says.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from gammabeta.networks import batches as feeds
from gammabeta.networks.batches import BatchFeed
from gammabeta.networks.diagnose import activations, nonfinite
from gammabeta.networks.diagnose.accumulator import LayerAccumulator, LayerParameters, Measure, Moves
from gammabeta.networks.diagnose.result import Diagnosis, Origin
from gammabeta.statistics import Moments

Run = Callable[[Any], Any]
"""run(model), of one batch."""


class _Passed(NamedTuple):
    """The result of a pass: the number of batches, the first batch, and the first bad batch with its number, or 0."""

    batches: int
    first: Any
    bad: Any
    number: int


class DiagnosisSession(ABC):
    """One diagnosis of a model: its watched layers by name, and the sums over their calls."""

    framework: str

    def __init__(self, model: Any, layers: dict[str, Any]) -> None:
        self.model, self.layers = model, layers
        self.seen = {name: LayerAccumulator() for name in layers}
        self.notes: list[str] = []
        self.masks: Any = None
        self.bad = False
        self._waiting: list[tuple[str, Any, Measure]] = []

    @abstractmethod
    def watching(self) -> AbstractContextManager[Any]:
        """Put the model in evaluation, with hooks that call `given`, and `gave` or `followed`; undo that at the end."""

    @abstractmethod
    def has(self, value: Any) -> set[str]:
        """Which of "NaN" and "infinity" are in whatever a model takes or gives."""

    @abstractmethod
    def checked(self, masks: Any) -> Any:
        """What `mask` gave for a batch, if that is a mask or masks by the names of layers."""

    @abstractmethod
    def parameters(self, layer: Any) -> LayerParameters:
        """A layer's parameters, running statistics and flags."""

    @abstractmethod
    def weights(self) -> Iterable[tuple[str, Any]]:
        """Every parameter and statistic of the model, by name."""

    @abstractmethod
    def arising(self, run: Run, batch: int) -> tuple[Origin, ...]:
        """Run the model on a bad batch: where an infinity first arose, and where a NaN did."""

    @abstractmethod
    def step(self, run: Run) -> dict[str, Moves]:
        """Run the model in training: what that does to each layer, the model being as it was afterwards."""

    def running(self, run: Run) -> Any:
        """Run the model on one batch, with what must be active during the run alone."""
        return run(self.model)

    def mask(self, name: str, given: Any) -> Any:
        """A call's mask: its own, or what `mask` gave for the layer."""
        if given is not None:
            return given
        return self.masks.get(name) if isinstance(self.masks, Mapping) else self.masks

    def given(self, name: str, part: Moments, missing: int) -> None:
        """Note a layer's call: the moments of its input's finite values, and the number of the others."""
        self.seen[name].add(part, missing)
        self.bad |= missing > 0

    def gave(self, name: str, y: Any, measure: Measure) -> None:
        """Note a layer's output y, for an activation that may take it next."""
        self._waiting = [*self._waiting[-7:], (name, y, measure)]

    def activated(self, function: str, x: Any) -> None:
        """Note that a function takes x: an activation that takes a layer's output follows that layer."""
        for at, (name, y, measure) in enumerate(self._waiting):
            if y is x and (kind := activations.named(function)):
                self.followed(name, kind, measure)
                del self._waiting[at]
                return

    def followed(self, name: str, kind: str, measure: Measure) -> None:
        """Note the kind of activation that follows a layer's call."""
        self.seen[name].count(kind, measure)

    def look(self, feed: BatchFeed, training_step: bool) -> Diagnosis:
        """Run the whole diagnosis and return its result."""
        feeds.iterable(feed.batches)
        passed = self._through(feed)
        origins = nonfinite.in_weights(self.weights(), self.has)
        if passed.number and not origins:
            origins = self.arising(_on(feed, passed.bad), passed.number)
        moves, notes = self._tried(_on(feed, passed.first)) if training_step else ({}, ())
        layers = tuple(
            self.seen[name].layer(name, self.parameters(layer), moves.get(name)) for name, layer in self.layers.items()
        )
        return Diagnosis(
            type(self.model).__name__, passed.batches, layers, origins, (*self.notes, *notes), self.framework
        )

    def _through(self, feed: BatchFeed) -> _Passed:
        first: list[Any] = []
        bad: tuple[Any, int] = None, 0
        count = 0
        with self.watching():
            for count, batch in feeds.numbered(feed.batches, feed.progress):
                with feeds.in_batch(count):
                    self.masks = None if feed.mask is None else self.checked(feed.mask(batch))
                    self.bad = False
                    self._waiting.clear()
                    result = self.running(_on(feed, batch))
                    if (self.bad or self.has(result)) and not bad[1]:
                        bad = batch, count
                first = first or [batch]
        feeds.some(count)
        return _Passed(count, first[0], *bad)

    def _tried(self, run: Run) -> tuple[dict[str, Moves], tuple[str, ...]]:
        """Try one training step: the moves of each layer, and notes on why it failed or moved nothing."""
        try:
            moves = self.step(run)
        except Exception as error:
            return {}, (f"a training step could not be tried: {reason(error)}",)
        idle = not any(move.updates for move in moves.values())
        if idle and not all(self.parameters(layer).frozen for layer in self.layers.values()):
            return moves, ("a training step moved no running statistics: does call= run the model in evaluation?",)
        return moves, ()


def reason(error: Exception) -> str:
    """An error's type and the first line of its text."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"


def _on(feed: BatchFeed, batch: Any) -> Run:
    return lambda model: feed.call(model, batch)
