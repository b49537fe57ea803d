"""The layer in torch's place: against float64, against torch, by finite differences, in every layout and type."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import gammabeta as gb
from gammabeta.errors import DataError, KindError, StateError

torch = pytest.importorskip("torch")
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402
from torch.nn.utils import parametrize, prune  # noqa: E402

from gammabeta.torch import BatchNorm, accumulate  # noqa: E402
from gammabeta.torch.norm import fast_path  # noqa: E402

SHAPES = [(6, 3), (4, 3, 5), (4, 3, 5, 2), (2, 3, 2, 2, 2)]
ROUNDING = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24, torch.float64: 2.0**-53}


def theirs(ndim, features=3, **options):
    """torch's layer for that many axes."""
    kind = [torch.nn.BatchNorm1d, torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d][ndim - 2]
    return kind(features, **options)


def layer_for(features=3, dtype=torch.float64, **options):
    """A layer whose γ and β are not 1 and 0."""
    layer = BatchNorm(features, dtype=dtype, **options)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(0.5, 2, layer.weight.numel()).reshape(layer.weight.shape))
        layer.bias.copy_(torch.linspace(-1, 1, layer.bias.numel()).reshape(layer.bias.shape))
    return layer


def random(*shape, seed=0, dtype=torch.float64):
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 + 3).to(dtype)


def same(a, b, bound=1e-12):
    """Two results in float64 of the same formula: some tens of roundings of numbers up to 100."""
    assert (a - b).abs().max().item() <= bound


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("relu", [None, "relu"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_torch_has_the_same_numbers(shape, relu, training):
    ours, torchs = layer_for(activation=relu), theirs(len(shape), dtype=torch.float64)
    torchs.load_state_dict(ours.state_dict())
    x, residual, dy = random(*shape), random(*shape, seed=1) - 3, random(*shape, seed=2)
    results = []
    for layer in (ours, torchs):
        layer.train(training)
        inputs = [x.clone().requires_grad_(), residual.clone().requires_grad_()]
        y = ours(inputs[0], residual=inputs[1]) if layer is ours else torchs(inputs[0]) + inputs[1]
        y = torch.relu(y) if relu and layer is torchs else y
        y.backward(dy)
        gradients = [p.grad for p in (*inputs, layer.weight, layer.bias)]
        results.append([y, *gradients, layer.running_mean, layer.running_var, layer.num_batches_tracked])
    for a, b in zip(*results, strict=True):
        same(a, b)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("relu", [None, "relu"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
def test_first_and_second_gradients_are_those_of_finite_differences(shape, masked, relu, training):
    layer = layer_for(activation=relu).train(training)
    mask = torch.arange(shape[0] * int(np.prod(shape[2:]))).reshape(shape[0], *shape[2:]) % 3 > 0 if masked else None

    def function(x, weight, bias, residual):
        return torch.func.functional_call(
            layer, {"weight": weight, "bias": bias}, (x,), {"residual": residual, "mask": mask}
        )

    x, residual = random(*shape).requires_grad_(), (random(*shape, seed=1) - 3).requires_grad_()
    inputs = (x, layer.weight, layer.bias, residual)
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def exact(x, dy, gamma, beta, eps=1e-5):
    """y, dx, dγ and dβ of a table (n, c) in long doubles."""
    x, dy = (v.double().numpy().astype(np.longdouble) for v in (x, dy))
    gamma, beta = (v.detach().double().numpy().astype(np.longdouble) for v in (gamma, beta))
    inverse = 1 / np.sqrt(x.var(0) + np.longdouble(eps))
    normal, n = (x - x.mean(0)) * inverse, len(x)
    dbeta, dgamma = dy.sum(0), (dy * normal).sum(0)
    return gamma * normal + beta, gamma * inverse * (dy - dbeta / n - normal * dgamma / n), dgamma, dbeta


COLUMNS = {
    "a year": (2010, 3),
    "an altitude": (8000, 2),
    "1e4, 1": (1e4, 1),
    "1e6, 1": (1e6, 1),
    "a constant": (7.3, 0),
    "small": (1e-3, 1e-4),
    "large": (1e15, 1e15),
}


@pytest.mark.parametrize("path", ["kernels", "formula"])
@pytest.mark.parametrize("column", COLUMNS)
def test_hostile_columns_in_float32(column, path):
    """The kernels round the exact result once, and lose some 2⁻⁵³ · |mean| / std in float64 before.

    torch's operations in float32: x − mean is exact but for 2⁻²⁴ of |x − mean| and of the mean's rest; with the
    divisions and products some eight roundings of |x̂| ≤ 6 and |β| ≤ 1, and three roundings in a sum of 1024.
    """
    mean, deviation = COLUMNS[column]
    rng = np.random.default_rng(3)
    x = torch.tensor(rng.normal(mean, deviation, (1024, 3)), dtype=torch.float32)
    dy = torch.tensor(rng.normal(0, 1, (1024, 3)), dtype=torch.float32)
    layer, u = layer_for(dtype=torch.float32), 2.0**-24
    x.requires_grad_()
    y = layer(x) if path == "kernels" else layer(x, mask=torch.ones(1024, dtype=torch.bool))
    y.backward(dy)
    want_y, want_dx, want_dgamma, want_dbeta = exact(x.detach(), dy, layer.weight, layer.bias)
    many = 1 if path == "kernels" else 16
    largest = float(np.abs(want_y).max()) + 1
    assert np.abs(y.detach().numpy() - want_y).max() <= 1.01 * many * u * largest + 1e-9
    slope = float(np.abs(want_dx).max()) + float(np.abs(want_dgamma).max() / 1024)
    assert np.abs(x.grad.numpy() - want_dx).max() <= 2 * many * u * slope + 1e-30
    # A sum of 1024 terms, its terms rounded and added in blocks: 64 roundings at the most of the sum of their sizes.
    terms = float((np.abs(dy.numpy()) * 6).sum(0).max())
    bound = u * float(np.abs(want_dgamma).max() + np.abs(want_dbeta).max()) + (0 if many == 1 else 64 * u * terms)
    assert np.abs(layer.weight.grad.numpy() - want_dgamma).max() <= 1.01 * bound + 1e-9
    assert np.abs(layer.bias.grad.numpy() - want_dbeta).max() <= 1.01 * bound + 1e-9


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "strided", "transposed", "expanded"])
def test_every_type_and_layout(dtype, training, layout):
    """The values are those of the contiguous float64 tensor, rounded once; channels_last stays so."""
    x = random(8, 3, 6, 4, dtype=dtype)
    if layout == "channels last":
        x = x.contiguous(memory_format=torch.channels_last)
    x = {"strided": x[::2, :, ::2], "transposed": x.transpose(2, 3)}.get(layout, x)
    x = x[:1].expand(8, 3, 6, 4) if layout == "expanded" else x
    layer, wide = layer_for(dtype=dtype).train(training), layer_for(dtype=torch.float64).train(training)
    wide.load_state_dict(layer.state_dict())
    a, b = x.detach().requires_grad_(), x.double().contiguous().requires_grad_()
    dy = random(*x.shape, seed=4, dtype=dtype)
    y, z = layer(a), wide(b)
    assert y.dtype == dtype and y.shape == x.shape
    if layout == "channels last":
        assert y.is_contiguous(memory_format=torch.channels_last)
    y.backward(dy)
    z.backward(dy.double())
    u = ROUNDING[dtype]
    # Half precision is mapped in float32 before it is rounded: two roundings, the first much the smaller. Sums of up to
    # 192 terms of at most 6, in float64 in another order, differ by 192 roundings of the sum of their sizes.
    for got, want in (
        (y, z),
        (a.grad, b.grad),
        (layer.weight.grad, wide.weight.grad),
        (layer.bias.grad, wide.bias.grad),
    ):
        size = want.abs().max().item() + 1
        assert (got.double() - want).abs().max().item() <= 1.1 * max(u, 2.0**-51) * size + 192 * 2.0**-53 * 192 * 6


@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0, None])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("tracked", [True, False])
def test_arguments_are_torchs(momentum, affine, tracked):
    options = {"momentum": momentum, "affine": affine, "track_running_stats": tracked, "dtype": torch.float64}
    ours, torchs = BatchNorm(3, **options), torch.nn.BatchNorm1d(3, **options)
    for seed in range(3):
        x = random(5, 3, seed=seed)
        same(ours(x), torchs(x))
    for a, b in zip(ours.state_dict().values(), torchs.state_dict().values(), strict=True):
        same(a, b)
    same(ours.eval()(x), torchs.eval()(x))


def test_the_state_dict_is_torchs_both_ways():
    for shape in SHAPES:
        ours, torchs = layer_for(), theirs(len(shape), dtype=torch.float64)
        ours(random(*shape))
        assert list(ours.state_dict()) == list(torchs.state_dict())
        torchs.load_state_dict(ours.state_dict(), strict=True)
        back = BatchNorm(3, dtype=torch.float64)
        back.load_state_dict(torchs.state_dict(), strict=True)
        same(back.eval()(random(*shape)), torchs.eval()(random(*shape)))
        assert back.num_batches_tracked == 1


def test_a_state_dict_of_another_shape_loads_nothing():
    layer = layer_for()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with pytest.raises(RuntimeError, match=r"weight must have shape \(3,\), got \(4,\)"):
        layer.load_state_dict(torch.nn.BatchNorm1d(4).state_dict())
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


def test_a_statistic_for_each_position():
    x = random(10, 4, 5)
    layer = BatchNorm((4, 5), axis=0, dtype=torch.float64)
    same(layer(x), gb.batch_norm(x, axis=0))
    same(layer.running_var, 0.9 + 0.1 * x.var(0))
    last = BatchNorm(5, axis=(0, 1), dtype=torch.float64)
    same(last(x), gb.batch_norm(x, axis=(0, 1)))


def test_a_mask_equals_slicing():
    x, mask = random(4, 3, 6), torch.arange(24).reshape(4, 6) % 4 > 0
    x = torch.where(mask[:, None], x, torch.nan).requires_grad_()
    layer, alone = layer_for(), layer_for()
    y = layer(x, mask=mask)
    y.backward(torch.ones_like(y))
    rows = x.detach().transpose(1, 2)[mask]
    same(y.transpose(1, 2)[mask], alone(rows))
    assert (y.transpose(1, 2)[~mask] == 0).all() and x.grad.isfinite().all()
    same(layer.running_var, alone.running_var)
    layer.eval(), alone.eval()
    same(layer(x, mask=mask).transpose(1, 2)[mask], alone(rows))


def test_a_wholly_masked_batch_moves_nothing():
    layer = layer_for()
    y = layer(torch.full((4, 3), torch.nan, dtype=torch.float64), mask=torch.zeros(4, dtype=torch.bool))
    assert (y == 0).all() and layer.num_batches_tracked == 0
    assert (layer.running_mean == 0).all() and (layer.running_var == 1).all()


def test_a_bad_batch_does_not_poison():
    layer, x = layer_for(), random(5, 3)
    x[0, 1] = torch.inf
    with pytest.warns(RuntimeWarning, match=r"features \[1\]: their running statistics stay"):
        y = layer(x)
    assert y[:, 1].isnan().all() and y[:, ::2].isfinite().all()
    assert layer.running_mean[1] == 0 and layer.running_var[1] == 1 and layer.running_mean[0] != 0
    layer(x)  # said once: warnings are errors here
    assert layer.skipped == 2
    assert "skipped" not in layer.state_dict()


@pytest.mark.parametrize("rows", [8, 2**17])
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16])
def test_a_variance_beyond_the_running_type_does_not_poison(given, rows):
    layer, x = BatchNorm(2), random(rows, 2).to(given)
    x[3, 1] = 1e30
    with pytest.warns(RuntimeWarning, match=r"or a variance beyond torch.float32, in features \[1\]"):
        assert layer(x).isfinite().all()
    assert layer.skipped == 1 and layer.running_var.isfinite().all() and layer.running_var[1] == 1


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_updates_once(reentrant):
    from torch.utils.checkpoint import checkpoint

    layer, plain, x = layer_for(), layer_for(), random(5, 3).requires_grad_()
    checkpoint(layer, x, use_reentrant=reentrant).sum().backward()
    plain(x)
    assert layer.num_batches_tracked == 1
    same(layer.running_var, plain.running_var)


def test_micro_batches_count_as_one_batch():
    model, large = torch.nn.Sequential(BatchNorm(3, dtype=torch.float64)), theirs(2, dtype=torch.float64)
    x = random(10, 3) + 1e4
    with accumulate(model):
        for part in x.split([3, 5, 2]):
            model(part)
    large(x)
    same(model[0].running_mean, large.running_mean, 1e-11)
    same(model[0].running_var, large.running_var, 1e-9)  # the variances of 1e4 ± 2 lose 1e4² · 2⁻⁵³ at the most
    assert model[0].num_batches_tracked == 1


def test_micro_batches_leave_nothing_after_an_error():
    layer = layer_for()

    def interrupted():
        with layer.accumulate():
            layer(random(4, 3))
            layer(random(4, 5))

    with pytest.raises(DataError):
        interrupted()
    layer(random(4, 3))
    assert layer.num_batches_tracked == 1


@pytest.mark.parametrize(("size", "parts"), [(2, 3), (3, 2), (4, 1), (9, 1)])
def test_ghost_batches_are_batches_of_their_own(size, parts):
    ghost, plain, x = layer_for(ghost=size), layer_for(), random(6, 3, 4)
    mask = torch.arange(24).reshape(6, 4) % 4 > 0
    same(ghost(x), torch.cat([plain(part) for part in x.tensor_split(parts)]))
    same(ghost.running_var, plain.running_var)
    whole = zip(x.tensor_split(parts), mask.tensor_split(parts), strict=True)
    same(ghost(x, mask=mask), torch.cat([plain(part, mask=m) for part, m in whole]))


def test_renorm_goes_from_the_batch_to_the_running_statistics():
    x = random(6, 3)
    same(layer_for(renorm=(1, 0))(x), layer_for()(x))
    # Unbounded, y is that of the running statistics, here before the batch moves them.
    same(layer_for(renorm=(1e9, 1e9))(x), layer_for().eval()(x))
    layer = layer_for(renorm=(1.5, 0.5))
    y = layer(x)
    mean, var = x.mean(0), x.var(0, unbiased=False)
    r = (torch.sqrt(var + 1e-5) / np.sqrt(1 + 1e-5)).clamp(1 / 1.5, 1.5)
    d = (mean / np.sqrt(1 + 1e-5)).clamp(-0.5, 0.5)
    same(y, ((x - mean) / torch.sqrt(var + 1e-5) * r + d) * layer.weight + layer.bias)


def test_the_fused_pair_keeps_one_tensor():
    """Of x's size x itself, and a bit for each value: torch's pair keeps two."""
    x, layer = random(64, 3, 8, 8, dtype=torch.float32).requires_grad_(), layer_for(dtype=torch.float32)
    layer.activation = "relu"
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.numel()), t)[1], lambda t: t):
        y = layer(x, residual=x.detach())
    assert sum(n for n in kept if n > 3) == x.numel()
    assert y.grad_fn.gate.bits.nbytes * 8 == x.numel()


@pytest.mark.parametrize("training", [True, False])
def test_compiled_whole(training):
    torch._dynamo.reset()
    layer = layer_for(activation="relu").train(training)
    plain, x = copy.deepcopy(layer), random(4, 3, 5, 5)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    results = []
    for function in (compiled, plain):
        a = x.clone().requires_grad_()
        y = function(a, residual=x)
        y.square().sum().backward()
        results.append((y, a.grad))
    same(*[y for y, _ in results])
    same(*[g for _, g in results])
    for a, b in zip(layer.buffers(), plain.buffers(), strict=True):
        same(a, b)


@pytest.mark.parametrize("training", [True, False])
def test_exported(training):
    layer, x = layer_for().train(training), random(4, 3, 5)
    program = torch.export.export(copy.deepcopy(layer), (x,))
    same(program.module()(x), layer(x))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [True, False])
def test_onnx_has_its_own_operation(framework, dynamo, tmp_path):
    """And gives the same numbers, as its definition is: in float32, within a rounding for each of five operations."""
    onnx, runtime, _ = (framework(name) for name in ("onnx", "onnxruntime", "onnxscript"))
    layer, file = layer_for(dtype=torch.float32).eval(), tmp_path / "layer.onnx"
    x = random(4, 3, 5, dtype=torch.float32)
    torch.onnx.export(layer, (x,), str(file), dynamo=dynamo)
    assert [node.op_type for node in onnx.load(file).graph.node] == ["BatchNormalization"]
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    y, want = torch.from_numpy(y), layer(x)
    same(y, want, 5 * 2.0**-23 * float(want.abs().max() + layer.bias.abs().max()))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own use of it
def test_transformations_of_functions():
    layer, x = BatchNorm(3, track_running_stats=False, dtype=torch.float64), random(2, 4, 3)
    same(torch.func.vmap(layer)(x), torch.stack([layer(part) for part in x]))
    _, slope = torch.func.jvp(layer, (x[0],), (torch.ones_like(x[0]),))
    same(slope, torch.zeros_like(slope))


def test_autocast_keeps_the_type_that_comes():
    layer, x = layer_for(dtype=torch.float32), random(8, 3, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
        masked = layer(x.float(), mask=torch.ones(8, dtype=torch.bool))
        assert masked.dtype == torch.float32
        assert (masked - layer(x.float())).abs().max() < 1e-5  # in bfloat16 it would be 1e-2


def test_a_copy_is_a_layer_of_its_own():
    layer = layer_for()
    other = copy.deepcopy(layer)
    other(random(4, 3))
    assert layer.num_batches_tracked == 0 and other.num_batches_tracked == 1


@pytest.mark.parametrize("convention", [gb.KERAS, gb.TORCH, gb.FLAX, gb.TORCH.replace(decay=None)], ids=str)
def test_a_state_moves_and_goes_on(convention):
    """The same evaluation at once, and the same future under the source's rule: `gammabeta.numpy`'s."""
    from gammabeta.numpy import BatchNorm as Reference

    x = random(6, 3)
    first = BatchNorm.from_state(layer_for().state(), convention, dtype=torch.float64)
    reference = Reference(3, convention=convention)
    reference.gamma, reference.beta = (p.detach().numpy() for p in (first.weight, first.bias))
    first(x), reference.forward(x.numpy(), True)
    second = BatchNorm.from_state(first.state(), dtype=torch.float64)
    second(x + 1), reference.forward(x.numpy() + 1, True)
    assert second.convention.unbiased == convention.unbiased
    np.testing.assert_allclose(second.running_var.numpy(), reference.running_var, rtol=1e-12)
    np.testing.assert_allclose(second.eval()(x).detach(), reference.forward(x.numpy(), False), rtol=0, atol=1e-12)


BAD_LAYERS = [
    ({"num_features": 0}, "num_features must be a positive integer"),
    ({"num_features": (3, 4)}, "unless axis= names"),
    ({"eps": 0.0}, "eps must be greater than 0"),
    ({"momentum": 1.5}, "momentum, the weight of the new batch, must be from 0 to 1"),
    ({"momentum": -0.1}, "momentum"),
    ({"axis": (0, 0)}, "axis must name each axis once"),
    ({"activation": "gelu"}, 'activation must be None, "relu" or "silu"'),
    ({"ghost": 0}, "ghost must be None or"),
    ({"renorm": (0.5, 1)}, "renorm must be"),
    ({"renorm": (2, 1), "track_running_stats": False}, "renorm needs"),
]


@pytest.mark.parametrize(("options", "message"), BAD_LAYERS, ids=lambda v: str(v))
def test_a_bad_layer_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        BatchNorm(**{"num_features": 3, **options})


BAD_BATCHES = [
    ({}, torch.ones(4, 5), {}, DataError, r"features \(3,\) .* got \(5,\) in shape \(4, 5\)"),
    ({}, torch.ones(3), {}, DataError, r"x must be \(n, c\)"),
    ({}, torch.ones(4, 3, dtype=torch.int32), {}, KindError, "torch.int32: convert it with"),
    ({}, np.ones((4, 3)), {}, KindError, "ndarray: use torch.as_tensor"),
    ({}, torch.ones(1, 3), {}, DataError, "more than 1 value of each feature, got 1"),
    ({}, torch.ones(4, 3), {"mask": torch.ones(5, dtype=torch.bool)}, DataError, "mask must have"),
    ({}, torch.ones(4, 3), {"mask": torch.ones(4)}, KindError, "mask must be boolean"),
    ({}, torch.ones(4, 3), {"residual": torch.ones(3)}, DataError, "residual must have x's shape"),
    ({"axis": (0, 5)}, torch.ones(4, 3), {}, DataError, "axis must be within an array of 2"),
    ({"sync": True}, torch.ones(4, 3), {}, StateError, "sync=True needs a process group"),
]


@pytest.mark.parametrize(("options", "x", "given", "error", "message"), BAD_BATCHES, ids=lambda v: str(v)[:30])
def test_a_bad_batch_is_refused_and_nothing_updated(options, x, given, error, message):
    layer = BatchNorm(3, **options)
    with pytest.raises(error, match=message):
        layer(x, **given)
    assert layer.num_batches_tracked == 0 and (layer.running_mean == 0).all()


def test_an_empty_batch_in_evaluation_is_empty():
    assert BatchNorm(3).eval()(torch.ones(0, 3, 4)).shape == (0, 3, 4)


def test_nothing_warns_in_ordinary_use():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BatchNorm(3)(random(4, 3, dtype=torch.float32)).sum().backward()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(4, 96, 7, 9), (20, 64, 30, 30), (3, 70, 2, 3, 4), (5000, 8, 3, 3)], ids=str)
def test_one_call_gives_what_threads_do_and_what_arrays_do(monkeypatch, shape, training, last, dtype):
    """In evaluation to the bit. In training sums of n terms of up to 10 or so are added in another order.

    That is n roundings of up to 10 · n at the most.
    """
    x, dy = random(*shape, dtype=dtype), random(*shape, seed=1, dtype=dtype) - 3
    if last:
        kind = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
        x = x.contiguous(memory_format=kind)
    results, sums = [], 10 * (x.numel() / shape[1]) ** 2 * 2.0**-53
    for split, least, call in ((2**30, 2**30, fast_path.call), (0, 1, fast_path.call), (0, 1, lambda *_: None)):
        monkeypatch.setattr(fast_path, "SPLIT", split)
        monkeypatch.setattr(fast_path.buffer_cache, "LEAST", least)
        monkeypatch.setattr(fast_path, "call", call)
        layer = layer_for(shape[1], dtype).train(training)
        z = x.clone().requires_grad_(training)
        with torch.set_grad_enabled(training):
            y = layer(z)
        assert y.stride() == x.stride()
        if training:
            y.backward(dy)  # of another layout, where x has its channels last
        found = [y, z.grad, layer.weight.grad, layer.bias.grad] if training else [y]
        results.append([*found, layer.running_mean, layer.running_var])
    for a, *others in zip(*results, strict=True):
        for b in others:
            near = 2 * ROUNDING[dtype] * b.abs().max() + sums
            assert torch.equal(a, b) if not training else (a - b).abs().max() <= near


@pytest.mark.parametrize("many", [40, 60_000])
def test_a_gradient_of_gradients_where_gamma_and_beta_depend_on_x(many):
    """Each is counted once: the gradient is the one without `create_graph`, but for some roundings in float64."""
    x = random(many, 3).requires_grad_()

    def loss(x):
        layer = BatchNorm(3, dtype=torch.float64)
        return (torch.func.functional_call(layer, {"weight": x[0], "bias": x[0]}, (x,)) ** 3).mean()

    (want,) = torch.autograd.grad(loss(x), x)
    (got,) = torch.autograd.grad(loss(x), x, create_graph=True)
    same(got, want, 1e-10)


def test_pruned_and_parametrized_layers():
    pruned, layer = layer_for(), layer_for()
    prune.l1_unstructured(pruned, "weight", amount=1)
    with torch.no_grad():
        layer.weight[0] = 0  # the least
    same(pruned(random(8, 3)), layer(random(8, 3)))
    parametrize.register_parametrization(layer, "bias", torch.nn.ReLU())
    assert layer(random(8, 3))[:, 0].abs().max() == 0  # γ is 0 and β was −1


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["weight", "bias", "running_mean", "running_var"])
@pytest.mark.parametrize("shape", [(8, 64), (8, 64, 5), (4000, 64)], ids=str)
def test_a_parameter_of_another_shape_is_refused(shape, name, training):
    """Not read, and not written, past its end."""
    layer = BatchNorm(64).train(training)
    place = layer._parameters if name in layer._parameters else layer._buffers
    place[name] = torch.nn.Parameter(torch.ones(2)) if place is layer._parameters else torch.ones(2)
    with torch.set_grad_enabled(training), pytest.raises(DataError, match=rf"{name} must have shape \(64,\)"):
        layer(torch.zeros(shape))
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize("relu", [None, "relu"])
def test_a_negated_view_is_read_as_what_it_stands_for(relu):
    layer, x, dy = layer_for(activation=relu), random(8, 3), random(8, 3, seed=1)
    results = []
    for change in (torch.clone, lambda v: torch._neg_view(-v)):
        leaf = x.clone().requires_grad_()
        y = layer(change(leaf))
        y.backward(change(dy))
        results.append((y, leaf.grad))
    for a, b in zip(*results, strict=True):
        same(a, b)
    apart = torch.complex(x, x).conj().imag  # −x, in strides of two
    same(layer(apart), layer(-x))


def test_a_dispatch_mode_sees_operations():
    layer = layer_for().eval()
    with torch.no_grad():
        graph = make_fx(layer)(random(8, 3))
        same(graph(random(8, 3, seed=1)), layer(random(8, 3, seed=1)))


def test_a_pickle_of_a_whole_model_that_names_the_old_module_loads():
    layer = layer_for()
    pickled = pickle.dumps(layer, protocol=2)  # whose names are text up to a newline
    old = pickled.replace(b"cgammabeta.torch.norm.layer\nBatchNorm\n", b"cgammabeta.torch.layer\nBatchNorm\n")
    again = pickle.loads(old)
    assert old != pickled and type(again) is BatchNorm
    assert again.state_dict().keys() == layer.state_dict().keys()
    assert all((again.state_dict()[name] == value).all() for name, value in layer.state_dict().items())


# What callbacks, pruners, loaders and transformations do to a layer.


def twins(features=3, **options):
    """Our layer in training and torch's, with the same γ, β and statistics."""
    ours = layer_for(features, **options)
    torchs = torch.nn.BatchNorm1d(features, dtype=torch.float64)
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


def same_state(ours, torchs):
    for (name, a), (other, b) in zip(ours.state_dict().items(), torchs.state_dict().items(), strict=True):
        assert name == other
        same(a.double(), b.double())


@pytest.mark.parametrize("strided", [False, True])
def test_tracking_switched_off_later_stops_the_statistics(strided):
    """As fastai and torchvision's callbacks do to every `_BatchNorm`."""
    for layer in (pair := twins()):
        layer(random(5, 3))
        layer.track_running_stats = False
    x = random(6, 5, seed=1).T[:, :3] if strided else random(5, 3, seed=1)
    same(*(layer(x) for layer in pair))
    same_state(*pair)
    assert pair[0].num_batches_tracked == 1
    for layer in pair:
        layer.eval()
    same(*(layer(x) for layer in pair))  # by the statistics that are there
    for layer in pair:
        layer.train().track_running_stats = True
        layer(x)
    same_state(*pair)
    assert pair[0].num_batches_tracked == 2


@pytest.mark.parametrize("options", [{"ghost": 2}, {"renorm": (3.0, 5.0)}, {"activation": "relu"}, {"momentum": None}])
def test_tracking_switched_off_in_every_way(options):
    layer = layer_for(**options)
    layer.track_running_stats = False
    before = copy.deepcopy(layer.state_dict())
    layer(random(5, 3), mask=torch.arange(5) < 4)
    layer(random(5, 3))
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


def test_the_count_of_bad_batches_is_no_buffer():
    layer, peer = BatchNorm(3), torch.nn.BatchNorm1d(3)
    assert [name for name, _ in layer.named_buffers()] == [name for name, _ in peer.named_buffers()]
    with torch.device("meta"):
        empty = BatchNorm(3)
    filled = empty.to_empty(device="cpu")
    filled.load_state_dict(peer.state_dict())
    assert filled.skipped == 0
    with pytest.warns(RuntimeWarning, match="their running statistics stay"):
        filled(torch.full((4, 3), torch.inf))
    assert filled.skipped == 1 == copy.deepcopy(filled).skipped == pickle.loads(pickle.dumps(filled)).skipped
    assert filled.to(torch.float64).skipped == 1
    with torch.device("meta"):
        assigned = BatchNorm(3)
    assigned.load_state_dict(peer.state_dict(), assign=True)  # as from_pretrained does
    assert assigned.to("cpu").skipped == 0 and assigned(torch.ones(4, 3)).shape == (4, 3)


@pytest.mark.parametrize("keep", [[0, 2], [1]])
def test_pruned_in_place(keep):
    """As structural pruners do: num_features, γ, β and the statistics replaced."""
    pair = twins()
    for layer in pair:
        layer.num_features = len(keep)
        for name in ("weight", "bias"):
            setattr(layer, name, torch.nn.Parameter(getattr(layer, name).data[keep]))
        for name in ("running_mean", "running_var"):
            setattr(layer, name, getattr(layer, name)[keep])
    x = random(5, 3)[:, keep]
    for training in (True, False):
        same(*(layer.train(training)(x) for layer in pair))
    same_state(*pair)
    assert pair[0].features == (len(keep),)
    with pytest.raises(DataError, match=rf"x must have features \({len(keep)},\)"):
        pair[0](random(5, 3))


def test_pruned_without_a_word_to_num_features():
    layer = layer_for()
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(layer, name).data = getattr(layer, name).data[:2]
    assert layer(random(5, 2)).shape == (5, 2) and layer.features == (2,)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("options", [{}, {"ghost": 4}, {"momentum": None}, {"renorm": (3.0, 5.0)}])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (2, 3, 0)], ids=str)
def test_an_empty_batch_gives_an_empty_output(shape, training, options, affine):
    """As torch has it, gradients and count too."""
    ours, torchs = BatchNorm(3, affine=affine, **options), torch.nn.BatchNorm1d(3, affine=affine)
    for layer in (ours, torchs):
        x = torch.empty(shape, requires_grad=True)
        y = layer.train(training)(x)
        assert y.shape == shape and y.dtype == x.dtype
        y.sum().backward()
        assert x.grad.shape == shape
        assert not affine or ((layer.weight.grad == 0).all() and (layer.bias.grad == 0).all())
    same_state(ours, torchs)


def test_an_empty_batch_among_others():
    layer = BatchNorm(3, track_running_stats=False)
    assert layer(torch.empty(0, 3)).shape == (0, 3)
    layer = BatchNorm(3, activation="relu", dtype=torch.bfloat16)
    empty = torch.empty(0, 3, dtype=torch.bfloat16)
    assert layer(empty, torch.empty(0, dtype=torch.bool), empty).dtype == torch.bfloat16
    with accumulate(layer):
        for part in (empty, torch.ones(4, 3, dtype=torch.bfloat16), empty):
            layer(part)
    assert layer.num_batches_tracked == 2
    with pytest.raises(DataError, match="more than 1 value"):
        layer(torch.ones(1, 3, dtype=torch.bfloat16))


@pytest.mark.parametrize("rows", [8, 2**15])
@pytest.mark.parametrize("given", [torch.float16, torch.float32])
def test_16_bit_statistics_hold_what_the_mixture_is(given, rows):
    """std 200: the batch's variance of 40,000 doubled is beyond float16, 0.9 · 1 + 0.1 · 40,000 is not."""
    layer, wide = BatchNorm(2).half(), BatchNorm(2, dtype=torch.float64)
    x = random(rows, 2, dtype=torch.float32).mul(100).to(given)
    layer(x)
    wide(x.double())
    assert 1000 < layer.running_var.max() < 10_000 and layer.skipped == 0
    torch.testing.assert_close(layer.running_var.double(), wide.running_var, rtol=2e-3, atol=0)  # two roundings
    layer.momentum = 1.0
    with pytest.warns(RuntimeWarning, match="or a variance beyond torch.float16"):
        layer(torch.linspace(-600, 600, 8).reshape(4, 2).to(given))
    assert layer.running_var.max() < 10_000 and layer.skipped == 1


def test_what_accumulates_is_held_by_the_mixture_too():
    layer = BatchNorm(1).half()
    with accumulate(layer):
        for part in (torch.linspace(-600, 0, 8), torch.linspace(0, 600, 8)):
            layer(part.reshape(8, 1))
    assert 10_000 < layer.running_var.item() < 20_000


def test_a_counter_of_shape_1():
    """As quantization and older files have it."""
    layer, x = layer_for(momentum=None), random(5, 3)
    old = {**layer.state_dict(), "num_batches_tracked": torch.tensor([4])}
    layer.load_state_dict(old)
    assert layer.num_batches_tracked == 4
    layer.num_batches_tracked = torch.tensor([4])
    for given in (x, random(3, 5).T):
        layer(given)
    assert layer.num_batches_tracked == 6 and layer.state().batches == 6


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_ensemble_under_vmap_is_its_members(dtype, training):
    layers = [layer_for(dtype=dtype).train(training) for _ in range(4)]
    with torch.no_grad():
        for i, layer in enumerate(layers):
            layer.weight.mul_(i + 1)
    parameters, buffers = torch.func.stack_module_state(copy.deepcopy(layers))
    base, x = copy.deepcopy(layers[0]).to("meta"), random(4, 5, 3, dtype=dtype)

    def one(parameters, buffers, x):
        return torch.func.functional_call(base, (parameters, buffers), (x,))

    y = torch.func.vmap(one)(parameters, buffers, x)
    bound = 1e-12 if dtype == torch.float64 else 1e-5
    for i, layer in enumerate(layers):
        same(y[i], layer(x[i]), bound)
        for name, value in layer.named_buffers():
            same(buffers[name][i].double(), value.double(), bound)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_by_torch_func_with_buffers_passed_in(dtype):
    layer, x = layer_for(dtype=dtype), random(5, 3, dtype=dtype)
    parameters = {name: value.detach() for name, value in layer.named_parameters()}
    buffers = {name: value.clone() for name, value in layer.named_buffers()}

    def loss(parameters, buffers, x):
        return (torch.func.functional_call(layer, (parameters, buffers), (x,)) ** 3).mean()

    got = torch.func.grad(loss)(parameters, buffers, x)
    (layer(x) ** 3).mean().backward()
    bound = 1e-11 if dtype == torch.float64 else 1e-3
    for name, value in layer.named_parameters():
        same(got[name], value.grad, bound)
    for name, value in layer.named_buffers():
        same(buffers[name].double(), value.double(), 1e-5)


@pytest.mark.parametrize("features", [np.int64(4), np.int32(4)])
def test_a_number_of_features_of_numpys(features):
    layer = BatchNorm(features)
    assert layer.num_features == 4 and type(layer.num_features) is int and layer(torch.ones(3, 4)).shape == (3, 4)


def test_exported_in_evaluation_it_is_one_operation():
    model, x = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), BatchNorm(8)).eval(), torch.randn(2, 3, 6, 6)
    program = torch.export.export(model, (x,))
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert called[0].startswith("aten.conv2d") and called[1].startswith("aten.batch_norm") and len(called) == 2
    torch.testing.assert_close(program.module()(x), model(x), rtol=1e-5, atol=1e-5)
