"""What two devices do, in a process of its own, since a process counts its devices once."""

import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import jax
import numpy as np
from flax import nnx
from jax import numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from gammabeta.flax import BatchNorm

ALL, SHARED = PartitionSpec(), PartitionSpec("device")
RNG = np.random.default_rng(0)
X, DY = RNG.normal(1e3, 2, (8, 3, 4)), RNG.normal(0, 1, (8, 3, 4))
MASKS = {
    "none": None,
    "uneven": RNG.random((8, 3)) < np.where(np.arange(8) < 4, 0.2, 0.9)[:, None],
    "all on one": np.repeat(np.arange(8) >= 4, 3).reshape(8, 3),
}


def same(a, b):
    """float64: sums of some tens of terms of at most 1e4, each within a rounding, divided by a deviation of 2."""
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=0, atol=1e-11)


def parts(**options):
    """A layer's definition, parameters and statistics, and the pure function that is its call."""
    layer = BatchNorm(4, param_dtype="float64", rngs=nnx.Rngs(0), **options)
    layer.scale[...], layer.bias[...] = jnp.linspace(0.5, 2, 4), jnp.linspace(-1, 1, 4)
    definition, parameters, statistics = nnx.split(layer, nnx.Param, nnx.BatchStat)

    def call(parameters, statistics, x, mask):
        layer = nnx.merge(definition, parameters, statistics, copy=True)
        return layer(x, mask=mask), nnx.state(layer, nnx.BatchStat)

    return call, parameters, statistics


def results(call, parameters, statistics, mask):
    """y and the statistics; the gradients of γ, β and x."""

    def loss(parameters, x):
        y, after = call(parameters, statistics, x, mask)
        return (y * DY).sum(), (y, after)

    (_, found), slopes = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(parameters, jnp.asarray(X))
    return found, slopes


def in_shares(of):
    return None if of is None else jnp.asarray(of).reshape(2, 4, *of.shape[1:])


def check_shard_map(mesh, mask, **options):
    call, *state = parts(axis_name="device", **options)
    whole, *_ = parts(**options)
    beside = ALL if mask is None else SHARED
    shared = jax.shard_map(call, mesh=mesh, in_specs=(ALL, ALL, SHARED, beside), out_specs=(SHARED, ALL))
    same(results(jax.jit(shared), *state, mask), results(whole, *state, mask))


def check_pmap_and_vmap(mask):
    """Each device takes the gradient of its own loss: γ's and β's are to be added up, x's is that of all losses."""
    (call, parameters, statistics), (whole, *_) = parts(axis_name="device"), parts()
    (_, after), slopes = results(whole, parameters, statistics, mask)

    def one(x, dy, mask):
        def loss(parameters, x):
            y, after = call(parameters, statistics, x, mask)
            return (y * dy).sum(), after

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(parameters, x)

    for over in (jax.pmap, jax.vmap):
        inputs = [in_shares(v) for v in (X, DY, mask)]
        axes = (0, 0, None if mask is None else 0)
        (theirs, dx), afters = over(one, axis_name="device", in_axes=axes)(*inputs)
        same((jax.tree.map(lambda v: v.sum(0), theirs), dx.reshape(X.shape)), slopes)
        for device in range(2):
            same(jax.tree.map(lambda v, device=device: v[device], afters), after)


def check_groups():
    """Each in a group of its own: as without an axis."""
    (call, *state), (whole, *_) = parts(axis_name="device", axis_index_groups=[[0], [1]]), parts()
    y, _ = jax.pmap(lambda x: call(*state, x, None), axis_name="device")(in_shares(X))
    same(y, jnp.stack([whole(*state, x, None)[0] for x in in_shares(X)]))


def check_sharded_arrays(mesh):
    """Under `jit` alone the compiler shares the sums: nothing to be named."""
    call, *state = parts()
    x = jax.device_put(jnp.asarray(X), NamedSharding(mesh, SHARED))
    same(jax.jit(call)(*state, x, None), call(*state, jnp.asarray(X), None))


def check_ghosts(mesh, mask):
    """Each device's first half of samples is one ghost batch, the second another."""
    order = np.array([0, 1, 4, 5, 2, 3, 6, 7])
    (call, *state), (whole, *_) = parts(axis_name="device", ghost=2), parts(ghost=4)
    shared = jax.shard_map(call, mesh=mesh, in_specs=(ALL, ALL, SHARED, SHARED), out_specs=(SHARED, ALL))
    y, after = jax.jit(shared)(*state, jnp.asarray(X), mask)
    same((y[order], after), whole(*state, jnp.asarray(X[order]), mask[order]))


def check_one_value_each():
    (call, *state), (whole, *_), x = parts(axis_name="device"), parts(), jnp.asarray(X[:2, :1])
    y, _ = jax.vmap(lambda x: call(*state, x, None), axis_name="device")(x[:, None])
    same(y[:, 0], whole(*state, x, None)[0])


if __name__ == "__main__":
    with jax.enable_x64(True):
        mesh = jax.make_mesh((2,), ("device",), axis_types=(AxisType.Auto,))
        for mask in MASKS.values():
            check_shard_map(mesh, mask)
            check_pmap_and_vmap(mask)
        check_shard_map(mesh, MASKS["uneven"], renorm=(1.5, 0.5))
        check_ghosts(mesh, MASKS["uneven"])
        check_groups()
        check_sharded_arrays(mesh)
        check_one_value_each()
    sys.stdout.write("two devices do as one")
