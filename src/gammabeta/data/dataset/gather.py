"""The sum of the statistics of several files: data files are measured, stats files are loaded."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from gammabeta.data.core.columns import matches, selected
from gammabeta.data.core.options import ProgressFn
from gammabeta.data.core.read_options import PLAIN, ReadOptions
from gammabeta.data.core.statistics import Recipe, Statistics
from gammabeta.data.core.statistics_io import load
from gammabeta.data.dataset.discovery import files_of
from gammabeta.data.formats.registry import kept_options, open_source
from gammabeta.data.io.remote import Place, located
from gammabeta.data.passes.group_labels import columns_of_labels, names_of
from gammabeta.data.passes.groupby import GroupStatistics, load_groups, measure_groups, one_group
from gammabeta.data.passes.measure import measure_source
from gammabeta.errors import DataError, KindError


def add_up(
    paths: Sequence[str | Path],
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    recipe: Recipe | None,
    read: ReadOptions | None,
    measure_path: Callable[[Place, ReadOptions | None], Statistics],
) -> Statistics:
    """The statistics of all rows of several files. See `gammabeta.data.gather`.

    read: how data files are read; without it as the stats files were.
    measure_path: gives the statistics of a path that is no stats file: a data file, or a data set.
    """
    if not paths:
        raise DataError("at least one file is needed, got none")
    named = [located(path) for path in paths]
    stats = [path for path in named if path.suffix.lower() == ".json"]
    # what a data file has and a stats file lacks need not be left out there
    strict = len(stats) == len(named)
    from_json = {path: _select(load(path), path, columns, exclude or (), strict) for path in stats}
    recipe = recipe or _common_recipe(from_json)
    kept = next((found.read for found in from_json.values() if found.read != PLAIN), PLAIN)
    total: Statistics | None = None
    for path in named:
        how = read or kept_options(kept, path)
        found = replace(from_json[path] if path in from_json else measure_path(path, how), recipe=recipe)
        try:
            total = found if total is None else total + found
        except DataError as error:
            raise DataError(f"{str(path)!r} cannot be added to {str(named[0])!r}: {error}") from None
    if total is None:
        raise DataError("at least one file is needed, got none")
    return total


def _select(
    found: Statistics, path: Place, columns: Sequence[str] | None, exclude: Sequence[str], strict: bool
) -> Statistics:
    if not strict:
        exclude = [name for name in exclude if matches(name, found.names)]
    return found.select([column.name for column in selected(found.columns, columns, exclude, path)])


def _common_recipe(from_json: dict[Place, Statistics]) -> Recipe:
    recipes = {found.recipe for found in from_json.values()}
    if len(recipes) > 1:
        ways = ", ".join(sorted(str(recipe.document()) for recipe in recipes))
        raise DataError(f"stats files must say one way of scaling, these say {ways}; choose with --method")
    return recipes.pop() if recipes else Recipe()


def add_up_groups(
    paths: Sequence[Path],
    by: str | Sequence[str] | None,
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    read: ReadOptions | None,
    progress: ProgressFn,
) -> GroupStatistics:
    """The statistics by group of several files together. See `gammabeta.data.gather_groups`."""
    from_json = {path: load_groups(path) for path in paths if path.suffix.lower() == ".json"}
    kept = next((columns_of_labels(found.by) for found in from_json.values()), None)
    names = kept if by is None else names_of(by)
    if names is None:
        raise DataError(
            "by must name the column of the groups' labels where no file is of statistics by group, got None"
        )
    total: GroupStatistics | None = None
    for path, partitions in chain.from_iterable(files_of(path, read) for path in paths):
        if path in from_json:
            found = from_json[path]
        elif len(names) == 1 and names[0] in partitions:
            label = partitions[names[0]]
            whole = measure_source(open_source(path, read=read), columns, exclude, None, progress)
            found = one_group(whole, names[0], label)
        elif set(names) & set(partitions):
            raise DataError(f"groups must be by one Hive partition, or by columns of the files, got by={list(names)}")
        else:
            found = measure_groups(open_source(path, read=read), names, columns, exclude, progress)
        if columns_of_labels(found.by) != names:
            asked = names[0] if len(names) == 1 else list(names)
            raise DataError(f"{str(path)!r} must be by {asked!r} to be added, it is by {found.by.name!r}")
        try:
            total = found if total is None else total + found
        except (DataError, KindError) as error:
            raise DataError(f"{str(path)!r} cannot be added to {str(paths[0])!r}: {error}") from None
    if total is None:
        raise DataError("at least one file is needed, got none")
    return total
