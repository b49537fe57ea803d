"""Tables of lakehouses: Delta, Iceberg and Hudi keep a log of which Parquet files in a folder are the table's.

A folder of such a table also holds files that were deleted or replaced, so that its Parquet files together are not the
table. Delta's log is read with `deltalake`, Iceberg's metadata in `iceberg`; Hudi's own library gives what can be
measured.
"""

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gammabeta.data.formats.iceberg import is_iceberg
from gammabeta.data.io.paths import reason
from gammabeta.errors import DataError, FileError, KindError

_MAPPING = "delta.columnMapping.mode"


def is_delta(folder: Path) -> bool:
    """Whether a folder is a Delta table."""
    return (folder / "_delta_log").is_dir()


def delta_files(folder: Path) -> list[str]:
    """The names, below the folder, of the files of a Delta table's current version.

    Raises:
        FileError: `deltalake` is not installed, or the log cannot be read.
        DataError: a file lies in another folder.
        KindError: rows are deleted within files, or columns have other names in the files than in the table.
    """
    try:
        import deltalake
    except ImportError:
        raise FileError(
            f"{str(folder)!r} is a Delta table, whose folder holds deleted files too; its log is read with deltalake: "
            "pip install 'gammabeta[lake]'"
        ) from None
    try:
        table = deltalake.DeltaTable(folder)
        features = table.protocol().reader_features or []
        mapping = table.metadata().configuration.get(_MAPPING, "none")
        paths = table.get_add_actions(flatten=True).column("path").to_pylist()
    except Exception as error:  # each storage has errors of its own
        raise FileError(f"{str(folder)!r} cannot be read as a Delta table: {reason(error)}") from error
    if mapping != "none":
        raise _unlike(folder, "columns under other names in its files")
    if "deletionVectors" in features:
        raise _unlike(folder, "rows that are deleted within its files")
    names = [unquote(str(path)) for path in paths]
    outside = next((name for name in names if _is_outside(name)), None)
    if outside is not None:
        raise DataError(f"the files of a Delta table must be in its folder, {str(folder)!r} has one at {outside!r}")
    return sorted(names)


def _is_outside(name: str) -> bool:
    path = Path(name)
    return bool(urlsplit(name).scheme) or path.is_absolute() or ".." in path.parts


def _unlike(folder: Path, why: str) -> KindError:
    return KindError(
        f"the files of a Delta table must hold its rows as they are, {str(folder)!r} may have {why}; measure a "
        "query of it, such as polars.scan_delta or DuckDB's delta_scan gives"
    )


def refuse_tables_within(root: Path, files: Iterable[Path]) -> None:
    """Refuse files that lie in the folder of a lakehouse's table, at or below `root`, or one that `root` lies in.

    Raises:
        DataError: with what to do.
    """
    folders = {folder for file in files for folder in file.parents if folder == root or root in folder.parents}
    for folder in sorted(folders | set(root.absolute().parents)):
        kind, way = _kind(folder)
        if kind:
            raise DataError(
                f"the files of a data set must be its rows, {str(folder)!r} is {kind}, whose deleted files stay there; "
                f"{way}"
            )


def _kind(folder: Path) -> tuple[str, str]:
    """What table a folder holds, and how it can be measured; "" for none."""
    if is_delta(folder):
        return "a Delta table", "name that folder by itself"
    if is_iceberg(folder):
        way = "pass the table, catalog.load_table(…), or StaticTable.from_metadata(…).scan().to_arrow_batch_reader()"
        return "an Iceberg table", way
    if (folder / ".hoodie").is_dir():
        return "a Hudi table", "pass the files of one snapshot as a list, or a query's record batches"
    return "", ""
