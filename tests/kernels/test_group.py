"""The kernels of layer, group, instance and RMS norm against long doubles: every form, type and split, hostile rows."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gammabeta.kernels import group, thread_pool
from gammabeta.kernels.batchnorm_contiguous import KINDS
from gammabeta.kernels.group import Rows

EPS = 1e-5

# Half a unit in the last place of each type, relative.
ROUNDING = {np.float16: 2.0**-11, ml_dtypes.bfloat16: 2.0**-8, np.float32: 2.0**-24, np.float64: 2.0**-53}
TYPES = list(ROUNDING)
NAMES = [np.dtype(t).name for t in TYPES]

# height, size, groups, width: γ by element, by stretches short and long; rows shorter than a vector, than a block, and
# longer.
FORMS = [
    (4, 8, 1, 1),
    (5, 2, 1, 1),
    (700, 96, 1, 1),
    (300, 769, 3, 1),
    (6, 15, 2, 3),
    (6, 15, 2, 5),
    (600, 60, 2, 4),
    (64, 5 * 21, 4, 21),
    (64, 8 * 49, 4, 49),
    (8, 3 * 9000, 2, 9000),
    (3, 20000, 1, 1),
    (4, 7, 4, 7),
]


def exact(x, dy, rows, gamma, beta):
    """The formula in long doubles: y, dx, dγ, dβ, and the mean and variance of rows, as x's blocks have them."""
    wide, slope = (
        v.astype(np.longdouble).reshape(-1, rows.groups, rows.size // rows.width, rows.width) for v in (x, dy)
    )
    gamma, beta = (p.reshape(1, rows.groups, -1, 1) for p in (gamma, beta))
    mean = wide.mean((2, 3), keepdims=True) if rows.centred else np.zeros((*wide.shape[:2], 1, 1), np.longdouble)
    var = ((wide - mean) ** 2).mean((2, 3), keepdims=True)
    inverse = 1 / np.sqrt(var + np.longdouble(rows.eps))
    normal, g = (wide - mean) * inverse, slope * gamma
    rest = g.mean((2, 3), keepdims=True) if rows.centred else 0
    dx = inverse * (g - rest - normal * (g * normal).mean((2, 3), keepdims=True))
    sums = ((slope * normal).sum((0, 3)).ravel(), slope.sum((0, 3)).ravel())
    return (normal * gamma + beta).reshape(x.shape), dx.reshape(x.shape), *sums, mean.ravel(), var.ravel()


def close(got, want, bound):
    assert np.all(np.abs(got.astype(np.longdouble) - want) <= bound), float(np.max(np.abs(got - want) / bound))


def check(x, dy, rows, gamma, beta):
    """Forward and backward within what rounding allows.

    Every operation is in float64, u = 2⁻⁵³, or of 16-bit values in float32, and the result rounded once to x's type. y:
    x − mean loses 2u of |x − mean|, scale 4u, products and sums 3u: 9u·(|γ·x̂| + |β|). A sum of n terms is off by at
    most (n/64 + 128)u of the sum of their sizes; in float32 a lane adds 256 terms at most before float64 takes over,
    each with 3 roundings of its own. Sums of squares are of x − center, and (mean − center)² is at most 4 times the
    variance: 5 times its error. Where nothing is centred, the squares are x's own.
    """
    n, narrow = rows.size, x.dtype.itemsize == 2
    work = 2.0**-24 if narrow else 2.0**-53
    own, many = ROUNDING[x.dtype.type], 5 * (min(n, 256) + 3 if narrow else n / 64 + 128) * work
    y, (high, low, var) = group.forward(x, rows, gamma, beta)
    dx, dgamma, dbeta = group.backward(dy, x, rows, np.stack([high, low, var]), gamma)
    want_y, want_dx, want_dgamma, want_dbeta, want_mean, want_var = exact(x, dy, rows, gamma, beta)
    assert (y.dtype, y.shape, dx.dtype, dx.shape) == (x.dtype, x.shape, x.dtype, x.shape)
    small = float(np.finfo(x.dtype).smallest_subnormal) if x.dtype.kind == "f" else 1e-40
    largest, most = np.abs(want_y) + 2 * np.abs(beta).max(), np.abs(gamma).max()
    # γ · |mean error| / √var and half the relative error of the variance, of |γ·x̂|.
    spread = 9 * work * largest + many * (largest + most)
    close(y, want_y, (1 + own) * spread + own * np.abs(want_y) + small)
    close(high.astype(np.longdouble) + low, want_mean, many * (work * np.abs(want_mean) + np.sqrt(want_var)))
    close(var, want_var, many * want_var)
    # A gradient is a difference: its error is relative to its largest terms. Rows add up one after the other.
    slope, inverse = float(np.abs(dy).max()), float(1 / np.sqrt(want_var + EPS).min())
    normal = float((np.abs(x.astype(np.longdouble)).max() + np.abs(want_mean).max()) * inverse)
    terms = rows.height // rows.groups * rows.width
    later = many + min(terms, 256) * work + terms * 2.0**-53
    close(dbeta, want_dbeta, later * terms * slope)
    close(dgamma, want_dgamma, 4 * later * terms * slope * (1 + normal))
    close(
        dx, want_dx, (1 + own) * own * np.abs(want_dx) + 16 * many * inverse * most * slope * (1 + normal) ** 2 + small
    )


def rows_of(form, dtype, centred, seed=0):
    rng = np.random.default_rng(seed)
    rows = Rows(*form, centred, EPS)
    x, dy = (rng.normal(mean, spread, form[:2]).astype(dtype) for mean, spread in ((5, 3), (0, 1)))
    channels = rows.groups * rows.size // rows.width
    return x, dy, rows, rng.uniform(0.5, 2, channels), rng.normal(0, 1, channels)


@pytest.mark.parametrize("dtype", TYPES, ids=NAMES)
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_form_and_type(form, centred, dtype):
    check(*rows_of(form, dtype, centred))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_threads(count):
    with thread_pool.limit(count):
        for form in ((700, 768, 1, 1), (64, 8 * 1024, 4, 1024), (2, 300000, 1, 1), (6000, 60, 2, 4)):
            check(*rows_of(form, np.float32, True))
            check(*rows_of(form, np.float16, False))


@pytest.mark.parametrize("form", [(64, 96, 4, 1), (64, 96, 4, 24)], ids=str)
def test_no_parameters_are_ones_and_zeros(form):
    x, dy, rows, gamma, _ = rows_of(form, np.float32, True)
    ones, zeros = np.ones_like(gamma), np.zeros_like(gamma)
    y, statistics = group.forward(x, rows)
    np.testing.assert_array_equal(y, group.forward(x, rows, ones, zeros)[0])
    for a, b in zip(
        group.backward(dy, x, rows, statistics), group.backward(dy, x, rows, statistics, ones), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("size", [1, 2, 31, 32, 33, 100, 9000])
def test_rows_of_one_number(size):
    """Their mean is that number, exactly, so that y is β and no gradient flows to x but by rounding."""
    for value in (0.0, 3.7, 1e30, -1e-40):
        x = np.full((3, size), value, np.float32)
        y, (high, low, var) = group.forward(x, Rows(3, size, 1, 1, True, EPS), np.full(size, 2.0), np.full(size, 0.5))
        assert (y == 0.5).all() and (high + low == x[:, 0]).all() and (var == 0).all()


HOSTILE = {
    "1e4, 1": (np.random.default_rng(2).normal(1e4, 1, 1024), np.float32),
    "1e6, 1": (np.random.default_rng(3).normal(1e6, 1, 1024), np.float32),
    "1e12, 1": (np.random.default_rng(4).normal(1e12, 1, 1024), np.float64),
    "0 and 1e30": (np.where(np.arange(1024) == 5, 1e30, 0.0), np.float32),
    "1e30 last": (np.where(np.arange(1024) == 1023, 1e30, 1.0), np.float32),
    "far away after the probe": (np.where(np.arange(1024) < 40, 0.0, 1e8) + np.arange(1024) % 7, np.float32),
    "rising": (np.linspace(-1e6, 1e6, 1024), np.float32),
    "the widest": (np.random.default_rng(5).uniform(-3e38, 3e38, 1024), np.float32),
    "subnormal": (np.random.default_rng(7).normal(0, 1e-310, 1024), np.float64),
    "subnormal, float32": (np.random.default_rng(7).normal(0, 1e-42, 1024), np.float32),
}


@pytest.mark.parametrize("width", [1, 64])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_rows(name, width):
    """One rounding of the result, and half of one more: 1.5 times the best that the type can hold.

    The half is what float64 leaves: 9u and, of the sums, 5 · (1024/64 + 128)u of the largest |x̂|, at most √1024 = 32.
    In float64 all of that shows, and is the bound.
    """
    row, dtype = HOSTILE[name]
    x = np.stack([row, row[::-1]]).astype(dtype)
    rows = Rows(2, 1024, 1, width, True, EPS)
    ones = np.ones(1024 // width)
    y, _ = group.forward(x, rows, ones, 0 * ones)
    want = exact(x, x, rows, ones, 0 * ones)[0]
    own = ROUNDING[dtype]
    bound = 1.5 * own * np.abs(want) + (9 + 5 * 144) * 2.0**-53 * 32 * (dtype == np.float64) + 2.0**-149
    close(y, want, bound + own * np.abs(want).max() * 2.0**-18)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_value_spoils_its_row_alone(bad, centred):
    x, _, rows, gamma, beta = rows_of((4, 40, 2, 1), np.float32, centred)
    clean, _ = group.forward(x, rows, gamma, beta)
    x[1, 7] = bad
    y, _ = group.forward(x, rows, gamma, beta)
    np.testing.assert_array_equal(y[[0, 2, 3]], clean[[0, 2, 3]])
    assert np.isnan(y[1, 7]) and (not centred or np.isnan(y[1]).all())


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 80)), elements=st.floats(-1e6, 1e6, width=32)),
    st.booleans(),
)
def test_law_every_row_is_within_one_rounding(x, centred):
    """γ = 1, β = 0. |x̂| ≤ √n < 9, and x − mean and the scale lose 9 + 5 · 130 units of 2⁻⁵³ of it, far below one of
    float32; where the variance is below eps, of |mean| / √eps too, 2⁻⁵³ · 1e6 · 317."""
    rows = Rows(*x.shape, 1, 1, centred, EPS)
    y, _ = group.forward(x, rows)
    ones = np.ones(x.shape[1])
    want = exact(x, x, rows, ones, 0 * ones)[0]
    close(y, want, 1.01 * 2.0**-24 * np.abs(want) + 1000 * 9 * 2.0**-53 + 2.0**-53 * 1e6 * 317)


@settings(deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.integers(1, 40), st.sampled_from(TYPES), st.booleans()
)
def test_law_any_form(samples, groups, channels, width, dtype, centred):
    form = samples * groups, max(2, channels) * width, groups, width
    check(*rows_of(form, dtype, centred, seed=samples))


@settings(deadline=None)
@given(hnp.arrays(np.float32, (3, 48), elements=st.floats(-1e4, 1e4, width=32)), st.integers(-8, 8))
def test_law_a_power_of_two_moves_no_digit(x, power):
    """With eps moved along."""
    y, _ = group.forward(x, Rows(3, 48, 1, 1, True, EPS))
    moved, _ = group.forward(x * np.float32(2.0**power), Rows(3, 48, 1, 1, True, EPS * 4.0**power))
    np.testing.assert_array_equal(moved, y)


def test_the_edge_refuses_what_does_not_fit():
    x, room = np.ones((4, 6), np.float32), np.empty(4096)
    y, statistics, kind = np.empty_like(x), np.empty((3, 4)), KINDS["float32"]
    places = x.ctypes.data, y.ctypes.data, 0, 0

    def call(room=room, form=(4, 6, 1, 1, 1), places=places, statistics=statistics, kinds=(kind, kind), threads=1):
        return group._FORWARD(room, *kinds, threads, *form, *places, statistics, EPS)

    assert call() == 0
    for change in (
        {"form": (4, 6, 3, 1, 1)},
        {"form": (4, 6, 1, 4, 1)},
        {"form": (0, 6, 1, 1, 1)},
        {"form": (2**40, 2**40, 1, 1, 1)},
        {"kinds": (4, kind)},
        {"threads": 0},
    ):
        with pytest.raises(ValueError, match="group norm: a shape, a type or a number of threads"):
            call(**change)
    for change in ({"room": np.empty(3)}, {"places": (0, *places[1:])}, {"statistics": np.empty((3, 3))}):
        with pytest.raises(ValueError, match="group norm: too little to work in, or an address is missing"):
            call(**change)
    for kernel in (group.run, group._SETTLE):
        with pytest.raises(ValueError, match="too little to work in"):
            kernel(np.zeros(3))
