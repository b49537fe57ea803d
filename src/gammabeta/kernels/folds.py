"""Constants of the compiled folds, read from the core: the size of a tile, and for float32 and float64 a lane's units.

The folds themselves are `core/exact/binned.hpp`, their proof docs/exact.md; the numbers here are read from the core.
"""

from typing import Any, NamedTuple

import numpy as np

from gammabeta.kernels import binding


class Folds(NamedTuple):
    """The numbers of the folds of a type. K is a lane's exponent: see `core/exact/binned.hpp`."""

    spread: int
    """|x| ≥ 2^(K − spread) for every x ≠ 0 of a lane."""
    min_exponent: int
    """The least K, and the greatest."""
    max_exponent: int
    parts: int
    """How many sums a lane has, and how many of them, the first, are of squares."""
    squares: int
    rows: int
    """Rows of a tile."""
    depth: int
    """Rows that a lane's sums are loaded for."""
    full: int
    """Tiles that a lane adds up in 64 bits."""
    lanes: int
    """Lanes of a tile."""
    block: int
    """Bytes of the state of a tile's lanes in a table."""
    workplace: int
    """Bytes that features in runs are added in."""
    units: tuple[int, ...]
    """The exponents of the units of the sums, those of squares less 2K, the others less K."""


def _read(letter: str) -> Folds:
    number = binding.function(f"exact_constant_{letter}")
    names = Folds._fields[:-1]
    few: dict[str, Any] = {name: number(i) for i, name in enumerate(names)}
    return Folds(**few, units=tuple(number(len(names) + i) for i in range(few["parts"])))


FOLDS = {letter: _read(letter) for letter in "fd"}
"""By the letter of NumPy's type."""

ROWS = FOLDS["f"].rows


def room(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A new uint8 array of `size` zeros, aligned to a cache line, for kernels to work in."""
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size]
