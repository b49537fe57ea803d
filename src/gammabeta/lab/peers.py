"""Today's batch-norm layers on one column, each in its own framework, and how far each is from the exact answer.

    python -m gammabeta.lab.peers torch      # answers columns on stdin, a line of JSON each, with what its layers give

Keras has one backend in a process: so every framework works in a process of its own, kept for the next column.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from threading import Lock
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

import gammabeta as gb

Array = NDArray[Any]
Layer = Callable[[Array], Array]

EPS, ROWS = 1e-5, 1024
ON_THE_CPU = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}

PROCESSES = {
    "torch": ("torch", "Keras on torch", "gammabeta on torch"),
    "tensorflow": ("tf.nn", "Keras on TensorFlow", "gammabeta on TensorFlow"),
    "jax": ("flax", "Keras on JAX", "gammabeta on JAX"),
    "numpy": ("Keras on NumPy", "gammabeta on NumPy"),
}
"""By process, the layers that run in it."""

NEEDS = {
    "torch": ("torch",),
    "tf.nn": ("tensorflow",),
    "flax": ("jax", "flax"),
    "Keras on torch": ("torch", "keras"),
    "Keras on TensorFlow": ("tensorflow", "keras"),
    "Keras on JAX": ("jax", "keras"),
    "Keras on NumPy": ("keras",),
    "gammabeta on torch": ("torch",),
    "gammabeta on TensorFlow": ("tensorflow",),
    "gammabeta on JAX": ("jax",),
    "gammabeta on NumPy": (),
}
"""By layer, what must be installed."""


def column(mean: float, std: float, seed: int = 0) -> Array:
    """A float32 column of normal numbers, (1024, 1)."""
    return np.random.default_rng(seed).normal(mean, std, (ROWS, 1)).astype(np.float32)


def exact(x: Array) -> Array:
    """The reference result: the exact mean and variance, and the formula in float64."""
    m = gb.Moments.of(x)
    return np.asarray(gb.batch_norm(x.astype(np.float64), mean=m.mean, var=m.var, eps=EPS))


def error(y: Array, x: Array) -> float:
    """The largest difference from `exact`; NaN if y has one."""
    return float(np.abs(y.astype(np.float64) - exact(x)).max())


def lacking(layer: str) -> list[str]:
    """The packages that a layer needs and that are not installed."""
    return [name for name in NEEDS[layer] if find_spec(name) is None]


def _torch() -> Layer:
    import torch

    layer = torch.nn.BatchNorm1d(1, eps=EPS)
    return lambda x: layer(torch.from_numpy(x)).detach().numpy()


def _tensorflow() -> Layer:
    import tensorflow as tf

    def layer(x: Array) -> Array:
        mean, var = tf.nn.moments(tf.constant(x), axes=[0])
        return np.asarray(tf.nn.batch_normalization(x, mean, var, 0.0, 1.0, EPS))

    return layer


def _flax() -> Layer:
    import jax
    from flax import nnx

    layer = nnx.BatchNorm(1, epsilon=EPS, rngs=nnx.Rngs(0))
    return lambda x: np.asarray(layer(jax.numpy.asarray(x)))


def _keras() -> Layer:
    import keras

    layer = keras.layers.BatchNormalization(epsilon=EPS)
    return lambda x: np.asarray(keras.ops.convert_to_numpy(layer(x, training=True)))


def _ours(process: str) -> Layer:
    """gb.batch_norm of the framework's own arrays."""
    to = _arrays(process)
    return lambda x: np.asarray(gb.batch_norm(to(x), eps=EPS))


def _arrays(process: str) -> Callable[[Array], Any]:
    """The function that makes the framework's array of a NumPy array."""
    if process == "torch":
        from torch import from_numpy

        return from_numpy
    if process == "tensorflow":
        from tensorflow import constant

        return cast(Callable[[Array], Any], constant)
    if process == "jax":
        from jax.numpy import asarray

        return asarray
    return np.asarray


def layers(process: str) -> dict[str, Layer]:
    """The layers that can run in a process, by name."""
    own = {"torch": _torch, "tf.nn": _tensorflow, "flax": _flax}
    found: dict[str, Layer] = {}
    for name in PROCESSES[process]:
        if not lacking(name):
            ours = name.startswith("gammabeta")
            found[name] = _ours(process) if ours else own.get(name, _keras)()
    return found


def serve(process: str) -> None:
    """Answer each line of stdin, until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a framework's own words must not come between
    found = layers(process)
    for line in sys.stdin:
        x = np.array(json.loads(line), np.float32)
        with np.errstate(all="ignore"):
            ys = {name: layer(x).tolist() for name, layer in found.items()}
        print(json.dumps(ys), file=answers, flush=True)


class Peers:
    """The processes, one for each framework that is installed, from the first `errors` to `close`."""

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._lock = Lock()

    def errors(self, x: Array) -> dict[str, float]:
        """The error of what each layer gives for x, (n, 1), by name; without those of a process that ended."""
        question, found = json.dumps(x.tolist()), {}
        with self._lock:
            if not self._running:
                self._running = {process: _started(process) for process in PROCESSES}
            for running in self._running.values():
                _ask(running, question)
            for running in self._running.values():
                answer = running.stdout.readline() if running.stdout else ""
                found.update({name: error(np.array(y), x) for name, y in json.loads(answer or "{}").items()})
        return found

    def close(self) -> None:
        """End the processes: they hold nothing that would be lost."""
        with self._lock:
            for running in self._running.values():
                running.kill()
                running.communicate()
            self._running = {}


shared = Peers()
"""Those of this process, for every session of the lab."""


def _started(process: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "KERAS_BACKEND": process, "TF_CPP_MIN_LOG_LEVEL": "3", **ON_THE_CPU}
    command = [sys.executable, "-P", "-m", "gammabeta.lab.peers", process]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, encoding="utf-8"
    )


def _ask(running: subprocess.Popen[str], question: str) -> None:
    if running.stdin:
        with suppress(BrokenPipeError):
            print(question, file=running.stdin, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
