"""The GPU's kernels, run by Triton's interpreter on a CPU: a process that `test_triton.py` starts, TRITON_INTERPRET=1.

What they compute is compared with the NumPy layer, and with exact statistics of the same values. The interpreter cuts
bfloat16 off where a GPU rounds to the nearest, so that a result may be off by a whole unit of it.
"""

import dataclasses
import itertools
import os
import warnings

import numpy as np
import pytest
import torch

import gammabeta as gb
from gammabeta.backends import arrays
from gammabeta.kernels import minmax, moments
from gammabeta.numpy import BatchNorm as Reference
from gammabeta.torch import BatchNorm, cuda_statistics
from gammabeta.torch.norm import autograd_cpu, autograd_gpu, gpu_tiling
from gammabeta.torch.norm.autograd_cpu import Plan

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("started by test_triton.py, with TRITON_INTERPRET=1", allow_module_level=True)

# What the interpreter's NumPy says of the infinities and NaN that a GPU computes with in silence.
pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in.*:RuntimeWarning")

EPS = 1e-3
# One, primes, and a tile's edge and its neighbours: of the width (1024), the features beside (128), and rows (4096/…).
TABLES = [(2, 1), (3, 7), (31, 127), (33, 128), (35, 129), (4097, 2), (263, 61)]
IMAGES = [(1, 1, 2, 1), (2, 3, 1, 1), (5, 7, 13, 11), (3, 2, 32, 32), (2, 3, 33, 31), (130, 1, 5, 7), (2, 5, 1025)]
UNITS = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-7}


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def near(got, want, unit, terms=1.0):
    """Within a rounding to the type, of results that are computed in a type of 24 bits or more.

    In float32 a value is made of at most five operations, 2⁻²⁴ of the largest term each; `terms` is how large those are
    beside the result.
    """
    assert got.shape == want.shape
    size = float(np.abs(want).max(initial=0)) + terms
    assert np.abs(got.astype(np.float64) - want).max(initial=0) <= (1.01 * unit + 5 * 2.0**-24) * size


def plain(x):
    return arrays.to_numpy(x.detach()).astype(np.float64)


def layers(shape):
    """A layer on the kernels, and the NumPy layer with the same parameters."""
    reduced_axes, features = (0, *range(2, len(shape))), shape[1:2]
    layer = BatchNorm(shape[1], eps=EPS)
    reference = Reference(features, axis=reduced_axes, convention=dataclasses.replace(gb.TORCH, eps=EPS))
    with torch.no_grad():
        layer.weight.copy_(1 + random(*features, seed=1).abs())
        layer.bias.copy_(random(*features, seed=2))
    reference.gamma, reference.beta = plain(layer.weight), plain(layer.bias)
    return layer, reference


CASES = [
    *((shape, None, torch.float32) for shape in (*TABLES, *IMAGES)),
    *itertools.product([(35, 129), (5, 7, 13, 11)], [None, "positions", "values"], UNITS),
]


@pytest.mark.parametrize(("shape", "masked", "dtype"), CASES, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_against_the_numpy_layer(shape, training, masked, dtype):
    layer, reference = layers(shape)
    x = (3 * random(*shape) + 10).to(dtype).requires_grad_()
    dy = random(*shape, seed=3, dtype=dtype)
    mask = None
    if masked:
        mask = random(*shape, seed=4) > -0.5
        mask[0] = True
        x = torch.where(mask if masked == "values" else mask[:, :1], x.detach(), torch.nan).requires_grad_()
        mask = mask if masked == "values" else mask[:, :1].expand(shape)[:, 0]
    if training and masked is None and x.numel() // x.shape[1] < 2:
        pytest.fail("a batch of one is refused elsewhere")
    y = layer.train(training)(x, mask=mask)
    y.backward(dy)
    want = reference.forward(plain(x), training, mask=None if mask is None else mask.numpy())
    back = reference.backward(plain(dy))
    near(arrays.to_numpy(y.detach()), want, UNITS[dtype])
    # dx is a difference of terms as large as dy and x̂·dγ/n, times γ / √(var + eps).
    scale = float(np.abs(reference.gamma / np.sqrt(reference.running_var * 0 + EPS)).max()) if not training else 4.0
    near(arrays.to_numpy(x.grad), back.dx, UNITS[dtype], terms=4 * scale)
    # Sums of n products, each rounded to float32 at worst, in float32 lanes.
    n = x.numel() / layer.weight.numel()
    for got, expected in ((layer.weight.grad, back.dgamma), (layer.bias.grad, back.dbeta)):
        near(plain(got), expected, 2.0**-24, terms=2 * n)
    near(plain(layer.running_mean), reference.running_mean, 2.0**-24, terms=10)
    near(plain(layer.running_var), reference.running_var, 2.0**-24, terms=10 + 9 * n**-0.5)


@pytest.mark.parametrize("axis", [0, 1, (0, 1), (1, 2), (0, 2), (0, 1, 2)], ids=str)
def test_any_axes(axis):
    """Those that lie around the features in memory go to the kernels, the others to torch's operations."""
    shape = (5, 6, 7)
    x, dy = random(*shape).requires_grad_(), random(*shape, seed=3)
    y = gb.batch_norm(x, axis=axis, eps=EPS)
    y.backward(dy)
    wide = x.detach().double().requires_grad_()
    want = gb.batch_norm(wide, axis=axis, eps=EPS)
    want.backward(dy.double())
    near(y.detach().numpy(), want.detach().numpy(), 2.0**-24)
    near(x.grad.numpy(), wide.grad.numpy(), 2.0**-24, terms=10)


@pytest.mark.parametrize("activation", [None, "relu", "silu"])
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("form", ["contiguous", "channels last", "residual elsewhere"])
@pytest.mark.parametrize("training", [True, False])
def test_what_is_fused(form, added, activation, training):
    """Against the formula in torch's operations and float64; its first and second gradients too."""
    shape = (4, 5, 6, 3)
    leaves = [random(*shape).requires_grad_(), *(random(5, seed=s).requires_grad_() for s in (1, 2))]
    leaves += [random(*shape, seed=3).requires_grad_()] if added else []
    wide = [leaf.detach().double().requires_grad_() for leaf in leaves]
    plan, given = Plan((0, 2, 3), EPS, activation), None if training else (random(5), 1 + random(5).abs())

    def run(way, x, gamma, beta, residual=None):
        if form == "channels last":
            x = x.contiguous(memory_format=torch.channels_last)
        if form != "contiguous" and residual is not None:
            residual = residual.transpose(2, 3).contiguous().transpose(2, 3)
        y, _ = way(x, gamma, beta, residual, plan, given)
        inputs = (leaves if way is autograd_gpu.normalized else wide)[: 4 if added else 3]
        first = torch.autograd.grad(y.sin().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum((g**2).sum() for g in first), inputs, allow_unused=True)
        plainly = torch.autograd.grad(way(x, gamma, beta, residual, plan, given)[0].sin().sum(), inputs)
        return [y, *first, *second, *plainly]

    for got, want in zip(run(autograd_gpu.normalized, *leaves), run(autograd_cpu.composed, *wide), strict=True):
        assert (got is None) == (want is None)
        if got is not None:
            # The second gradients are sums of 72 float32 terms of up to some hundreds.
            near(got.detach().numpy(), want.detach().numpy(), 72 * 2.0**-24, terms=100)


def test_the_operators_keep_torchs_rules():
    x, gamma, beta, residual = random(6, 3, 5), random(3), random(3), random(6, 3, 5)
    leaves = [v.requires_grad_() for v in (x, gamma, beta, residual)]
    mask = (random(6, 1, 5, seed=5) > 0).expand(6, 3, 5)
    torch.library.opcheck(torch.ops.gammabeta.batch_norm, (*leaves, mask, [0, 2], EPS, "silu"))
    given = (x, random(3), 1 + random(3).abs(), gamma, beta, residual, None, [0, 2], EPS, "relu")
    torch.library.opcheck(torch.ops.gammabeta.batch_norm_given, given)
    _, (count, mean, spread) = torch.ops.gammabeta.batch_norm(x.detach(), None, None, None, None, [0, 2], EPS, "")
    values = [v.detach() for v in (x, gamma, beta, residual)]
    arguments = (random(6, 3, 5), values[0], mean, spread, count, *values[1:], None, [0, 2], EPS, "silu")
    torch.library.opcheck(torch.ops.gammabeta.batch_norm_backward, arguments)


@pytest.mark.parametrize("training", [True, False])
def test_compiled_whole(training):
    layer, twin = BatchNorm(3, activation="relu").train(training), BatchNorm(3, activation="relu").train(training)
    x = random(6, 3, 5).requires_grad_()
    y, want = torch.compile(layer, fullgraph=True, backend="aot_eager")(x), twin(x)
    assert torch.equal(y, want) and torch.equal(layer.running_var, twin.running_var)
    assert torch.equal(*(torch.autograd.grad(v.square().sum(), x)[0] for v in (y, want)))


def test_the_same_bits_each_time():
    x, plan = 3 * random(16, 3, 31, 33) + 100, Plan((0, 2, 3), EPS)
    first, again = (autograd_gpu.normalized(x, None, None, None, plan)[1] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert gpu_tiling.Tiling(x, (0, 2, 3), autograd_gpu.TILE).summing(autograd_gpu.LANE)[1] > 1, "parts were joined"


@pytest.mark.parametrize("order", ["rising", "an outlier first", "zeros first"])
@pytest.mark.parametrize("dtype", UNITS, ids=str)
def test_the_pivot_does_not_matter(order, dtype):
    """The first tile says nothing of the rest, yet the variance is right.

    A lane adds up 24 tiles at most, in float64 or, of 16 bits, in float32. The parts' means, of up to 1e4, are joined
    in float64: four roundings of them at most, beside a standard deviation of 1 or more.
    """
    x = (1e4 if dtype is torch.float32 else 8) + random(3 * 4096 * 8, 1)
    x = {"rising": x.sort(0)[0], "an outlier first": x, "zeros first": x}[order].clone()
    if order == "an outlier first":
        x[0] = -3e3
    if order == "zeros first":
        x[:4096] = 0
    x = x.to(dtype)
    _, found = autograd_gpu.normalized(x, None, None, None, Plan((0,), EPS))
    exact_ = gb.Moments.of(x.double().numpy())
    unit = 24 * 2.0**-53 + 4 * 1e4 * 2.0**-53 if dtype is torch.float32 else 24 * 2.0**-24
    assert abs(found.var.item() / exact_.var.item() - 1) <= unit
    assert abs(found.mean.item() - exact_.mean.item()) <= unit * exact_.std.item() + 2.0**-50 * 1e4


def test_bad_batches_do_not_poison_and_nothing_waits_for_a_gpu():
    layer = BatchNorm(2)
    x = random(8, 2)
    x[3, 1] = torch.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = layer(x)
    assert torch.isnan(y[:, 1]).all() and torch.isfinite(y[:, 0]).all()
    assert layer.running_mean[0] != 0 and layer.running_mean[1] == 0 and layer.skipped == 1


def test_a_tensor_without_values_and_an_odd_layout():
    layer = BatchNorm(3).eval()
    assert layer(torch.empty(0, 3, 4)).shape == (0, 3, 4)
    spread = random(6, 8)[::2, ::2]
    assert gpu_tiling.dense(spread, (0,)) is None
    near(gb.batch_norm(spread, eps=EPS).numpy(), gb.batch_norm(spread.double().numpy(), eps=EPS), 4 * 2.0**-24)


# Exact statistics


def table(kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(70, 5))
    if kind == "hostile":
        x[::3] *= 1e-30
        x[1::3] *= 1e30
        x[0, 0], x[1, 1], x[2, 1], x[:, 2], x[:, 3] = np.nan, np.inf, -np.inf, 0, np.nan
        x[3, 4], x[4, 4] = 1e-45, -0.0
    if kind == "constant":
        x[:] = 0.1
    return x + 1e6 * (kind == "far")


@pytest.mark.parametrize("axis", [0, 1, (0, 1)], ids=str)
@pytest.mark.parametrize("kind", ["ordinary", "hostile", "constant", "far"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_the_same_bits_as_on_a_cpu(dtype, kind, axis):
    x = table(kind)
    same(torch.from_numpy(x if axis == 0 else x[:5].copy()).to(dtype), axis)


def same(x, axis):
    values = arrays.to_numpy(x)
    for got, want in zip(cuda_statistics.sums(x, axis, True), moments.sums(values, axis, True), strict=True):
        if isinstance(got, tuple):
            assert got[0] == want[0] and np.array_equal(got[1], want[1])
        else:
            assert np.array_equal(got, want)
    for got, want in zip(cuda_statistics.extent(x, axis), minmax.extent(values, axis), strict=True):
        assert np.array_equal(got, want) and np.array_equal(np.signbit(got), np.signbit(want))
    found = gb.Moments.of(x, axis)
    assert found == gb.Moments.of(values, axis) and gb.Extrema.of(x, axis) == gb.Extrema.of(values, axis)


def test_both_ends_of_float64():
    x = random(70, 3, dtype=torch.float64)
    x[::3] *= 1e-300
    x[1::3] *= 1e300
    x[0, 0], x[1, 1], x[2, 2] = 5e-324, 1.7e308, -(2.0**-1022)
    same(x, 0)


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.int16, np.int32, np.int64], ids=str)
def test_integers(dtype):
    information = np.iinfo(dtype) if dtype is not np.bool_ else None
    low, high = (information.min, information.max) if information else (0, 1)
    x = np.random.default_rng(0).integers(low, high, (70, 3), np.int64, endpoint=True).astype(dtype)
    x[0], x[1] = low, high
    same(torch.from_numpy(x), 0)


@pytest.mark.parametrize("shape", [(1, 1), (4097, 2), (3, 129), (2, 3, 1025), (0, 3)], ids=str)
def test_odd_shapes(shape):
    same(random(*shape), 0)
    if len(shape) > 2:
        same(random(*shape), (0, 2))
        same(random(*shape).transpose(1, 2), (0, 1))
        same(random(*shape)[:, :, ::2], (0, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(37, 5), (4, 5, 1025), (1, 5)], ids=str)
def test_maps_have_the_same_bits(shape, dtype):
    x = (1e3 * random(*shape)).to(dtype)
    axis = tuple(i for i in range(len(shape)) if i != 1)
    a = gb.Affine(*np.random.default_rng(0).normal(size=(3, 5)))
    assert np.array_equal(arrays.to_numpy(a(x, axis=axis)), a(arrays.to_numpy(x), axis=axis))


@pytest.mark.parametrize(
    "make", [gb.StandardScaler, lambda **k: gb.MinMaxScaler(clip=True, **k)], ids=["std", "minmax"]
)
def test_scalers(make):
    x, more = 3 * random(50, 4) + 7, 5 * random(9, 4, seed=1)
    x[3, 2] = torch.nan
    here, there = make().fit(x.numpy()), make().fit(x)
    for name in there._fitted:
        assert np.array_equal(getattr(here, name), getattr(there, name))
    y = there.transform(more)
    assert isinstance(y, torch.Tensor) and np.array_equal(y.numpy(), here.transform(more.numpy()))
    assert np.array_equal(there.inverse_transform(y).numpy(), here.inverse_transform(y.numpy()))
    with pytest.raises(ValueError, match="features"):
        there.transform(x[:, :2])
    with pytest.raises(ValueError, match="infinity"):
        there.fit(torch.tensor([[torch.inf, 0, 0, 0]]))


def test_every_case_was_meant_for_the_kernels():
    """The comparisons above would pass by torch's operations too."""
    for shape in itertools.chain(TABLES, IMAGES):
        assert autograd_gpu.fits(random(*shape), (0, *range(2, len(shape))))
    assert not autograd_gpu.fits(random(4, 4, dtype=torch.float64), (0,))
