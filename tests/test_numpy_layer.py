"""The layer in NumPy: its laws, its gradients by finite differences, its running statistics, its errors."""

import warnings
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gammabeta as gb
from gammabeta.numpy import BatchNorm

RNG = np.random.default_rng(0)


def layer_for(features, **options):
    """A layer whose γ and β are not 1 and 0."""
    layer = BatchNorm(features, **options)
    rng = np.random.default_rng(5)
    layer.gamma = rng.uniform(0.5, 2.0, layer.features)
    layer.beta = rng.normal(0, 1, layer.features)
    layer.running_mean = rng.normal(0, 1, layer.features)
    layer.running_var = rng.uniform(0.5, 2.0, layer.features)
    return layer


def differences(function, x, dy, step=1e-5):
    """∂(Σ dy · function(x)) / ∂x by central differences."""
    slope = np.empty_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += step
        down[i] -= step
        slope[i] = (dy * (function(up) - function(down))).sum() / (2 * step)
    return slope


LAYOUTS = [
    ((6, 3), 3, None, None),
    ((3, 2, 2, 3), 2, None, None),
    ((4, 2, 3), (2, 3), 0, None),
    ((2, 3, 4), (3,), (0, 2), (2, 4)),
    ((5, 3), 3, None, (5,)),
    ((4, 2, 3), (2, 3), 0, (4, 2, 3)),
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("shape", "features", "axis", "masked"), LAYOUTS, ids=str)
def test_gradients_are_those_of_finite_differences(shape, features, axis, masked, training):
    """Central differences with step h = 1e-5 are off by h²/6 of the third derivative, about 1e-9 here, and by the
    rounding 2⁻⁵³ / h of y, about 1e-10."""
    rng = np.random.default_rng(2)
    x, dy = rng.normal(0, 1, shape), rng.normal(0, 1, shape)
    mask = None if masked is None else rng.random(masked) < 0.7

    def forward(x, gamma=None, beta=None):
        layer = layer_for(features, axis=axis)
        layer.gamma, layer.beta = (p if q is None else q for p, q in ((layer.gamma, gamma), (layer.beta, beta)))
        return layer.forward(x, training, mask)

    layer = layer_for(features, axis=axis)
    layer.forward(x, training, mask)
    dx, dgamma, dbeta = layer.backward(dy)
    for got, want in (
        (dx, differences(forward, x, dy)),
        (dgamma, differences(lambda p: forward(x, gamma=p), layer.gamma, dy)),
        (dbeta, differences(lambda p: forward(x, beta=p), layer.beta, dy)),
    ):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("shape", "features", "axis", "masked"), LAYOUTS[3:], ids=str)
def test_a_mask_equals_slicing(shape, features, axis, masked, training):
    """Each feature, normalized alone over the values that count: y and dx there, 0 elsewhere."""
    rng = np.random.default_rng(3)
    x, dy = rng.normal(0, 1, shape), rng.normal(0, 1, shape)
    mask = rng.random(masked) < 0.7
    layer = layer_for(features, axis=axis)
    reduced_axes = layer._axis(x.ndim) if axis is None else axis
    reduced_axes = (reduced_axes,) if isinstance(reduced_axes, int) else reduced_axes
    kept = [i for i in range(x.ndim) if i not in reduced_axes]
    whole = np.broadcast_to(
        mask if mask.ndim == x.ndim else mask.reshape([shape[i] if i in reduced_axes else 1 for i in range(x.ndim)]),
        shape,
    )
    hidden = np.where(whole, x, np.nan)
    y = layer.forward(hidden, training, mask)
    dx, dgamma, dbeta = layer.backward(np.where(whole, dy, np.nan))
    assert (y[~whole] == 0).all() and (dx[~whole] == 0).all()
    columns = [np.transpose(a, (*kept, *reduced_axes)).reshape(prod(layer.features), -1) for a in (x, dy, whole, y, dx)]
    for i, (a, g, m, b, d) in enumerate(zip(*columns, strict=True)):
        one = BatchNorm(1)
        for name in ("gamma", "beta", "running_mean", "running_var"):
            getattr(one, name)[:] = getattr(layer_for(features, axis=axis), name).reshape(-1)[i]
        if training and m.sum() < 2:
            continue
        np.testing.assert_allclose(b[m], one.forward(a[m][:, None], training)[:, 0], rtol=1e-12, atol=1e-12)
        gradients = one.backward(g[m][:, None])
        np.testing.assert_allclose(d[m], gradients.dx[:, 0], rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(dgamma.reshape(-1)[i], gradients.dgamma[0], rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(dbeta.reshape(-1)[i], gradients.dbeta[0], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(layer.running_var.reshape(-1)[i], one.running_var[0], rtol=1e-12)


@pytest.mark.parametrize("mask", [np.zeros(4, bool), np.zeros((4, 3), bool)])
def test_a_wholly_masked_batch_moves_nothing(mask):
    layer = layer_for(3)
    before = layer.running_mean.copy(), layer.running_var.copy()
    y = layer.forward(np.full((4, 3), np.nan), True, mask)
    dx, dgamma, dbeta = layer.backward(np.ones((4, 3)))
    assert all((a == 0).all() for a in (y, dx, dgamma, dbeta))
    assert layer.batches == 0
    for a, b in zip(before, (layer.running_mean, layer.running_var), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_feature_with_one_value_left_keeps_its_running_statistics():
    layer = layer_for(2)
    before = layer.running_mean.copy()
    mask = np.array([[True, True], [False, True], [False, True]])
    layer.forward(np.arange(6.0).reshape(3, 2), True, mask)
    assert layer.running_mean[0] == before[0] and layer.running_mean[1] != before[1]


FLOATS = hnp.arrays(np.float64, (7, 2), elements=st.floats(-100, 100, width=32))


@given(FLOATS)
def test_gamma_1_and_beta_0_is_standardization(x):
    """(x − mean) / std, but for eps, which changes a scale by a relative eps / (2 var) at most."""
    var = x.var(axis=0)
    layer = BatchNorm(2, convention=gb.Convention(eps=1e-12))
    y = layer.forward(x, training=True)
    for i in np.flatnonzero(var > 1e-3):
        want = gb.Affine.standard(gb.Moments.of(x[:, i]))(x[:, i])
        # eps / (2 var) is below 1e-9; and |mean| / std below 1e5 roundings.
        np.testing.assert_allclose(y[:, i], want, rtol=2e-9, atol=1e-10)


@given(FLOATS, st.sampled_from([0.25, 2.0, 1024.0]), st.integers(-1000, 1000))
def test_shift_and_scale_do_not_matter(x, scale, shift):
    """y(s·x + t; s²·eps) = y(x; eps): exact in real numbers; s is a power of two, and t rounds by 2⁻⁵³ of 1100."""
    y = BatchNorm(2, convention=gb.Convention(eps=1e-3)).forward(x, True)
    moved = BatchNorm(2, convention=gb.Convention(eps=1e-3 * scale**2)).forward(x * scale + shift, True)
    # Of x·s + t is lost 2⁻⁵³·(1e5 + 1e3), divided by std ≥ √eps·s ≥ 0.03·s, s ≥ 1/4.
    np.testing.assert_allclose(moved, y, rtol=0, atol=1e-8)


@given(FLOATS)
def test_the_output_has_mean_beta_and_the_gradient_no_mean(x):
    layer = BatchNorm(2)
    layer.beta = np.array([1.0, -2.0])
    y = layer.forward(x, True)
    np.testing.assert_allclose(y.mean(axis=0), layer.beta, rtol=0, atol=1e-12)
    dx, *_ = layer.backward(np.arange(14.0).reshape(7, 2))
    # dx is up to 13 / √eps = 4e3 in size.
    np.testing.assert_allclose(dx.sum(axis=0), 0, rtol=0, atol=1e-10 * 4e3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_types_are_kept(dtype):
    layer = BatchNorm(3)
    x = RNG.normal(0, 1, (8, 3)).astype(dtype)
    assert layer.forward(x, True).dtype == dtype
    assert layer.backward(x).dx.dtype == dtype
    assert layer.forward(x, False).dtype == dtype


def test_torch_has_the_same_numbers(framework):
    torch = framework("torch")
    x, dy = (RNG.normal(2, 3, (8, 4, 5, 5)) for _ in range(2))
    theirs, ours = torch.nn.BatchNorm2d(4, dtype=torch.float64), BatchNorm(4)
    for training in (True, False):
        theirs.train(training)
        input_ = torch.tensor(x, requires_grad=True)
        y = theirs(input_)
        y.backward(torch.tensor(dy))
        np.testing.assert_allclose(ours.forward(x, training), y.detach().numpy(), rtol=0, atol=1e-13)
        dx, dgamma, dbeta = ours.backward(dy)
        np.testing.assert_allclose(dx, input_.grad.numpy(), rtol=0, atol=1e-13)
        np.testing.assert_allclose(dgamma, theirs.weight.grad.numpy(), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(dbeta, theirs.bias.grad.numpy(), rtol=1e-11, atol=1e-12)
        theirs.zero_grad()
    np.testing.assert_allclose(ours.running_var, theirs.running_var.numpy(), rtol=1e-13)


def test_a_cumulative_average_weighs_batches_alike():
    layer = BatchNorm(1, convention=gb.KERAS.replace(decay=None))
    batches = RNG.normal(3, 2, (5, 10, 1))
    for batch in batches:
        layer.forward(batch, True)
    np.testing.assert_allclose(layer.running_mean, batches.mean(axis=(0, 1)), rtol=1e-13)
    np.testing.assert_allclose(layer.running_var, batches.var(axis=1).mean(axis=0), rtol=1e-13)


def test_a_bad_batch_does_not_poison():
    layer = layer_for(2)
    before = layer.running_var.copy()
    x = RNG.normal(0, 1, (5, 2))
    x[1, 0] = np.inf
    with pytest.warns(RuntimeWarning, match=r"features \[0\].* stay as they were"):
        y = layer.forward(x, True)
    assert np.isnan(y[:, 0]).all() and np.isfinite(y[:, 1]).all()
    assert layer.running_var[0] == before[0] and layer.running_var[1] != before[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer.forward(x, True)
    assert layer.skipped == 2


X = np.ones((4, 3))
MASK = np.ones((4,), bool)
ERRORS = [
    (lambda n: n.forward(np.ones((4, 5)), True), gb.DataError, r"features \(3,\) beside .* got \(5,\)"),
    (lambda n: n.forward(np.ones((4, 3), int), True), gb.KindError, "x must be float16, .* got int64: convert"),
    (lambda n: n.forward(X[:1], True), gb.DataError, r"at least two values for each feature, got 1 .*training=False"),
    (lambda n: n.forward(X[:0], True), gb.DataError, "at least one value for each feature"),
    (lambda n: n.forward(X[:0], False), gb.DataError, "at least one value for each feature"),
    (lambda n: n.forward(X[0], True), gb.DataError, "two axes or more"),
    (lambda n: n.forward(X, True, MASK[:2]), gb.DataError, r"mask must have x's shape \(4, 3\).*got \(2,\)"),
    (lambda n: n.forward(X, True, np.ones((3, 3), bool)), gb.DataError, r"mask must have x's shape"),
    (lambda n: n.forward(X, True, MASK.astype(int)), gb.KindError, "mask must be boolean.*got int64"),
    (lambda n: n.backward(X), gb.DataError, "backward needs a forward"),
    (lambda n: (n.forward(X, False), n.backward(X[:2])), gb.DataError, r"dy must have the shape .*got \(2, 3\)"),
    (lambda n: (setattr(n, "gamma", np.ones(4)), n.forward(X, True)), gb.DataError, r"gamma must .*got \(4,\)"),
    (lambda n: (setattr(n, "running_var", np.ones(4)), n.forward(X, True)), gb.DataError, "running_var must"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[text for *_, text in ERRORS])
def test_an_error_says_what_and_updates_nothing(call, error, text):
    layer = BatchNorm(3)
    with pytest.raises(error, match=text):
        call(layer)
    assert layer.batches == 0
    assert (layer.running_mean == 0).all()
    assert (np.asarray(layer.running_var) == 1).all()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"axis": 3}, gb.DataError, "axis must be within"),
        ({"axis": (0, 0)}, gb.DataError, "each axis once"),
        ({"axis": ()}, gb.DataError, "at least one axis"),
        ({"axis": 1.5}, gb.KindError, "axis must be an integer"),
    ],
)
def test_a_wrong_axis_is_said(options, error, text):
    with pytest.raises(error, match=text):
        BatchNorm(3, **options).forward(X, True)


@pytest.mark.parametrize(("features", "text"), [(0, "positive"), ((3, -1), "positive"), ((2, 3), "axis must be given")])
def test_wrong_features_are_said(features, text):
    with pytest.raises(gb.DataError, match=text):
        BatchNorm(features)


def test_one_row_in_evaluation():
    assert BatchNorm(3).forward(X[:1], False).shape == (1, 3)
