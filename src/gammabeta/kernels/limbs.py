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
Floats = NDArray[np.float64]

BITS = 32
RANGE = 101 * BITS
"""Sums of numbers of 64 bits, weighted or squared, are multiples of 2^-RANGE below 2^RANGE in size."""
_LOW = np.int64(2**BITS - 1)
_ROWS = 2**31  # by which a kernel multiplies the first row of a result

_canonical = binding.function("limbs_canonical")
_combine = binding.function("limbs_combine")


def zeros(n: int) -> Limbs:
    """n zeros."""
    return 0, np.zeros((1, n), np.int64)


def canonical(base: int, digits: Digits) -> Limbs:
    """The canonical form of digits of any size below 2⁶²; `digits` is left as it was."""
    height, n = digits.shape
    if n == 0:
        return zeros(0)
    out = np.empty((height + 1, n), np.int64)
    return _trimmed(base, out, _canonical(np.ascontiguousarray(digits), n, out))


def is_canonical(a: Limbs) -> bool:
    """Whether a vector, whose limbs may be any integers of 64 bits, is in canonical form and within `RANGE`."""
    base, digits = a
    height = len(digits)
    if not (height and abs(base) * BITS <= RANGE and abs(base + height) * BITS <= RANGE + BITS):
        return False
    top = digits[-1]
    if np.count_nonzero(digits[:-1] & ~_LOW) or np.count_nonzero((top < -(2**BITS)) | (top >= 2**BITS)):
        return False
    if not np.count_nonzero(digits):
        return base == 0 and height == 1
    return bool(np.count_nonzero(digits[0]) and (height == 1 or np.count_nonzero((top != 0) & (top != -1))))


def to_floats(a: Limbs) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """The numbers as float64, how far these may be from them, and which are integers that float64 holds.

    ±inf or NaN where float64 does not reach.
    """
    base, digits = a
    parts = np.ldexp(digits.astype(np.float64), BITS * np.arange(base, base + len(digits))[:, None])
    sizes = np.abs(parts).sum(axis=0)
    whole = (sizes < 2.0**53) & ~np.any(digits[: max(-base, 0)], axis=0)
    return parts.sum(axis=0), sizes * (len(digits) * 2.0**-52), whole


def _trimmed(base: int, out: Digits, rows: int) -> Limbs:
    """The rows of `out` that a kernel says are the canonical form: the first · 2³¹ + how many; none of zeros."""
    if not rows:
        return zeros(out.shape[1])
    first, many = divmod(rows, _ROWS)
    return base + first, out[first : first + many]


def _combined(a: Limbs, b: Limbs, sign: int) -> Limbs:
    """a + sign · b."""
    n = a[1].shape[1]
    if n == 0:
        return zeros(0)
    base = min(a[0], b[0])
    rows = max(a[0] + len(a[1]), b[0] + len(b[1])) - base
    out = np.empty((rows + 1, n), np.int64)
    left, right = np.ascontiguousarray(a[1]), np.ascontiguousarray(b[1])
    return _trimmed(base, out, _combine(left, a[0] - base, right, b[0] - base, sign, n, out))


def _nothing(a: Limbs) -> bool:
    return len(a[1]) == 1 and not np.count_nonzero(a[1])


def add(a: Limbs, b: Limbs) -> Limbs:
    """a + b."""
    if _nothing(a) or _nothing(b):
        return b if _nothing(a) else a
    return _combined(a, b, 1)


def subtract(a: Limbs, b: Limbs) -> Limbs:
    """a − b."""
    return _combined(a, b, -1)


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


def scatter(a: Limbs, index: NDArray[np.intp], n: int) -> Limbs:
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
