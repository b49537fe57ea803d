"""A sample of each column, spread evenly over a stream of unknown length."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gammabeta.data.core.arrow_numpy import Vector

Floats = NDArray[np.float64]

ALTOGETHER = 1 << 22  # values, over all columns


class Sample:
    """A stratified sample: one value from each stretch of rows, at a random row, so that periods cannot hide.

    Stretches double in length as the stream goes on, so that a long column keeps from `size` to twice as many values.
    The lot is the same each time: the same rows in the same pieces give the same sample.
    """

    def __init__(self, columns: int) -> None:
        self.size = min(4096, max(256, ALTOGETHER // max(1, columns)))
        self._kept: list[list[Floats]] = [[] for _ in range(columns)]
        self._held, self._step = np.zeros(columns, np.int64), np.ones(columns, np.int64)
        self._lot = np.random.default_rng(0)

    def add(self, at: Sequence[int], values: Vector) -> None:
        """Add some rows of a block. at: the columns' indices; values: (n,) or (n, k), of which the sample is a copy."""
        places = np.asarray(at)
        while len(values) // self._step[places].min() > 2 * self.size:
            self._thin(places[self._step[places] == self._step[places].min()])
        table = values.reshape(len(values), len(at))
        for step in np.unique(self._step[places]):
            stretches = np.arange(0, len(values), step)
            rows = stretches + self._lot.integers(0, step, len(stretches))
            alike = np.flatnonzero(self._step[places] == step)
            chosen = table[rows[rows < len(values)]][:, alike].astype(np.float64)
            for i, column in zip(places[alike], chosen.T, strict=True):
                self._kept[i].append(column.copy())
            self._held[places[alike]] += len(chosen)
        self._thin(places[self._held[places] > 2 * self.size])

    def _thin(self, places: NDArray[np.intp]) -> None:
        """Drop a random half of these columns' values, and take half as many from now on."""
        for i in places:
            together = np.concatenate([np.empty(0), *self._kept[i]])
            self._kept[i] = [together[self._lot.random(len(together)) < 0.5]]
            self._held[i] = len(self._kept[i][0])
        self._step[places] *= 2

    def sorted(self, i: int) -> Floats:
        """A sorted copy of a column's finite values in the sample."""
        together = np.concatenate([np.empty(0), *self._kept[i]])
        return np.sort(together[np.isfinite(together)])
