"""The exact moments of sparse matrices."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.backends import dataframes
from gammabeta.statistics import Moments

Array = NDArray[Any]


def sparse_moments(x: Any, weights: Array | None) -> Moments:
    """The exact moments of a CSC matrix's columns: of the stored values, and of as many zeros as are not stored."""
    if not x.has_canonical_format:
        x = x.copy()
        x.sum_duplicates()
    n, columns = x.shape
    places, parts, hidden = [], [], []
    for place, values, rows in dataframes.sparse_blocks(x):
        places.append(place)
        if weights is None:
            parts.append(Moments.of(values))
        else:
            factors = np.where(rows < 0, 0.0, weights[rows])
            parts.append(Moments.of(values, weights=factors))
            hidden.append(Moments.of(np.zeros_like(values), weights=factors))
    stored = _joined(parts, places, columns)
    if weights is None:
        return stored + Moments.of(np.zeros((1, columns)), weights=(n - np.diff(x.indptr))[None, :])
    # the sum of the weights of rows that are not stored, exactly: of all rows, less those of the stored
    every = Moments.of(np.zeros((n, 1)), weights=weights)[np.zeros(columns, int)]
    return stored + (every - _joined(hidden, places, columns))


def _joined(parts: list[Moments], places: list[Array], columns: int) -> Moments:
    """The moments of a table from those of blocks of its columns."""
    width = max(part.shape[0] for part in parts)
    padded = Moments.stack([part[np.minimum(np.arange(width), part.shape[0] - 1)] for part in parts])
    block, within = np.empty(columns, int), np.empty(columns, int)
    for i, place in enumerate(places):
        block[place], within[place] = i, np.arange(len(place))
    return padded[block, within]
