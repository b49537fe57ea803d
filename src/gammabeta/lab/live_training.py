"""Three networks trained side by side, and what is seen of them on the way: without a norm, with it, γ and β frozen."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from threading import Event
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from gammabeta.lab.digits import WAYS, Trainer

Floats = NDArray[np.float64]

LOOKS = 25  # how many times a network is looked at while it is trained
BINS = 12
REDRAW = 0.7  # seconds between two pictures


@dataclass
class TrainingHistory:
    """The recorded history of a network's training: each field is a list over `steps`."""

    steps: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    """The mean of the batches since the last look."""
    accuracy: list[float] = field(default_factory=list)
    """On the pictures that were held out."""
    shares: list[Floats] = field(default_factory=list)
    """(layers, BINS): which share of a layer's activations is in each bin of [0, 1], or of [0, top] for ReLU."""
    gamma: list[Floats] = field(default_factory=list)
    """(layers,): the root mean square of γ − 1."""
    beta: list[Floats] = field(default_factory=list)
    """(layers,): the root mean square of β."""


class Live:
    """A training that can be drawn while it runs, and stopped.

    Args:
        depth, bend, rate, seed: as those of `digits.Trainer`.
        steps: after how many it is done.
    """

    def __init__(self, depth: int, bend: str, rate: float, steps: int, seed: int = 0) -> None:
        self.bend, self.depth, self.steps, self.done = bend, depth, steps, 0
        self.top = 1.0 if bend == "sigmoid" else 4.0
        self.seen = {way: TrainingHistory() for way in WAYS}
        self._trainers = {way: Trainer(depth, bend, way, rate, seed) for way in WAYS}
        self._stop = Event()

    def stop(self) -> None:
        """End the training after the step that is on its way; from any thread."""
        self._stop.set()

    @property
    def state(self) -> str:
        """The state: "stopped", "done" or "training"."""
        return "stopped" if self._stop.is_set() else "done" if self.done == self.steps else "training"

    def run(self) -> Iterator[None]:
        """Train; yields when there is something new to draw, not more than once in `REDRAW`, and at the end."""
        every, drawn = max(1, self.steps // LOOKS), monotonic()
        losses: dict[str, list[float]] = {way: [] for way in WAYS}
        self._look(losses)
        while self.state == "training":
            for way, trainer in self._trainers.items():
                losses[way].append(trainer.step())
            self.done += 1
            if self.done % every == 0 or self.done == self.steps:
                self._look(losses)
                losses = {way: [] for way in WAYS}
                if monotonic() - drawn > REDRAW:
                    yield
                    drawn = monotonic()
        yield

    def _look(self, losses: dict[str, list[float]]) -> None:
        """Look at all networks; whoever draws meanwhile, in another thread, has what was seen before."""
        self.seen = {way: self._looked_at(way, losses[way]) for way in WAYS}

    def _looked_at(self, way: str, losses: list[float]) -> TrainingHistory:
        seen, trainer = deepcopy(self.seen[way]), self._trainers[way]
        seen.steps.append(self.done)
        seen.loss.append(float(np.mean(losses)) if losses else np.nan)
        seen.accuracy.append(trainer.held_out())
        bent = trainer.network.bent
        counts = np.array([np.histogram(y, bins=BINS, range=(0, self.top))[0] for y in bent])
        seen.shares.append(counts / bent[0].size)
        if trainer.network.learns:
            norms = [norm for norm in trainer.network.norms if norm is not None]
            seen.gamma.append(np.array([np.sqrt(np.mean((norm.gamma - 1) ** 2)) for norm in norms]))
            seen.beta.append(np.array([np.sqrt(np.mean(norm.beta**2)) for norm in norms]))
        return seen
