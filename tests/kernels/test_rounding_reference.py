"""Every float that leaves exact arithmetic is the nearest one."""

from fractions import Fraction
from math import isnan

from hypothesis import given
from hypothesis import strategies as st

from gammabeta.kernels.rounding_reference import ratio, root
from reference import is_root, rounded

BIG = st.integers(-(2**300), 2**300) | st.integers(-(2**60), 2**60) | st.integers(-10, 10)
POSITIVE = st.integers(1, 2**300) | st.integers(1, 1000)
EXPONENT = st.integers(-2400, 2400) | st.integers(-60, 60)


@given(BIG, BIG, EXPONENT)
def test_ratio_is_the_rounded_fraction(p: int, q: int, exponent: int) -> None:
    got = ratio(p, q, exponent)
    assert isnan(got) if q == 0 else got == rounded(Fraction(p, q) * Fraction(2) ** exponent)


@given(st.integers(0, 2**300) | st.integers(0, 100), POSITIVE, EXPONENT)
def test_root_is_the_nearest_float(p: int, q: int, exponent: int) -> None:
    square = Fraction(p, q) * Fraction(2) ** exponent
    got = root(p, q, exponent)
    assert is_root(got, square)


@given(st.integers(1, 2**53 - 1), st.integers(-1074, 900))
def test_roots_of_squares_and_next_to_midpoints(m: int, exponent: int) -> None:
    y = Fraction(m) * Fraction(2) ** exponent
    assert root(m * m, 1, 2 * exponent) == rounded(y)
    middle = 2 * m + 1  # of 53-bit numbers: a tie, and the smallest steps beside it
    for step in -1, 0, 1:
        assert is_root(root((middle * middle << 200) + step, 1, -200), middle**2 + Fraction(step, 2**200))


def test_a_root_needs_a_positive_divisor() -> None:
    assert isnan(root(1, 0, 0)) and isnan(root(1, -1, 0)) and root(0, 1, 0) == 0


def test_the_reference_can_fail() -> None:
    assert is_root(1.5, Fraction(9, 4)) and not is_root(1.5000000000000002, Fraction(9, 4))
