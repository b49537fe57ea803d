"""Discovery of a data set's files: those of a folder, of a pattern, or of a list."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from glob import glob, has_magic
from pathlib import Path, PurePath
from typing import Any, TypeAlias, TypeGuard
from urllib.parse import unquote

from gammabeta.data.core.read_options import PLAIN, ReadOptions
from gammabeta.data.formats.iceberg import iceberg_files, is_iceberg, is_metadata, is_table
from gammabeta.data.formats.images import holds_images
from gammabeta.data.formats.lake import delta_files, is_delta, refuse_tables_within
from gammabeta.data.formats.zarr import is_store
from gammabeta.data.io.paths import FORMATS, KNOWN, existing, kind_of, reason
from gammabeta.data.io.remote import located
from gammabeta.errors import DataError, FileError

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_DATA = set(FORMATS.values()) - {"statistics"}


@dataclass(frozen=True)
class Part:
    """A file of a data set.

    `name` is its path below the data set's root, with "/" between folders; `partitions` holds what the folders on that
    way say: {"year": "2024"} for `year=2024/a.parquet`, None where Hive writes that there is no value.
    """

    path: Path
    name: str
    partitions: dict[str, str | None] = field(compare=False)


@dataclass(frozen=True)
class DataSet:
    """Files of one format, in the order of their names.

    `where` is what the data set was asked for by; `root` the folder that all are in; `ignored` the names of those in
    the folder that are no data by their extension; `read` how the files are read.
    """

    where: str
    root: Path
    parts: tuple[Part, ...]
    ignored: tuple[str, ...] = ()
    read: ReadOptions = PLAIN

    @property
    def format(self) -> str:
        """The format of every file: csv, parquet, arrow or npy."""
        return _format_of(self.parts[0].path, self.read)


Where: TypeAlias = DataSet | str | Path | Sequence[str | Path]


def is_data_set(where: Any) -> TypeGuard[Where]:
    """Whether something stands for several files: a folder, a pattern such as `a/*.csv`, or a list or tuple of paths.

    A name that is a file's is no pattern, whatever is in it; a folder may also be one of images, or a Zarr store.
    """
    if isinstance(where, DataSet) or is_table(where):
        return True
    if isinstance(where, list | tuple):
        return all(isinstance(path, str | PurePath) for path in where)
    if not isinstance(where, str | Path):
        return False
    path = located(where)
    return isinstance(path, Path) and (_is_folder_of_files(path) or _is_pattern(path) or is_metadata(path))


def _is_folder_of_files(path: Path) -> bool:
    return path.is_dir() and not is_store(path) and not holds_images(path)


def _is_pattern(where: str | PurePath) -> bool:
    return has_magic(str(where)) and not Path(where).exists()


def data_set(where: Where, read: ReadOptions | None = None) -> DataSet:
    """The files of a folder and of the folders in it, of a pattern (`**` for any folders between), or of a list.

    Files and folders whose names begin with "." or "_" are left out below the root, as Arrow's and Spark's are; in a
    folder or pattern, those too whose extension is not one of data. Hive partitions are read off the folders' names. Of
    a Delta table's folder those files are taken that its log says are the table's now, of an Iceberg table those of the
    state that is passed: the table, by pyiceberg, or a `metadata/….metadata.json`.
    read: how the files are read; if it names a format, files whose extension is unknown are of that format.

    Raises:
        FileError: no file is found, or one of a list is not there.
        DataError: the files are of different formats, or one is in a list twice.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for year in ("2023", "2024"):
    ...         (Path(folder) / f"year={year}").mkdir()
    ...         _ = (Path(folder) / f"year={year}" / "a.csv").write_text("x")
    ...     [(part.name, part.partitions) for part in data_set(folder).parts]
    [('year=2023/a.csv', {'year': '2023'}), ('year=2024/a.csv', {'year': '2024'})]
    """
    if isinstance(where, DataSet):
        return where if read is None else replace(where, read=read)
    options = read or PLAIN
    if is_table(where) or (isinstance(where, str | PurePath) and _is_iceberg(Path(where))):
        return _iceberg(where, options)
    if not isinstance(where, str | PurePath):
        return _listed(where, options)
    if _is_pattern(where):
        root = _fixed(Path(where))
        return _found(str(where), root, _below(root, _matching(root, Path(where))), options)
    if Path(where).is_dir() and is_delta(Path(where)):
        return _delta(Path(where), options)
    if Path(where).is_dir():
        return _found(str(where), Path(where), _below(Path(where), _everything(Path(where))), options)
    return _listed([where], options)


def _format_of(path: Path, read: ReadOptions) -> str:
    """A file's format by its name, or by the options where the name does not say it."""
    try:
        return kind_of(path).format
    except FileError:
        if read.format is None:
            raise
        return read.format


def _listed(where: Iterable[str | Path], read: ReadOptions) -> DataSet:
    paths = [existing(Path(path)) for path in where]
    if not paths:
        raise DataError("at least one file is needed, got none")
    full = [Path(os.path.normpath(path.absolute())) for path in paths]
    root = Path(os.path.commonpath([path.parent for path in full]))
    names = [path.relative_to(root).as_posix() for path in full]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise DataError(f"each file must be in a data set once, {twice[0]!r} comes twice")
    shown = ", ".join(map(str, paths[:3]))
    parts = [_part(path, name) for path, name in zip(paths, names, strict=True)]
    return _of_one_format(shown, root, parts, (), read)


def _delta(root: Path, read: ReadOptions) -> DataSet:
    """The current files of a Delta table."""
    names = delta_files(root)
    if not names:
        raise FileError(f"at least one data file is needed, the Delta table {str(root)!r} has none now")
    return _of_one_format(str(root), root, [_part(root / name, name) for name in names], (), read)


def _is_iceberg(path: Path) -> bool:
    return is_metadata(path) or (path.is_dir() and is_iceberg(path))


def _iceberg(where: Any, read: ReadOptions) -> DataSet:
    """The files of a state of an Iceberg table."""
    root, paths = iceberg_files(where)
    if not paths:
        raise FileError(f"at least one data file is needed, the Iceberg table {str(root)!r} has none now")
    root = root if all(root in path.parents for path in paths) else Path(os.path.commonpath([p.parent for p in paths]))
    parts = [_part(path, path.relative_to(root).as_posix()) for path in sorted(paths)]
    return _of_one_format(str(root), root, parts, (), read)


def _fixed(pattern: Path) -> Path:
    """The folder of a pattern: its parts before the first wildcard."""
    parts = pattern.parts[:-1]
    first = next((i for i, part in enumerate(parts) if has_magic(part)), len(parts))
    return Path(*parts[:first])


def _below(root: Path, paths: Iterable[Path]) -> dict[str, Path]:
    """The paths that are files and not hidden, by their names below the root. A broken link counts as a file."""
    named = {path.relative_to(root): path for path in paths}
    seen = {name: path for name, path in named.items() if not any(map(_is_hidden, name.parts))}
    return {name.as_posix(): path for name, path in sorted(seen.items()) if path.is_file() or not path.exists()}


def _matching(root: Path, pattern: Path) -> list[Path]:
    """The paths that match a pattern. Links are followed, except into a folder above themselves."""
    signs = pattern.parts[len(root.parts) :]
    if "**" in signs:
        return [path for path in _everything(root) if _fits(path.relative_to(root).parts, signs)]
    paths = map(Path, glob(str(pattern)))  # noqa: PTH207, Path's own follows links in some releases only
    return [path for path in paths if not _comes_round(root, path.parent)]


def _fits(names: Sequence[str], signs: Sequence[str]) -> bool:
    """Whether a path's parts match a pattern's parts, where ** stands for any folders between."""
    if not signs:
        return not names
    if signs[0] == "**":
        return any(_fits(names[i:], signs[1:]) for i in range(len(names) + 1))
    return bool(names) and fnmatch(names[0], signs[0]) and _fits(names[1:], signs[1:])


def _everything(root: Path) -> Iterator[Path]:
    """All files below a folder, without hidden folders. Links are followed, except into a folder above themselves."""
    for folder, inner, files in os.walk(root, onerror=_unreadable, followlinks=True):
        inner[:] = [name for name in inner if not (_is_hidden(name) or _comes_round(root, Path(folder, name)))]
        yield from (Path(folder, name) for name in files)


def _unreadable(error: OSError) -> None:
    raise FileError(
        f"the folder {error.filename!r} cannot be read: {reason(error)}; a data set without its files would be another"
    ) from None


def _is_hidden(name: str) -> bool:
    return name[0] in "._"


def _comes_round(root: Path, folder: Path) -> bool:
    """Whether a link on the path from the root to a folder leads back to a folder on that path."""
    if folder == root:
        return False
    below = folder.relative_to(root)
    way = [root / name for name in (below, *below.parents)]
    return any(step.is_symlink() for step in way[:-1]) and len({step.resolve() for step in way}) < len(way)


def _found(where: str, root: Path, files: dict[str, Path], read: ReadOptions) -> DataSet:
    """The `DataSet` of the data files among some files."""
    data = {name: path for name, path in files.items() if _is_data(path, read)}
    refuse_tables_within(root, data.values())
    if not data:
        here = "; files that begin with . or _ are left out" if not files else f", among {len(files)} files of others"
        raise FileError(f"at least one data file is needed, there is none in {where!r}{here}; data ends in {KNOWN}")
    ignored = tuple(name for name in files if name not in data)
    return _of_one_format(where, root, [_part(path, name) for name, path in data.items()], ignored, read)


def _is_data(path: Path, read: ReadOptions) -> bool:
    try:
        return _format_of(path, read) in _DATA
    except FileError:
        return False


def _of_one_format(
    where: str, root: Path, parts: Sequence[Part], ignored: tuple[str, ...], read: ReadOptions
) -> DataSet:
    first: dict[str, Part] = {}
    for part in parts:
        first.setdefault(_format_of(part.path, read), part)
    if len(first) > 1:
        shown = ", ".join(f"{part.name!r} ({form})" for form, part in first.items())
        raise DataError(f"the files of a data set must be of one format, {where!r} has {shown}; choose: '*.parquet'")
    if "statistics" in first:
        raise FileError(f"a data set is of data files, {where!r} is named as statistics are; data ends in {KNOWN}")
    return DataSet(where, root, tuple(parts), ignored, read)


def _part(path: Path, name: str) -> Part:
    pairs = (folder.partition("=") for folder in name.split("/")[:-1])
    partitions = {key: None if value == _NO_VALUE else unquote(value) for key, equals, value in pairs if key and equals}
    return Part(path, name, partitions)


def files_of(where: str | Path, read: ReadOptions | None = None) -> Iterator[tuple[Path, dict[str, str | None]]]:
    """The files that a path stands for, each with its Hive partitions: of a data set all, else the path itself."""
    if is_data_set(where):
        yield from ((part.path, part.partitions) for part in data_set(where, read).parts)
    else:
        yield Path(where), {}


def none_good(bad: dict[str, str]) -> FileError:
    """The error that no file of a data set can be read. bad: why, by name."""
    return FileError(f"one file at least must be fit to be read, none of {len(bad)} is: {bad[min(bad)]}")
