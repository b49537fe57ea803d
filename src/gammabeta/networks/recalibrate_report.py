"""Recalibration's arithmetic and report: exact moments become running statistics, and what moved is listed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta._util import html
from gammabeta.errors import DataError
from gammabeta.statistics import Moments
from gammabeta.statistics.accumulator import MomentsAccumulator

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LayerReport:
    """The outcome of recalibration for one layer.

    Args:
        name: its path in the model.
        outcome: "recalibrated", or why it was left alone.
        count: how many values of a feature were seen: the least and the most, over the features.
        calls: how often the layer was called.
        shift: the largest |new mean − old mean| / new std over the features.
        ratio: the least and the largest new std / old std over the features.
    """

    name: str
    outcome: str
    count: tuple[int, int] = (0, 0)
    calls: int = 0
    shift: float = 0.0
    ratio: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True, slots=True, repr=False)
class Recalibration:
    """What `recalibrate` did: a `LayerReport` for each layer, and how often it went through the batches.

    `settled` says whether each layer's statistics are those of its inputs under the layers before it as they are now.
    After one pass that is known of a model with one such layer alone.
    """

    layers: tuple[LayerReport, ...]
    passes: int
    settled: bool

    def __getitem__(self, name: str) -> LayerReport:
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = ", ".join(layer.name for layer in self.layers)
        raise DataError(f"a layer must be named as the model names it, got {name!r}: there are {names}")

    @property
    def left_alone(self) -> dict[str, str]:
        """The layers whose statistics stayed as they were, and why."""
        return {layer.name: layer.outcome for layer in self.layers if layer.outcome != "recalibrated"}

    def __repr__(self) -> str:
        done = len(self.layers) - len(self.left_alone)
        return f"Recalibration({done} of {len(self.layers)} layers, passes={self.passes}, settled={self.settled})"

    def __str__(self) -> str:
        heads, rows = self._table()
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        lines = [
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in (heads, *rows)
        ]
        return "\n".join([repr(self), *(line.rstrip() for line in lines)])

    def _repr_html_(self) -> str:
        return html.table(repr(self), *self._table())

    def _table(self) -> tuple[list[str], list[list[str]]]:
        rows = [
            [a.name, a.outcome, _span(*a.count, ",d"), f"{a.calls:,}", f"{a.shift:.3g}", _span(*a.ratio, ".3g")]
            for a in self.layers
        ]
        return ["layer", "outcome", "values", "calls", "shift / std", "std, new / old"], rows


def _span(low: float, high: float, form: str) -> str:
    return format(low, form) if low == high else f"{low:{form}} – {high:{form}}"


def statistics(
    found: Moments | MomentsAccumulator, unbiased: bool, old: tuple[Floats, Floats]
) -> tuple[Floats, Floats]:
    """The exact mean and the variance, Σ(x − mean)² / (n − 1) if `unbiased`, else / n; old ones where n < 2.

    >>> mean, var = statistics(Moments.of(np.array([[1.0], [3.0]])), True, (np.zeros(1), np.ones(1)))
    >>> float(mean[0]), float(var[0])
    (2.0, 2.0)
    """
    count, new = found.count, found.with_ddof(1 if unbiased else 0)[:2]
    few = count < 2
    mean, var = (np.where(few, b, a) for a, b in zip(new, old, strict=True)) if few.any() else new
    return mean, var


def mixed(prior: float, count: float, trained: Any, batch: Any) -> Any:
    """(N · trained + n · batch) / (N + n): Schneider et al. (2020), for a mean and for a variance alike.

    >>> mixed(3, 1, 4.0, 8.0)
    5.0
    """
    return trained + (batch - trained) * (count / (prior + count))


def report(
    name: str, moments: Moments, calls: int, old: tuple[Floats, Floats], new: tuple[Floats, Floats]
) -> LayerReport:
    """The `LayerReport` of a layer that was called."""
    count = int(moments.count.min(initial=2**62)), int(moments.count.max(initial=0))
    if count[1] < 2:
        return LayerReport(name, "fewer than two values of each feature", count, calls)
    std, before = np.sqrt(new[1]), np.sqrt(old[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(new[0] == old[0], 0.0, np.abs(new[0] - old[0]) / std)
        ratio = np.where(std == before, 1.0, std / before)
    return LayerReport(name, "recalibrated", count, calls, float(shift.max()), (float(ratio.min()), float(ratio.max())))
