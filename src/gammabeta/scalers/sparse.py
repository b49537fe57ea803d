"""The exact moments of sparse matrices."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta import frames
from gammabeta.statistics import Moments

Array = NDArray[Any]


def sparse_moments(x: Any, weights: Array | None) -> Moments:
    """The exact moments of a CSC matrix's columns: of the stored values, and of as many zeros as are not stored."""
    if not x.has_canonical_format:
        x = x.copy()
        x.sum_duplicates()
    n, columns = x.shape
    parts, zeros, found = [], [], []
    for places, values, rows, there in frames.sparse_blocks(x):
        factors = there.astype(np.float64) if weights is None else np.where(there, weights[rows], 0.0)
        parts.append(Moments.of(values, weights=factors))
        zeros.append(Moments.of(np.zeros_like(values), weights=factors))
        found.append(places)
    stored, stored_zeros = (_joined(blocks, found, columns) for blocks in (parts, zeros))
    every = Moments.of(np.zeros((n, 1)), weights=weights)[np.zeros(columns, int)]
    return stored + (every - stored_zeros)


def _joined(parts: list[Moments], places: list[Array], columns: int) -> Moments:
    """Moments of blocks of columns as those of the table."""
    width = max(part.shape[0] for part in parts)
    padded = Moments.stack([part[np.minimum(np.arange(width), part.shape[0] - 1)] for part in parts])
    block, within = np.empty(columns, int), np.empty(columns, int)
    for i, place in enumerate(places):
        block[place], within[place] = i, np.arange(len(place))
    return padded[block, within]
