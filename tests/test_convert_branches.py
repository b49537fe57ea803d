"""Networks with branches, which each framework runs in an order of its own, go from one to the other all the same."""

import numpy as np
import pytest

import gammabeta as gb
from gammabeta.errors import DataError, KindError, StateError

torch, keras, nnx = pytest.importorskip("torch"), pytest.importorskip("keras"), pytest.importorskip("flax.nnx")
import jax  # noqa: E402
from torch import nn  # noqa: E402

from gammabeta.networks import ROUNDING, apart  # noqa: E402
from networks import settled  # noqa: E402

L = keras.layers
EPS = 1e-5
STAGES = (8, 8, 1), (32, 16, 2)
"""Bottleneck blocks: inputs, width, stride. Of the first, the last convolution and the shortcut's have one shape."""


def images(channels=3):
    return np.random.default_rng(0).normal(size=(3, 8, 8, channels)).astype(np.float32)


def first(x):
    """Channels first, for torch."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def by_torch(model, x):
    with torch.no_grad():
        return model(first(x)).numpy()


def by_keras(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


def by_flax(model, x):
    model.eval()
    return np.asarray(model(x))


class Unit(nn.Sequential):
    """A convolution and its batch norm."""

    def __init__(self, inputs, outputs, taps=1, stride=1):
        super().__init__(
            nn.Conv2d(inputs, outputs, taps, stride, taps // 2, bias=False), nn.BatchNorm2d(outputs, eps=EPS)
        )


class Bottleneck(nn.Module):
    """ResNet's (He et al. 2015): 1 × 1, 3 × 3, 1 × 1, and a shortcut that runs last, or first."""

    def __init__(self, inputs, width, stride, shortcut_first):
        super().__init__()
        self.a, self.b, self.c = Unit(inputs, width, 1, stride), Unit(width, width, 3), Unit(width, 4 * width)
        self.shortcut = Unit(inputs, 4 * width, 1, stride) if inputs != 4 * width else nn.Identity()
        self.shortcut_first = shortcut_first

    def forward(self, x):
        past = self.shortcut(x) if self.shortcut_first else None
        y = self.c(self.b(self.a(x).relu()).relu())
        return (y + (self.shortcut(x) if past is None else past)).relu()


def torch_resnet(shortcut_first=False, seed=0):
    torch.manual_seed(seed)
    blocks = [
        Bottleneck(*shape, shortcut_first)
        for inputs, width, stride in STAGES
        for shape in ((inputs, width, stride), (4 * width, width, 1))
    ]
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 5)
    return settled(nn.Sequential(Unit(3, 8, 3), nn.ReLU(), *blocks, *head), seed)


def keras_unit(x, outputs, taps=1, stride=1, eps=EPS):
    y = L.Conv2D(outputs, taps, stride, padding="same" if taps > 1 else "valid", use_bias=False)(x)
    return L.BatchNormalization(epsilon=eps)(y)


def keras_resnet(eps=EPS):
    """Keras runs it by depth: the shortcut in the middle of the block."""
    inputs = keras.Input((8, 8, 3))
    x = L.ReLU()(keras_unit(inputs, 8, 3, eps=eps))
    for _, width, stride in STAGES:
        for step in (stride, 1):
            past = x if x.shape[-1] == 4 * width else keras_unit(x, 4 * width, 1, step, eps)
            y = L.ReLU()(keras_unit(x, width, 1, step, eps))
            y = L.ReLU()(keras_unit(y, width, 3, eps=eps))
            x = L.ReLU()(L.Add()([past, keras_unit(y, 4 * width, eps=eps)]))
    return stirred(keras.Model(inputs, L.Dense(5)(L.GlobalAveragePooling2D()(x))))


def stirred(model, seed=0):
    """Keras' model with statistics and parameters far from their initial ones."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            ranges = ((-1.5, 1.5), (-1, 1), (-1, 1), (0.5, 2))
            layer.set_weights([random.uniform(*ends, size=layer.gamma.shape) for ends in ranges])
    return model


class FlaxUnit(nnx.Module):
    def __init__(self, inputs, outputs, taps=1, stride=1, *, rngs):
        self.conv = nnx.Conv(inputs, outputs, (taps, taps), (stride, stride), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(outputs, epsilon=EPS, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.conv(x))


class FlaxBottleneck(nnx.Module):
    def __init__(self, inputs, width, stride, rngs):
        self.a, self.b = FlaxUnit(inputs, width, 1, stride, rngs=rngs), FlaxUnit(width, width, 3, rngs=rngs)
        self.c = FlaxUnit(width, 4 * width, rngs=rngs)
        self.shortcut = FlaxUnit(inputs, 4 * width, 1, stride, rngs=rngs) if inputs != 4 * width else lambda x: x

    def __call__(self, x):
        past = self.shortcut(x)
        return jax.nn.relu(past + self.c(jax.nn.relu(self.b(jax.nn.relu(self.a(x))))))


class FlaxResnet(nnx.Module):
    def __init__(self, seed=1):
        rngs = nnx.Rngs(seed)
        self.stem, self.head = FlaxUnit(3, 8, 3, rngs=rngs), nnx.Linear(64, 5, rngs=rngs)
        self.blocks = nnx.List(
            FlaxBottleneck(*shape, rngs)
            for inputs, width, stride in STAGES
            for shape in ((inputs, width, stride), (4 * width, width, 1))
        )

    def __call__(self, x):
        x = jax.nn.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


def same(got, want):
    """As `Parity.same` promises."""
    assert apart(got, want) <= ROUNDING


@pytest.fixture(scope="module")
def source():
    model = torch_resnet()
    return gb.torch.learned(model, first(images())), by_torch(model, images())


def test_a_resnet_goes_from_torch_to_keras_and_back(source):
    network, want = source
    model = keras_resnet()
    read = gb.keras.learned(model, images())
    assert [layer.kind for layer in read.layers] != [layer.kind for layer in network.layers], "the orders must differ"
    report = gb.keras.adopt(model, network)
    assert report.same and len(report.layers) == 29, report
    same(by_keras(model, images()), want)
    for flag in (False, True):
        again = torch_resnet(shortcut_first=flag, seed=1)
        assert gb.torch.adopt(again, gb.keras.learned(model, images())).same
        same(by_torch(again, images()), want)
        for name, value in torch_resnet().state_dict().items():
            assert "num_batches" in name or torch.equal(again.state_dict()[name], value), name


def test_a_resnet_goes_from_torch_to_flax_and_on_to_keras(source):
    network, want = source
    model, other = FlaxResnet(), keras_resnet()
    assert gb.flax.adopt(model, network).same
    same(by_flax(model, images()), want)
    read = gb.flax.learned(model, images())
    assert gb.keras.adopt(other, read).same
    same(by_keras(other, images()), want)
    report = gb.parity(network, gb.keras.learned(other, images()))
    assert report.same and gb.parity(read, network).same, report
