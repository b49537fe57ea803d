"""The state of a batch-norm layer in no framework's terms, by which a layer moves from one to another."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.conventions import Convention
from gammabeta.errors import StateError
from gammabeta.statistics import serialization

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BatchNormState:
    """γ, β, the running mean and variance, in float64 and of the shape of the features, and the rule they follow.

    In evaluation two layers with equal `BatchNormState` agree. What they learn further agrees if they follow the same
    `convention`; a running variance kept under the other estimator forgets the difference as the decay says.

    Args:
        gamma, beta: None where the layer has none.
        mean, var: the running statistics.
        batches: how many batches moved them.
        convention: eps, decay, and which variance the running one is.

    Raises:
        StateError: the arrays are not of real numbers or differ in shape, a variance is negative, or `batches` is no
            count.
    """

    gamma: Floats | None
    beta: Floats | None
    mean: Floats
    var: Floats
    batches: int
    convention: Convention

    def __post_init__(self) -> None:
        given: dict[str, Any] = {"gamma": self.gamma, "beta": self.beta, "mean": self.mean, "var": self.var}
        kinds = {name: np.asarray(value).dtype for name, value in given.items() if value is not None}
        if self.mean is None or self.var is None or any(k.kind not in "biuf" for k in kinds.values()):
            raise StateError(f"mean and var, and gamma and beta if there are any, must be real numbers, got {kinds}")
        if not isinstance(self.batches, int | np.integer) or not 0 <= self.batches <= serialization.MOST:
            raise StateError(f"batches must be an integer, 0 or more, got {serialization.shown(self.batches)}")
        shapes = {name: np.shape(value) for name, value in given.items() if value is not None}
        if any(shape != np.shape(self.mean) for shape in shapes.values()):
            raise StateError(f"gamma, beta and var must have mean's shape {np.shape(self.mean)}, got {shapes}")
        if np.any(np.asarray(self.var) < 0):
            raise StateError(f"var must not be negative, got {float(np.min(self.var))}")
