"""The affine map of features near the end of float64, in NumPy: where a difference or a product on the way overflows.

Two ways, for the few features that need one. `_quartered` is y = 4 · ((x/4 − center/4) · slope + shift/4), the kernels'
digits without their overflow. `_between` is of a slope that float64 does not hold, as that of a range wider than it is
subnormal: with r = (x − x₀) / (x₁ − x₀), it is y = y₀ + r · (y₁ − y₀), or (1 − r) · y₀ + r · y₁ where y₁ − y₀
overflows; x₀ and x₁ go to y₀ and y₁ to the bit.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def image(x: Array, parameters: tuple[Array, ...], ends: tuple[Array, ...] | None) -> Array:
    """The image, float64, of x (k, …): a row for each feature.

    parameters: center, slope and shift, (k,). ends: (k,) each; of which features they are, then x₀, x₁, y₀, y₁.
    """
    x = x.astype(np.float64)
    beside = (slice(None), *[None] * (x.ndim - 1))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        y = _quartered(x, *(p[beside] for p in parameters))
        if ends is not None:
            of, *corners = ends
            y[of] = _between(x[of], *(corner[of][beside] for corner in corners))
    return y


def _quartered(x: Array, center: Array, slope: Array, shift: Array) -> Array:
    return ((x / 4 - center / 4) * slope + shift / 4) * 4


def _between(x: Array, x0: Array, x1: Array, y0: Array, y1: Array) -> Array:
    unit = np.where(np.isinf(x1 - x0), 0.25, 1.0)
    width, height = x1 * unit - x0 * unit, y1 - y0
    ratio = (x * unit - x0 * unit) / np.where(width == 0, 1.0, width)
    y = np.where(np.isinf(height), y0 * (1 - ratio) + y1 * ratio, y0 + ratio * height)
    return np.where(ratio == 1, y1, y)
