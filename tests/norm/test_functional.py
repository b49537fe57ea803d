"""The formula in every framework: the same numbers, exact gradients, every transformation, every error."""

from math import prod

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gammabeta as gb
from gammabeta.norm import functional

RNG = np.random.default_rng(0)
X = RNG.normal(3, 2, (6, 4, 5))


@pytest.fixture(autouse=True)
def _wide(request, framework):
    """64 bits for JAX's arrays. Not by a fixture in the place of `array`: its parameters would keep it to the end."""
    if "array" not in request.fixturenames or request.getfixturevalue("array").name != "jax":
        yield
        return
    with framework("jax").enable_x64(True):
        yield


def to_numpy(y):
    if hasattr(y, "detach"):
        y = y.detach()
        return y.float().numpy() if "bfloat16" in str(y.dtype) else y.numpy()
    return np.asarray(y)


def exact(x, axis, eps, gamma=1.0, beta=0.0):
    """The formula in long doubles; γ and β broadcast."""
    x = np.asarray(x, np.longdouble)
    centred = x - x.mean(axis, keepdims=True)
    return gamma * centred / np.sqrt((centred**2).mean(axis, keepdims=True) + np.longdouble(eps)) + beta


CALLS = {
    "batch": (lambda x, g, b: gb.batch_norm(x, g, b, axis=(0, 2)), (4,), (0, 2), (1, 4, 1)),
    "position": (lambda x, g, b: gb.batch_norm(x, g, b), (4, 5), 0, (1, 4, 5)),
    "layer": (lambda x, g, b: gb.layer_norm(x, g, b), (5,), 2, (1, 1, 5)),
    "layer, two axes": (lambda x, g, b: gb.layer_norm(x, g, b, axis=(1, 2)), (4, 5), (1, 2), (1, 4, 5)),
    "layer, broadcast": (lambda x, g, b: gb.layer_norm(x, g, b, axis=(1, 2)), (5,), (1, 2), (1, 1, 5)),
    "instance": (gb.instance_norm, (4,), 2, (1, 4, 1)),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_kind_of_array(array, name):
    """In float64: 2⁻⁵³ for each of some ten operations on values below 10, and of sums of at most 30 terms."""
    call, shape, axis, beside = CALLS[name]
    gamma, beta = np.linspace(0.5, 2, prod(shape)).reshape(shape), np.linspace(-1, 1, prod(shape)).reshape(shape)
    y = call(array(X), array(gamma), array(beta))
    assert type(y) is type(array(X))
    want = exact(X, axis, 1e-5, gamma.reshape(beside), beta.reshape(beside))
    np.testing.assert_allclose(to_numpy(y), np.asarray(want, np.float64), rtol=0, atol=40 * 10 * 2.0**-53)


def test_group_norm(array):
    gamma, beta = np.linspace(0.5, 2, 4), np.linspace(-1, 1, 4)
    for groups in (1, 2, 4):
        y = gb.group_norm(array(X), groups, array(gamma), array(beta))
        want = exact(X.reshape(6, groups, -1), 2, 1e-5).reshape(X.shape) * gamma[:, None] + beta[:, None]
        np.testing.assert_allclose(to_numpy(y), np.asarray(want, np.float64), rtol=0, atol=400 * 2.0**-53)


def test_rms_norm(array):
    gamma = np.linspace(0.5, 2, 5)
    want = gamma * X / np.sqrt((X**2).mean(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(to_numpy(gb.rms_norm(array(X), array(gamma))), want, rtol=0, atol=400 * 2.0**-53)


def test_given_statistics(array):
    mean, var = np.linspace(1, 2, 4), np.linspace(0.5, 3, 4)
    y = gb.batch_norm(array(X), axis=(0, 2), mean=array(mean), var=array(var), eps=1e-3)
    want = (X - mean[:, None]) / np.sqrt(var[:, None] + 1e-3)
    np.testing.assert_allclose(to_numpy(y), want, rtol=0, atol=100 * 2.0**-53)


def test_statistics_are_given_back(array):
    _, mean, var, count = functional.normalized(array(X), axis=(0, 2))
    np.testing.assert_allclose(to_numpy(mean), X.mean((0, 2)), rtol=1e-14)
    np.testing.assert_allclose(to_numpy(var), X.var((0, 2)), rtol=1e-13)
    assert int(count) == 30


@pytest.mark.parametrize("shape", [(6, 5), (6, 1, 5), (6, 4, 5)])
def test_a_mask_equals_slicing(array, shape):
    mask = RNG.random(shape) < 0.6
    whole = np.broadcast_to(mask.reshape(6, 1, 5) if mask.ndim == 2 else mask, X.shape)
    hidden = np.where(whole, X, np.nan)
    y, _, var, count = functional.normalized(array(hidden), axis=(0, 2), mask=array(mask))
    y = to_numpy(y)
    assert (y[~whole] == 0).all()
    for c in range(4):
        values = X[:, c][whole[:, c]]
        np.testing.assert_allclose(y[:, c][whole[:, c]], np.asarray(exact(values, 0, 1e-5), float), atol=1e-13)
        np.testing.assert_allclose(to_numpy(var)[c], values.var(), rtol=1e-13)
        assert np.asarray(count)[c] == len(values)


def test_what_is_masked_is_normalized_by_the_others_statistics(array):
    """As Keras and flax do, with values in the padding whose squares overflow; a NaN there stays where it is."""
    mask = np.arange(30).reshape(6, 1, 5) % 4 > 0
    x = np.where(mask, X, 1e200)
    x[0, 1, 0] = np.nan
    y, mean, var, _ = functional.normalized(array(x), axis=(0, 2), mask=array(mask), zero_masked=False)
    alone = functional.normalized(array(x), axis=(0, 2), mask=array(mask))
    counted = np.broadcast_to(mask, x.shape)
    np.testing.assert_array_equal(to_numpy(y)[counted], to_numpy(alone.y)[counted])
    np.testing.assert_array_equal(to_numpy(mean), to_numpy(alone.mean))
    want = (x - to_numpy(mean)[:, None]) / np.sqrt(to_numpy(var)[:, None] + 1e-5)
    np.testing.assert_allclose(to_numpy(y), want, rtol=1e-12, atol=1e-12)


def test_a_wholly_masked_batch_is_finite(array):
    y, mean, var, count = (to_numpy(a) for a in functional.normalized(array(X * np.nan), mask=array(np.zeros(6, bool))))
    assert (y == 0).all() and (mean == 0).all() and (var == 0).all() and (count == 0).all()


KINDS_32 = ["numpy", "torch", "tensorflow", "jax"]


def of_kind(framework, kind, x):
    if kind == "numpy":
        return x
    module = framework(kind)
    if kind == "torch":
        return torch_bfloat16(module, x) if x.dtype == ml_dtypes.bfloat16 else module.from_numpy(x.copy())
    return module.numpy.asarray(x) if kind == "jax" else module.constant(x)


def torch_bfloat16(torch, x):
    return torch.from_numpy(x.view(np.int16).copy()).view(torch.bfloat16)


COLUMNS = {
    "a year": RNG.normal(2010, 3, 1024),
    "an altitude": RNG.normal(8000, 2, 1024),
    "1e4, 1": RNG.normal(1e4, 1, 1024),
    "1e6, 1": RNG.normal(1e6, 1, 1024),
    "ordinary": RNG.normal(0, 1, 1024),
    "a constant": np.full(1024, 3.7),
    "a huge constant": np.full(1024, 1e30),
    "0 and 1e30": np.where(np.arange(1024) == 5, 1e30, 0.0),
    "0 and 1e15": np.where(np.arange(1024) == 5, 1e15, 0.0),
    "0 and 3e9": np.where(np.arange(1024) == 5, 3e9, 0.0),
    "the widest": RNG.uniform(-3e38, 3e38, 1024),
    "one row": np.array([2010.0]),
}


@pytest.mark.parametrize("kind", KINDS_32)
@pytest.mark.parametrize("name", COLUMNS)
def test_hostile_columns_in_float32(framework, kind, name):
    """Within 4 times the best possible, u = 2⁻²⁴ of the largest |y| of the column (the kernels: within 1 time).

    The centred value loses 2u of itself to two subtractions, the scale 2.5u to root, quotient and half of the
    variance's own error, the product 1u; these are bounds of each, and random roundings come to half of them. Sums
    lose nothing to that, being taken in float64 (`spaces`): 1024 · 2⁻⁵³ is less than u.
    """
    column = COLUMNS[name].astype(np.float32)[:, None]
    close(gb.batch_norm(of_kind(framework, kind, column)), column, 1 if kind == "numpy" else 4)


def close(y, x, times):
    """Within so many times the best possible of each column, float32 having 2⁻²⁴ of its largest |y|."""
    want, y = exact(x, 0, 1e-5), to_numpy(y)
    assert y.dtype == np.float32
    assert (np.abs(y - want).max(0) <= times * 2.0**-24 * np.abs(want).max(0)).all()


@pytest.mark.parametrize("value", [1e30, 1e15, 3e9])
@pytest.mark.parametrize("shape", [(1024, 1), (1024, 4), (65536, 4)], ids=str)
def test_sums_are_taken_in_float64(framework, shape, value):
    """Of 0s and one huge value TensorFlow lost 243 u, XLA 12 u, torch 6 u. The bound is that above: 65536 · 2⁻⁵³ is
    less than u too."""
    jax, tf, torch = (framework(name) for name in ("jax", "tensorflow", "torch"))
    x = np.where(np.arange(shape[0])[:, None] == np.full(shape[1], 5), value, 0).astype(np.float32)
    for y in (
        gb.batch_norm(jax.numpy.asarray(x)),
        jax.jit(gb.batch_norm)(x),
        jax.vmap(gb.batch_norm)(x[None])[0],
        gb.batch_norm(tf.constant(x)),
        tf.function(gb.batch_norm)(tf.constant(x)),
        tf.function(gb.batch_norm, jit_compile=True)(tf.constant(x)),
        gb.batch_norm(torch.tensor(x)),
    ):
        close(y, x, 4)


@pytest.mark.parametrize(("platform", "wide"), [("cpu", True), ("cuda", False), ("tpu", False)])
def test_only_a_cpu_is_asked_for_float64(framework, platform, wide):
    jax = framework("jax")
    program = framework("jax.export").export(jax.jit(gb.batch_norm), platforms=[platform])(X.astype(np.float32))
    assert ("f64" in program.mlir_module()) is wide


def test_sums_in_float64_have_every_derivative(framework):
    """Without `jax_enable_x64`, where no float64 can be transposed: to 2⁻²⁴ of some ten operations on at most 100."""
    jax = framework("jax")
    x = jax.numpy.asarray(X[:, :2, :2], "float32")
    loss = lambda x: (gb.batch_norm(x, np.ones((2, 2)), axis=0) ** 3).sum()  # noqa: E731
    with jax.enable_x64(True):
        wide = x.astype("float64")
        first, second = jax.grad(loss)(wide), jax.jit(jax.hessian(loss))(wide)
    for transformed in (lambda f: f, jax.jit, jax.checkpoint):
        np.testing.assert_allclose(transformed(jax.grad(loss))(x), first, rtol=0, atol=1000 * 2.0**-24)
        np.testing.assert_allclose(jax.jit(transformed(jax.hessian(loss)))(x), second, rtol=0, atol=1000 * 2.0**-24)
        twice = jax.jit(jax.jacrev(jax.jacrev(transformed(loss))))(x)
        np.testing.assert_allclose(twice, second, rtol=0, atol=1000 * 2.0**-24)
    each = jax.jit(jax.vmap(jax.grad(loss)))(jax.numpy.stack([x, x]))
    np.testing.assert_allclose(each[1], first, rtol=0, atol=1000 * 2.0**-24)


@pytest.mark.parametrize("kind", KINDS_32)
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_16_bits_are_computed_in_float32(framework, kind, dtype):
    """One rounding to the type, and a hundredth of one: float32 has 2¹³ times its digits, or more."""
    x = RNG.normal(50, 4, (5000, 2)).astype(dtype)
    given_ = of_kind(framework, kind, x)
    y = gb.batch_norm(given_, np.ones(2, np.float32), np.zeros(2, np.float32))
    assert str(y.dtype) == str(given_.dtype)
    want = exact(x, 0, 1e-5)
    own = {np.float16: 2.0**-11, ml_dtypes.bfloat16: 2.0**-8}[dtype]
    assert (np.abs(to_numpy(y).astype(np.float64) - want) <= 1.01 * own * np.abs(want) + 1e-6).all()


@pytest.mark.parametrize("kind", KINDS_32)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_make_their_feature_nan(framework, kind, bad):
    x = RNG.normal(0, 1, (10, 3)).astype(np.float32)
    x[2, 1] = bad
    y = to_numpy(gb.batch_norm(of_kind(framework, kind, x)))
    assert np.isnan(y[:, 1]).all() and np.isfinite(y[:, [0, 2]]).all()


def test_torch_gradients(framework):
    torch = framework("torch")
    x = torch.randn(5, 3, 2, dtype=torch.float64, requires_grad=True)
    g, b = (torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    mask = torch.rand(5, 2) < 0.7
    for call in (
        lambda x, g, b: gb.batch_norm(x, g, b, axis=(0, 2)),
        lambda x, g, b: gb.batch_norm(x, g, b, axis=(0, 2), mask=mask),
        lambda x, g, b: gb.batch_norm(x, axis=(0, 2), mean=g, var=b**2),
        gb.instance_norm,
        lambda x, g, b: gb.group_norm(x, 3, g, b),
        lambda x, g, b: gb.layer_norm(x, g, b, axis=1),
        lambda x, g, b: gb.rms_norm(x, g, axis=1) + b[:, None],
    ):
        assert torch.autograd.gradcheck(call, (x, g, b))
    assert torch.autograd.gradgradcheck(lambda x, g, b: gb.batch_norm(x, g, b, axis=(0, 2)), (x, g, b))


def test_no_gradient_and_no_nan_from_the_padding(framework):
    torch, jax, tf = (framework(name) for name in ("torch", "jax", "tensorflow"))
    x = RNG.normal(0, 1, (6, 3)).astype(np.float32)
    x[4:] = np.nan
    mask = np.arange(6) < 4
    t = torch.tensor(x, requires_grad=True)
    gb.batch_norm(t, mask=mask).pow(3).sum().backward()
    j = jax.grad(lambda x: (gb.batch_norm(x, mask=mask) ** 3).sum())(jax.numpy.asarray(x))
    v = tf.Variable(x)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(gb.batch_norm(v, mask=mask) ** 3)
    alone = torch.tensor(x[:4], requires_grad=True)
    gb.batch_norm(alone).pow(3).sum().backward()
    for slope in (t.grad.numpy(), np.asarray(j), tape.gradient(loss, v).numpy()):
        assert (slope[4:] == 0).all()
        # Sums of 4 terms below 10, in float32.
        np.testing.assert_allclose(slope[:4], alone.grad.numpy(), rtol=0, atol=100 * 2.0**-24)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CALLS, "mask"])
def test_torch_compiles_whole(framework, name):
    torch = framework("torch")
    if name == "mask":
        shape, mask = (4,), torch.rand(6, 5) < 0.7
        call = lambda x, g, b: gb.batch_norm(x, g, b, axis=(0, 2), mask=mask)  # noqa: E731
    else:
        call, shape, *_ = CALLS[name]
    arguments = [torch.tensor(X, requires_grad=True), torch.randn(shape).double(), torch.randn(shape).double()]
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    for y in (call, compiled):
        y(*arguments).pow(3).sum().backward()
    torch.testing.assert_close(compiled(*arguments), call(*arguments), rtol=0, atol=1e-14)


# torch.func.jvp loads decompositions that torch itself still scripts.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_torch_func(framework):
    torch = framework("torch")
    x = torch.tensor(X)
    each = torch.func.vmap(gb.batch_norm)(x)
    torch.testing.assert_close(each, torch.stack([gb.batch_norm(a) for a in x]), rtol=0, atol=1e-14)
    slope = torch.func.grad(lambda x: gb.batch_norm(x).pow(3).sum())(x)
    forward = torch.func.jvp(gb.batch_norm, (x,), (torch.ones_like(x),))[1]
    assert slope.shape == x.shape
    # A shift of everything moves nothing: 2⁻⁵³ of γ / std.
    torch.testing.assert_close(forward, torch.zeros_like(x), rtol=0, atol=1e-13)


def test_jax_transformations(framework):
    jax = framework("jax")
    x = jax.numpy.asarray(X.astype(np.float32))
    call = lambda x: gb.batch_norm(x, axis=0)  # noqa: E731
    np.testing.assert_allclose(jax.jit(call)(x), call(x), rtol=0, atol=16 * 2.0**-24)
    np.testing.assert_allclose(jax.vmap(call)(x), np.stack([call(a) for a in x]), rtol=0, atol=16 * 2.0**-24)
    with jax.enable_x64(True):
        framework("jax.test_util").check_grads(jax.jit(call), (jax.numpy.asarray(X),), order=2, eps=1e-3)
        jax.jit(jax.grad(lambda x: (gb.group_norm(x, 2) ** 3).sum()))(jax.numpy.asarray(X))


def test_tensorflow_functions_of_unknown_shape(framework):
    tf = framework("tensorflow")
    spec = [tf.TensorSpec([None, 4, None], tf.float64)]
    for call in (
        lambda x: gb.batch_norm(x, np.ones(4), np.zeros(4), axis=(0, 2)),
        lambda x: gb.batch_norm(x, axis=(0, 2), mask=tf.ones_like(x[:, 0], tf.bool)),
        lambda x: gb.group_norm(x, 2),
        gb.layer_norm,
        gb.instance_norm,
    ):
        traced = tf.function(call, input_signature=spec)
        np.testing.assert_allclose(traced(X).numpy(), call(tf.constant(X)).numpy(), rtol=0, atol=1e-13)


def test_against_the_frameworks_own(framework):
    """In float64: their sums and ours have a few dozen roundings."""
    torch = framework("torch")
    f, x, g, b = torch.nn.functional, torch.tensor(X), torch.rand(4).double(), torch.rand(4).double()
    pairs = (
        (gb.batch_norm(x, g, b, axis=(0, 2)), f.batch_norm(x, None, None, g, b, training=True)),
        (gb.instance_norm(x, g, b), f.instance_norm(x, weight=g, bias=b)),
        (gb.group_norm(x, 2, g, b), f.group_norm(x, 2, g, b)),
        (gb.layer_norm(x, axis=(1, 2)), f.layer_norm(x, (4, 5))),
        (gb.rms_norm(x), f.rms_norm(x, (5,), eps=1e-5)),
    )
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)


FLOATS = hnp.arrays(np.float64, (5, 4, 3), elements=st.floats(-100, 100, width=32))


@given(FLOATS)
def test_the_norms_are_one_formula(x):
    """Group norm of 1 group is layer norm over all but the batch, of c groups instance norm, which is batch norm of one
    sample. Sums in other orders: 2⁻⁵³ of 100 · 60 / √eps."""
    same = {"rtol": 0, "atol": 1e-9}
    np.testing.assert_allclose(gb.group_norm(x, 1), gb.layer_norm(x, axis=(1, 2)), **same)
    np.testing.assert_allclose(gb.group_norm(x, 4), gb.instance_norm(x), **same)
    np.testing.assert_allclose(gb.instance_norm(x[:1]), gb.batch_norm(x[:1], axis=(0, 2)), **same)
    np.testing.assert_allclose(gb.layer_norm(x), gb.batch_norm(x.transpose(2, 0, 1)).transpose(1, 2, 0), **same)


ERRORS = [
    (lambda x: gb.batch_norm(x, axis=3), gb.DataError, "axis must be within"),
    (lambda x: gb.batch_norm(x, axis=(1, -2)), gb.DataError, "axis must name each axis once"),
    (lambda x: gb.batch_norm(x, eps=0), gb.DataError, "eps must be greater than 0"),
    (lambda x: gb.batch_norm(x, eps=-1), gb.DataError, "eps must be greater than 0"),
    (lambda x: gb.batch_norm(x, np.ones(3)), gb.DataError, r"gamma must have shape \(4, 5\).*got \(3,\)"),
    (lambda x: gb.batch_norm(x, None, np.ones((5, 4))), gb.DataError, r"beta must have shape \(4, 5\).*got \(5, 4\)"),
    (lambda x: gb.batch_norm(x, mean=np.ones((4, 5))), gb.DataError, "mean and var must be given together"),
    (lambda x: gb.batch_norm(x[:0]), gb.DataError, "at least one value for each feature"),
    (lambda x: gb.batch_norm(x, mask=np.ones((6, 4), bool)), gb.DataError, r"mask must have x's shape.*got \(6, 4\)"),
    (lambda x: gb.batch_norm(x, mask=np.ones(6)), gb.KindError, "mask must be boolean.*got float64"),
    (lambda x: gb.group_norm(x, 3), gb.DataError, "groups must be an integer that divides the 4 channels.*got 3"),
    (lambda x: gb.group_norm(x, 0), gb.DataError, "groups must be"),
    (lambda x: gb.instance_norm(x[0]), gb.DataError, "at least three axes"),
    (lambda x: gb.layer_norm(x, np.ones(3)), gb.DataError, r"gamma must have shape \(5,\).*got \(3,\)"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[text for *_, text in ERRORS])
def test_errors_say_what_must_hold(array, call, error, text):
    with pytest.raises(error, match=text):
        call(array(X))


def test_integers_are_refused(array):
    with pytest.raises(gb.KindError, match=r"x must be float16, .* got int64: convert"):
        gb.batch_norm(array(np.ones((3, 2), np.int64)))


@pytest.mark.parametrize(("shape", "axis"), [((5, 0), 0), ((5, 0, 3), (0, 2))], ids=str)
def test_no_features_give_nothing(shape, axis):
    assert gb.batch_norm(np.zeros(shape), axis=axis).shape == shape
