"""What the backward pass of a ReLU needs of its output: one bit for each value, whether it got through.

Bits lie in memory's order, 64 to a word (`core/batchnorm/relu_mask.cpp`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import binding, buffer_cache, layout, thread_pool
from gammabeta.kernels.dtypes import Array, stored

Bits = NDArray[np.uint64]

_WORD = 64
_SIGNS, _GATE = (
    {2: k["h"], 4: k["i"], 8: k["l"]} for k in (binding.by_type(n, "hil") for n in ("relu_signs", "relu_gate"))
)


def signs(y: Array) -> Bits:
    """A new bit mask of y, which is ≥ 0 everywhere: 1 where a value is not 0."""
    flat = _integers(y.transpose(order(y)).reshape(-1))
    bits = np.empty(-(-flat.size // _WORD), np.uint64)
    kernel = _SIGNS[flat.itemsize]
    thread_pool.run(lambda r: kernel(flat, bits, *r), thread_pool.ranges(bits.size, layout.COSTLY // _WORD))
    return bits


def gated(dy: Array, order: list[int], bits: Bits) -> Array:
    """dy where the mask is 1, else 0, as a new array in the layout of y. order, bits: `order(y)` and `signs(y)`."""
    moved = np.require(dy.transpose(order), dy.dtype.newbyteorder("="), ["C", "A"]).reshape(-1)
    place = buffer_cache.empty(moved.size, moved.dtype)
    source, target = _integers(moved), _integers(place)
    kernel = _GATE[source.itemsize]
    thread_pool.run(lambda r: kernel(source, bits, target, *r), thread_pool.ranges(bits.size, layout.COSTLY // _WORD))
    return place.reshape([dy.shape[i] for i in order]).transpose(np.argsort(order))


def order(y: Array) -> list[int]:
    """The axes from the longest stride to the shortest."""
    return sorted(range(y.ndim), key=lambda i: (-abs(y.strides[i]), i))


def _integers(flat: Array) -> Any:
    """Floats as the integers of their bits, which are 0 where the value is."""
    return stored(flat).view(f"i{flat.itemsize}")
