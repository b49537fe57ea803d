"""What the verbs return of several things: `Variables`; and of what is written: `Written`, `Files` and `Updated`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from gammabeta.data.core.source import Column
from gammabeta.data.core.statistics import Ranges, Statistics
from gammabeta.statistics import Extrema, Moments

S = TypeVar("S", Moments, Extrema)


@dataclass(frozen=True, repr=False, eq=False)
class Variables(Mapping[str, S], Generic[S]):
    """The statistics of several variables, by name: a mapping. `left_out` names the others, each with the reason."""

    statistics: dict[str, S]
    left_out: tuple[Column, ...] = ()

    def __getitem__(self, name: str) -> S:
        return self.statistics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.statistics)

    def __len__(self) -> int:
        return len(self.statistics)

    def __repr__(self) -> str:
        return f"Variables({self.statistics!r}, left_out={self.left_out!r})"


@dataclass(frozen=True)
class Files:
    """What became of a folder's files, by their names in it.

    `written`: how many this run wrote; `unchanged`: how many an earlier one had written; `bad`: those that cannot be
    read, and why; `stale`: outputs of earlier runs that are none of this one, since their source is bad or gone;
    `left_out`: what is no data, and was not copied.
    """

    written: int
    unchanged: int
    bad: dict[str, str]
    stale: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """What became of a file, or of many.

    `statistics`: what the columns were scaled by, no more than `Ranges` if they come from footers; `rows`: how many
    were written; `converted`: the columns that were integers or decimals and are float64 now; `passed`: those that were
    left as they were. Of many files `path` is the folder, the columns are those of the first, and `files` says more.
    """

    path: Path
    rows: int
    statistics: Statistics | Ranges
    converted: tuple[Column, ...]
    passed: tuple[Column, ...]
    files: Files | None = None


@dataclass(frozen=True)
class Updated:
    """What became of a data set's statistics.

    `read`: the files that were read; `unchanged`: how many were as before; `gone`: those that were known and are no
    more; `bad`: those that were left out, and why; `checked`: those that were read again and found as they were.
    """

    statistics: Statistics
    read: tuple[str, ...]
    unchanged: int
    gone: tuple[str, ...] = ()
    bad: dict[str, str] = field(default_factory=dict)
    checked: tuple[str, ...] = ()
