"""Incremental statistics of a data set: only files that are new or have changed are read.

Beside the stats file lies its ledger, with each file's own exact statistics, size and time. What they add up to is what
a scan of all files would give, to the bit, since sums of integers do not depend on who added them up, or when.
"""

from collections.abc import Sequence
from pathlib import Path
from random import Random

from gammabeta.data.core.file_stamp import FileStamp, stamp_if_there
from gammabeta.data.core.options import FileDoneFn, ProgressFn
from gammabeta.data.core.read_options import ReadOptions
from gammabeta.data.core.results import Updated
from gammabeta.data.core.statistics import Recipe, listed
from gammabeta.data.core.statistics_io import save, statistics_path
from gammabeta.data.dataset.accumulator import StatisticsAccumulator
from gammabeta.data.dataset.discovery import DataSet, Part, none_good
from gammabeta.data.dataset.file_statistics import FileStatistics
from gammabeta.data.dataset.ledger import LedgerFile
from gammabeta.data.dataset.measure import each
from gammabeta.errors import FileError, StateError


def ledger_path(stats: str | Path) -> Path:
    """The path of a stats file's ledger: stats.ledger for stats.json."""
    return statistics_path(stats).with_suffix(".ledger")


def update_set(
    found: DataSet,
    stats: str | Path,
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    *,
    recipe: Recipe | None,
    skip_bad: bool,
    check: int | None,
    progress: ProgressFn,
    on_file_done: FileDoneFn,
) -> Updated:
    """Bring the stats file of a data set up to date. Arguments and errors are those of `gammabeta.data.update`."""
    with LedgerFile(ledger_path(stats)) as ledger:
        total = StatisticsAccumulator(found.where, columns, exclude, found.read.union)
        places = {part.name: i for i, part in enumerate(found.parts)}
        fresh: list[Part] = []
        unchanged: list[Part] = []
        for part in found.parts:
            (unchanged if _known(ledger, total, part, places[part.name], found.read) else fresh).append(part)
        read, bad, rows = [], {}, 0
        on_file_done(len(unchanged), len(places), 0)
        for part, outcome in each(fresh, columns, exclude, found.read, progress):
            if isinstance(outcome, FileStatistics):
                ledger.add(part.name, outcome)
                total.add(places[part.name], part.path, outcome)
                read.append(part.name)
                rows += outcome.statistics.rows
            else:
                ledger.add_bad(part.name, stamp_if_there(part.path) or FileStamp(0, 0), str(outcome))
                bad[part.name] = str(outcome)
            on_file_done(len(unchanged) + len(read) + len(bad), len(places), rows)
        if bad and not (skip_bad and len(bad) < len(places)):
            raise none_good(bad) if skip_bad else _unreadable(bad, ledger)
        checked = () if check is None else _checked(unchanged, check, ledger, columns, exclude, found.read, progress)
        result = total.statistics(recipe)
        save(result, stats)
        gone = tuple(name for name in ledger.names if name not in places)
        ledger.compact(set(places))
    return Updated(result, tuple(sorted(read)), len(unchanged), gone, bad, checked)


def _known(ledger: LedgerFile, total: StatisticsAccumulator, part: Part, place: int, read: ReadOptions) -> bool:
    """Add a file's statistics from the ledger, if it is unchanged and was read in this way; returns whether."""
    stamp = stamp_if_there(part.path)
    entry = ledger.entry(part.name, stamp) if stamp else None
    if entry is None or entry.statistics.read != read or not total.covers(entry, part.path):
        return False
    total.add(place, part.path, entry)
    return True


def _unreadable(bad: dict[str, str], ledger: LedgerFile) -> FileError:
    first, *others = sorted(bad)
    more = f"; nor can {listed(others)}" if others else ""
    return FileError(
        f"{bad[first]}{more}; the other files' statistics are kept in {str(ledger.path)!r}; "
        "mend or remove what is bad, or go on without: --skip-bad"
    )


def _checked(
    unchanged: Sequence[Part],
    seed: int,
    ledger: LedgerFile,
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    read: ReadOptions,
    progress: ProgressFn,
) -> tuple[str, ...]:
    """Read a sample of the unchanged files again and compare; returns their names."""
    sample = Random(seed).sample(list(unchanged), min(len(unchanged), max(5, -(-len(unchanged) // 100))))
    for part, outcome in each(sample, columns, exclude, read, progress):
        if isinstance(outcome, FileError):
            raise outcome
        known = ledger.entry(part.name, outcome.stamp)
        if known is None or known.statistics.select(outcome.statistics.names) != outcome.statistics:
            raise StateError(
                f"{str(part.path)!r} has other statistics than {str(ledger.path)!r} keeps: it was changed, though its "
                "size and time are as they were; touch the file and run again"
            )
    return tuple(sorted(part.name for part in sample))
