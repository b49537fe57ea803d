"""One batch over all devices of a named axis: under `jax.vmap`, `jax.pmap` and `jax.shard_map`."""

from functools import partial
from typing import Any, NamedTuple

from jax import lax

from gammabeta.errors import StateError
from gammabeta.norm.formula import Add


class Group(NamedTuple):
    """A function that sums an array over the devices, and their number; None and 1 for one device."""

    add: Add | None
    devices: int


def group(axis_name: Any, axis_index_groups: Any) -> Group:
    """The devices of that axis, or those of this one's group."""
    if axis_name is None:
        return Group(None, 1)
    add = partial(lax.psum, axis_name=axis_name, axis_index_groups=axis_index_groups)
    try:
        return Group(add, add(1))
    except NameError:
        raise StateError(
            f"axis_name={axis_name!r} must be that of an axis of jax.vmap, jax.pmap or jax.shard_map around the call, "
            f"and there is none: call the layer inside one, or give it axis_name=None"
        ) from None
