"""The state of a batch-norm layer in no framework's terms, by which a layer moves from one to another."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gammabeta.conventions import Convention
from gammabeta.errors import StateError
from gammabeta.statistics import Moments, serialization

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

    @classmethod
    def pooled(cls, states: Sequence[Self], counts: Sequence[int]) -> Self:
        """The state of all data together, of the states of disjoint parts: federated learning's clients, say.

            mean = Σ nᵢ · meanᵢ / n,    var · (n − d) = Σ (nᵢ − d) · varᵢ + Σ nᵢ · meanᵢ² − n · mean²

        as the sum of `Moments.from_statistics` gives them, exactly, rounded once; d is 1 where the convention's
        variance is unbiased, else 0. The variance between the parts' means is so part of it, which a mean of variances
        lacks. γ and β are means by count, and `batches` are added up.

        Args:
            states: of one shape and one convention.
            counts: how many values of each feature each state is of, from 1 to 2⁵³.

        Raises:
            StateError: the states or counts do not fit together, or a number is not finite.

        >>> from gammabeta import KERAS
        >>> one, other = (
        ...     BatchNormState(None, None, np.array([m]), np.array([v]), 1, KERAS) for m, v in ((0.0, 1.0), (3.0, 4.0))
        ... )
        >>> together = BatchNormState.pooled([one, other], [200, 100])
        >>> together.mean, together.var
        (array([1.]), array([4.]))
        """
        states, counts = list(states), list(counts)
        _check_pool(states, counts)
        ddof = int(states[0].convention.unbiased)

        def mean_of(name: str) -> Any:
            given = [getattr(state, name) for state in states]
            if given[0] is None:
                return None
            parts = (Moments.from_statistics(n, value, 0.0) for n, value in zip(counts, given, strict=True))
            return np.array(reduce(add, parts).mean)

        parts = (
            Moments.from_statistics(n, s.mean, s.var if n > ddof else 0.0, ddof=ddof)
            for n, s in zip(counts, states, strict=True)
        )
        together = reduce(add, parts)
        return cls(
            mean_of("gamma"),
            mean_of("beta"),
            np.array(together.mean),
            np.array(together.with_ddof(ddof).var),
            sum(int(s.batches) for s in states),
            states[0].convention,
        )


def _check_pool(states: list[Any], counts: list[Any]) -> None:
    """Raise unless these are states of one layer, and as many counts."""
    if not states or len(states) != len(counts):
        raise StateError(f"pooled takes one state or more and as many counts, got {len(states)} and {len(counts)}")
    if not all(isinstance(n, int | np.integer) and not isinstance(n, bool) and 1 <= n <= 2**53 for n in counts):
        raise StateError(
            f"counts must be integers, 1 or more and up to 2^53, how many values each state is of, got {counts!r:.200}"
        )
    first = states[0]
    if sum(map(int, counts)) <= int(first.convention.unbiased):
        raise StateError(f"an unbiased variance must be of 2 values or more, got {sum(map(int, counts))} in all")
    for at, state in enumerate(states):
        for name in ("gamma", "beta", "mean", "var"):
            one, other = getattr(first, name), getattr(state, name)
            if (one is None) != (other is None) or np.shape(one) != np.shape(other):
                raise StateError(
                    f"states must be of one layer, and {name} of state {at} has another shape than state 0's"
                )
            if other is not None and not np.isfinite(other).all():
                raise StateError(f"states must be finite, and {name} of state {at} is not")
        if state.convention != first.convention:
            raise StateError(
                f"states must follow one convention, got {first.convention} in state 0 and {state.convention} in {at}"
            )
