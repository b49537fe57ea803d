"""Sums over a layer's calls: moments of its inputs, shares of its outputs, and the `Layer` made of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from gammabeta.networks.diagnose.activations import FLAT
from gammabeta.networks.diagnose.layer_stats import Floats, Layer
from gammabeta.statistics import Moments


class LayerParameters(NamedTuple):
    """A layer's own parameters and statistics, by the names of `Layer`; arrays of any shape and type, not copied."""

    kind: str
    eps: float
    gamma: Any
    beta: Any
    running_mean: Any
    running_var: Any
    frozen: bool
    tracked: int | None


class Moves(NamedTuple):
    """How often a step moved a layer's statistics, and how many of these were repetitions by checkpointing."""

    updates: int
    repeated: int = 0


class Shares(NamedTuple):
    """Of a call's outputs of each feature, (f,): how many there are, how many at or below a bound, and above one."""

    outputs: Floats
    below: Floats
    above: Floats


Measure = Callable[[float, float], Shares]
"""The shares of a call's outputs for two bounds."""


@dataclass
class LayerAccumulator:
    """The sums over the calls of one layer."""

    moments: Moments | None = None
    means: list[tuple[Floats, Floats]] = field(default_factory=list)
    calls: int = 0
    not_finite: int = 0
    activation: str = ""
    outputs: Any = 0
    below: Any = 0
    above: Any = 0

    def add(self, part: Moments, missing: int) -> None:
        """Add a call: the moments of its input's finite values, and the number of the others."""
        self.calls += 1
        self.not_finite += missing
        self.moments = part if self.moments is None else self.moments + part
        self.means.append((part.count.reshape(-1), np.nan_to_num(part.mean.reshape(-1))))

    def count(self, activation: str, measure: Measure) -> None:
        """Note the activation after a call, and add the shares of outputs where that is flat."""
        self.activation = activation
        if activation in FLAT:
            outputs, below, above = measure(*FLAT[activation])
            self.outputs = self.outputs + outputs
            self.below = self.below + below
            self.above = self.above + above

    def layer(self, name: str, parameters: LayerParameters, moves: Moves | None) -> Layer:
        """The `Layer` of all calls so far."""
        features = np.size(parameters.running_mean)
        unknown = np.full(features, np.nan)
        mean, var, count = unknown, unknown, np.zeros(features)
        if self.moments is not None:
            mean, var, count = (v.reshape(-1) for v in (self.moments.mean, self.moments.var, self.moments.count))
        below, above = unknown, unknown
        if np.any(self.outputs):
            below, above = (part / np.maximum(self.outputs, 1) for part in (self.below, self.above))
        return Layer(
            name=name,
            kind=parameters.kind,
            eps=float(parameters.eps),
            gamma=_floats(parameters.gamma, features, 1.0),
            beta=_floats(parameters.beta, features, 0.0),
            running_mean=_floats(parameters.running_mean, features),
            running_var=_floats(parameters.running_var, features),
            mean=mean,
            var=var,
            count=count,
            effective=self._effective(mean, var),
            calls=self.calls,
            not_finite=self.not_finite,
            activation=self.activation,
            below=below,
            above=above,
            frozen=parameters.frozen,
            tracked=parameters.tracked,
            updates=None if moves is None else moves.updates,
            repeated=0 if moves is None else moves.repeated,
        )

    def _effective(self, mean: Floats, var: Floats) -> Floats:
        """The effective number of values of a batch's mean: n / (Σ nᵢ(mᵢ − m)² / (b − 1) / var), at most n; (f,).

        Were the values of a batch independent, the b batches' means mᵢ would vary by var / nᵢ, and the divisor, the
        design effect (Kish 1965), be 1.
        """
        if len(self.means) < 2:
            return np.full(mean.shape, np.nan)
        counts, means = (np.array(part) for part in zip(*self.means, strict=True))
        with np.errstate(divide="ignore", invalid="ignore"):
            between = (counts * (means - mean) ** 2).sum(axis=0) / np.maximum((counts > 0).sum(axis=0) - 1, 1)
            effective = counts.mean(axis=0) / np.maximum(between / var, 1.0)
        return np.where(var > 0, effective, np.nan)


def _floats(value: Any, features: int, default: float = 0.0) -> Floats:
    """A parameter as a new float64 array (f,); `default` everywhere if it is None."""
    if value is None:
        return np.full(features, default)
    return np.array(value, np.float64).reshape(-1)
