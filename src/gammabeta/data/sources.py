"""From a path to what reads it, and from an output's name to what writes it: the one place that knows the formats."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from gammabeta.data.files import KNOWN, existing, kind_of
from gammabeta.data.source import Source
from gammabeta.data.tables import TableSource
from gammabeta.data.write import Sink
from gammabeta.errors import FileError, KindError


def opened(source: Source | pa.Table | str | Path) -> Source:
    """What reads a file, by its extension, or a table in memory.

    Raises:
        FileError: there is no such file, its extension is not known, or it is not what it says.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, pa.Table):
        return TableSource(source, "table")
    path = Path(source)
    form = kind_of(existing(path)).format
    if form == "parquet":
        from gammabeta.data.parquet import ParquetSource

        return ParquetSource(path)
    if form == "arrow":
        from gammabeta.data.arrow import ArrowSource

        return ArrowSource(path)
    if form == "npy":
        from gammabeta.data.npy import NpySource

        return NpySource(path)
    if form == "csv":
        from gammabeta.data.csv import CsvSource

        return CsvSource(path)
    raise FileError(f"a data file is needed, {str(path)!r} is named as statistics are; data ends in {KNOWN}")


def check_output(target: Path, source: Source) -> None:
    """Refuse, before any work, a name that says no format, or one that cannot hold the source.

    Raises:
        FileError: the extension is not known.
        KindError: an array would have to become a table, or a table an array.
    """
    form = kind_of(target).format
    if form == "statistics":
        raise FileError(f"the scaled data cannot go to {str(target)!r}: its name must end in {KNOWN}")
    is_array = source.path.suffix.lower() == ".npy"
    if (form == "npy") != is_array:
        kind = "one array" if is_array else "a table"
        raise KindError(f"{str(source.path)!r} holds {kind} and cannot become {str(target)!r}; keep to its extension")


def sink_for(temporary: Path, target: Path, schema: pa.Schema, source: Source, scaled: Sequence[str]) -> Sink:
    """What writes a file of the kind that `target` names, under its temporary name."""
    form = kind_of(target).format
    if form == "parquet":
        from gammabeta.data.parquet import ParquetSink

        return ParquetSink(temporary, schema, source, scaled)
    if form == "arrow":
        from gammabeta.data.arrow import ArrowSink

        return ArrowSink(temporary, schema, source, target)
    if form == "npy":
        from gammabeta.data.npy import NpySink, NpySource

        if isinstance(source, NpySource):
            return NpySink(temporary, source)
    from gammabeta.data.csv import CsvSink

    return CsvSink(temporary, schema, source, target)
