"""What was seen of one layer, and what follows from it, channel by channel."""

from dataclasses import dataclass
from functools import cached_property
from math import log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FLOAT32_DIGITS = 24 * log10(2)
DEAD = 1e-3  # of the layer's largest output deviation, which a channel must reach to say anything
NEVER = 1.0  # the share of a channel's values beyond an activation's bend


@dataclass(frozen=True)
class Layer:
    """A batch-norm layer on data, in evaluation. Arrays are float64, (c,), NaN where nothing is known.

    Args:
        name, kind: its path in the model, and its class.
        eps: its own.
        gamma, beta: 1 and 0 where there are none.
        running_mean, running_var: what evaluation normalizes by.
        mean, var: those of the finite values of its inputs over all batches; var with divisor n.
        count: how many these were.
        effective: how many independent values a batch's mean is worth.
        calls: how often it was called.
        not_finite: how many NaN and infinities were among its inputs.
        activation: the name of what follows it, "" if that was not found.
        below, above: the shares of its outputs at or beyond where the activation is flat on that side.
        frozen: whether its statistics are meant to stay.
        tracked: how many batches moved the running statistics, None if it does not count them.
        updates: how often one training step moved them, None if none was tried.
        repeated: how many of these were a repetition by activation checkpointing.
    """

    name: str
    kind: str
    eps: float
    gamma: Floats
    beta: Floats
    running_mean: Floats
    running_var: Floats
    mean: Floats
    var: Floats
    count: Floats
    effective: Floats
    calls: int
    not_finite: int
    activation: str
    below: Floats
    above: Floats
    frozen: bool
    tracked: int | None
    updates: int | None
    repeated: int

    @property
    def reached(self) -> bool:
        """Whether any value came to it."""
        return bool((self.count > 0).any())

    @cached_property
    def _deviations(self) -> tuple[Floats, Floats]:
        """√(var + eps) by the data and by the running statistics."""
        return np.sqrt(self.var + self.eps), np.sqrt(np.maximum(self.running_var, 0) + self.eps)

    @cached_property
    def shift(self) -> Floats:
        """(mean − running mean) / √(running var + eps)."""
        return (self.mean - self.running_mean) / self._deviations[1]

    @cached_property
    def ratio(self) -> Floats:
        """√(var + eps) / √(running var + eps)."""
        return self._deviations[0] / self._deviations[1]

    @cached_property
    def gap(self) -> Floats:
        """How far evaluation's output lies from training's, root mean square, in units of training's deviation.

        With b and r for the data's and the running statistics, s = √(var + eps), training gives γ(x − mean_b)/s_b + β
        and evaluation γ(x − mean_r)/s_r + β. Their difference has mean γ(mean_b − mean_r)/s_r and deviation
        |γ|·√var_b·|1/s_r − 1/s_b|; training's output has the deviation |γ|·√var_b/s_b, and γ cancels.
        """
        data, running = self._deviations
        std = np.sqrt(self.var)
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = np.hypot(self.mean - self.running_mean, std * (1 - running / data)) / running / (std / data)
        return np.where(self.var > 0, gap, np.nan)

    @cached_property
    def typical_gap(self) -> float:
        """The root mean square of the channels' gaps, dead ones and constant ones aside."""
        known = self.gap[~self.dead & np.isfinite(self.gap)]
        return float(np.sqrt((known**2).mean())) if known.size else 0.0

    @cached_property
    def chance(self) -> float:
        """The gap that so few data leave by chance alone: √(1/n + 1/2n) for n effective values in all batches."""
        known = self.effective[np.isfinite(self.effective)]
        return float(np.sqrt(1.5 / max(1.0, np.median(known) * self.calls))) if known.size else 0.0

    @cached_property
    def output(self) -> Floats:
        """The deviation of evaluation's output, |γ|·√(var / (running var + eps))."""
        return np.abs(self.gamma) * np.sqrt(self.var) / self._deviations[1]

    @cached_property
    def dead(self) -> Flags:
        """Where γ is so small beside the layer's largest that the output is β, whatever the input."""
        size = np.abs(self.gamma)
        largest: Any = size.max(initial=0)
        flags: Flags = size <= DEAD * largest
        return flags

    @cached_property
    def constant(self) -> Flags:
        """Where the input never varies."""
        flags: Flags = (self.var == 0) & (self.count > 1)
        return flags

    @cached_property
    def digits_lost(self) -> Floats:
        """How many of float32's 7.2 decimal digits the mean takes away: log₁₀(|mean| / std)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            lost = np.log10(np.abs(self.mean) / np.sqrt(self.var))
        return np.where(self.constant, np.nan, np.maximum(lost, 0))

    @cached_property
    def under_eps(self) -> Flags:
        """Where eps is larger than the running variance."""
        flags: Flags = self.running_var < self.eps
        return flags

    @cached_property
    def never_active(self) -> Flags:
        """Where a ReLU or its like follows, and gave 0 for every value."""
        flags: Flags = (self.below >= NEVER) & np.isin(self.activation, ("relu", "relu6"))
        return flags

    @cached_property
    def saturated(self) -> Flags:
        """Where 99 % of the values lie where the activation that follows is flat, a ReLU's own side of 0 aside."""
        below = 0.0 if self.activation in ("relu", "relu6") else self.below
        flags: Flags = np.asarray(below + self.above >= 0.99)
        return flags

    def document(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        known = {name: getattr(self, name) for name in _KNOWN}
        channels = {name: [float(v) if np.isfinite(v) else None for v in getattr(self, name)] for name in _CHANNELS}
        flags = {name: np.flatnonzero(getattr(self, name)).tolist() for name in _FLAGS}
        values = int(self.count.max(initial=0))
        return known | {"typical_gap": self.typical_gap, "values": values, "channels": channels} | flags


_KNOWN = ["name", "kind", "eps", "calls", "not_finite", "activation", "frozen", "tracked", "updates", "repeated"]
_CHANNELS = [
    *("gamma", "beta", "running_mean", "running_var", "mean", "var"),
    *("shift", "ratio", "gap", "effective", "digits_lost", "below", "above"),
]
_FLAGS = ["dead", "constant", "under_eps", "never_active", "saturated"]
