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
        y = (polars.col(_pattern(name)).cast(polars.Float64) - center) * slope + shift
        found.append(y if limits is None else y.clip(*map(float, limits)))
    return found


def module(
    columns: Sequence[str], features: Sequence[tuple[float, float, float]], limits: tuple[float, float] | None
) -> str:
    """The source of a Python module whose list `expressions` has these, for where gammabeta is not."""
    clip = "" if limits is None else f".clip({float(limits[0])!r}, {float(limits[1])!r})"
    lines = [
        f"    ((pl.col({_pattern(name)!r}).cast(pl.Float64) - {center!r}) * {slope!r} + {shift!r}){clip},\n"
        for name, (center, slope, shift) in zip(columns, features, strict=True)
    ]
    says = '"""frame.with_columns(expressions) scales the columns of a DataFrame or a LazyFrame."""'
    return f"{says}\n\nimport polars as pl\n\nexpressions = [\n{''.join(lines)}]\n"


def _pattern(name: str) -> str:
    """A name as polars takes it: one from ^ to $ would be a pattern, so that it becomes one that matches it alone."""
    if not (name.startswith("^") and name.endswith("$")):
        return name
    return "^" + "".join(letter if letter.isalnum() else f"\\x{{{ord(letter):x}}}" for letter in name) + "$"
