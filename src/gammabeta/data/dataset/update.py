"""A data set's statistics, kept up to date: only files that are new or have changed are read.

Beside the stats file lies its ledger, with each file's own exact statistics, size and time. What they add up to is what
a scan of all files would give, to the bit, since sums of integers do not depend on who added them up, or when.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from gammabeta.data.core.statistics import Recipe, Statistics, listed
from gammabeta.data.core.statistics_io import save, statistics_path
from gammabeta.data.dataset.accumulator import StatisticsAccumulator
from gammabeta.data.dataset.discovery import Part, Where, data_set
from gammabeta.data.dataset.file_statistics import FileStamp, FileStatistics
from gammabeta.data.dataset.ledger import LedgerFile
from gammabeta.data.dataset.measure import each
from gammabeta.data.passes.measure import Progress, quiet
from gammabeta.data.passes.minmax import none_good
from gammabeta.errors import FileError, StateError

Finished = Callable[[int, int, int], None]  # files done, of how many, and the rows that were read of them


def silent(done: int, files: int, rows: int) -> None:
    """Report no files."""


@dataclass(frozen=True)
class Updated:
    """What became of a data set's statistics.

    `read`: the files that were read; `kept`: how many were as before; `gone`: those that were known and are no more;
    `bad`: those that were left out, and why; `checked`: those that were read again and found as they were.
    """

    statistics: Statistics
    read: tuple[str, ...]
    kept: int
    gone: tuple[str, ...] = ()
    bad: dict[str, str] = field(default_factory=dict)
    checked: tuple[str, ...] = ()


def ledger_path(stats: str | Path) -> Path:
    """Where the ledger of a stats file is: stats.ledger for stats.json."""
    return statistics_path(stats).with_suffix(".ledger")


def update(
    where: Where,
    stats: str | Path,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    *,
    recipe: Recipe | None = None,
    skip_bad: bool = False,
    check: int | None = None,
    progress: Progress = quiet,
    finished: Finished = silent,
) -> Updated:
    """The statistics of a data set, kept in a stats file: they are `measure`'s of all files, but few of them are read.

    Args:
        where: a folder, a pattern such as "data/**/*.parquet", or a list of files; all of one format.
        stats: the `.json` file to write; the ledger lies beside it, as `.ledger`. Nothing else is needed to go on.
        columns, exclude, recipe: as for `measure`. A file is read again where a column is meant that was not before.
        skip_bad: leave out files that cannot be read, and go on.
        check: the seed of a sample of the files, 1 in 100 and 5 at least, that are read although they seem to be known.
        progress: called with the bytes read so far and the bytes to read.
        finished: called with the files done, the files there are and the rows read, after each file.

    A file counts as unchanged if its size and its time are. It is kept as soon as it has been read: whatever ends the
    process, the next call goes on from there. Both files are whole at any moment.

    Raises:
        FileError: files cannot be read (all others have been, and are kept), one was changed meanwhile, the ledger or
            the stats file cannot be written, or another process has the ledger.
        StateError: the ledger is damaged or of another version, or a file that was checked has other statistics.
        DataError, KindError: as `measure`.

    >>> import tempfile, pyarrow as pa, pyarrow.parquet as pq
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, values in {"a": [1.0, 2.0], "b": [6.0]}.items():
    ...         pq.write_table(pa.table({"x": values}), f"{folder}/{name}.parquet")
    ...     first = update(folder, f"{folder}/stats.json")
    ...     pq.write_table(pa.table({"x": [9.0, 9.0]}), f"{folder}/c.parquet")
    ...     Path(f"{folder}/b.parquet").unlink()
    ...     found = update(folder, f"{folder}/stats.json")
    >>> first.statistics.moments.mean, found.statistics.moments.mean, found.read, found.kept, found.gone
    (array([3.]), array([5.25]), ('c.parquet',), 1, ('b.parquet',))
    """
    found = data_set(where)
    with LedgerFile(ledger_path(stats)) as journal:
        total = StatisticsAccumulator(found.where, columns, exclude)
        places = {part.name: i for i, part in enumerate(found.parts)}
        fresh: list[Part] = []
        kept: list[Part] = []
        for part in found.parts:
            (kept if _known(journal, total, part, places[part.name]) else fresh).append(part)
        read, bad, rows = [], {}, 0
        finished(len(kept), len(places), 0)
        for part, outcome in each(fresh, columns, exclude, progress):
            if isinstance(outcome, FileStatistics):
                journal.add(part.name, outcome)
                total.add(places[part.name], part.path, outcome)
                read.append(part.name)
                rows += outcome.statistics.rows
            else:
                journal.add_bad(part.name, _stamp(part) or FileStamp(0, 0), str(outcome))
                bad[part.name] = str(outcome)
            finished(len(kept) + len(read) + len(bad), len(places), rows)
        if bad and not (skip_bad and len(bad) < len(places)):
            raise none_good(bad) if skip_bad else _unreadable(bad, journal)
        checked = () if check is None else _checked(kept, check, journal, columns, exclude, progress)
        result = total.statistics(recipe)
        save(result, stats)
        gone = tuple(name for name in journal.names if name not in places)
        journal.compact(set(places))
    return Updated(result, tuple(sorted(read)), len(kept), gone, bad, checked)


def _known(journal: LedgerFile, total: StatisticsAccumulator, part: Part, place: int) -> bool:
    """Add a file to the total by what the ledger has of it, if that holds."""
    stamp = _stamp(part)
    entry = journal.entry(part.name, stamp) if stamp else None
    if entry is None or not total.covers(entry, part.path):
        return False
    total.add(place, part.path, entry)
    return True


def _stamp(part: Part) -> FileStamp | None:
    try:
        found = part.path.stat()
    except OSError:  # it is said where the file is read
        return None
    return FileStamp(found.st_size, found.st_mtime_ns)


def _unreadable(bad: dict[str, str], journal: LedgerFile) -> FileError:
    first, *others = sorted(bad)
    more = f"; nor can {listed(others)}" if others else ""
    return FileError(
        f"{bad[first]}{more}; the other files' statistics are kept in {str(journal.path)!r}; "
        "mend or remove what is bad, or go on without: --skip-bad"
    )


def _checked(
    kept: Sequence[Part],
    seed: int,
    journal: LedgerFile,
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    progress: Progress,
) -> tuple[str, ...]:
    """Read a sample of the files again; the names of those."""
    sample = Random(seed).sample(list(kept), min(len(kept), max(5, -(-len(kept) // 100))))
    for part, outcome in each(sample, columns, exclude, progress):
        if isinstance(outcome, FileError):
            raise outcome
        known = journal.entry(part.name, outcome.stamp)
        if known is None or known.statistics.select(outcome.statistics.names) != outcome.statistics:
            raise StateError(
                f"{str(part.path)!r} has other statistics than {str(journal.path)!r} keeps: it was changed, though its "
                "size and time are as they were; touch the file and run again"
            )
    return tuple(sorted(part.name for part in sample))
