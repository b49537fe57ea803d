"""The kernels of batch norm, and their plain reference, against long doubles; every layout, type and split."""

from math import prod

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gammabeta.kernels import batchnorm, dtypes, reference, thread_pool

EPS = 1e-5

# Half a unit in the last place of each type, relative.
ROUNDING = {np.float16: 2.0**-11, ml_dtypes.bfloat16: 2.0**-8, np.float32: 2.0**-24, np.float64: 2.0**-53}
TYPES = list(ROUNDING)
NAMES = [np.dtype(t).name for t in TYPES]

# (shape, reduced axes): tables narrow, wide, with odd lanes; runs short and longer than a block; one feature, one run.
CASES = [
    ((30, 5), (0,)),
    ((1000, 3), (0,)),
    ((7, 200), (0,)),
    ((600, 65), (0,)),
    ((3000, 1), (0,)),
    ((1000,), (0,)),
    ((9, 70000), (0,)),
    ((40000, 9), (0,)),
    ((5, 4, 3, 6), (0, 2, 3)),
    ((5, 4, 3, 6), (0, 1, 2)),
    ((5, 4, 3, 6), (0,)),
    ((5, 4, 3, 6), (2, 3)),
    ((5, 4, 3, 6), (1,)),
    ((3, 2, 200, 100), (0, 2, 3)),
    ((20, 33, 12, 12), (0, 2, 3)),
    ((4, 3, 50000), (0, 2)),
    ((1, 5), (0,)),
    ((1, 1), (0,)),
]


def beside(value, reduced_axes, shape):
    return value.reshape([1 if i in reduced_axes else n for i, n in enumerate(shape)])


def exact(x, dy, reduced_axes, gamma, beta):
    """The formula in long doubles: y, mean, var, dx, dγ, dβ, the statistics as (f,)."""
    x, dy = x.astype(np.longdouble), dy.astype(np.longdouble)
    gamma, beta = (beside(p, reduced_axes, x.shape) for p in (gamma, beta))
    mean = x.mean(reduced_axes, keepdims=True)
    var = ((x - mean) ** 2).mean(reduced_axes, keepdims=True)
    inverse = 1 / np.sqrt(var + EPS)
    normal, n = (x - mean) * inverse, prod(x.shape[i] for i in reduced_axes)
    dbeta, dgamma = dy.sum(reduced_axes, keepdims=True), (dy * normal).sum(reduced_axes, keepdims=True)
    dx = gamma * inverse * (dy - dbeta / n - normal * dgamma / n)
    return normal * gamma + beta, mean.ravel(), var.ravel(), dx, dgamma.ravel(), dbeta.ravel()


def close(got, want, bound):
    assert np.all(np.abs(got.astype(np.longdouble) - want) <= bound), float(np.max(np.abs(got - want) / bound))


def check(x, dy, reduced_axes, gamma, beta):
    """Forward and backward within what rounding allows.

    Every operation is in float64, u = 2⁻⁵³, or of 16-bit values in float32, and the result rounded once to x's type. y:
    x − mean − rest loses 2u of |x − mean|, scale 4u, the product and the sum 2u: 8u·(|y − β| + |β|). A sum of n terms
    is off by at most (n/64 + 64)u of the sum of their sizes, n/64 of them in a lane, 64 lanes; in float32 a lane adds
    256 terms at most before float64 takes over, each with 3 roundings of its own. Of what is added only x − center
    counts, which is of the size of the deviation.
    """
    n, narrow = prod(x.shape[i] for i in reduced_axes), x.dtype.itemsize == 2
    work = 2.0**-24 if narrow else 2.0**-53
    own, many = ROUNDING[x.dtype.type], (min(n, 256) + 3 if narrow else n / 64 + 128) * work
    y, batch = batchnorm.forward(x, reduced_axes, gamma, beta, EPS)
    dx, dgamma, dbeta = batchnorm.backward(dy, x, reduced_axes, batch, gamma, EPS)
    want_y, mean, var, want_dx, want_dgamma, want_dbeta = exact(x, dy, reduced_axes, gamma, beta)
    assert (y.dtype, y.shape, dx.dtype, dx.shape) == (x.dtype, x.shape, x.dtype, x.shape)
    spread = np.abs(want_y) + 2 * np.abs(beside(beta, reduced_axes, x.shape))
    spread += (np.abs(want_y) + np.abs(beside(gamma, reduced_axes, x.shape))) * many / work
    small = float(np.finfo(x.dtype).smallest_subnormal) if x.dtype.kind == "f" else 1e-40
    close(y, want_y, (1 + own) * 8 * work * spread + own * np.abs(want_y) + small)
    close(batch.mean, mean, many * (np.abs(mean) + np.sqrt(var)))
    close(batch.var, var, many * var + (many * np.abs(mean)) ** 2)
    # A gradient is a difference: its error is relative to its largest terms.
    slope, scale = float(np.abs(dy).max()), np.abs(gamma / np.sqrt(var.astype(np.float64) + EPS)).max()
    normal = np.abs(want_y - beside(beta, reduced_axes, x.shape)).max() / np.abs(gamma).min()
    close(dbeta, want_dbeta, many * n * slope)
    close(dgamma, want_dgamma, 4 * many * n * slope * (1 + normal))
    terms = scale * slope * (1 + normal) ** 2
    close(dx, want_dx, (1 + own) * own * np.abs(want_dx) + 16 * (many + work) * terms + small)


def batch_of(shape, dtype, reduced_axes, seed=0):
    rng = np.random.default_rng(seed)
    features = prod(n for i, n in enumerate(shape) if i not in reduced_axes)
    x, dy = (rng.normal(5, 3, shape).astype(dtype), rng.normal(0, 1, shape).astype(dtype))
    return x, dy, reduced_axes, rng.uniform(0.5, 2, features), rng.normal(0, 1, features)


@pytest.mark.parametrize("dtype", TYPES, ids=NAMES)
@pytest.mark.parametrize(("shape", "reduced_axes"), CASES, ids=str)
def test_every_layout_and_type(shape, reduced_axes, dtype):
    check(*batch_of(shape, dtype, reduced_axes))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_threads(count):
    with thread_pool.limit(count):
        for shape, reduced_axes in (((40000, 9), (0,)), ((4, 3, 50000), (0, 2)), ((20, 33, 12, 12), (0, 2, 3))):
            check(*batch_of(shape, np.float32, reduced_axes))


def channels_last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def strided(x):
    wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, x.dtype)
    wide[..., ::-2] = x
    return wide[..., ::-2]


def big_endian(x):
    return x.astype(x.dtype.newbyteorder(">"))


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize("change", [channels_last, np.asfortranarray, strided, big_endian, read_only])
@pytest.mark.parametrize("reduced_axes", [(0, 2, 3), (0,), (1,), (2, 3)], ids=str)
def test_any_strides_and_byte_order(change, reduced_axes):
    x, dy, reduced_axes, gamma, beta = batch_of((6, 5, 4, 7), np.float32, reduced_axes)
    want, batch = batchnorm.forward(x, reduced_axes, gamma, beta, EPS)
    got, changed = batchnorm.forward(change(x), reduced_axes, gamma, beta, EPS)
    # The order of the sums changes with the layout, by (n/64 + 128) roundings in float64: far below one of float32.
    np.testing.assert_allclose(got, want, rtol=2.0**-23, atol=2.0**-40)
    assert got.dtype == np.float32
    dx = batchnorm.backward(change(dy), change(x), reduced_axes, changed, gamma, EPS)[0]
    expected = batchnorm.backward(dy, x, reduced_axes, batch, gamma, EPS)[0]
    np.testing.assert_allclose(dx, expected, rtol=2.0**-23, atol=2.0**-40)


def test_a_result_has_its_inputs_layout():
    x = channels_last(np.ones((2, 3, 4, 5), np.float32))
    y, _ = batchnorm.forward(x, (0, 2, 3), np.ones(3), np.zeros(3), EPS)
    assert y.strides == x.strides


HOSTILE = {
    "a year": (np.random.default_rng(0).normal(2010, 3, 1024), np.float32),
    "an altitude": (np.random.default_rng(1).normal(8000, 2, 1024), np.float32),
    "1e4, 1": (np.random.default_rng(2).normal(1e4, 1, 1024), np.float32),
    "1e6, 1": (np.random.default_rng(3).normal(1e6, 1, 1024), np.float32),
    "1e12, 1": (np.random.default_rng(4).normal(1e12, 1, 1024), np.float64),
    "a constant": (np.full(1024, 3.7), np.float32),
    "0 and 1e30": (np.where(np.arange(1024) == 5, 1e30, 0.0), np.float32),
    "1e30 first": (np.where(np.arange(1024) == 0, 1e30, 1.0), np.float32),
    "rising": (np.linspace(-1e6, 1e6, 1024), np.float32),
    "the widest": (np.random.default_rng(5).uniform(-3e38, 3e38, 1024), np.float32),
    "1e300": (np.random.default_rng(6).normal(0, 1e300, 1024), np.float64),
    "subnormal": (np.random.default_rng(7).normal(0, 1e-310, 1024), np.float64),
}


@pytest.mark.parametrize("as_runs", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_columns(name, as_runs):
    """One rounding of the result, and half of one more: 1.5 times the best that the type can hold.

    The half is what float64 leaves: 8u and, of the sums, (1024/64 + 128)u of the largest |x̂|, at most √1024 = 32. In
    float64 all of that shows, and is the bound.
    """
    column, dtype = HOSTILE[name]
    column = column.astype(dtype)
    shape, reduced_axes = ((4, 2, 256), (0, 2)) if as_runs else ((1024, 2), (0,))
    x = np.broadcast_to(column.reshape(4, 1, 256) if as_runs else column[:, None], shape).copy()
    y, _ = batchnorm.forward(x, reduced_axes, np.ones(2), np.zeros(2), EPS)
    wide = x.astype(np.longdouble)
    mean = wide.mean(reduced_axes, keepdims=True)
    centred = wide - mean
    want = centred / np.sqrt((centred**2).mean(reduced_axes, keepdims=True) + np.longdouble(EPS))
    own = ROUNDING[dtype]
    bound = 1.5 * own * np.abs(want) + (8 + 144) * 2.0**-53 * 32 * (dtype == np.float64) + 2.0**-149
    close(y, want, bound + own * np.abs(want).max() * 2.0**-20)


def orders(n):
    """Columns in the order that is worst for sums taken block by block, from a center that the first block gives."""
    rng, k = np.random.default_rng(0), np.arange(n)
    return {
        "sorted": np.sort(rng.normal(0, 1, n)),
        "two clusters": np.where(k < n // 2, 0.0, 1e8) + rng.normal(0, 1, n),
        "a constant, then far away": np.where(k < 600, 5.0, 1e6 + rng.normal(0, 1, n)),
        "one huge value first": np.where(k == 0, 1e12, rng.normal(0, 1, n)),
        "to and fro": np.where(k % 2, 1e8, -1e8) + rng.normal(0, 1, n),
        "growing": np.exp(k / n * 200),
        "drifting": k * 1e3 + rng.normal(0, 1, n),
    }


@pytest.mark.parametrize("n", [2, 17, 64, 255, 513, 1023, 16385, 131073])
@pytest.mark.parametrize("name", orders(2))
def test_no_order_costs_digits(name, n):
    """(n/64 + 128) roundings of the variance, twice: Σd² is at most twice what it adds to Σ(x − mean)²."""
    column = orders(n)[name]
    wide = column.astype(np.longdouble)
    want = ((wide - wide.mean()) ** 2).mean()
    for x, reduced_axes in (
        (np.stack([column, column[::-1]], 1), (0,)),
        (np.stack([column, column[::-1]])[None], (0, 2)),
    ):
        _, batch = batchnorm.forward(x, reduced_axes, np.ones(2), np.zeros(2), EPS)
        close(batch.var, np.stack([want, want]), 2 * (n / 64 + 128) * 2.0**-53 * want)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("shape", "reduced_axes"), [((100, 3), (0,)), ((4, 3, 20, 20), (0, 2, 3))])
def test_nan_and_infinity_stay_in_their_feature(shape, reduced_axes, bad):
    x, dy, reduced_axes, gamma, beta = batch_of(shape, np.float64, reduced_axes)
    feature = 1
    index = (2, feature) + (3, 3) * (x.ndim == 4)
    clean, _ = batchnorm.forward(x, reduced_axes, gamma, beta, EPS)
    x[index] = bad
    y, batch = batchnorm.forward(x, reduced_axes, gamma, beta, EPS)
    assert np.isnan(y[:, feature]).all()
    np.testing.assert_allclose(np.delete(y, feature, 1), np.delete(clean, feature, 1), rtol=1e-12)
    dx, dgamma, _ = batchnorm.backward(dy, x, reduced_axes, batch, gamma, EPS)
    assert np.isnan(dx[:, feature]).all() and np.isnan(dgamma[feature])
    assert np.isfinite(np.delete(dx, feature, 1)).all()


@pytest.mark.parametrize(("shape", "reduced_axes"), CASES[:12], ids=str)
def test_the_plain_reference_is_the_formula(shape, reduced_axes):
    x, dy, reduced_axes, gamma, beta = batch_of(shape, np.float64, reduced_axes, seed=1)
    want = exact(x, dy, reduced_axes, gamma, beta)
    gamma, beta = (beside(p, reduced_axes, shape) for p in (gamma, beta))
    y, mean, var, count = reference.forward(x, reduced_axes, gamma, beta, EPS)
    dx, dgamma, dbeta = reference.backward(dy, x, reduced_axes, mean, var, gamma, EPS)
    assert (count == prod(shape[i] for i in reduced_axes)).all()
    # NumPy adds pairwise: 40 000 terms are off by some 30 roundings of their sizes, of which x̂ and dy have at most 6.
    for got, expected in zip((y, mean, var, dx, dgamma, dbeta), want, strict=True):
        expected = expected.reshape(got.shape)
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-13 * (1 + np.abs(expected).max()))


@given(st.integers(0, 2**16 - 1))
def test_every_16_bit_float_goes_through_a_kernel(bits):
    for dtype in (np.float16, ml_dtypes.bfloat16):
        x = np.array([[bits]], np.uint16).view(dtype)
        if np.isfinite(x).all():
            y = batchnorm.applied(x, (0,), np.zeros(1), np.zeros(1), np.ones(1), np.zeros(1))
            assert y.tobytes() == (x + dtype(0)).tobytes() or x == 0


def test_bfloat16_rounds_to_nearest_even():
    """Of all float32 between two neighbours: as ml_dtypes rounds."""
    x = np.arange(0x3F80_0000, 0x3F84_0000, 257, np.uint32).view(np.float32).astype(np.float64)
    ones = np.ones((1, len(x)), ml_dtypes.bfloat16)
    y = batchnorm.applied(ones, (0,), np.zeros(len(x)), np.zeros(len(x)), x, np.zeros(len(x)))
    np.testing.assert_array_equal(y[0], x.astype(np.float32).astype(ml_dtypes.bfloat16))
    assert dtypes.stored(y).dtype == np.uint16


def test_the_comparison_can_fail():
    x, dy, reduced_axes, gamma, beta = batch_of((30, 5), np.float32, (0,))
    y, _ = batchnorm.forward(x, reduced_axes, gamma, beta, EPS)
    with pytest.raises(AssertionError):
        close(y * np.float32(1 + 2.0**-22), exact(x, dy, reduced_axes, gamma, beta)[0], 2.0**-24 * np.abs(y))
