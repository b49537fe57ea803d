"""Statistics by group of one source: one pass, whose memory grows with the groups and not with the rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gammabeta.data.core import arrow_numpy
from gammabeta.data.core.columns import selected
from gammabeta.data.core.infinities import refuse_infinities
from gammabeta.data.core.options import ProgressFn
from gammabeta.data.core.source import Chunk, Column, Restart, Source
from gammabeta.data.core.statistics import Recipe, Statistics, columns_of_document, listed, no_column
from gammabeta.data.core.statistics_io import contents, statistics_path
from gammabeta.data.io.paths import existing, replacing
from gammabeta.data.io.prefetch import prefetch
from gammabeta.data.io.remote import Place
from gammabeta.errors import DataError, KindError, StateError
from gammabeta.statistics import Extrema, GroupedExtrema, GroupedMoments, Moments, serialization, state_check
from gammabeta.statistics.factorize import factorized

FORMAT = "gammabeta.group_stats"
HELD = 32 << 20  # bytes of rows between two additions, or as many as the groups' statistics take
_EACH = 200  # bytes of a group's statistics, of one column


@dataclass(frozen=True)
class GroupStatistics:
    """The exact statistics of a file's columns in each group of its rows. Those of several files add up.

    `by`: the column of the labels; `columns`: the k others; `moments` and `extrema`: of each group, shape (groups, k).

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
        rows = int(self.moments.rows[int(self.moments.find([label])[0])])
        return Statistics(self.columns, rows, self.moments[label], self.extrema[label], Recipe())

    def __add__(self, other: object) -> "GroupStatistics":
        if not isinstance(other, GroupStatistics):
            return NotImplemented
        if self.by.name != other.by.name or self.names != other.names:
            raise DataError(
                f"statistics by group must be by the same column and of the same columns to be added, got "
                f"{listed((self.by.name, *self.names))} and {listed((other.by.name, *other.names))}"
            )
        return GroupStatistics(self.by, self.columns, self.moments + other.moments, self.extrema + other.extrema)

    def __radd__(self, other: object) -> "GroupStatistics":
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def to_json(self) -> str:
        """A JSON document that `from_json` reads back to the same bits."""
        by, *columns = ({"name": column.name, "type": column.type} for column in (self.by, *self.columns))
        parts = {"moments": self.moments._document(), "extrema": self.extrema._document()}
        return serialization.dump(FORMAT, {"by": by, "columns": columns, **parts})

    @classmethod
    def from_json(cls, text: str | bytes) -> "GroupStatistics":
        """The statistics in a document that `to_json` wrote.

        Raises:
            StateError: it is damaged, cut short, of another kind or version, or no data could have these statistics.
        """
        document = serialization.load(text, FORMAT, ("by", "columns", "moments", "extrema"))
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
        return cls(by, columns, moments, extrema)


def measure_groups(
    source: Source, by: str, columns: Sequence[str] | None, exclude: Sequence[str] | None, progress: ProgressFn
) -> GroupStatistics:
    """The statistics by group of an open source. Arguments and errors are those of `gammabeta.data.measure_by`."""
    while True:
        try:
            return _measured(source, by, columns, exclude, progress)
        except Restart:
            continue


def _measured(
    source: Source, by: str, columns: Sequence[str] | None, exclude: Sequence[str] | None, progress: ProgressFn
) -> GroupStatistics:
    known = {column.name: column for column in source.columns}
    if by not in known:
        raise DataError(no_column(by, list(known), source.path))
    others = [column for column in source.columns if column.name != by]
    chosen = selected(others, columns, exclude, source.path)
    held = _GroupAccumulator([column.name for column in chosen])
    with source.unchanged():
        for chunk in prefetch(source.chunks([by, *held.names]), in_caller_thread=source.in_caller_thread):
            held.take(chunk, by, source.path)
            progress(chunk.done, source.size)
    moments, extrema = held.statistics()
    return GroupStatistics(Column(by, known[by].type), chosen, moments, extrema)


class _GroupAccumulator:
    """The running statistics of groups, and the rows that wait to be added to them."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._bytes, self._rows = 0, 0
        self._labels: list[NDArray[Any]] = []
        self._values: list[list[tuple[NDArray[Any], NDArray[np.intp]]]] = [[] for _ in names]
        self._total: tuple[GroupedMoments, GroupedExtrema] | None = None

    def take(self, chunk: Chunk, by: str, path: Place) -> None:
        """Take the rows of a chunk, whose memory is held until they are added: once they are many."""
        batch = chunk.batch
        self._labels.append(labels_of(batch.column(by), by))
        for name, held in zip(self.names, self._values, strict=True):
            column = batch.column(name)
            values = arrow_numpy.present(column)
            if values.dtype.kind == "f" and arrow_numpy.first_infinity(values) >= 0:
                refuse_infinities(chunk, [name], path)
            there = np.flatnonzero(np.asarray(pc.is_valid(column))) if column.null_count else np.arange(len(column))
            held.append((values, there + self._rows))
            self._bytes += values.nbytes
        self._rows += batch.num_rows
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


def labels_of(column: pa.Array, name: str) -> NDArray[Any]:
    """A column as labels, (rows,): of its own type where NumPy has it, else objects; None, NaN or NaT at nulls.

    Raises:
        KindError: it is of lists, structures or maps.
        DataError: it is of text, and some is not in UTF-8.
    """
    kind = column.type
    if pa.types.is_nested(kind):
        raise KindError(f"groups must be by a column of text, numbers or dates, {name!r} is {kind}")
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        plain = column.cast(pa.timestamp(kind.unit)) if pa.types.is_timestamp(kind) and kind.tz else column
        return np.asarray(plain.to_numpy(zero_copy_only=False))
    fixed = pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    if (fixed and not column.null_count) or pa.types.is_floating(kind):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    encoded = column if pa.types.is_dictionary(kind) else column.dictionary_encode()
    try:
        distinct = np.array([*encoded.dictionary.to_pylist(), None], object)
    except UnicodeDecodeError as error:
        raise DataError(f"labels must be text in UTF-8, in {name!r} one is not: {error.reason}; mend it") from None
    places: NDArray[np.intp] = np.asarray(encoded.indices.fill_null(len(distinct) - 1))
    return distinct[places]


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
    labels, rows = np.array([label], object), np.array([found.rows])
    return GroupStatistics(
        Column(by, "string"),
        found.columns,
        GroupedMoments(labels, rows, Moments.stack([found.moments])),
        GroupedExtrema(labels.copy(), rows.copy(), Extrema.stack([found.extrema])),
    )
