"""A map as polars expressions."""

from collections.abc import Sequence
from typing import Any


def expressions(
    columns: Sequence[str], features: Sequence[tuple[float, float, float]], limits: tuple[float, float] | None
) -> list[Any]:
    """An expression for each column. features: center, slope and shift of each."""
    import polars

    found = []
    for name, (center, slope, shift) in zip(columns, features, strict=True):
        # A name that begins with ^ and ends with $ would be a pattern.
        column = polars.col(name) if not name.startswith("^") else polars.col(f"^{_escaped(name)}$")
        y = (column.cast(polars.Float64) - center) * slope + shift
        found.append(y if limits is None else y.clip(*map(float, limits)))
    return found


def _escaped(name: str) -> str:
    """A name as a pattern that nothing else matches."""
    return "".join(letter if letter.isalnum() or letter == "_" else f"\\x{{{ord(letter):x}}}" for letter in name)
