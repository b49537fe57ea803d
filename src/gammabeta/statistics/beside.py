"""Statistics of different features, put side by side."""

from collections.abc import Sequence

import numpy as np

from gammabeta.kernels import limbs
from gammabeta.statistics.extrema import Extrema
from gammabeta.statistics.moments import Moments


def beside(parts: Sequence[tuple[Moments, Extrema]]) -> tuple[Moments, Extrema]:
    """The statistics of all the parts' features in a row: those of shapes (), (2,) and (3,) become ones of shape (6,).

    >>> a, b = ((Moments.of(x), Extrema.of(x)) for x in ([1.0, 3.0], [[1.0, 5.0]]))
    >>> moments, extrema = beside([a, b])
    >>> moments.mean, extrema.max
    (array([2., 1., 5.]), array([3., 1., 5.]))
    """
    moments, extrema = [m for m, _ in parts], [e for _, e in parts]
    weight, total, squares = (
        limbs.concatenate([getattr(m, name) for m in moments]) for name in ("_weight", "_sum", "_squares")
    )
    specials, counts = (
        np.concatenate([m._specials for m in moments], 1),
        np.concatenate([e._counts for e in extrema], 1),
    )
    low, high = (np.concatenate([getattr(e, name).reshape(-1) for e in extrema]) for name in ("_low", "_high"))
    shape = (counts.shape[1],)
    return Moments(shape, weight, total, squares, specials), Extrema(shape, low, high, counts)
