"""One answer: every framework's function and layer, in training and evaluation, forward and backward, on hostile data.

Errors are measured against long doubles in units of the best that the type can do, and none may be more than four:

- y and dx are sums, of γ·x̂ and β, of dy, dβ/n and x̂·dγ/n: were their terms only rounded, they would be
  off by up to u times the sum of the terms' sizes, of which a feature's largest counts; u is half the type's spacing.
- dγ = Σdy·x̂ and dβ = Σdy, in float32: were x̂ and dy only rounded and everything else exact, the sums would be off by
  up to 2⁻²⁴ of the sum of the sizes of their terms.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

import gammabeta as gb

EPS = 1e-3  # exact in no type: the same number everywhere
MOST = 4.0

ROWS = 1024
RNG = np.random.default_rng(0)
COLUMNS = {
    "ordinary": RNG.normal(0.5, 2, ROWS),
    "a year": RNG.normal(2010, 3, ROWS),
    "an altitude": RNG.normal(8000, 2, ROWS),
    "1e4, 1": RNG.normal(1e4, 1, ROWS),
    "1e6, 1": RNG.normal(1e6, 1, ROWS),
    "constant": np.full(ROWS, 3.7),
    "0 and 1e30": np.where(np.arange(ROWS) == 5, 1e30, 0.0),
    "1e-3 of a unit": RNG.normal(0, 1e-3, ROWS),
    "1e8 units": RNG.normal(-3e8, 1e8, ROWS),
}
TYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}


class Batch(NamedTuple):
    """A batch (n, c), the slope of y, the parameters, and in evaluation the statistics; all in one type."""

    x: np.ndarray
    dy: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray | None
    var: np.ndarray | None


class Result(NamedTuple):
    """In whatever type."""

    y: Any
    dx: Any
    dgamma: Any
    dbeta: Any


def batch(dtype: str, rows: int, training: bool) -> Batch:
    """The columns side by side, channels of unlike scale; float16 has those that it can hold."""
    names = [name for name in COLUMNS if dtype != "float16" or np.abs(COLUMNS[name]).max() < 6e4]
    x = np.stack([COLUMNS[name][:rows] for name in names], 1).astype(TYPES[dtype])
    rng = np.random.default_rng(1)
    gamma, beta = (rng.uniform(0.5, 2, len(names)).astype(np.float32), rng.normal(0, 1, len(names)).astype(np.float32))
    dy = rng.normal(0, 1, x.shape).astype(x.dtype)
    if training:
        return Batch(x, dy, gamma, beta, None, None)
    whole = np.stack([COLUMNS[name] for name in names], 1)
    var = np.minimum(whole.var(0), 1e38)  # what float32 holds
    return Batch(x, dy, gamma, beta, whole.mean(0).astype(np.float32), var.astype(np.float32))


def exact(given: Batch) -> tuple[Result, np.ndarray]:
    """In long doubles; and the sum of the sizes of dx's terms."""
    x, dy, gamma, beta = (np.asarray(v, np.longdouble) for v in given[:4])
    n = len(x)
    training = given.mean is None
    mean = x.mean(0) if training else given.mean.astype(np.longdouble)
    var = ((x - mean) ** 2).mean(0) if training else given.var.astype(np.longdouble)
    inverse = 1 / np.sqrt(var + np.longdouble(EPS))
    normal = (x - mean) * inverse
    dbeta, dgamma = dy.sum(0), (dy * normal).sum(0)
    terms = [dy, -dbeta / n, -normal * dgamma / n] if training else [dy]
    result = Result(normal * gamma + beta, gamma * inverse * sum(terms), dgamma, dbeta)
    return result, gamma * inverse * sum(map(np.abs, terms))


def errors(got: Result, given: Batch) -> dict[str, np.ndarray]:
    """The largest error of each feature, in units of the best possible."""
    want, terms_of_dx = exact(given)
    own = {"float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}[given.x.dtype.name]
    found = {}
    for name, sizes in (("y", np.abs(want.y - given.beta) + np.abs(given.beta)), ("dx", terms_of_dx)):
        value, exact_ = np.asarray(getattr(got, name)), getattr(want, name)
        assert value.dtype == given.x.dtype and value.shape == given.x.shape
        least = float(ml_dtypes.finfo(given.x.dtype).smallest_subnormal) / 2
        found[name] = np.abs(value.astype(np.longdouble) - exact_).max(0) / np.maximum(own * sizes.max(0), least)
    normal = np.abs((want.y - given.beta) / given.gamma)
    slope = np.abs(given.dy.astype(np.longdouble))
    for name, terms in (("dgamma", slope * normal), ("dbeta", slope)):
        value = np.asarray(getattr(got, name)).astype(np.longdouble)
        best = 2.0**-24 * terms.sum(0)
        found[name] = np.abs(value - getattr(want, name)) / np.maximum(best, 2.0**-149)
    return {name: np.asarray(value, np.float64) for name, value in found.items()}


def learned(given: Batch) -> Any:
    """The parameters and statistics as a layer's state."""
    from gammabeta.norm.state import BatchNormState

    gamma, beta, mean, var = (None if v is None else v.astype(np.float64) for v in given[2:])
    mean = np.zeros_like(gamma) if mean is None else mean
    var = np.ones_like(gamma) if var is None else var
    return BatchNormState(gamma, beta, mean, var, 1, gb.Convention(EPS, 0.9, True, -1))


def numpy_function(given: Batch) -> Result:
    """`gb.batch_norm` has no gradient of its own in NumPy: the layer's."""
    y = gb.batch_norm(given.x, *given[2:4], eps=EPS, mean=given.mean, var=given.var)
    return numpy_layer(given)._replace(y=y)


def numpy_layer(given: Batch) -> Result:
    from gammabeta.numpy import BatchNorm

    layer = BatchNorm.from_state(learned(given), axis=0)
    return Result(layer.forward(given.x, training=given.mean is None), *layer.backward(given.dy))


def from_torch(x: Any) -> np.ndarray:
    import torch

    x = x.detach()
    return x.view(torch.int16).numpy().view(ml_dtypes.bfloat16) if x.dtype == torch.bfloat16 else x.numpy()


def to_torch(x: np.ndarray) -> Any:
    import torch

    x = x.copy()
    return (
        torch.from_numpy(x.view(np.int16)).view(torch.bfloat16) if x.dtype.name == "bfloat16" else torch.from_numpy(x)
    )


def by_torch(given: Batch, run: Callable[..., Any]) -> Result:
    import torch

    x, dy, gamma, beta = map(to_torch, given[:4])
    leaves = [v.requires_grad_() for v in (x, gamma, beta)]
    y, leaves = run(*leaves)
    return Result(*map(from_torch, (y, *torch.autograd.grad(y, leaves, dy))))


def torch_function(given: Batch) -> Result:
    mean, var = (None if v is None else to_torch(v) for v in given[4:])
    return by_torch(given, lambda x, g, b: (gb.batch_norm(x, g, b, eps=EPS, mean=mean, var=var), (x, g, b)))


def torch_operations(given: Batch) -> Result:
    """As under `torch.compile`, and on other devices: a mask that keeps all goes there too."""
    mask = to_torch(np.ones(len(given.x), bool))
    mean, var = (None if v is None else to_torch(v) for v in given[4:])
    return by_torch(given, lambda x, g, b: (gb.batch_norm(x, g, b, eps=EPS, mean=mean, var=var, mask=mask), (x, g, b)))


def torch_layer(given: Batch) -> Result:
    from gammabeta.torch import BatchNorm

    layer = BatchNorm.from_state(learned(given)).train(given.mean is None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "a batch has NaN or infinity, or a variance beyond torch.float32")
        return by_torch(given, lambda x, *_: (layer(x), (x, layer.weight, layer.bias)))


def jax_function(given: Batch) -> Result:
    import jax

    def run(x: Any, g: Any, b: Any) -> Any:
        return gb.batch_norm(x, g, b, eps=EPS, mean=given.mean, var=given.var)

    @jax.jit
    def both(x: Any, g: Any, b: Any, dy: Any) -> Any:
        y, back = jax.vjp(run, x, g, b)
        return y, *back(dy)

    return Result(*map(np.asarray, both(*map(jax.numpy.asarray, (given.x, *given[2:4], given.dy)))))


def flax_layer(given: Batch) -> Result:
    import jax
    from flax import nnx

    from gammabeta.flax import BatchNorm

    layer = BatchNorm.from_state(learned(given))
    layer.train() if given.mean is None else layer.eval()
    dtype = given.x.dtype

    def run(layer: Any, x: Any) -> Any:
        return (layer(x).astype(dtype).astype("float32") * given.dy.astype(np.float32)).sum()

    x = jax.numpy.asarray(given.x)
    slopes, dx = nnx.jit(nnx.grad(run, argnums=(0, 1)))(layer, x)
    y = nnx.jit(lambda layer, x: layer(x))(layer, x).astype(dtype)
    return Result(*map(np.asarray, (y, dx, slopes.scale[...], slopes.bias[...])))


def tensorflow_function(given: Batch) -> Result:
    import tensorflow as tf

    x, g, b, dy = map(tf.constant, (given.x, *given[2:4], given.dy))

    @tf.function
    def both() -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, g, b])
            y = gb.batch_norm(x, g, b, eps=EPS, mean=given.mean, var=given.var)
        return y, *tape.gradient(y, [x, g, b], dy)

    return Result(*(v.numpy() for v in both()))


def keras_layer(given: Batch) -> Result:
    """On the backend of this process, TensorFlow; tests/support/keras_layer.py has the others."""
    import keras
    import tensorflow as tf

    from gammabeta.keras import BatchNormalization

    assert keras.backend.backend() == "tensorflow"
    layer = BatchNormalization.from_state(learned(given), dtype=keras.DTypePolicy(policy(given.x.dtype.name)))
    x, dy = tf.constant(given.x), tf.constant(given.dy)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=given.mean is None)
    slopes = tape.gradient(y, [x, layer.gamma, layer.beta], dy)
    return Result(*(np.asarray(v) for v in (y, *slopes)))


def policy(dtype: str) -> str:
    return dtype if dtype == "float32" else f"mixed_{dtype}"


WAYS = {
    "NumPy, gb.batch_norm": (numpy_function, "numpy"),
    "NumPy, layer": (numpy_layer, "numpy"),
    "torch, gb.batch_norm": (torch_function, "torch"),
    "torch, in operations": (torch_operations, "torch"),
    "torch, layer": (torch_layer, "torch"),
    "JAX, gb.batch_norm": (jax_function, "jax"),
    "TensorFlow, gb.batch_norm": (tensorflow_function, "tensorflow"),
    "Keras, layer": (keras_layer, "keras"),
    "flax, layer": (flax_layer, "flax"),
}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows", [ROWS, 2, 1], ids=lambda rows: f"{rows}-rows")
@pytest.mark.parametrize("way", WAYS)
def test_no_error_is_more_than_four_times_the_best(framework, way, rows, dtype, training):
    run, name = WAYS[way]
    framework(name)
    if training and rows == 1:
        pytest.skip("one row has no batch statistics: y is β, or it is refused, as each layer's tests show")
    given = batch(dtype, rows, training)
    for quantity, found in errors(run(given), given).items():
        assert (found <= MOST).all(), f"{quantity}: {found.round(2).tolist()} units"


def test_the_measure_can_fail():
    """The formula as today's peers have it, in one pass and float32, is off by thousands of units."""
    given = batch("float32", ROWS, True)
    x = given.x
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        var = (x * x).mean(0) - x.mean(0) ** 2
        y = (x - x.mean(0)) / np.sqrt(var + np.float32(EPS)) * given.gamma + given.beta
    found = errors(numpy_layer(given)._replace(y=y.astype(np.float32)), given)["y"]
    assert (np.nan_to_num(found[1:5], nan=np.inf) > 1000 * MOST).all()
