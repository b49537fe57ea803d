"""The compiled finish gives what Python's integers give, bit for bit, and is certain of most ordinary features."""

import numpy as np
import pytest

from gammabeta import Moments
from gammabeta.kernels import limbs, rounding_reference
from gammabeta.kernels import rounding as finish

RNG = np.random.default_rng(0)
N = 400
TABLES = {
    "ordinary": RNG.standard_normal((50, N)),
    "one row": RNG.standard_normal((1, N)),
    "far from zero": 1e8 + RNG.standard_normal((50, N)),
    "constant": np.full((7, N), 0.1),
    "zeros": np.zeros((3, N)),
    "small integers, with ties": RNG.integers(-4, 5, (6, N)).astype(float),
    "powers of two": np.ldexp(1.0, RNG.integers(-60, 60, (3, N))),
    "unlike scales": RNG.standard_normal((20, N)) * np.exp2(RNG.integers(-1000, 1000, N)),
    "every exponent": np.ldexp(RNG.standard_normal((9, N)), RNG.integers(-1074, 1020, (9, N))),
    "huge": 1.7e308 * np.sign(RNG.standard_normal((5, N))),
    "subnormal": 5e-324 * np.round(RNG.standard_normal((5, N)) * 9),
    "nearly cancelling": np.concatenate([np.full((1, N), 1e16), RNG.standard_normal((5, N)), np.full((1, N), -1e16)]),
    "some missing": np.where(RNG.random((8, N)) < 0.4, np.nan, RNG.standard_normal((8, N))),
    "all missing": np.full((2, N), np.nan),
}


@pytest.mark.parametrize("table", TABLES)
def test_the_compiled_finish_is_that_of_integers(table: str) -> None:
    m = Moments.of(TABLES[table])
    sums = m._weight, m._sum, m._squares
    for ddof in (0.0, 1.0, 1.5, -2.0, 0.3, 5.0, 1e9):
        np.testing.assert_array_equal(finish.population(*sums, ddof), rounding_reference.population(*sums, ddof))
    few = m[:50]
    np.testing.assert_array_equal(m.mean[:50], few.mean)
    np.testing.assert_array_equal(m.var[:50], few.var)
    np.testing.assert_array_equal(m.std[:50], few.std)


def test_it_is_certain_of_ordinary_features(monkeypatch: pytest.MonkeyPatch) -> None:
    m = Moments.of(TABLES["ordinary"])
    left: list[int] = []
    monkeypatch.setattr(rounding_reference, "population", lambda weight, *_: left.append(weight[1].shape[1]) or 0.0)
    finish.population(*m._limbs)
    assert sum(left) < 0.05 * N  # a mean of 50 floats is a tie, half an ULP from two, one time in a hundred


def test_weights_that_are_no_counts_go_to_integers() -> None:
    x = RNG.standard_normal((5, N))
    m = Moments.of(x, weights=np.linspace(0.1, 0.7, 5))
    np.testing.assert_array_equal(m.mean[:50], m[:50].mean)
    large = limbs.from_integers([2**54] * N, 0)
    few = limbs.from_integers([3] * N, 0)
    np.testing.assert_array_equal(finish.population(large, few, few), rounding_reference.population(large, few, few))
