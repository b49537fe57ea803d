"""A map as a SELECT, in the quoting and the literals of each dialect."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from gammabeta.errors import DataError

Dialect = Literal["ansi", "duckdb", "postgresql", "bigquery", "spark", "sqlite"]


class _Rules(NamedTuple):
    """How a dialect says what differs: `{}` stands for a number or an expression."""

    double: str = "DOUBLE PRECISION"
    literal: str = "{}"
    nan: str = ""
    """Whether an expression is NaN, where NaN is greater than all else; "" where it compares false."""
    quote: str = '"'
    escape: str = '""'


_RULES: dict[str, _Rules] = {
    "ansi": _Rules(),
    "duckdb": _Rules("DOUBLE", nan="isnan({})"),
    # an E in a literal makes it no double there, but a numeric
    "postgresql": _Rules(literal="CAST('{}' AS DOUBLE PRECISION)", nan="{} = CAST('NaN' AS DOUBLE PRECISION)"),
    "bigquery": _Rules("FLOAT64", quote="`", escape="\\`"),
    "spark": _Rules("DOUBLE", "{}D", "isnan({})", "`", "``"),
    "sqlite": _Rules("REAL"),
}


def select(
    columns: Sequence[str],
    features: Sequence[tuple[float, float, float]],
    limits: tuple[float, float] | None,
    table: str | Sequence[str],
    dialect: Dialect,
) -> str:
    """The statement. features: center, slope and shift of each column."""
    if dialect not in _RULES:
        raise DataError(f"dialect must be one of {', '.join(get_args(Dialect))}, got {dialect!r}")
    parts = [table] if isinstance(table, str) else list(table)
    if not parts or not all(parts):
        raise DataError("table must be a name, or the parts of one, got none")
    rules = _RULES[dialect]
    lines = []
    for name, (center, slope, shift) in zip(columns, features, strict=True):
        column = _quoted(name, rules)
        y = f"(CAST({column} AS {rules.double}) - {_number(center, rules)}) * {_number(slope, rules)}"
        y = f"{y} + {_number(shift, rules)}"
        lines.append(f"  {_clipped(y, limits, rules)} AS {column}")
    return "SELECT\n" + ",\n".join(lines) + "\nFROM " + ".".join(_quoted(part, rules) for part in parts)


def _quoted(name: str, rules: _Rules) -> str:
    """A name as an identifier."""
    if not name or "\0" in name:
        raise DataError(f"a column and a table must have a name without NUL, got {name!r}")
    if rules.escape.startswith("\\"):
        name = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return rules.quote + name.replace(rules.quote, rules.escape) + rules.quote


def _number(value: float, rules: _Rules) -> str:
    """A number as a literal of type double: the shortest decimal that is its own; a negative one in brackets."""
    text = repr(value)
    text = text.upper() if "e" in text else f"{text}E0"
    literal = rules.literal.format(text)
    return f"({literal})" if text.startswith("-") else literal


def _clipped(y: str, limits: tuple[float, float] | None, rules: _Rules) -> str:
    """y within the limits; NULL and NaN, which GREATEST and LEAST would lose, stay."""
    if limits is None:
        return y
    low, high = (_number(float(end), rules) for end in limits)
    unordered = f"WHEN {rules.nan.format(f'({y})')} THEN {y} " if rules.nan else ""
    return f"CASE {unordered}WHEN {y} < {low} THEN {low} WHEN {y} > {high} THEN {high} ELSE {y} END"
