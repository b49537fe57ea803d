"""Networks with branches, which each framework runs in an order of its own, go from one to the other all the same."""

import re

import numpy as np
import pytest

import gammabeta as gb
from gammabeta.errors import DataError, KindError, StateError

torch, keras, nnx = pytest.importorskip("torch"), pytest.importorskip("keras"), pytest.importorskip("flax.nnx")
import jax  # noqa: E402
from torch import nn  # noqa: E402

from gammabeta.networks.transfer.snapshot import ROUNDING, relative_error  # noqa: E402
from trained_networks import settled  # noqa: E402

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


def drawn(key, shape, dtype, **_):
    """An initializer that compiles nothing."""
    return jax.numpy.asarray(np.random.default_rng(shape).normal(size=shape), dtype)


class FlaxUnit(nnx.Module):
    def __init__(self, inputs, outputs, taps=1, stride=1, *, rngs):
        self.conv = nnx.Conv(
            inputs, outputs, (taps, taps), (stride, stride), use_bias=False, kernel_init=drawn, rngs=rngs
        )
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
        self.stem, self.head = FlaxUnit(3, 8, 3, rngs=rngs), nnx.Linear(64, 5, kernel_init=drawn, rngs=rngs)
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
    assert relative_error(got, want) <= ROUNDING


@pytest.fixture(scope="module")
def source():
    model = torch_resnet()
    return gb.torch.snapshot(model, first(images())), by_torch(model, images())


def test_a_resnet_goes_from_torch_to_keras_and_back(source):
    network, want = source
    model = keras_resnet()
    read = gb.keras.snapshot(model, images())
    assert [layer.kind for layer in read.layers] != [layer.kind for layer in network.layers], "the orders must differ"
    report = gb.keras.load_snapshot(model, network)
    assert report.same and len(report.layers) == 31, report
    same(by_keras(model, images()), want)
    for flag in (False, True):
        again = torch_resnet(shortcut_first=flag, seed=1)
        assert gb.torch.load_snapshot(again, gb.keras.snapshot(model, images())).same
        same(by_torch(again, images()), want)
        for name, value in torch_resnet().state_dict().items():
            assert "num_batches" in name or torch.equal(again.state_dict()[name], value), name


def test_a_resnet_goes_from_torch_to_flax_and_on_to_keras(source):
    network, want = source
    model, other = FlaxResnet(), keras_resnet()
    assert gb.flax.load_snapshot(model, network).same
    same(by_flax(model, images()), want)
    read = gb.flax.snapshot(model, images())
    assert gb.keras.load_snapshot(other, read).same
    same(by_keras(other, images()), want)
    report = gb.parity(network, gb.keras.snapshot(other, images()))
    assert report.same and gb.parity(read, network).same, report


class Siblings(nn.Module):
    """Branches of equal shapes side by side, which only what follows them tells relative_error."""

    def __init__(self, order=(0, 1, 2), blocks=1, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.order = order
        self.branches = nn.ModuleList(nn.ModuleList(Unit(3, 3) for _ in order) for _ in range(blocks))
        self.joints = nn.ModuleList(nn.Conv2d(9, 3, 1) for _ in range(blocks))
        settled(self, seed)

    def forward(self, x):
        for branches, joint in zip(self.branches, self.joints, strict=True):
            run = {i: branches[i](x).relu() for i in self.order}
            x = joint(torch.cat([run[0], run[1], run[2]], 1)).tanh()
        return x


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1), (2, 1, 0)])
def test_branches_of_equal_shapes_in_another_order(order):
    x = first(images())
    model, other = Siblings(blocks=2), Siblings(order, 2, seed=1)
    network = gb.torch.snapshot(model, x)
    report = gb.torch.load_snapshot(other, network)
    assert report.same and all(a == b for a, b in report.layers), report
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    again = gb.parity(network, gb.torch.snapshot(other, x))
    assert again.same and all(a == b for a, b in again.layers)


def test_a_wrong_match_that_equal_shapes_hide_is_seen():
    """By force, since left alone it is mended. The joint is given its features in another order."""
    x = first(images())
    model, other = Siblings(), Siblings(seed=1)
    network = gb.torch.snapshot(model, x)
    crossed = {"branches.0.0.0": "branches.0.1.0", "branches.0.1.0": "branches.0.0.0"}
    report = gb.torch.load_snapshot(other, network, names=crossed)
    assert not report.same
    assert report.first.startswith("joints.0 and joints.0: they are given other values, by something after")
    assert dict(report.layers)["branches.0.0.0"] == "branches.0.1.0"
    assert dict(report.layers)["branches.0.2.0"] == "branches.0.2.0", "the others are matched as without names"
    assert relative_error(model(x).detach().numpy(), other(x).detach().numpy()) > 0.01
    assert gb.torch.load_snapshot(other, network).same


def test_names_decide_where_values_cannot():
    """Of an input of zeros, without bias, all siblings give the same: the example shows nothing."""

    class Sums(nn.Module):
        def __init__(self, turned):
            super().__init__()
            self.a, self.b, self.turned = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False), turned

        def forward(self, x):
            pair = (self.b(x), self.a(x))[::-1] if self.turned else (self.a(x), self.b(x))
            return pair[0] - pair[1]

    model, other = Sums(False), Sums(True)
    network = gb.torch.snapshot(model, torch.zeros(2, 3))
    assert gb.torch.load_snapshot(other, network).layers == (("a", "b"), ("b", "a"))
    assert gb.torch.load_snapshot(other, network, names={"a": "a"}).layers == (("a", "a"), ("b", "b"))
    assert torch.equal(other.a.weight, model.a.weight) and torch.equal(other.b.weight, model.b.weight)
    assert gb.parity(network, gb.torch.snapshot(other, torch.zeros(2, 3)), names={"b": "b"}).layers[0] == ("a", "a")


class TorchInception(nn.Module):
    """GoogLeNet's block (Szegedy et al. 2014), all of whose 1 × 1 convolutions have one shape, flattened at the end."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.three, self.five, self.pooled = (Unit(8, 4) for _ in range(4))
        self.stem, self.after3, self.after5 = Unit(3, 8, 3), Unit(4, 6, 3), Unit(4, 6, 5)
        self.head = nn.Linear(20 * 16, 5)
        settled(self)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.stem(x).relu(), 2)
        parts = [
            self.one(x),
            self.after3(self.three(x).relu()),
            self.after5(self.five(x).relu()),
            self.pooled(nn.functional.max_pool2d(x, 3, 1, 1)),
        ]
        return self.head(torch.cat(parts, 1).relu().flatten(1))


def keras_inception():
    inputs = keras.Input((8, 8, 3))
    x = L.MaxPooling2D(2)(L.ReLU()(keras_unit(inputs, 8, 3)))
    pooled = keras_unit(L.MaxPooling2D(3, 1, padding="same")(x), 4)
    five = keras_unit(L.ReLU()(keras_unit(x, 4)), 6, 5)
    three = keras_unit(L.ReLU()(keras_unit(x, 4)), 6, 3)
    x = L.ReLU()(L.Concatenate()([keras_unit(x, 4), three, five, pooled]))
    return stirred(keras.Model(inputs, L.Dense(5)(L.Flatten()(x))))


def test_an_inception_block_and_a_dense_layer_after_its_flattening():
    x = images()
    model, other = TorchInception(), keras_inception()
    report = gb.keras.load_snapshot(other, gb.torch.snapshot(model, first(x)))
    assert report.same and len(report.layers) == 15, report
    same(by_keras(other, x), by_torch(model, x))
    again = settled(TorchInception(), seed=1)
    assert gb.torch.load_snapshot(again, gb.keras.snapshot(other, x)).same
    for name, value in model.state_dict().items():
        assert "num_batches" in name or torch.equal(again.state_dict()[name], value), name


def test_another_eps_in_a_network_with_branches_is_named_and_its_layers_are_matched(source):
    """What differs for another reason leaves the match as it is: with the eps mended, the networks are the same."""
    network, want = source
    model = keras_resnet(eps=1e-3)
    report = gb.keras.load_snapshot(model, network)
    assert report.first.startswith("0.1 and") and "0.1 has eps 1e-05" in report.first
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            layer.epsilon = EPS
    same(by_keras(model, images()), want)


def test_what_lies_between_parts_networks_with_branches():
    x = first(images())
    model, other = Siblings(), Siblings((1, 0, 2), seed=1)
    other.joints[0].register_forward_pre_hook(lambda _, args: (args[0].sigmoid(),))
    report = gb.torch.load_snapshot(other, gb.torch.snapshot(model, x))
    assert report.first == (
        "joints.0 and joints.0: they are given other values, by something after branches.0.2.1 and branches.0.2.1, "
        "which agree. If a layer has met another's counterpart, names={…} says which layer meets which"
    )


def test_bad_names_are_told_and_nothing_is_written():
    x = torch.ones(4, 3)
    network = gb.torch.snapshot(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2), nn.BatchNorm1d(2)), x)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = [p.clone() for p in model.parameters()]
    cases = [
        ({"3": "0"}, DataError, r"the first, torch's, has no '3'\. It has 0, 1, 2"),
        ({"0": "first"}, DataError, r"the second, torch's, has no 'first'\. It has 0, 1, 2"),
        ({"0": 1}, DataError, r"the second, torch's, has no 1\. It has"),
        ({"0": "1", "1": "1"}, DataError, r"each layer of the second network once at most, and give '1' twice"),
        ({"0": "1"}, StateError, r"of the same shapes, got 0 \(dense\) of torch .* and 1 \(dense\) of torch"),
        ({"1": "2"}, StateError, r"of one kind .* got 1 \(dense\) of torch with .* and 2 \(batch norm\)"),
        ([("0", "0")], KindError, r"names must be a mapping .* got list"),
    ]
    for names, kind, words in cases:
        with pytest.raises(kind, match=words):
            gb.torch.load_snapshot(model, network, names=names)
        with pytest.raises(kind, match=words):
            gb.parity(network, gb.torch.snapshot(model, x), names=names)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_names_in_keras_and_flax():
    flax = FlaxUnit(3, 8, 3, rngs=nnx.Rngs(0))
    unit = keras_unit(inputs := keras.Input((8, 8, 3)), 8, 3)
    model, read = keras.Model(inputs, unit), gb.flax.snapshot(flax, images())
    _, norm = (layer.name for layer in gb.keras.snapshot(model, images()).layers)
    for verb, other, own in ((gb.flax.load_snapshot, flax, "norm"), (gb.keras.load_snapshot, model, norm)):
        with pytest.raises(DataError, match=r"the first, flax's, has no 'nothing'\. It has conv, norm"):
            verb(other, read, names={"nothing": own})
        report = verb(other, read, names={"norm": own})
        assert report.same and report.layers[1] == ("norm", own)


def test_branches_without_a_counterpart_are_named():
    x = first(images())
    network = gb.torch.snapshot(torch_resnet(), x)
    other = torch_resnet(shortcut_first=True)
    other[2].shortcut = Unit(8, 32, 3)
    with pytest.raises(StateError, match=r"are 3\.c\.0 \(convolution\) of torch with .* and 2\.shortcut\.0 ") as error:
        gb.torch.load_snapshot(other, network)
    assert "nothing else that is left fits 3.c.0 either. Nothing is written; names={…} says" in str(error.value)


class Heads(nn.Module):
    """Two layers of one shape, and nothing with weights after them."""

    def __init__(self, second_first, kind, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.a, self.b, self.second_first, self.kind = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1), second_first, kind

    def forward(self, x):
        b = self.b(x) if self.second_first else None
        a = self.a(x)
        b = self.b(x) if b is None else b
        return {"mapping": {"b": b, "a": a}, "pair": (a, b), "joined": torch.cat([a, b], 1)}[self.kind]


@pytest.mark.parametrize("kind", ["mapping", "pair", "joined"])
def test_the_outputs_tell_the_last_branches_apart(kind):
    x = first(images())
    model, other = Heads(False, kind), Heads(True, kind, seed=1)
    network = gb.torch.snapshot(model, x)
    assert gb.torch.load_snapshot(other, network).layers == (("a", "a"), ("b", "b"))
    crossed = gb.torch.load_snapshot(other, network, names={"a": "b"})
    assert re.match(
        r"output( 0)? and output( 0)?: they are given other values, by something after b and a", crossed.first
    )
    assert not gb.parity(network, gb.torch.snapshot(other, x)).same
    assert gb.torch.load_snapshot(other, network).same


def test_outputs_are_compared_in_either_layout():
    x = images()
    model = Heads(False, "joined")
    inputs = keras.Input((8, 8, 3))
    heads = [L.Conv2D(2, 1)(inputs) for _ in range(2)]
    joined = L.Concatenate()(heads[::-1])
    for source, end in ((model, joined), (nn.Sequential(model, nn.Flatten()), L.Flatten()(joined))):
        other = keras.Model(inputs, end)
        network = gb.torch.snapshot(source, first(x))
        assert gb.keras.load_snapshot(other, network).same
        assert gb.torch.load_snapshot(source, gb.keras.snapshot(other, x)).same
        assert network.outputs[0].shape == ((3, 4, 8, 8) if source is model else (3, 256))
    report = gb.keras.load_snapshot(
        keras.Model(inputs, L.ReLU()(L.Concatenate()(heads))), gb.torch.snapshot(model, first(x))
    )
    assert report.first.startswith("output and output: they are given other values, by something after b and conv2d")


def test_many_equal_branches_are_named():
    """Twelve heads have 479,001,600 arrangements: 24 are tried, then the first match is left."""

    class Many(nn.Module):
        def __init__(self, step, seed):
            super().__init__()
            torch.manual_seed(seed)
            self.heads, self.joint, self.step = (
                nn.ModuleList(nn.Linear(3, 2) for _ in range(12)),
                nn.Linear(24, 2),
                step,
            )

        def forward(self, x):
            return self.joint(torch.cat([head(x) for head in self.heads[:: self.step]][:: self.step], 1))

    x = torch.from_numpy(images()[0, 0])
    model, other = Many(1, 0), Many(-1, 1)
    network = gb.torch.snapshot(model, x)
    report = gb.torch.load_snapshot(other, network)
    assert "something after heads.11 and heads.0, which agree. If a layer has met another's counterpart" in report.first
    assert torch.equal(other.heads[0].weight, model.heads[11].weight)
    assert torch.equal(other.joint.weight, model.joint.weight)
    assert gb.torch.load_snapshot(other, network, names={f"heads.{i}": f"heads.{i}" for i in range(11)}).same
