"""The layers that normalize by a fitted map: `transform`'s values, gradients, types, saving and errors."""

import copy

import numpy as np
import pytest
from sklearn import preprocessing

import gammabeta as gb
from gammabeta.networks import normalize

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(50, 3)) * [1, 5, 0] + [1e6, 3, 7.1]
X = DATA[:6].astype(np.float32)
SCALERS = {
    "standard": gb.StandardScaler().fit(DATA),
    "clipped": gb.MinMaxScaler((-0.1, 0.9), clip=True).fit(DATA[6:12]),
    "images": gb.StandardScaler(axis=(0, 2, 3)).fit(RNG.normal(5, 2, size=(4, 3, 2, 2))),
}
ULP = 2.0**-23


def given(name):
    """A batch for a scaler, and its gradient of Σy²."""
    x = X if name != "images" else RNG.normal(5, 2, size=(2, 3, 2, 2)).astype(np.float32)
    scaler = SCALERS[name]
    y = scaler.affine_(x.astype(np.float64), axis=scaler.axis)
    slope = scaler.affine_.slope.reshape((1, 3, 1, 1) if name == "images" else 3)
    low, high = scaler.feature_range if name == "clipped" else (-np.inf, np.inf)
    return x, np.where((y > low) & (y < high), 2 * y * slope, 0)


@pytest.mark.parametrize("name", SCALERS)
def test_torch(framework, name, tmp_path):
    torch = framework("torch")
    from gammabeta.torch import Normalize

    scaler, (x, slopes) = SCALERS[name], given(name)
    layer, leaf = Normalize(scaler), torch.tensor(x, requires_grad=True)
    y = layer(leaf)
    np.testing.assert_array_equal(y.detach(), scaler.transform(x))
    # y, y² and the product are rounded to float32, each by 2⁻²⁴
    np.testing.assert_allclose(torch.autograd.grad((y**2).sum(), leaf)[0], slopes, rtol=2 * ULP, atol=1e-30)
    for dtype in torch.float16, torch.bfloat16, torch.float64:
        values = torch.tensor(x).clamp(-6e4, 6e4).to(dtype)
        want = scaler.transform(values)
        np.testing.assert_array_equal(copy.deepcopy(layer).to(dtype)(values).double(), want.double())
    assert layer(torch.tensor(x).to(torch.int32)).dtype == torch.float32
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    np.testing.assert_array_equal(compiled(torch.tensor(x)), scaler.transform(x))
    other = Normalize(gb.Affine(np.zeros(3), 1.0)) if name != "images" else Normalize(SCALERS["images"])
    other.axis, other.limits = layer.axis, layer.limits
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    other.load_state_dict(torch.load(tmp_path / "layer.pt"))
    np.testing.assert_array_equal(other(torch.tensor(x)), scaler.transform(x))
    assert not list(layer.parameters()) and set(layer.state_dict()) == {"center", "slope", "shift"}
    dims = {0: torch.export.Dim("rows")}
    exported = torch.export.export(layer, (torch.tensor(x),), dynamic_shapes=(dims,)).module()
    np.testing.assert_array_equal(exported(torch.tensor(x)), scaler.transform(x))


@pytest.mark.parametrize("name", SCALERS)
def test_flax(framework, name):
    jax = framework("jax")
    framework("flax")
    from flax import nnx

    from gammabeta.flax import Normalize

    scaler, (x, slopes) = SCALERS[name], given(name)
    layer = Normalize(scaler)
    # XLA may contract a product and a sum, and come to the other neighbour
    for call in layer, nnx.jit(lambda x: layer(x)), jax.jit(lambda x: layer(x)):
        np.testing.assert_allclose(call(x), scaler.transform(x), rtol=ULP, atol=0)
    np.testing.assert_allclose(nnx.jit(lambda m, x: m(x))(layer, x), scaler.transform(x), rtol=ULP, atol=0)
    found = jax.grad(lambda x: (layer(x) ** 2).sum())(x)
    np.testing.assert_allclose(found, slopes, rtol=2 * ULP, atol=1e-30)
    half = jax.numpy.asarray(x, "bfloat16")
    np.testing.assert_array_equal(np.asarray(layer(half)), np.asarray(scaler.transform(half)))
    assert not nnx.state(layer)


@pytest.mark.parametrize("name", ["torch", "flax"])
def test_what_is_given(framework, name):
    framework(name)
    import importlib

    layer = importlib.import_module(f"gammabeta.{name}").Normalize
    numbers = framework("torch").tensor if name == "torch" else np.asarray
    theirs = preprocessing.StandardScaler().fit(DATA)
    ours = gb.Affine(theirs.mean_, 1 / theirs.scale_)
    np.testing.assert_allclose(layer(theirs)(numbers(X)), ours(X), rtol=ULP, atol=0)
    channels = gb.Affine(np.arange(3.0).reshape(3, 1, 1), 2.0)
    x = np.ones((2, 3, 4, 4), np.float32)
    np.testing.assert_array_equal(layer(channels)(numbers(x)), channels(x))
    with pytest.raises(gb.DataError, match=r"features \(3,\) on its last axes, got shape \(6, 2\)"):
        layer(ours)(numbers(X[:, :2]))
    with pytest.raises(gb.DataError, match="axis must be within an array of 2 dimensions"):
        layer(SCALERS["images"])(numbers(X))
    with pytest.raises(gb.KindError, match="scaler must be"):
        layer("scaler")
    with pytest.raises(gb.DataError, match="finite parameters"):
        layer(gb.Affine([np.nan], 1.0))


def test_parts_are_the_number():
    values = np.concatenate([RNG.normal(size=100), RNG.normal(size=100) * 1e30, [0.0, 1e6 + 0.03, -(2.0**-30)]])
    assert (normalize.parts(values).astype(float).sum(0) == values).all()
    for value in 1e39, 1e-300:
        with pytest.raises(gb.DataError, match="range of float32"):
            normalize.parts(np.array([value]))
