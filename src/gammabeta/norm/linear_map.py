"""The arithmetic of folding: a linear map before or after an affine map is one linear map.

    a(W·x + b) = (a.slope · W)·x + a(b)        `after`
    W·a(x) + b = (W · a.slope)·x + b + W·a(0)  `before`

In float64 throughout; who folds several maps into one layer rounds once, at the end.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gammabeta import axes
from gammabeta.affine import Affine
from gammabeta.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Features:
    """An affine map, and the axes on which its features lie in data of so many axes: () where they cannot lie."""

    affine: Affine
    axes: Callable[[int], tuple[int, ...]]

    def flat(self, inputs: int) -> Affine | None:
        """The map for data flattened from (n, …) to (n, inputs); None if the features are not in that order."""
        dimensions = len(self.affine.shape)
        first = tuple(range(1, dimensions + 1))
        if any(self.axes(rank) != first for rank in range(2, 6) if len(self.axes(rank)) == dimensions):
            return None
        many = inputs // max(1, self.affine.center.size)
        each = (p.reshape(-1).repeat(many if dimensions == 1 else 1) for p in _parameters(self.affine))
        flat = Affine(*each)
        return flat if flat.shape == (inputs,) else None


def feature_axes_at(axis: axes.Axis | None) -> Callable[[int], tuple[int, ...]]:
    """Return a function of ndim that gives the axes not reduced; axis=None reduces all but axis 1."""

    def along(rank: int) -> tuple[int, ...]:
        try:
            return (1,) if axis is None else axes.feature_axes(axis, rank)
        except DataError:
            return ()

    return along


@dataclass(frozen=True, slots=True)
class Linear:
    """y = W·x + b of a dense layer or of a convolution, transposed or not.

    Args:
        weight: (groups, outputs, inputs, taps), outputs and inputs being those of one group: 1 group and 1 tap for a
            dense layer.
        bias: (groups · outputs,); zeros where there is none.

    >>> import numpy as np
    >>> dense = Linear(np.ones((1, 1, 2, 1)), np.zeros(1))
    >>> dense.before(Affine([10.0, 20.0], [0.5, 0.25])).bias
    array([-10.])
    """

    weight: Floats
    bias: Floats

    @property
    def inputs(self) -> int:
        """The number of input features or channels, of all groups."""
        return int(self.weight.shape[0] * self.weight.shape[2])

    @property
    def outputs(self) -> int:
        """The number of output features or channels, of all groups."""
        return int(self.weight.shape[0] * self.weight.shape[1])

    def after(self, a: Affine) -> "Linear":
        """x ↦ a(W·x + b), a being of the outputs."""
        _check(a, self.outputs, "outputs")
        groups, outputs, *_ = self.weight.shape
        return Linear(self.weight * a.slope.reshape(groups, outputs, 1, 1), a(self.bias))

    def before(self, a: Affine) -> "Linear":
        """x ↦ W·a(x) + b, a being of the inputs.

        Every output must be the sum over all taps, as it is not where zeros pad the input, unless a(0) = 0.
        """
        _check(a, self.inputs, "inputs")
        groups, _, inputs, _ = self.weight.shape
        origin = origin_of(a).reshape(groups, 1, inputs, 1)
        scale = a.slope.reshape(groups, 1, inputs, 1)
        return Linear(self.weight * scale, self.bias + (self.weight * origin).sum((2, 3)).reshape(-1))


def origin_of(a: Affine) -> Floats:
    """a(0): what an affine map gives for zeros."""
    origin: Floats = a(np.zeros(a.shape))
    return origin


def distance(a: Affine) -> float:
    """How far from 0 the map's center lies, in units of what it scales to 1: |mean| / std of a standardization.

    In float32 W·x + b of raw x loses as many digits as this number has before its point: products of this size cancel.
    """
    return float(np.max(np.abs(a.center * a.slope), initial=0.0))


def _parameters(a: Affine) -> tuple[Floats, Floats, Floats]:
    return a.center, a.slope, a.shift


def _check(a: Affine, features: int, side: str) -> None:
    if a.shape != (features,):
        raise DataError(f"the affine map must be of the layer's {features} {side}, got features of shape {a.shape}")
