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
from gammabeta.data.core.source import Column, is_pooled
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
    `left_out`: the other columns, each with its reason as `skip_reason`, of what was read now: no file keeps them;
    `infinite`: how many values of each column were infinite and left out, of k columns or () for none.

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
    infinite: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.rows > serialization.MOST:
            raise StateError(f"statistics must be of 2^62 rows at most together, got {self.rows}")
        if not any(self.infinite):
            object.__setattr__(self, "infinite", ())

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
        infinite = tuple(self.infinite[i] for i in at) if self.infinite else ()
        return replace(self, columns=columns, moments=self.moments[at], extrema=self.extrema[at], infinite=infinite)

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
        if self.rows and other.rows and self.read.weights != other.read.weights:
            raise DataError(
                f"statistics must be weighted by the same column to be added, or both by none, got "
                f"{self.read.weights!r} and {other.read.weights!r}"
            )
        if other.names != self.names:
            other = other.select(self.names)
        alike = self.columns == other.columns
        columns = self.columns if alike else tuple(map(joined, self.columns, other.columns))
        moments, extrema = self.moments + other.moments, self.extrema + other.extrema
        read = self.read if self.read != PLAIN else other.read
        left_out = _left_out_of_both(self, other)
        infinite = _sum_of_infinite(self.infinite, other.infinite)
        return Statistics(columns, self.rows + other.rows, moments, extrema, self.recipe, read, left_out, infinite)

    def __radd__(self, other: object) -> "Statistics":
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def to_json(self) -> str:
        """A JSON document that `from_json` reads back to the same bits."""
        columns = [{"name": column.name, "type": column.type} for column in self.columns]
        read = {"read": self.read.document()} if self.read != PLAIN else {}
        parts = {"moments": self.moments._document(), "extrema": self.extrema._document()}
        infinite = {"infinite": list(self.infinite)} if self.infinite else {}
        head = {"rows": self.rows, "columns": columns, "scaling": self.recipe.document()}
        return serialization.dump(FORMAT, {**head, **read, **parts, **infinite})

    @classmethod
    def from_json(cls, text: str | bytes) -> "Statistics":
        """The statistics in a document that `to_json` wrote.

        Raises:
            StateError: it is damaged, cut short, of another kind or version, or no data could have these statistics.
        """
        document = serialization.load_some(text, FORMAT, _FIELDS, ("read", "infinite"))
        columns = columns_of_document(document["columns"])
        (rows,) = serialization.counts([document["rows"]], 1, "rows")
        recipe = Recipe.of_document(document["scaling"])
        moments, extrema = Moments._of_document(document["moments"]), Extrema._of_document(document["extrema"])
        read = ReadOptions.of_document(document.get("read", {}))
        infinite = tuple(serialization.counts(document.get("infinite", [0] * len(columns)), len(columns), "infinite"))
        return cls(columns, rows, moments, extrema, recipe, read, (), infinite).possible()

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
        if self.read.weights is not None:
            state_check.weighted(self.moments, self.extrema)
            return self
        pooled = [i for i, column in enumerate(self.columns) if is_pooled(column)]
        state_check.together(self.moments, self.extrema, np.array([self.rows]), self.names, pooled)
        return self


def _sum_of_infinite(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(m + n for m, n in zip(a, b, strict=True)) if a and b else a or b


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
    for column in (a, b):
        if is_pooled(column):
            return column
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
