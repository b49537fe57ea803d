"""Statistics by group of one source: one pass, whose memory grows with the groups and not with the rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from gammabeta.affine import Affine
from gammabeta.data.core import arrow_numpy, nested
from gammabeta.data.core.columns import selected
from gammabeta.data.core.infinities import refuse_infinities, without_infinities
from gammabeta.data.core.options import ProgressFn
from gammabeta.data.core.read_options import PLAIN, ReadOptions
from gammabeta.data.core.source import Chunk, Column, Restart, Source
from gammabeta.data.core.statistics import Recipe, Statistics, columns_of_document, listed, no_column
from gammabeta.data.core.statistics_io import contents, statistics_path
from gammabeta.data.io.paths import existing, replacing
from gammabeta.data.io.prefetch import prefetch
from gammabeta.data.io.remote import Place
from gammabeta.data.passes.group_labels import SEVERAL, joined_column, label_of, labels_of_rows, names_of, numpy_time
from gammabeta.errors import DataError, KindError, StateError
from gammabeta.statistics import Extrema, GroupedExtrema, GroupedMoments, Moments, serialization, state_check
from gammabeta.statistics.factorize import factorized

FORMAT = "gammabeta.group_stats"
HELD = 32 << 20  # bytes of rows between two additions, or as many as the groups' statistics take
_EACH = 200  # bytes of a group's statistics, of one column


@dataclass(frozen=True)
class GroupStatistics:
    """The exact statistics of a file's columns in each group of its rows. Those of several files add up.

    `by`: the column of the labels; `columns`: the k others; `moments` and `extrema`: of each group, shape (groups, k);
    `recipe`: how the columns are to be scaled; `read`: how the file was read. Of several columns `by` is one named
    "store,day", whose labels are JSON lists: `group(("a", 3))` finds such a group.

    >>> import pyarrow as pa
    >>> from gammabeta.data import measure_by
    >>> table = pa.table({"kind": ["b", "a", "b"], "x": [1.0, 2.0, 5.0]})
    >>> found = measure_by(table, "kind")
    >>> found.labels.tolist(), found.moments.moments.mean[:, 0]
    (['a', 'b'], array([2., 3.]))
    >>> found.group("b").moments.mean
    array([3.])
    >>> measure_by(table[:1], "kind") + measure_by(table[1:], "kind") == found
    True
    """

    by: Column
    columns: tuple[Column, ...]
    moments: GroupedMoments
    extrema: GroupedExtrema
    recipe: Recipe = field(default_factory=Recipe)
    read: ReadOptions = field(default=PLAIN, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    @property
    def labels(self) -> NDArray[Any]:
        """The groups' labels, sorted, the missing one last."""
        return self.moments.labels

    @property
    def rows(self) -> int:
        """How many rows there are, in all groups."""
        return int(self.moments.rows.sum())

    def group(self, label: Any) -> Statistics:
        """The statistics of one group, as `measure` would have found them; `DataError` if there is no such group."""
        label = label_of(label) if self.by.type == SEVERAL else numpy_time(label)
        rows = int(self.moments.rows[int(self.moments.find([label])[0])])
        return Statistics(self.columns, rows, self.moments[label], self.extrema[label], self.recipe, self.read)

    def total(self) -> Statistics:
        """The statistics of all groups together, as `measure` would have found them."""
        moments, extrema = self.moments.total(), self.extrema.total()
        return Statistics(self.columns, self.rows, moments, extrema, self.recipe, self.read)

    def affine(self) -> Affine:
        """The maps that scale the columns of each group, of shape (groups, k)."""
        if self.recipe.method == "standard":
            return Affine.standard(self.moments.moments, ddof=self.recipe.ddof)
        return Affine.minmax(self.extrema.extrema, self.recipe.feature_range)

    def __add__(self, other: object) -> "GroupStatistics":
        if not isinstance(other, GroupStatistics):
            return NotImplemented
        same = self.by.name == other.by.name and (self.by.type == SEVERAL) == (other.by.type == SEVERAL)
        if not same or self.names != other.names:
            raise DataError(
                f"statistics by group must be by the same column and of the same columns to be added, got "
                f"{listed((self.by.name, *self.names))} and {listed((other.by.name, *other.names))}"
            )
        if self.recipe != other.recipe:
            raise DataError(
                f"statistics must be for one way of scaling to be added, got {self.recipe.document()} and "
                f"{other.recipe.document()}"
            )
        read = self.read if self.read != PLAIN else other.read
        moments, extrema = self.moments + other.moments, self.extrema + other.extrema
        return GroupStatistics(self.by, self.columns, moments, extrema, self.recipe, read)

    def __radd__(self, other: object) -> "GroupStatistics":
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def to_json(self) -> str:
        """A JSON document that `from_json` reads back to the same bits."""
        by, *columns = ({"name": column.name, "type": column.type} for column in (self.by, *self.columns))
        parts = {"moments": self.moments._document(), "extrema": self.extrema._document()}
        more = {"scaling": self.recipe.document()} if self.recipe != Recipe() else {}
        more |= {"read": self.read.document()} if self.read != PLAIN else {}
        return serialization.dump(FORMAT, {"by": by, "columns": columns, **more, **parts})

    @classmethod
    def from_json(cls, text: str | bytes) -> "GroupStatistics":
        """The statistics in a document that `to_json` wrote.

        Raises:
            StateError: it is damaged, cut short, of another kind or version, or no data could have these statistics.
        """
        document = serialization.load_some(text, FORMAT, ("by", "columns", "moments", "extrema"), ("scaling", "read"))
        recipe = Recipe.of_document(document["scaling"]) if "scaling" in document else Recipe()
        read = ReadOptions.of_document(document.get("read", {}))
        (by,), columns = columns_of_document([document["by"]]), columns_of_document(document["columns"])
        moments = GroupedMoments._of_document(document["moments"])
        extrema = GroupedExtrema._of_document(document["extrema"])
        same = all(document["moments"][key] == document["extrema"][key] for key in ("labels", "rows"))
        shapes = {moments.moments.shape, extrema.extrema.shape}
        if not same or shapes != {(len(moments), len(columns))}:
            raise StateError(
                f"a stats file by group must hold, of the same groups, the statistics of its {len(columns)} columns, "
                f"got those of {len(moments)} and {len(extrema)} groups, shapes {sorted(shapes)}"
            )
        if by.name in {column.name for column in columns}:
            raise StateError(f"the column of the labels, {serialization.shown(by.name)}, cannot have statistics too")
        state_check.together(moments.each, extrema.each, moments.rows, [column.name for column in columns])
        return cls(by, columns, moments, extrema, recipe, read)


def measure_groups(
    source: Source,
    by: str | Sequence[str],
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    progress: ProgressFn,
) -> GroupStatistics:
    """The statistics by group of an open source. Arguments and errors are those of `gammabeta.data.measure_by`."""
    if source.read.weights is not None:
        raise DataError(f"statistics by group take no weights, got weights={source.read.weights!r}; leave them out")
    while True:
        try:
            return _measured(source, names_of(by), columns, exclude, progress)
        except Restart:
            continue


def _measured(
    source: Source,
    by: tuple[str, ...],
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    progress: ProgressFn,
) -> GroupStatistics:
    check_labels(source, by)
    others = [column for column in source.columns if column.name not in by]
    chosen = selected(others, columns, exclude, source.path)
    held = _GroupAccumulator([column.name for column in chosen], source.read.infinite == "omit")
    with source.unchanged():
        for chunk in prefetch(source.chunks([*by, *held.names]), in_caller_thread=source.in_caller_thread):
            held.take(chunk, by, source.path)
            progress(chunk.done, source.size)
    moments, extrema = held.statistics()
    known = {column.name: Column(column.name, column.type) for column in source.columns}
    key = joined_column([known[name] for name in by])
    return GroupStatistics(key, chosen, moments, extrema, read=source.read)


def check_labels(source: Source, by: Sequence[str]) -> None:
    """Refuse a source that lacks a column of the labels. DataError with its name."""
    known = [column.name for column in source.columns]
    for name in by:
        if name not in known:
            raise DataError(no_column(name, known, source.path))


class _GroupAccumulator:
    """The running statistics of groups, and the rows that wait to be added to them."""

    def __init__(self, names: list[str], omit: bool) -> None:
        self.names, self._omit = names, omit
        self._bytes, self._rows = 0, 0
        self._labels: list[NDArray[Any]] = []
        self._values: list[list[tuple[NDArray[Any], NDArray[np.intp]]]] = [[] for _ in names]
        self._total: tuple[GroupedMoments, GroupedExtrema] | None = None

    def take(self, chunk: Chunk, by: tuple[str, ...], path: Place) -> None:
        """Take the rows of a chunk, whose memory is held until they are added: once they are many."""
        self._labels.append(labels_of_rows(chunk, by))
        for name, held in zip(self.names, self._values, strict=True):
            column = chunk.column(name)
            if nested.is_list(column.type):
                raise KindError(f"the values of {name!r} are of lists and cannot be pooled by group; leave it out")
            values = arrow_numpy.present(column)
            if values.dtype.kind == "f" and arrow_numpy.first_infinity(values) >= 0:
                if not self._omit:
                    refuse_infinities(chunk, [name], path)
                values = without_infinities(values)
            there = np.flatnonzero(np.asarray(pc.is_valid(column))) if column.null_count else np.arange(len(column))
            held.append((values, there + self._rows))
            self._bytes += values.nbytes
        self._rows += chunk.rows
        groups = len(self._total[0]) if self._total else 0
        if self._bytes >= max(HELD, _EACH * groups * len(self.names)):
            self._add()

    def statistics(self) -> tuple[GroupedMoments, GroupedExtrema]:
        """The statistics of all rows taken."""
        if self._labels or self._total is None:
            self._add()
        return self._total  # type: ignore[return-value]

    def _add(self) -> None:
        given = np.concatenate(self._labels) if self._labels else np.empty(0, object)
        labels, codes, rows = factorized(given)
        places, moments, extrema = codes.small(), [], []
        for held in self._values:
            values = np.concatenate([part for part, _ in held]) if held else np.empty(0)
            own = places[np.concatenate([at for _, at in held])] if held else places
            m, e = Moments.of(values, groups=own), Extrema.of(values, groups=own)
            moments.append(m.each.scatter(m.labels.astype(np.intp), len(labels)))
            extrema.append(e.each.scatter(e.labels.astype(np.intp), len(labels)))
        turn = np.arange(len(moments)), np.arange(len(labels))[:, None]
        new = (
            GroupedMoments(labels, rows, Moments.stack(moments)[turn]),
            GroupedExtrema(labels.copy(), rows.copy(), Extrema.stack(extrema)[turn]),
        )
        self._total = new if self._total is None else (self._total[0] + new[0], self._total[1] + new[1])
        self._bytes, self._rows, self._labels, self._values = 0, 0, [], [[] for _ in self.names]


def save_groups(statistics: GroupStatistics, path: str | Path) -> None:
    """Write statistics by group to a `.json` file, which appears when it is whole.

    Raises:
        FileError: it cannot be written, or its name does not end in .json.
        KindError: the labels are of a type that JSON has no word for.
    """
    text = statistics.to_json()
    with replacing(statistics_path(path)) as temporary:
        temporary.write_text(text, "utf-8")


def load_groups(path: str | Path) -> GroupStatistics:
    """The statistics by group in a file that `save_groups` wrote.

    Raises:
        FileError: there is no such file, or it cannot be read.
        StateError: it is no stats file by group, is damaged or of another version.
    """
    path = existing(statistics_path(path))
    try:
        return GroupStatistics.from_json(contents(path, FORMAT))
    except StateError as error:
        raise StateError(f"{str(path)!r}: {error}") from None


def is_grouped(path: Path) -> bool:
    """Whether a file is a stats file by group."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return FORMAT.encode() in file.read(100)
    except OSError:  # it is said where the file is read
        return False


def one_group(found: Statistics, by: str, label: str | None) -> GroupStatistics:
    """The statistics by group of a file all of whose rows have one label."""
    if found.read.weights is not None:
        raise DataError(f"statistics by group take no weights, got weights={found.read.weights!r}; leave them out")
    labels, rows = np.array([label], object), np.array([found.rows])
    return GroupStatistics(
        Column(by, "string"),
        found.columns,
        GroupedMoments(labels, rows, Moments.stack([found.moments])),
        GroupedExtrema(labels.copy(), rows.copy(), Extrema.stack([found.extrema])),
        read=found.read,
    )
