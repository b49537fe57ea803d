"""For the record: Keras' and flax's own batch norm beside ours, compiled, on the CPU; and a copy of the same bytes.

    python benchmarks/batchnorm_frameworks.py

Each of ours is verified against float64 first. A time is the least of some runs in turn.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Callable

import jax
import keras
import numpy as np
import results
import tensorflow as tf
from flax import nnx

import gammabeta.flax
import gammabeta.keras

SHAPES = [(64, 56, 56, 64), (65536, 256), (32, 64)]
HEADER = ["ms, ours / theirs (times as fast)", "copy", "training, forward", "forward + backward"]
EPS = 1e-3


def verify(y: np.ndarray, x: np.ndarray) -> None:
    """Within four units of the best, of numbers below 8."""
    wide = x.astype(np.float64)
    reduced_axes = tuple(range(x.ndim - 1))
    want = (wide - wide.mean(reduced_axes)) / np.sqrt(wide.var(reduced_axes) + EPS)
    assert np.abs(y - want).max() <= 4 * 8 * 2.0**-24


def by_keras(layer: keras.Layer, x: np.ndarray, dy: np.ndarray) -> list[Callable[[], object]]:
    """Forward, and forward + backward, as `tf.function`."""
    x, dy = tf.constant(x), tf.constant(dy)
    layer.build(x.shape)

    @tf.function
    def forward() -> tf.Tensor:
        return layer(x, training=True)

    @tf.function
    def both() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return tape.gradient(y, [x, layer.gamma.value, layer.beta.value], dy)

    return [lambda: forward().numpy(), lambda: [v.numpy() for v in both()]]


def by_flax(layer: nnx.Module, x: np.ndarray, dy: np.ndarray) -> list[Callable[[], object]]:
    """Forward, and forward + backward, jitted."""
    x, dy = jax.numpy.asarray(x), jax.numpy.asarray(dy)
    forward = nnx.jit(lambda layer, x: layer(x))
    both = nnx.jit(nnx.grad(lambda layer, x: (layer(x) * dy).sum(), argnums=(0, 1)))
    return [
        lambda: np.asarray(forward(layer, x)),
        lambda: jax.block_until_ready(jax.tree.leaves(both(layer, x))),
    ]


def pairs(features: int) -> dict[str, tuple[Callable[..., list[Callable[[], object]]], object, object]]:
    """Ours and theirs."""
    rngs = nnx.Rngs(0)
    return {
        "Keras on TensorFlow": (
            by_keras,
            gammabeta.keras.BatchNormalization(epsilon=EPS),
            keras.layers.BatchNormalization(epsilon=EPS),
        ),
        "flax": (
            by_flax,
            gammabeta.flax.BatchNorm(features, epsilon=EPS, rngs=rngs),
            nnx.BatchNorm(features, epsilon=EPS, rngs=rngs),
        ),
    }


def case(name: str, shape: tuple[int, ...]) -> list[str]:
    """One row of the table."""
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal(shape, np.float32) for _ in range(2))
    target = np.empty_like(x)
    run, ours, theirs = pairs(shape[-1])[name]
    (forward, both), (their_forward, their_both) = (run(layer, x, dy) for layer in (ours, theirs))
    verify(forward(), x)
    for function in (both, their_forward, their_both):
        function()
    runs = 10 if x.size > 2**20 else 200
    copy, *times = results.least(runs, lambda: np.copyto(target, x), forward, their_forward, both, their_both)
    cells = [f"{a:.3g} / {b:.3g} ({b / a:.2f}×)" for a, b in zip(times[::2], times[1::2], strict=True)]
    return [f"{name}, {shape} float32", f"{copy:.3g}", *cells]


def main() -> None:
    """Print the rows, and write the table."""
    assert keras.backend.backend() == "tensorflow"
    rows = []
    for shape in SHAPES:
        for name in ("Keras on TensorFlow", "flax"):
            rows.append(case(name, shape))
            print(" | ".join(rows[-1]), flush=True)
    machine = results.machine("gammabeta", "keras", "tensorflow-cpu", "jax", "flax", "numpy")
    note = "The least of 10 runs, of 200 for the smallest shape; the copy is on one thread."
    results.write("Batch norm in Keras and flax", f"{machine} {note}\n\n{results.table(HEADER, rows)}")


if __name__ == "__main__":
    main()
