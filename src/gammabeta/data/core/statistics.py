"""Statistics of a file's columns, and the recipe by which they are scaled: all that `apply` and `invert` need.

The document says how the columns are scaled as well as what their statistics are, so nobody has to remember with which
options a file was scaled in order to scale another one, or to go back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Literal

import numpy as np

from gammabeta.affine import Affine
from gammabeta.data.core.read_options import PLAIN, ReadOptions
from gammabeta.data.core.source import Column
from gammabeta.errors import DataError, StateError
from gammabeta.statistics import Extrema, Moments, serialization, state_check

FORMAT = "gammabeta.stats"
_LOOKED_AT = 10_000  # names among which one that was mistyped is looked for: half a second
_FIELDS = ("rows", "columns", "scaling", "moments", "extrema")

_NUMPY_TYPES = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_NUMPY_TYPES |= {"float16", "float32", "float64"}

Method = Literal["standard", "minmax"]


@dataclass(frozen=True)
class Recipe:
    """How statistics become a map: standardization with the divisor n − ddof, or min-max scaling to a range."""

    method: Method = "standard"
    ddof: float = 0
    feature_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.method not in ("standard", "minmax"):
            raise DataError(f"method must be standard or minmax, got {self.method!r}")
        if not serialization.is_range(self.feature_range):
            got = serialization.shown(self.feature_range)
            raise DataError(f"feature_range must be two finite numbers, the lower first, got {got}")
        if not serialization.is_ddof(self.ddof):
            raise DataError(f"ddof must be a finite number, 0 or more, got {self.ddof}")

    def document(self) -> dict[str, Any]:
        """The recipe as a part of a JSON document: its method and that method's parameters."""
        if self.method == "standard":
            return {"method": "standard", "ddof": serialization.plain(self.ddof)}
        return {"method": "minmax", "feature_range": [serialization.plain(end) for end in self.feature_range]}

    @classmethod
    def of_document(cls, value: Any) -> "Recipe":
        """The recipe in a JSON document. StateError if it is none."""
        try:
            if value["method"] == "standard" and set(value) == {"method", "ddof"}:
                return cls("standard", ddof=value["ddof"])
            if value["method"] == "minmax" and set(value) == {"method", "feature_range"}:
                return cls("minmax", feature_range=tuple(value["feature_range"]))
        except (TypeError, KeyError, DataError):
            pass
        raise StateError(
            f"scaling must say standard with ddof or minmax with feature_range, got {serialization.shown(value)}"
        )


@dataclass(frozen=True)
class Statistics:
    """The exact statistics of a file's columns. Those of several files add up, whatever the order of their columns.

    `columns`: k columns, in order; `rows`: how many rows there were; `moments` and `extrema`: of shape (k,);
    `recipe`: how the columns are to be scaled; `read`: how the file was read, for `apply` and `invert` to read others;
    `left_out`: the other columns, each with its reason as `skip_reason`, of what was read now: no file keeps them.

    >>> import pyarrow as pa
    >>> from gammabeta.data import measure
    >>> whole = measure(pa.table({"age": [20, 30, 70], "name": ["a", "b", "c"]}))
    >>> whole.names, whole.moments.mean
    (('age',), array([40.]))
    >>> parts = [measure(pa.table({"age": ages})) for ages in ([20], [30, 70])]
    >>> sum(parts) == whole and Statistics.from_json(whole.to_json()) == whole
    True
    """

    columns: tuple[Column, ...]
    rows: int
    moments: Moments
    extrema: Extrema
    recipe: Recipe = field(default_factory=Recipe)
    read: ReadOptions = field(default=PLAIN, compare=False)
    left_out: tuple[Column, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if self.rows > serialization.MOST:
            raise StateError(f"statistics must be of 2^62 rows at most together, got {self.rows}")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    def affine(self) -> Affine:
        """The map that scales the columns, of shape (k,)."""
        if self.recipe.method == "standard":
            return Affine.standard(self.moments, ddof=self.recipe.ddof)
        return Affine.minmax(self.extrema, self.recipe.feature_range)

    def select(self, names: Sequence[str]) -> "Statistics":
        """The statistics of some of the columns, in that order."""
        place = {name: i for i, name in enumerate(self.names)}
        at = [place[name] for name in names]
        columns = tuple(self.columns[i] for i in at)
        return replace(self, columns=columns, moments=self.moments[at], extrema=self.extrema[at])

    def __add__(self, other: object) -> "Statistics":
        if not isinstance(other, Statistics):
            return NotImplemented
        if odd := sorted(set(self.names) ^ set(other.names)):
            raise DataError(
                f"statistics must be of the same columns to be added, these are on one side only: {listed(odd)}; "
                "choose the columns that all have"
            )
        if self.recipe != other.recipe:
            raise DataError(
                f"statistics must be for one way of scaling to be added, got {self.recipe.document()} and "
                f"{other.recipe.document()}; say which"
            )
        if other.names != self.names:
            other = other.select(self.names)
        alike = self.columns == other.columns
        columns = self.columns if alike else tuple(map(joined, self.columns, other.columns))
        moments, extrema = self.moments + other.moments, self.extrema + other.extrema
        read = self.read if self.read != PLAIN else other.read
        left_out = _left_out_of_both(self, other)
        return Statistics(columns, self.rows + other.rows, moments, extrema, self.recipe, read, left_out)

    def __radd__(self, other: object) -> "Statistics":
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def to_json(self) -> str:
        """A JSON document that `from_json` reads back to the same bits."""
        columns = [{"name": column.name, "type": column.type} for column in self.columns]
        read = {"read": self.read.document()} if self.read != PLAIN else {}
        parts = {"moments": self.moments._document(), "extrema": self.extrema._document()}
        return serialization.dump(
            FORMAT, {"rows": self.rows, "columns": columns, "scaling": self.recipe.document(), **read, **parts}
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> "Statistics":
        """The statistics in a document that `to_json` wrote.

        Raises:
            StateError: it is damaged, cut short, of another kind or version, or no data could have these statistics.
        """
        document = _loaded(text)
        columns = columns_of_document(document["columns"])
        (rows,) = serialization.counts([document["rows"]], 1, "rows")
        recipe = Recipe.of_document(document["scaling"])
        moments, extrema = Moments._of_document(document["moments"]), Extrema._of_document(document["extrema"])
        read = ReadOptions.of_document(document.get("read", {}))
        return cls(columns, rows, moments, extrema, recipe, read).possible()

    def possible(self) -> "Statistics":
        """Check that some file could have these statistics; returns self.

        Raises:
            StateError: they are not of these columns and rows, or those of a column are not of the same values.
        """
        shapes = self.moments.shape, self.extrema.shape
        if shapes != ((len(self.columns),),) * 2:
            raise StateError(
                f"a stats file must hold the statistics of its {len(self.columns)} columns, "
                f"got moments of shape {shapes[0]} and extrema of shape {shapes[1]}"
            )
        state_check.together(self.moments, self.extrema, np.array([self.rows]), self.names)
        return self


def _loaded(text: str | bytes) -> dict[str, Any]:
    """The fields of a document, among which `read` need not be."""
    try:
        found = serialization.parsed(text)
    except StateError:
        return serialization.load(text, FORMAT, _FIELDS)  # says what is wrong
    names = (*_FIELDS, "read") if isinstance(found, dict) and "read" in found else _FIELDS
    return serialization.fields(found, FORMAT, names)


def _left_out_of_both(a: Statistics, b: Statistics) -> tuple[Column, ...]:
    """The columns that either leaves out, with the reason that says most."""
    if a.left_out == b.left_out:
        return a.left_out
    found = {column.name: column for column in a.left_out}
    for column in b.left_out:
        if column.name not in found or len(column.skip_reason) > len(found[column.name].skip_reason):
            found[column.name] = column
    return tuple(found.values())


@dataclass(frozen=True)
class Ranges:
    """The least and the greatest values of a file's columns: what min-max scaling goes by, and no more.

    `columns`, `rows`, `extrema` and `recipe` are those of `Statistics`.
    """

    columns: tuple[Column, ...]
    rows: int
    extrema: Extrema
    recipe: Recipe
    read: ReadOptions = field(default=PLAIN, compare=False)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    def affine(self) -> Affine:
        """The map that scales the columns, of shape (k,)."""
        return Affine.minmax(self.extrema, self.recipe.feature_range)


def columns_of_document(value: Any) -> tuple[Column, ...]:
    """The columns in a JSON document. StateError if they are none."""
    if not isinstance(value, list) or not value:
        raise StateError("columns must be a list of names and types, with one at least")
    for column in value:
        if not isinstance(column, dict) or set(column) != {"name", "type"} or not serialization.texts(column.values()):
            raise StateError(f"each column must have a name and a type, got {serialization.shown(column)}")
    if len({column["name"] for column in value}) < len(value):
        raise StateError("each column's name must come once")
    return tuple(Column(column["name"], column["type"]) for column in value)


def joined(a: Column, b: Column) -> Column:
    """One column for two of one name: its type is NumPy's promotion of both, float64 where there is none."""
    if a.type == b.type:
        return a
    known = {a.type, b.type} <= _NUMPY_TYPES  # a document may say anything
    return Column(a.name, str(np.promote_types(a.type, b.type)) if known else "float64")


def no_column(name: str, names: Sequence[str], place: object) -> str:
    """The message for a name that is no column of a place: what it has, and the name that was meant, if one is near.

    >>> print(no_column("hieght", ["height", "age"], "t.csv"))
    there is no column 'hieght' in 't.csv'; it has 'height', 'age'; did you mean 'height'?
    """
    looked = {known.casefold(): known for known in reversed(names[:_LOOKED_AT])}
    near = get_close_matches(name.casefold(), looked, 1, 0.7)
    meant = f"; did you mean {looked[near[0]]!r}?" if near else ""
    return f"there is no column {name!r} in {str(place)!r}; it has {listed(names)}{meant}"


def listed(names: Sequence[str]) -> str:
    """Names for a message: the first five, and how many more there are."""
    shown = ", ".join(repr(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
