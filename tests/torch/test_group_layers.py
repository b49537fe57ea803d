"""LayerNorm, GroupNorm, InstanceNorm and RMSNorm in the place of torch's."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import gammabeta as gb  # noqa: E402
import gammabeta.torch  # noqa: E402

# The class, its arguments, an input's shape, and its one-rounding bound: |y| ≤ √n · |γ| + |β|.
CASES = {
    "layer": ("LayerNorm", (6,), {}, (4, 5, 6)),
    "layer, two axes": ("LayerNorm", ((5, 6),), {"eps": 1e-3}, (4, 5, 6)),
    "layer, no bias": ("LayerNorm", (6,), {"bias": False}, (4, 6)),
    "layer, plain": ("LayerNorm", (40,), {"elementwise_affine": False}, (7, 40)),
    "rms": ("RMSNorm", (6,), {"eps": 1e-6}, (4, 5, 6)),
    "rms, eps of the type": ("RMSNorm", ((5, 6),), {}, (4, 5, 6)),
    "rms, plain": ("RMSNorm", (40,), {"elementwise_affine": False}, (7, 40)),
    "group": ("GroupNorm", (2, 6), {}, (4, 6, 5, 3)),
    "group, long": ("GroupNorm", (2, 6), {}, (4, 6, 5, 8)),
    "group, no spatial axes": ("GroupNorm", (3, 12), {}, (5, 12)),
    "group, plain": ("GroupNorm", (2, 6), {"affine": False}, (4, 6, 20)),
    "instance, 1d": ("InstanceNorm1d", (3,), {"affine": True}, (2, 3, 20)),
    "instance, unbatched": ("InstanceNorm1d", (3,), {}, (3, 20)),
    "instance, 2d": ("InstanceNorm2d", (3,), {}, (2, 3, 5, 4)),
    "instance, 3d": ("InstanceNorm3d", (3,), {"affine": True}, (2, 3, 5, 4, 2)),
    "instance, running": ("InstanceNorm2d", (3,), {"track_running_stats": True}, (2, 3, 5, 4)),
}


def pair(name, dtype=torch.float64):
    """Our layer and torch's, of the same parameters, and an input."""
    kind, arguments, options, shape = CASES[name]
    torch.manual_seed(0)
    ours = getattr(gammabeta.torch, kind)(*arguments, **options, dtype=dtype)
    theirs = getattr(nn, kind)(*arguments, **options, dtype=dtype)
    for p in ours.parameters():
        nn.init.normal_(p)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs, torch.randn(shape).to(dtype)


@pytest.mark.parametrize("name", CASES)
def test_it_is_torchs_layer(name):
    ours, theirs, x = pair(name)
    assert isinstance(ours, type(theirs)) and repr(ours) == repr(theirs)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert [p for p, _ in ours.named_parameters()] == [p for p, _ in theirs.named_parameters()]
    results = []
    for layer in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        y.pow(3).sum().backward()
        results.append((y, leaf.grad, *(p.grad for p in layer.parameters()), *layer.buffers()))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_first_and_second_gradients_are_those_of_finite_differences(name):
    if name == "instance, running":
        pytest.skip("torch's own forward pass")
    ours, _, x = pair(name)
    inputs = (x.requires_grad_(), *ours.parameters())
    names = [key for key, _ in ours.named_parameters()]

    def function(x, *parameters):
        return torch.func.functional_call(ours, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("parameters", ["own", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_one_rounding(name, parameters, dtype):
    """Of 16 bits the arithmetic is in float32: 2⁻¹³ and less of theirs besides."""
    ours, _, x = pair(name, dtype)
    if parameters == "float32":
        ours = ours.float()
    if "running" in name or ours.__dict__.get("eps", 1) is None:  # torch's, or an eps that differs by type
        pytest.skip("not by our arithmetic alone")
    wide = copy.deepcopy(ours).double()
    y, want = ours(x), wide(x.double())
    assert y.dtype == dtype
    own = torch.finfo(dtype).eps / 2
    assert ((y.double() - want).abs() <= 1.02 * own * want.abs() + own * 2.0**-5 + 2.0**-26).all()


@pytest.mark.parametrize("kind", ["GroupNorm", "LayerNorm", "InstanceNorm1d"])
def test_a_large_mean_keeps_its_digits(kind):
    """Mean 1e4, deviation 1, in float32: within 1.01 half units of |x̂| < 8, where torch's GroupNorm loses 1.7e-3."""
    x = torch.from_numpy(np.random.default_rng(0).normal(1e4, 1, (8, 32, 64)).astype(np.float32))
    arguments = {"GroupNorm": (4, 32), "LayerNorm": (64,), "InstanceNorm1d": (32,)}[kind]
    ours, wide = getattr(gammabeta.torch, kind)(*arguments), getattr(nn, kind)(*arguments).double()
    assert (ours(x).double() - wide(x.double())).abs().max() <= 1.01 * 8 * 2.0**-24


@pytest.mark.parametrize("name", ["layer", "rms", "group", "instance, 2d"])
def test_traced_and_transformed(name):
    ours, _, x = pair(name)
    want = ours(x)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    exported = torch.export.export(ours, (x,)).module()
    torch.testing.assert_close(torch.func.vmap(ours)(torch.stack([x, 2 * x]))[0], want, rtol=0, atol=1e-13)
    for other in (compiled(x), exported(x)):
        torch.testing.assert_close(other, want, rtol=0, atol=1e-13)
    slope = torch.func.grad(lambda x: ours(x).pow(3).sum())(x)
    leaf = x.clone().requires_grad_()
    ours(leaf).pow(3).sum().backward()
    torch.testing.assert_close(slope, leaf.grad, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["layer", "rms", "group", "instance, 2d"])
def test_any_strides(name):
    ours, _, x = pair(name)
    apart = torch.full((*x.shape[:-1], 2 * x.shape[-1]), torch.nan, dtype=x.dtype)
    apart[..., ::2] = x
    assert torch.equal(ours(apart[..., ::2]), ours(x))
    if x.ndim == 4:
        last = x.contiguous(memory_format=torch.channels_last)
        assert torch.equal(ours(last), ours(x)) and ours(last).stride() == last.stride()


@pytest.mark.parametrize(
    ("kind", "arguments", "shape"),
    [
        ("LayerNorm", (6,), (4, 5)),
        ("RMSNorm", ((5, 6),), (5, 5)),
        ("GroupNorm", (2, 6), (4, 5, 3)),
        ("GroupNorm", (2, 2), (1, 2)),
        ("InstanceNorm1d", (3,), (2, 3, 1)),
        ("InstanceNorm2d", (3,), (2, 3)),
    ],
)
def test_errors_are_torchs(kind, arguments, shape):
    with pytest.raises((RuntimeError, ValueError)) as theirs:
        getattr(nn, kind)(*arguments)(torch.ones(shape))
    with pytest.raises(theirs.type) as ours:
        getattr(gammabeta.torch, kind)(*arguments)(torch.ones(shape))
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300, 1e-310])
def test_bad_and_extreme_values_in_float64(value):
    """Squares that leave the range go through the formula; a NaN or an infinity spoils its row alone."""
    x = torch.randn(4, 6, dtype=torch.float64)
    x[1, 2] = value
    y = gb.layer_norm(x)
    assert torch.isfinite(y[[0, 2, 3]]).all() and torch.isfinite(y[1]).all() == np.isfinite(value)
    layer = gammabeta.torch.LayerNorm(6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), y, rtol=0, atol=1e-13, equal_nan=True)


def test_an_empty_batch_and_eps_of_0():
    assert gammabeta.torch.LayerNorm(6)(torch.ones(0, 6)).shape == (0, 6)
    x = torch.randn(3, 6)
    assert torch.equal(gammabeta.torch.LayerNorm(6, eps=0)(x), nn.LayerNorm(6, eps=0)(x))


@pytest.mark.parametrize("call", [gb.layer_norm, gb.rms_norm, gb.instance_norm, lambda x: gb.group_norm(x, 2)])
def test_numpy_and_torch_have_the_same_bits(call):
    """Both go to the kernel; its sums do not depend on how rows are split over threads."""
    x = np.random.default_rng(0).normal(3, 2, (64, 6, 1024)).astype(np.float32)
    np.testing.assert_array_equal(call(torch.from_numpy(x)).numpy(), call(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("affine", [False, True])
def test_rms_norm_without_an_eps_takes_torchs(dtype, affine):
    x = (torch.arange(1.0, 5.0) * 1e-2).to(dtype)  # small beside eps, whichever it is
    ours, torchs = (kind(4, elementwise_affine=affine, dtype=dtype)(x) for kind in (gb.torch.RMSNorm, nn.RMSNorm))
    assert torch.allclose(ours, torchs, rtol=4 * torch.finfo(dtype).eps, atol=0)
