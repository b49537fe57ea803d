"""The statistics of a block or a partition (`Part`), and their sum over several."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta import axes
from gammabeta.statistics import Extrema, Moments

Array = NDArray[Any]
Boxes = NDArray[Any]  # of objects: how Dask carries parts
Kinds = tuple[type[Moments] | type[Extrema], ...]


@dataclass(frozen=True)
class Part:
    """Some rows' number and statistics, one of each kind asked for. Parts of the same features add up."""

    rows: int
    statistics: tuple[Any, ...]

    def __add__(self, other: "Part") -> "Part":
        pairs = zip(self.statistics, other.statistics, strict=True)
        return Part(self.rows + other.rows, tuple(a + b for a, b in pairs))


def of(kind: type[Moments] | type[Extrema], values: Array, axis: axes.Axis, weights: Any) -> Any:
    """`kind.of(values, axis)`, with weights if the kind has them: extrema have none."""
    return Extrema.of(values, axis) if kind is Extrema else Moments.of(values, axis, weights=weights)


def boxed(part: Part, dimensions: int) -> Boxes:
    """A part as an object array of shape (1, …, 1), which Dask can concatenate."""
    box = np.empty((1,) * dimensions, object)
    box[(0,) * dimensions] = part
    return box


def together(boxes: Boxes, axis: axes.Axis) -> Part:
    """One `Part` of parts of neighbouring features. boxes: (blocks along each axis), the reduced ones of length 1."""
    grid = boxes.reshape([boxes.shape[i] for i in axes.feature_axes(axis, boxes.ndim)])
    parts: list[Part] = list(grid.flat)
    if len(parts) == 1:
        return parts[0]
    columns = zip(*(part.statistics for part in parts), strict=True)
    return Part(parts[0].rows, tuple(_joined(list(column), grid.shape) for column in columns))


def _joined(statistics: list[Any], grid: tuple[int, ...]) -> Any:
    """The statistic of all features from those of a grid of blocks of features."""
    full = [s for s in statistics if prod(s.shape)]
    block, within = np.empty(grid, object), np.empty(grid, object)
    number = 0
    for place, statistic in zip(np.ndindex(grid), statistics, strict=True):
        block[place] = np.full(statistic.shape, number)
        within[place] = np.arange(prod(statistic.shape)).reshape(statistic.shape)
        number += prod(statistic.shape) > 0
    at, flat = (np.block(numbers.tolist()) for numbers in (block, within))
    if not full:
        return type(statistics[0]).of(np.empty((0, *at.shape)))
    width = max(prod(s.shape) for s in full)
    return type(full[0]).stack([_padded(s, width) for s in full])[at, flat]


def _padded(statistic: Any, width: int) -> Any:
    """A statistic flattened and padded to shape (width,) by repeating the last feature."""
    places = np.minimum(np.arange(width), prod(statistic.shape) - 1)
    return statistic[np.unravel_index(places, statistic.shape)]
