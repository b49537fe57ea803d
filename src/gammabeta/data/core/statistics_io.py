"""Statistics kept in files, and the sum of those of many files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gammabeta.data.core.columns import matches, selected
from gammabeta.data.core.statistics import FORMAT, Recipe, Statistics
from gammabeta.data.io.paths import existing, replacing
from gammabeta.data.io.remote import Place, located
from gammabeta.data.passes.measure import Progress, measure, quiet
from gammabeta.errors import DataError, FileError, StateError
from gammabeta.statistics import serialization

_LARGE = 1 << 20  # bytes, of which no more is read of what is something else


def statistics_path(path: str | Path) -> Path:
    """The path, if it ends in .json: no data file is ever replaced by statistics."""
    path = Path(path)
    if path.suffix.lower() != ".json":
        raise FileError(f"a stats file's name must end in .json, got {str(path)!r}")
    return path


def save(statistics: Statistics, path: str | Path) -> None:
    """Write statistics to a `.json` file, which appears when it is whole.

    Raises:
        FileError: it cannot be written, or its name does not end in .json.
    """
    with replacing(statistics_path(path)) as temporary:
        temporary.write_text(statistics.to_json(), "utf-8")


def load(path: str | Place) -> Statistics:
    """The statistics in a file that `save` wrote.

    Raises:
        FileError: there is no such file, or it cannot be read.
        StateError: it is not a stats file, is damaged or of another version.
    """
    path = existing(located(path))
    try:
        return Statistics.from_json(contents(path, FORMAT))
    except StateError as error:
        raise StateError(f"{str(path)!r} is not a stats file to be used: {error}") from None


def contents(path: Place, kind: str) -> bytes:
    """A file's bytes, if it may be a document of that kind: what is large must begin as one is written.

    Raises:
        FileError: it cannot be read.
        StateError: it is large and begins in another way.
    """
    beginning = serialization.dump(kind, {})[:-1].encode()
    try:
        with path.open("rb") as file:
            first: bytes = file.read(_LARGE)
            if len(first) == _LARGE and not first.startswith(beginning):
                raise StateError(f"a document of more than 1 MiB must begin with {beginning.decode()}, it does not")
            return first + file.read()
    except OSError as error:
        raise FileError(f"cannot read {str(path)!r}: {error.strerror}") from error


def gather(
    paths: Sequence[str | Path],
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    *,
    recipe: Recipe | None = None,
    progress: Progress = quiet,
) -> Statistics:
    """The statistics of all rows of several files: data files are read, stats files (`.json`) added as they are.

    Args:
        paths: data files and stats files in any mixture, one at least.
        columns, exclude: which columns, as for `measure`; of stats files too.
        recipe: how the columns are to be scaled. Without it the stats files say, or else standardization.
        progress: as for `measure`, for each file.

    Raises:
        DataError: the files are not of the same columns, or the stats files disagree about how to scale.
        FileError, StateError, KindError: as `measure` and `load`.

    >>> import tempfile, pyarrow as pa
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(measure(pa.table({"a": [1.0]})), f"{folder}/one.json")
    ...     float(gather([f"{folder}/one.json", f"{folder}/one.json"]).moments.count[0])
    2.0
    """
    if not paths:
        raise DataError("at least one file is needed, got none")
    named = [located(path) for path in paths]
    stats = [path for path in named if path.suffix.lower() == ".json"]
    # what a data file has and a stats file lacks need not be left out there
    strict = len(stats) == len(named)
    kept = {path: _chosen(load(path), path, columns, exclude or (), strict) for path in stats}
    recipe = recipe or _common_recipe(kept)
    total: Statistics | None = None
    for path in named:
        if path in kept:
            found = replace(kept[path], recipe=recipe)
        else:
            found = measure(path, columns, exclude, recipe=recipe, progress=progress)
        try:
            total = found if total is None else total + found
        except DataError as error:
            raise DataError(f"{str(path)!r} cannot be added to {str(named[0])!r}: {error}") from None
    if total is None:
        raise DataError("at least one file is needed, got none")
    return total


def _chosen(
    found: Statistics, path: Place, columns: Sequence[str] | None, exclude: Sequence[str], strict: bool
) -> Statistics:
    if not strict:
        exclude = [name for name in exclude if matches(name, found.names)]
    return found.select([column.name for column in selected(found.columns, columns, exclude, path)])


def _common_recipe(kept: dict[Place, Statistics]) -> Recipe:
    recipes = {found.recipe for found in kept.values()}
    if len(recipes) > 1:
        told = ", ".join(sorted(str(recipe.document()) for recipe in recipes))
        raise DataError(f"stats files must say one way of scaling, these say {told}; choose with --method")
    return recipes.pop() if recipes else Recipe()
