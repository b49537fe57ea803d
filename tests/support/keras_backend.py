"""What differs between Keras' backends for a test: gradients, compiling, and two devices of one CPU."""

from contextlib import nullcontext

import keras
import numpy as np
import pytest
from keras import ops

BACKEND = keras.config.backend()

if BACKEND == "tensorflow":
    import tensorflow as tf

    CPU = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)
elif BACKEND == "jax":
    import jax
else:
    import torch


def compile_quickly(now=True):
    """Let XLA compile without optimizing, in half the time, where nothing is asked of its arithmetic."""
    if BACKEND == "jax":
        jax.config.update("jax_disable_most_optimizations", now)


def long_but_on(*backends):
    """Mark a test as long on other backends: it asks nothing of them, or little, and they compile what it runs."""
    return (lambda test: test) if BACKEND in backends else pytest.mark.long


def some(cases, **places):
    """The cases at the places that are named for this backend, or all; the rest is long.

    Torch compiles nothing and has nearly all. JAX compiles each operation and shape, and has one case of each kind.
    """
    chosen = places.get(BACKEND, range(len(cases)))
    rows = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*row, marks=() if i in chosen else pytest.mark.long) for i, row in enumerate(rows)]


def to_numpy(x):
    return np.asarray(ops.convert_to_numpy(x))


def float64():
    """Where float64 stays float64."""
    return jax.enable_x64(True) if BACKEND == "jax" else nullcontext()


def gradients(layer, x, dy, **given):
    """The output of a built layer in training, and the gradients of x, γ and β; the moving statistics move."""
    weights = [w for w in (layer.gamma, layer.beta) if w is not None]
    if BACKEND == "tensorflow":
        x = tf.Variable(x)
        with tf.GradientTape() as tape:
            y = layer(x, training=True, **given)
        slopes = tape.gradient(y, [x, *(w.value for w in weights)], output_gradients=tf.constant(dy))
        return [to_numpy(value) for value in (y, *slopes)]
    if BACKEND == "torch":
        x = torch.tensor(x, requires_grad=True)
        y = layer(x, training=True, **given)
        slopes = torch.autograd.grad(y, [x, *(w.value for w in weights)], torch.tensor(dy))
        return [to_numpy(value) for value in (y, *slopes)]

    @jax.jit
    def function(x, weights, moving, given, dy):
        def forward(x, weights):
            return layer.stateless_call(weights, moving, x, training=True, **given)

        y, pull, new = jax.vjp(forward, x, weights, has_aux=True)
        return y, pull(dy), new

    moving = layer.non_trainable_variables
    y, (dx, slopes), new = function(x, [w.value for w in weights], [w.value for w in moving], given, dy)
    for variable, value in zip(moving, new, strict=True):
        variable.assign(value)
    return [to_numpy(value) for value in (y, dx, *slopes)]


def compiled(layer, x, **given):
    """The output in training of a layer in a compiled function, with a batch of unknown size where there may be one."""
    if BACKEND == "tensorflow":
        specification = [tf.TensorSpec((None, *x.shape[1:]), x.dtype)]
        call = tf.function(lambda x: layer(x, training=True, **given), specification, autograph=False, jit_compile=True)
        return to_numpy(call(x))
    if BACKEND == "torch":
        return to_numpy(torch.compile(lambda x: layer(x, training=True, **given), backend="aot_eager")(torch.tensor(x)))
    before = [[w.value for w in ws] for ws in (layer.trainable_variables, layer.non_trainable_variables)]
    y, new = jax.jit(lambda *state, x: layer.stateless_call(*state, x, training=True, **given))(*before, x=x)
    for variable, value in zip(layer.non_trainable_variables, new, strict=True):
        variable.assign(value)
    return to_numpy(y)


def train(layer, x, **given):
    """The output in training; compiled on JAX, which else compiles each operation, and for each shape, by itself."""
    return compiled(layer, x, **given) if BACKEND == "jax" else to_numpy(layer(x, training=True, **given))
