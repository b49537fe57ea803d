"""The array type of the kernels' arguments, and floats of 16 bits as kernels take them.

float16 goes in and out as itself; bfloat16, which Python's buffers do not know, as uint16.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import binding

Array = NDArray[Any]

FLOATS = ("float16", "bfloat16", "float32", "float64")

_WIDEN = binding.function("widen")


def stored(x: Array) -> Array:
    """A view of x, of one of `FLOATS`, in the dtype that a kernel takes."""
    return x.view(np.uint16) if x.dtype.name == "bfloat16" else x


def widened(x: Array) -> Array:
    """A contiguous float16 array converted to a new float32 array: NumPy takes thirty times as long."""
    y = np.empty(x.shape, np.float32)
    _WIDEN(x, y)
    return y
