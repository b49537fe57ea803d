"""Conventions: each preset against the framework that it is named after, and the errors."""

import inspect

import numpy as np
import pytest

import gammabeta as gb
from gammabeta.numpy import BatchNorm

BATCHES = np.random.default_rng(3).normal(5.0, 2.0, (7, 4, 3)).astype(np.float32)

# Seven updates in float32: each rounds the running value a few times, at most 2⁻²⁴ of its size, here below 8. The batch
# variance of 4 rows of float32 adds no more than 8 roundings of it.
CLOSE = 7 * 16 * 8 * 2.0**-24


def kept(convention):
    """The running statistics after the batches, by the definition."""
    layer = BatchNorm(3, convention=convention)
    for batch in BATCHES:
        layer.forward(batch, training=True)
    return layer.running_mean, layer.running_var


def agree(convention, mean, var):
    for ours, theirs in zip(kept(convention), (mean, var), strict=True):
        np.testing.assert_allclose(np.asarray(theirs), ours, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_torch(framework, momentum):
    torch = framework("torch")
    layer = torch.nn.BatchNorm1d(3, momentum=momentum)
    assert layer.eps == gb.TORCH.eps and torch.nn.BatchNorm1d(3).momentum == pytest.approx(1 - gb.TORCH.decay)
    for batch in BATCHES:
        layer(torch.from_numpy(batch))
    convention = gb.TORCH if momentum else gb.TORCH.replace(decay=None)
    agree(convention, layer.running_mean.numpy(), layer.running_var.numpy())


def test_keras(framework):
    framework("tensorflow")
    keras = framework("keras")
    layer = keras.layers.BatchNormalization()
    assert (layer.epsilon, layer.momentum, layer.axis) == (gb.KERAS.eps, gb.KERAS.decay, gb.KERAS.feature_axis)
    for batch in BATCHES:
        layer(batch, training=True)
    mean, var = (v.value.numpy() for v in (layer.moving_mean, layer.moving_variance))
    agree(gb.KERAS, mean, var)


def test_flax(framework):
    framework("jax")
    nnx = framework("flax.nnx")
    layer = nnx.BatchNorm(3, rngs=nnx.Rngs(0), use_fast_variance=False)
    assert (layer.epsilon, layer.momentum, layer.axis) == (gb.FLAX.eps, gb.FLAX.decay, gb.FLAX.feature_axis)
    for batch in BATCHES:
        layer(batch, use_running_average=False)
    agree(gb.FLAX, layer.mean[...], layer.var[...])


def test_tensorflow(framework):
    tf = framework("tensorflow")
    operation = tf.compat.v1.nn.fused_batch_norm
    assert inspect.signature(operation).parameters["epsilon"].default == gb.TENSORFLOW.eps
    mean, var = np.zeros(3, np.float32), np.ones(3, np.float32)
    for batch in BATCHES:
        x = batch[:, None, None, :]
        _, m, v = operation(x, np.ones(3, np.float32), np.zeros(3, np.float32), epsilon=gb.TENSORFLOW.eps)
        mean, var = (gb.TENSORFLOW.updated(*pair, batches=1) for pair in ((mean, m.numpy()), (var, v.numpy())))
    agree(gb.TENSORFLOW, mean, var)


def test_onnx():
    """The operator's text: running = input · momentum + current · (1 − momentum), with the population variance."""
    mean, var = np.zeros(3), np.ones(3)
    for batch in BATCHES.astype(np.float64):
        mean, var = mean * 0.9 + batch.mean(axis=0) * 0.1, var * 0.9 + batch.var(axis=0) * 0.1
    agree(gb.ONNX, mean, var)


def test_the_comparison_can_fail():
    with pytest.raises(AssertionError):
        agree(gb.TORCH, *kept(gb.ONNX))


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_a_decay_beyond_0_to_1_is_refused(decay):
    with pytest.raises(gb.DataError, match=r"decay.* must be from 0 to 1, got .*momentum"):
        gb.Convention(decay=decay)


@pytest.mark.parametrize("eps", [0, -1e-5, float("nan"), float("inf")])
def test_an_eps_that_is_not_positive_is_refused(eps):
    with pytest.raises(gb.DataError, match="eps must be greater than 0 and finite, got"):
        gb.TORCH.replace(eps=eps)


def test_a_convention_is_a_value():
    assert gb.Convention(eps=1e-5, decay=0.9, unbiased=True, feature_axis=1) == gb.TORCH
    assert len({gb.TORCH, gb.KERAS, gb.TENSORFLOW, gb.FLAX, gb.ONNX}) == 5
    with pytest.raises(AttributeError):
        gb.TORCH.eps = 1.0
