"""What others' networks and a new user's mistakes ask of fold, adapt, snapshot and load_snapshot."""

import pytest

import gammabeta as gb
from gammabeta.errors import DataError, KindError

torch, keras, nnx = pytest.importorskip("torch"), pytest.importorskip("keras"), pytest.importorskip("flax.nnx")
from torch import nn  # noqa: E402

from gammabeta.torch import adapt, fold, freeze, load_snapshot, snapshot  # noqa: E402


def network():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).eval()


def by(kind, **own):
    """A model whose convolution is of a subclass."""
    return nn.Sequential(type("Mine", (kind,), own)(3, 6, 3), nn.BatchNorm2d(6)).eval()


def test_a_subclass_with_torchs_forward_pass_is_folded():
    x = torch.randn(2, 3, 6, 6)
    for kind in (nn.Conv2d, nn.ConvTranspose2d):
        folded, report = fold(by(kind), example=x)
        assert [f.into for f in report.folded] == [("0",)]
        # √(3 · 9) half ULPs of the sums (Higham 2002, §2.8), twice, and a margin of two.
        assert report.difference.ulps <= 4 * 27**0.5
        assert type(folded[0]).__name__ == "Mine"
    assert snapshot(by(nn.Conv2d), x).layers[0].kind == "convolution"


@pytest.mark.parametrize(
    "own",
    [
        {"forward": lambda self, x: nn.Conv2d.forward(self, x).relu()},
        {"_conv_forward": lambda self, x, weight, bias: nn.Conv2d._conv_forward(self, x, weight * 2, bias)},
        {"__call__": lambda self, x: nn.Conv2d.__call__(self, x).relu()},
    ],
    ids=["forward", "_conv_forward", "__call__"],
)
def test_a_subclass_with_another_one_is_not(own):
    """What is not known to be linear stays, or is seen through: the output is the same in any case."""
    model, x = by(nn.Conv2d, **own), torch.randn(2, 3, 6, 6)
    nn.init.constant_(model[1].running_mean, 0.5)
    folded, report = fold(model, example=x)
    assert not report.folded
    assert torch.equal(folded(x), model(x))


def test_frozen_norms_are_read_and_written():
    """A frozen norm is the batch norm that it was."""
    x, source = torch.randn(16, 4), network()
    source.train()(x), source.eval()
    target = freeze(network())
    assert load_snapshot(target, snapshot(freeze(source), x)).same
    assert torch.equal(target.train()(x), source(x))
    inputs = keras.Input((4,))
    y = inputs
    for layer in (keras.layers.Dense(8), keras.layers.BatchNormalization(epsilon=1e-5)):
        y = layer(y)
    there = gb.keras.freeze(keras.Model(inputs, keras.layers.Dense(2)(keras.ops.relu(y))))
    assert gb.keras.load_snapshot(there, snapshot(source, x)).same
    rngs = nnx.Rngs(0)
    layers = nnx.Linear(4, 8, rngs=rngs), nnx.BatchNorm(8, rngs=rngs), nnx.relu, nnx.Linear(8, 2, rngs=rngs)
    assert gb.flax.load_snapshot(gb.flax.freeze(nnx.Sequential(*layers)), snapshot(source, x)).same


@pytest.mark.parametrize(
    "verb", [load_snapshot, gb.keras.load_snapshot, gb.flax.load_snapshot], ids=["torch", "keras", "flax"]
)
def test_a_network_is_what_learned_gave(verb):
    with pytest.raises(KindError, match=r"network must be what snapshot\(model, example\) gave, got Sequential"):
        verb(network(), network())
    with pytest.raises(KindError, match=r"network must be what snapshot\(model, example\) gave, got int"):
        gb.parity(3, 4)


def test_a_prior_is_a_number():
    with pytest.raises(KindError, match="prior, a number of samples, must be a number, got str"):
        adapt(network(), prior="16")


def test_a_model_without_values_is_refused():
    model = network().to("meta")
    for verb in (fold, lambda model: snapshot(model, torch.randn(2, 4))):
        with pytest.raises(DataError, match=r"these are on the meta device: 0.weight, .*: load its weights first"):
            verb(model)
