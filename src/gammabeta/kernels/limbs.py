"""Vectors of integers of any size, as limbs of 32 bits: what exact sums are kept in.

A vector of n numbers is a pair (base, digits): base an integer, digits int64 of shape (k, n). Number i is

    Σ_j digits[j, i] · 2^(32·(base + j))

In canonical form every digit but the last lies in [0, 2³²), the last, which carries the sign, in [−2³², 2³²),
neither the first nor the last row could be left out, and zero has base 0. Equal vectors have equal canonical forms.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import binding

Digits = NDArray[np.int64]
Limbs = tuple[int, Digits]

BITS = 32
_LOW = np.int64(2**BITS - 1)
_ADD = binding.function("limbs_add")


def zeros(n: int) -> Limbs:
    """n zeros."""
    return 0, np.zeros((1, n), np.int64)


def canonical(base: int, digits: Digits) -> Limbs:
    """The canonical form of digits of any size below 2⁶²; `digits` is left as it was."""
    height, n = digits.shape
    if n == 0:
        return zeros(0)
    carried = np.zeros((height + 1, n), np.int64)
    carried[:height] = digits
    lower, upper = carried[:-1], carried[1:]
    while np.count_nonzero(carry := lower >> BITS):
        lower &= _LOW
        upper += carry
    first = 0
    while first < height and not np.count_nonzero(carried[first]):
        first += 1
    while height > first and np.count_nonzero(carried[height]) == np.count_nonzero(carried[height] == -1):
        height -= 1
        carried[height] += carried[height + 1] << BITS
    nothing = first == height and not np.count_nonzero(carried[height])
    return zeros(n) if nothing else (base + first, carried[first : height + 1])


def add(a: Limbs, b: Limbs) -> Limbs:
    """a + b."""
    return _sum(a, b, 1)


def subtract(a: Limbs, b: Limbs) -> Limbs:
    """a − b."""
    return _sum(a, b, -1)


def _sum(a: Limbs, b: Limbs, sign: int) -> Limbs:
    """a + sign · b."""
    (a_base, x), (b_base, y) = a, b
    n = x.shape[1]
    if n == 0:
        return zeros(0)
    base = min(a_base, b_base)
    rows = max(a_base + len(x), b_base + len(y)) - base
    digits, touched = np.empty((rows + 1, n), np.int64), np.empty(2, np.int64)
    _ADD(x, a_base, y, b_base, sign, n, digits, touched)
    first, last = touched.tolist()
    return (base + first, digits[first:last]) if first < last else zeros(n)


def from_counts(counts: Digits) -> Limbs:
    """The vector of counts below 2³²·2³⁰; most, below 2³², are canonical as they are."""
    return (0, counts.reshape(1, -1).copy()) if counts.max(initial=0) <= _LOW else canonical(0, counts.reshape(1, -1))


def concatenate(parts: list[Limbs]) -> Limbs:
    """The numbers of several vectors, one after another."""
    if len(parts) == 1:
        return parts[0]
    base = min(start for start, _ in parts)
    rows = max(start + len(digits) for start, digits in parts) - base
    together = np.zeros((rows, sum(digits.shape[1] for _, digits in parts)), np.int64)
    column = 0
    for start, digits in parts:
        together[start - base : start - base + len(digits), column : column + digits.shape[1]] = digits
        column += digits.shape[1]
    return canonical(base, together)


def take(a: Limbs, index: NDArray[np.intp]) -> Limbs:
    """The numbers at `index`."""
    return canonical(a[0], a[1][:, index])


def spread(a: Limbs, index: NDArray[np.intp], n: int) -> Limbs:
    """A vector of n numbers, number i of `a` at index[i] and zeros elsewhere."""
    digits = np.zeros((len(a[1]), n), np.int64)
    digits[:, index] = a[1]
    return a[0], digits


def across(a: Limbs, n: int) -> Limbs:
    """Number i added to sum i mod n."""
    base, digits = a
    return canonical(base, digits.reshape(len(digits), -1, n).sum(axis=1))


def negative(a: Limbs) -> NDArray[np.bool_]:
    """Which numbers lie below zero."""
    return np.asarray(a[1][-1] < 0)


def to_integers(a: Limbs) -> tuple[list[int], int]:
    """The numbers as Python integers in units of 2^exponent, and that exponent."""
    base, digits = a
    k, n = digits.shape
    packed = np.zeros((n, k + 1), "<u4")
    packed[:, : k - 1] = digits[:-1].T
    packed[:, k - 1 :] = np.ascontiguousarray(digits[-1].astype("<i8")).view("<u4").reshape(n, 2)
    data, width = packed.tobytes(), 4 * (k + 1)
    numbers = [int.from_bytes(data[at : at + width], "little", signed=True) for at in range(0, n * width, width)]
    return numbers, BITS * base


def from_integers(numbers: Iterable[int], exponent: int) -> Limbs:
    """The vector of number · 2^exponent."""
    base, shift = divmod(exponent, BITS)
    shifted = [number << shift for number in numbers]
    words = max((number.bit_length() for number in shifted), default=0) // BITS + 1
    data = b"".join(number.to_bytes(4 * words, "little", signed=True) for number in shifted)
    digits = np.frombuffer(data, "<u4").reshape(len(shifted), words).T.astype(np.int64)
    digits[-1] = digits[-1].astype(np.uint32).view(np.int32)
    return canonical(base, digits)
