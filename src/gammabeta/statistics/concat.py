"""Concatenation of the statistics of different features."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import layout, limbs, moments_minmax
from gammabeta.statistics.extrema import Extrema
from gammabeta.statistics.moments import Moments


def concat(parts: Sequence[tuple[Moments, Extrema]]) -> tuple[Moments, Extrema]:
    """The statistics of all the parts' features in a row: those of shapes (), (2,) and (3,) become ones of shape (6,).

    >>> a, b = ((Moments.of(x), Extrema.of(x)) for x in ([1.0, 3.0], [[1.0, 5.0]]))
    >>> moments, extrema = concat([a, b])
    >>> moments.mean, extrema.max
    (array([2., 1., 5.]), array([3., 1., 5.]))
    """
    return concat_alike([m for m, _ in parts]), concat_alike([e for _, e in parts])


def concat_alike(parts: Sequence[Any]) -> Any:
    """The statistics, all `Moments` or all `Extrema`, of all the parts' features in a row, as `concat` gives them."""
    if isinstance(parts[0], Moments):
        weight, total, squares = (
            limbs.concatenate([getattr(m, name) for m in parts]) for name in ("_weight", "_sum", "_squares")
        )
        specials = np.concatenate([m._specials for m in parts], 1)
        return Moments._of_limbs((specials.shape[1],), weight, total, squares, specials)
    counts = np.concatenate([e._counts for e in parts], 1)
    low, high = (np.concatenate([getattr(e, name).reshape(-1) for e in parts]) for name in ("_low", "_high"))
    return Extrema._of_arrays((counts.shape[1],), low, high, counts)


def of_columns(columns: Sequence[NDArray[Any]]) -> tuple[Moments, Extrema]:
    """The statistics of k vectors of any lengths and types, wherever they lie, NaN left out: of shape (k,).

    >>> moments, extrema = of_columns([np.array([1.0, 3.0]), np.array([7], np.uint8)])
    >>> moments.mean, extrema.count
    (array([2., 7.]), array([2., 1.]))
    """
    vectors = [layout.plain(column) for column in columns]
    kinds = list(dict.fromkeys(vector.dtype for vector in vectors))
    parts, order = [], []
    for kind in kinds:
        at = [i for i, vector in enumerate(vectors) if vector.dtype == kind]
        if kind.kind == "f":
            runs = layout.side_by_side([vectors[i] for i in at])
            (weight, total, squares, specials), (low, high, missing) = moments_minmax.columns(runs)
            counts = np.stack([runs.lengths - missing, np.zeros_like(missing)])
            specials[0] = 0
            shape = (len(at),)
            moments = Moments._of_limbs(shape, weight, total, squares, specials)
            parts.append((moments, Extrema._of_arrays(shape, low, high, counts)))
        else:
            parts += [(Moments.of(vectors[i][:, None]), Extrema.of(vectors[i][:, None])) for i in at]
        order += at
    if len(parts) == 1:
        return parts[0]
    moments, extrema = concat(parts)
    back = np.argsort(order)
    return moments[back], extrema[back]
