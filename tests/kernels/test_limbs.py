"""Integers of any size as limbs: a commutative group with one form for each vector."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gammabeta.kernels import limbs

INTEGERS = st.integers(-(2**700), 2**700) | st.sampled_from(
    [0, 1, -1, 2**31, -(2**31), 2**32, -(2**32), 2**63, -(2**64)]
)
VECTORS = st.lists(INTEGERS, min_size=1, max_size=5)
EXPONENTS = st.integers(-2200, 2200)


def value(a: limbs.Limbs) -> list[tuple[int, int]]:
    """Numbers as (odd integer, exponent): a form of its own, to compare with."""
    integers, exponent = limbs.to_integers(a)
    odd = []
    for integer in integers:
        zeros = (integer & -integer).bit_length() - 1 if integer else 0
        odd.append((integer >> zeros, exponent + zeros if integer else 0))
    return odd


def same(a: limbs.Limbs, b: limbs.Limbs) -> bool:
    return a[0] == b[0] and np.array_equal(a[1], b[1])


@given(VECTORS, EXPONENTS)
def test_integers_go_in_and_out(numbers: list[int], exponent: int) -> None:
    got, at = limbs.to_integers(limbs.from_integers(numbers, exponent))
    low = min(at, exponent)
    assert [n << (at - low) for n in got] == [n << (exponent - low) for n in numbers]


@given(VECTORS, EXPONENTS, EXPONENTS, st.data())
def test_sums_and_differences_are_those_of_integers(a: list[int], p: int, q: int, data: st.DataObject) -> None:
    b = data.draw(st.lists(INTEGERS, min_size=len(a), max_size=len(a)))
    low = min(p, q)
    left, right = limbs.from_integers(a, p), limbs.from_integers(b, q)
    for operation, sign in (limbs.add, 1), (limbs.subtract, -1):
        expected = [(x << (p - low)) + sign * (y << (q - low)) for x, y in zip(a, b, strict=True)]
        assert same(operation(left, right), limbs.from_integers(expected, low))
        assert limbs.negative(operation(left, right)).tolist() == [n < 0 for n in expected]


@given(VECTORS, EXPONENTS, st.integers(0, 200))
@example([-(2**32)], 0, 32)
def test_a_vector_has_one_canonical_form(numbers: list[int], exponent: int, shift: int) -> None:
    a = limbs.from_integers(numbers, exponent)
    assert same(a, limbs.from_integers([n << shift for n in numbers], exponent - shift))
    assert same(limbs.from_integers([n << shift for n in numbers], 0), limbs.from_integers(numbers, shift))
    assert same(a, limbs.canonical(*a))
    base, digits = a
    last = digits[-1]
    assert ((digits[:-1] >= 0) & (digits[:-1] < 2**32)).all() and ((last >= -(2**32)) & (last < 2**32)).all()
    assert any(numbers) or (base == 0 and len(digits) == 1)


@given(st.lists(st.tuples(VECTORS, EXPONENTS), min_size=1, max_size=4))
def test_concatenated_and_taken(parts: list[tuple[list[int], int]]) -> None:
    vectors = [limbs.from_integers(*part) for part in parts]
    whole = limbs.concatenate(vectors)
    assert value(whole) == [number for vector in vectors for number in value(vector)]
    start = 0
    for vector in vectors:
        index = np.arange(start, start := start + vector[1].shape[1])
        assert same(limbs.take(whole, index), vector)


@given(st.lists(INTEGERS, min_size=6, max_size=6), EXPONENTS, st.sampled_from([1, 2, 3, 6]))
def test_lanes_add_up_to_columns(numbers: list[int], exponent: int, columns: int) -> None:
    expected = [sum(numbers[i::columns]) for i in range(columns)]
    assert same(limbs.across(limbs.from_integers(numbers, exponent), columns), limbs.from_integers(expected, exponent))


@pytest.mark.parametrize("size", [2**62 - 1, -(2**62) + 1, 2**33, -1])
def test_digits_of_any_size_are_carried(size: int) -> None:
    digits = np.full((3, 2), size, np.int64)
    expected = size * (1 + 2**32 + 2**64)
    assert same(limbs.canonical(-1, digits), limbs.from_integers([expected] * 2, -32))


def test_a_vector_of_no_numbers() -> None:
    empty = limbs.zeros(0)
    assert limbs.to_integers(limbs.add(empty, limbs.from_integers([], 5))) == ([], 0)
