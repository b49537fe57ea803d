"""What a network has learned goes from framework to framework, layer by layer, and where two part is said."""

import numpy as np
import pytest

import gammabeta as gb
from gammabeta.errors import KindError, StateError

torch, keras, nnx = pytest.importorskip("torch"), pytest.importorskip("keras"), pytest.importorskip("flax.nnx")
import jax  # noqa: E402
from torch import nn  # noqa: E402

from gammabeta.networks.transfer.snapshot import reordering, same_padding  # noqa: E402
from trained_networks import settled  # noqa: E402

L = keras.layers
EPS = 1e-5


def images():
    return np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)


def first(x):
    """Channels first, for torch."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def in_torch(eps=EPS, seed=0):
    torch.manual_seed(seed)
    return settled(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4, eps=eps),
            nn.ReLU(),
            nn.Conv2d(4, 8, 3, groups=2, bias=False),
            nn.GroupNorm(2, 8, eps=eps),
            nn.Conv2d(8, 8, 3, 2, 1, groups=8),
            nn.ConvTranspose2d(8, 4, 2, 2),
            gb.torch.BatchNorm(4, eps=eps),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(36, 10),
            nn.LayerNorm(10, eps=eps),
            nn.Linear(10, 2, bias=False),
        ),
        seed,
    )


def in_keras(eps=EPS):
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            L.Conv2D(4, 3, padding="same", activation="relu" if eps is None else None),
            L.BatchNormalization(epsilon=eps or EPS),
            L.ReLU(),
            L.Conv2D(8, 3, groups=2, use_bias=False),
            L.GroupNormalization(2, epsilon=eps or EPS),
            L.ZeroPadding2D(1),
            L.DepthwiseConv2D(3, 2),
            L.Conv2DTranspose(4, 2, 2),
            gb.keras.BatchNormalization(epsilon=eps or EPS),
            L.MaxPooling2D(2),
            L.Flatten(),
            L.Dense(10),
            L.LayerNormalization(epsilon=eps or EPS),
            L.Dense(2),
        ]
    )


class InFlax(nnx.Module):
    def __init__(self, eps=EPS, seed=0):
        rngs = nnx.Rngs(seed)
        self.first = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, epsilon=eps, rngs=rngs)
        self.grouped = nnx.Conv(4, 8, (3, 3), padding="VALID", feature_group_count=2, use_bias=False, rngs=rngs)
        self.groups = nnx.GroupNorm(8, num_groups=2, epsilon=eps, rngs=rngs)
        self.deep = nnx.Conv(8, 8, (3, 3), (2, 2), padding=1, feature_group_count=8, rngs=rngs)
        self.up = nnx.ConvTranspose(8, 4, (2, 2), (2, 2), padding="VALID", rngs=rngs)
        self.ours = gb.flax.BatchNorm(4, epsilon=eps, rngs=rngs)
        self.dense = nnx.Linear(36, 10, rngs=rngs)
        self.layer = nnx.LayerNorm(10, epsilon=eps, rngs=rngs)
        self.head = nnx.Linear(10, 2, rngs=rngs)

    def __call__(self, x):
        x = self.groups(self.grouped(jax.nn.relu(self.norm(self.first(x)))))
        x = nnx.max_pool(self.ours(self.up(self.deep(x))), (2, 2), (2, 2))
        return self.head(self.layer(self.dense(x.reshape(len(x), -1))))


def by_keras(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


def close(got, want):
    """Ten layers, each of whose sums of up to 100 products are right to √100 half ULPs of the largest (Higham §2.8)."""
    assert np.abs(got - want).max() <= 10 * 10 * 2.0**-24 * 4 * np.abs(want).max()


@pytest.fixture(scope="module")
def source():
    """torch's model, its reading, and its output."""
    model, x = in_torch(), first(images())
    with torch.no_grad():
        return gb.torch.snapshot(model, x), model(x).numpy()


def test_from_torch_to_keras_and_back(source):
    network, want = source
    model = in_keras()
    report = gb.keras.load_snapshot(model, network)
    assert report.same and len(report.layers) == 10, report
    close(by_keras(model, images()), want)
    again = in_torch(seed=1)
    assert gb.torch.load_snapshot(again, gb.keras.snapshot(model, images())).same
    with torch.no_grad():
        close(again(first(images())).numpy(), want)


def test_from_torch_to_flax_and_back(source):
    network, want = source
    model = InFlax()
    report = gb.flax.load_snapshot(model, network)
    assert report.same and report.layers[0] == ("0", "first"), report
    model.eval()
    close(np.asarray(model(images())), want)
    again = in_torch(seed=1)
    assert gb.torch.load_snapshot(again, gb.flax.snapshot(model, images())).same
    for name, value in again.state_dict().items():
        if "num_batches" not in name:
            np.testing.assert_array_equal(value.numpy(), in_torch().state_dict()[name].numpy())


def test_from_keras_to_flax_and_back():
    model, x = in_keras(), images()
    other = InFlax(seed=1)
    assert gb.flax.load_snapshot(other, gb.keras.snapshot(model, x)).same
    other.eval()
    close(np.asarray(other(x)), by_keras(model, x))
    again = in_keras()
    assert gb.keras.load_snapshot(again, gb.flax.snapshot(other, x)).same
    for got, want in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(got, want)


def test_models_stay_as_they_are(source):
    model = in_keras()
    before, held = model.get_weights(), [dict(vars(layer)) for layer in model.layers]
    gb.keras.snapshot(model, images())
    assert [vars(layer).keys() for layer in model.layers] == [h.keys() for h in held]
    assert all(vars(layer)["_path"] == h["_path"] for layer, h in zip(model.layers, held, strict=True) if "_path" in h)
    for got, want in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, want)
    calls = [kind.__call__ for kind in (nnx.Linear, nnx.Conv, nnx.BatchNorm)]
    flax = InFlax()
    gb.flax.snapshot(flax, images())
    assert calls == [kind.__call__ for kind in (nnx.Linear, nnx.Conv, nnx.BatchNorm)]
    assert not flax.norm.use_running_average


def test_another_eps_is_named():
    network = gb.torch.snapshot(in_torch(), first(images()))
    report = gb.keras.load_snapshot(in_keras(eps=1e-2), network)
    assert not report.same
    assert report.first.startswith("1 and batch_normalization")
    assert "from the same input they give other values; 1 has eps 1e-05, batch_normalization" in report.first
    assert report.first.endswith("has 0.01")
    assert sum("has eps" in line for line in report.rules) == 4
    assert any("decay 0.9" in line and "after further training" in line for line in report.rules)
    assert any("unbiased True" in line for line in report.rules)
    assert str(report).startswith("they part at 1 and batch_normalization")


def test_other_weights_padding_and_something_between_are_named():
    x = images()
    one = gb.torch.snapshot(in_torch(), first(x))
    other = gb.torch.snapshot(in_torch(seed=1), first(x))
    assert "0 and 0: from the same input they give other values; other weight" in gb.parity(one, other).first
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3))
    same = nn.Sequential(model[0], nn.Tanh(), model[2])
    report = gb.parity(gb.torch.snapshot(model, first(x)), gb.torch.snapshot(same, first(x)))
    assert report.first == "2 and 2: they are given other values, by something after 0 and 0, which agree"
    narrow = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(4, 3, padding="valid"), L.ReLU(), L.Conv2D(2, 3)])
    report = gb.keras.load_snapshot(narrow, gb.torch.snapshot(model, first(x)))
    assert (
        "other values of other shapes, (3, 8, 8, 4) and (3, 6, 6, 4) with features last; 0 has padding" in report.first
    )
    assert gb.parity(one, one).same and gb.parity(one, one).difference == 0
    shifted = gb.torch.snapshot(in_torch(), first(x) + 1)
    assert "by something after the model's input" in gb.parity(one, shifted).first


def test_same_padding_of_a_stride_is_not_torchs():
    """TensorFlow pads (0, 1) where torch pads (1, 1): the well-known trap of a stride of 2."""
    x = images()
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1))
    strided = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(4, 3, 2, padding="same", name="conv2d")])
    report = gb.keras.load_snapshot(strided, gb.torch.snapshot(model, first(x)))
    assert report.first.endswith("0 has padding ((1, 1), (1, 1)), conv2d has ((0, 1), (0, 1))"), report
    assert same_padding((8, 7), (3, 3), (2, 2), (1, 1)) == ((0, 1), (1, 1))


def test_sequences_and_embeddings(framework):
    rows = np.array([[1, 2, 3], [4, 0, 1]])
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(3, eps=1e-3))
    network = gb.torch.snapshot(model, torch.from_numpy(rows))
    other = keras.Sequential([keras.Input((3,), dtype="int32"), L.Embedding(5, 4), L.Dense(3), L.LayerNormalization()])
    assert gb.keras.load_snapshot(other, network).same

    class Flax(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.a, self.b = nnx.Embed(5, 4, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)
            self.c = nnx.LayerNorm(3, epsilon=1e-3, rngs=rngs)

        def __call__(self, x):
            return self.c(self.b(self.a(x)))

    assert gb.flax.load_snapshot(Flax(), network).same


@pytest.mark.parametrize("transpose", [False, True])
def test_flaxs_two_transposed_convolutions(transpose):
    x = images()
    model = nn.Sequential(nn.ConvTranspose2d(3, 5, 3, 2))

    class Up(nnx.Module):
        def __init__(self):
            inputs = (5, 3) if transpose else (3, 5)
            self.up = nnx.ConvTranspose(
                3, 5, (3, 3), (2, 2), padding="VALID", transpose_kernel=transpose, rngs=nnx.Rngs(0)
            )
            assert self.up.kernel.shape == (3, 3, *inputs)

        def __call__(self, x):
            return self.up(x)

    assert gb.flax.load_snapshot(Up(), gb.torch.snapshot(model, first(x))).same


def test_a_missing_weight_that_makes_no_difference():
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.BatchNorm1d(2, affine=False))
    network = gb.torch.snapshot(model, torch.ones(4, 3))
    other = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    nn.init.normal_(other[1].weight)
    assert gb.torch.load_snapshot(other, network).same and other[0].bias.eq(0).all() and other[1].weight.eq(1).all()
    assert gb.torch.load_snapshot(model, gb.torch.snapshot(other, torch.ones(4, 3))).same
    nn.init.ones_(other[0].bias)
    with pytest.raises(StateError, match=r"the first that do not are 0 \(dense\) .* 'bias': \(2,\)"):
        gb.torch.load_snapshot(model, gb.torch.snapshot(other, torch.ones(4, 3)))


def test_models_that_do_not_match_name_the_first_layer_and_stay():
    x = torch.ones(4, 3)
    network = gb.torch.snapshot(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2), nn.BatchNorm1d(2)), x)
    cases = [
        (
            nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 5)),
            r"are 1 \(dense\) of torch with .*\(2, 2\).* and 1 \(dense\)",
        ),
        (nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)), r"are 1 \(dense\) of torch .* and 1 \(layer norm\) of torch"),
        (nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)), r"the torch model has 2 \(batch norm\) more, the first of 1"),
    ]
    for model, words in cases:
        before = [p.clone() for p in model.parameters()]
        with pytest.raises(StateError, match=words):
            gb.torch.load_snapshot(model, network)
        assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_layers_that_are_not_known_or_not_used():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.unused = nn.GRUCell(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.cell(x)

    network = gb.torch.snapshot(Recurrent(), torch.ones(2, 3))
    with pytest.raises(StateError, match=r"in the torch model these are not: cell \(GRUCell\), unused \(Linear\)"):
        gb.parity(network, network)
    recurrent = keras.Sequential([keras.Input((3, 3)), L.GRU(2)])
    network = gb.keras.snapshot(recurrent, np.ones((1, 3, 3), np.float32))
    with pytest.raises(StateError, match=r"in the keras model these are not: .*GRU"):
        gb.parity(network, network)
    none = gb.torch.snapshot(nn.Sequential(nn.ReLU()), torch.ones(2, 3))
    with pytest.raises(StateError, match="must have layers with weights, and the torch model has none"):
        gb.parity(none, none)
    for verb, words in (
        (gb.torch.snapshot, "model must be a torch.nn.Module, got int"),
        (gb.keras.snapshot, "model must be a Keras model or layer, got int"),
        (gb.flax.snapshot, "model must be a flax.nnx.Module, got int"),
    ):
        with pytest.raises(KindError, match=words):
            verb(3, np.ones(3))


def test_reordering():
    x = np.random.default_rng(0).normal(size=(5, 12))
    there = np.arange(12).reshape(3, 4).T.reshape(-1)
    np.testing.assert_array_equal(reordering(x, x[:, there]), there)
    np.testing.assert_array_equal(reordering(x[:, there], x), np.argsort(there))
    assert reordering(x, x) is None and reordering(x, x[:, ::-1]) is None and reordering(x[:, :7], x[:, 6::-1]) is None
    assert reordering(x, x[:, :6]) is None and reordering(x[None], x[None][..., there]) is None
