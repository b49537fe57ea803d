"""Iceberg tables: the Parquet files that a state of the table says are its rows, by pyiceberg.

Which state is the current one is known to the table's catalog, and in its folder only where a `version-hint.text` says
it: a commit that failed leaves its metadata there too. A metadata file may come from anybody. It is read without the
classes that it names, and nothing outside its table's folder is opened.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from gammabeta.data.io.paths import reason
from gammabeta.errors import DataError, FileError, KindError

_END = ".metadata.json"
_SCAN = "StaticTable.from_metadata(…).scan().to_arrow_batch_reader()"


def is_table(x: Any) -> bool:
    """Whether x is a table of pyiceberg's."""
    kind = getattr(sys.modules.get("pyiceberg.table"), "Table", None)
    return kind is not None and isinstance(x, kind)


def is_metadata(path: Path) -> bool:
    """Whether a path is that of a state's metadata, by its name."""
    return path.name.endswith(_END) and path.parent.name == "metadata"


def is_iceberg(folder: Path) -> bool:
    """Whether a folder is an Iceberg table's."""
    return any((folder / "metadata").glob(f"*{_END}"))


def iceberg_files(where: Any) -> tuple[Path, list[Path]]:
    """The folder of a table, and the files that are its rows.

    where: the folder, a state's `metadata/….metadata.json`, or a table of pyiceberg's, whose catalog is believed.

    Raises:
        FileError: pyiceberg is not installed, or the metadata cannot be read.
        DataError: it is not known which state is meant, or a file lies in another folder or elsewhere.
        KindError: rows are deleted by other files, columns had other names, or the files are no Parquet.
    """
    if is_table(where):
        root = _local(where.location(), where.location())
        return root, list(_files(where.metadata, root, within=False))
    path = Path(where) if is_metadata(Path(where)) else _current(Path(where))
    root = path.absolute().parent.parent
    return root, list(_files(_metadata(path), root, within=True))


def _current(folder: Path) -> Path:
    hint = folder / "metadata" / "version-hint.text"
    if not hint.is_file():
        raise DataError(
            f"the state of an Iceberg table must be known, {str(folder)!r} is an Iceberg table, of which its catalog "
            f"knows it; pass the table, catalog.load_table(…), or a state, '{folder}/metadata/…{_END}', or {_SCAN}"
        )
    said = hint.read_text(encoding="utf-8").strip()
    name = said if said.endswith(_END) else f"v{said}{_END}" if said.isnumeric() else f"{said}{_END}"
    if "/" in name or "\\" in name:
        raise DataError(f"version-hint.text must name a file beside it, that of {str(folder)!r} names {name!r}")
    return folder / "metadata" / name


def _metadata(path: Path) -> Any:
    """The metadata in a file, parsed: no class that its properties name is loaded."""
    try:
        from pyiceberg.table.metadata import TableMetadataUtil
    except ImportError:
        raise FileError(
            f"{str(path)!r} is of an Iceberg table, whose folder holds deleted files too; its metadata are read with "
            "pyiceberg: pip install 'gammabeta[lake]'"
        ) from None
    try:
        return TableMetadataUtil.parse_raw(path.read_text(encoding="utf-8"))
    except Exception as error:  # pydantic's and Python's own
        raise FileError(f"{str(path)!r} cannot be read as Iceberg's metadata: {reason(error)}") from error


def _files(metadata: Any, root: Path, *, within: bool) -> Iterator[Path]:
    """The files of the current snapshot, once they are found to be the rows as they are."""
    from pyiceberg.io.pyarrow import PyArrowFileIO
    from pyiceberg.manifest import FileFormat, ManifestContent

    names = {frozenset((field.field_id, field.name) for field in schema.fields) for schema in metadata.schemas}
    if len(names) > 1:
        raise _unlike(root, "columns that were renamed, added or dropped")
    snapshot = metadata.current_snapshot()
    io = PyArrowFileIO()
    try:
        _inside(snapshot and snapshot.manifest_list, root, within)
        for manifest in snapshot.manifests(io) if snapshot is not None else ():
            _inside(manifest.manifest_path, root, within)
            for entry in manifest.fetch_manifest_entry(io):
                if manifest.content == ManifestContent.DELETES:
                    raise _unlike(root, "rows that are deleted within its files")
                if entry.data_file.file_format != FileFormat.PARQUET:
                    raise _unlike(root, f"files of {entry.data_file.file_format.name}")
                yield _inside(entry.data_file.file_path, root, within)
    except (DataError, KindError):
        raise
    except Exception as error:  # each file system and Avro have errors of their own
        raise FileError(f"{str(root)!r} cannot be read as an Iceberg table: {reason(error)}") from error


def _inside(address: str | None, root: Path, within: bool) -> Path:
    """A file of a table as a path on this machine, in the table's folder where that is asked."""
    path = _local(address or str(root), str(root))
    if within and (".." in path.parts or root not in (path, *path.parents)):
        raise DataError(f"the files of an Iceberg table must be in its folder, {str(root)!r} has one at {address!r}")
    return path


def _local(address: str, table: str) -> Path:
    parts = urlsplit(address)
    if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
        raise DataError(
            f"the files of an Iceberg table must be on this machine, {table!r} has one at {address!r}; pass {_SCAN}"
        )
    return Path(unquote(parts.path) if "%" in address and parts.scheme else address.removeprefix("file://"))


def _unlike(root: Path, why: str) -> KindError:
    return KindError(
        f"the files of an Iceberg table must hold its rows as they are, {str(root)!r} has {why}; pass what pyiceberg "
        f"gives: {_SCAN}"
    )
