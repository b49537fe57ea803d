"""Mean, variance and deviation of exact sums, correctly rounded, by the compiled core: 0.1 to 0.2 µs a feature.

The kernel is `core/exact/round.hpp`.
What it leaves, sums of weights that are no counts and results near the ends of float64's range, goes to Python's
integers.
"""

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import binding, limbs, rounding_reference, thread_pool
from gammabeta.kernels.limbs import Limbs

Floats = NDArray[np.float64]

_FINISH, _DIVISORS = binding.function("finish"), binding.function("divisors")
_LARGEST_DDOF = 2**20
_SPLIT = 2**12  # features worth a thread


def population(weight: Limbs, total: Limbs, squares: Limbs, ddof: float = 0.0) -> Floats:
    """Mean, variance by Σw − ddof and its root, float64 (3, features): those of `rounding_reference.population`."""
    features = weight[1].shape[1]
    found, sure = np.empty((3, features)), np.zeros(features, np.bool_)
    certain = False
    if len(weight[1]) == 1 and weight[0] == 0 and abs(ddof) < _LARGEST_DDOF and ddof % 0.5 == 0:
        sums = weight[1][0], *total, *squares, float(ddof)

        def unsure(between: tuple[int, int]) -> int:
            return _FINISH(*sums, *between, found, sure)

        alone = features < 2 * _SPLIT
        certain = not (
            unsure((0, features)) if alone else sum(thread_pool.run(unsure, thread_pool.ranges(features, _SPLIT)))
        )
    if not certain:
        rest = np.flatnonzero(~sure)
        weight, total, squares = (limbs.take(part, rest) for part in (weight, total, squares))
        found[:, rest] = rounding_reference.population(weight, total, squares, ddof)
    return found


def divisors(count: Floats, mean: Floats, var: Floats, std: Floats, deviation: Floats, out: Floats) -> None:
    """Write what standardizing divides by: `deviation`, and 1 for features that `affine.constant` takes for constant.

    All are contiguous, of one size; var and std: the population's.
    """
    _DIVISORS(count, mean, var, std, deviation, out)
