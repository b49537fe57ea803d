"""What a batch-norm layer has learned, in no framework's terms: how a layer moves from one to another."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.conventions import Convention
from gammabeta.errors import StateError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Learned:
    """γ, β, the running mean and variance, in float64 and of the shape of the features, and the rule they follow.

    In evaluation two layers with equal `Learned` agree. What they learn further agrees if they follow the same
    `convention`; a running variance kept under the other estimator forgets the difference as the decay says.

    Args:
        gamma, beta: None where the layer has none.
        mean, var: the running statistics.
        batches: how many batches moved them.
        convention: eps, decay, and which variance the running one is.

    Raises:
        StateError: the arrays differ in shape, or a variance is negative.
    """

    gamma: Floats | None
    beta: Floats | None
    mean: Floats
    var: Floats
    batches: int
    convention: Convention

    def __post_init__(self) -> None:
        given: dict[str, Any] = {"gamma": self.gamma, "beta": self.beta, "var": self.var}
        shapes = {name: np.shape(value) for name, value in given.items() if value is not None}
        if any(shape != np.shape(self.mean) for shape in shapes.values()):
            raise StateError(f"gamma, beta and var must have mean's shape {np.shape(self.mean)}, got {shapes}")
        if np.any(np.asarray(self.var) < 0):
            raise StateError(f"var must not be negative, got {float(np.min(self.var))}")
