"""One command per verb: each reads its options, calls `gammabeta.data` and reports."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gammabeta.cli.dataset_options import ONE_OR_MANY, Inputs, SkipBad, Workers, at_work, show_written
from gammabeta.cli.diagnose import diagnose
from gammabeta.cli.example import example as write_example
from gammabeta.cli.export import export
from gammabeta.cli.names import split_names
from gammabeta.cli.read_options import with_read_options
from gammabeta.cli.stats_by import By
from gammabeta.cli.terminal import note, say
from gammabeta.errors import DataError

if TYPE_CHECKING:
    from gammabeta.data import ReadOptions, Recipe

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


class Language(StrEnum):
    """The values of `--lang`."""

    en = "en"
    ko = "ko"


class Method(StrEnum):
    """The values of `--method`."""

    standard = "standard"
    minmax = "minmax"


class Unseen(StrEnum):
    """The values of `--unseen`."""

    refuse = "raise"
    whole = "whole"


Columns = Annotated[
    list[str] | None,
    typer.Option(help="Only these columns: names or patterns, parted by commas. May be repeated.", metavar="NAMES"),
]
Exclude = Annotated[list[str] | None, typer.Option(help="All columns of numbers but these.", metavar="NAMES")]
MethodOption = Annotated[
    Method | None,
    typer.Option(help="standard: mean 0 and standard deviation 1. minmax: into a range.", metavar="METHOD"),
]
Ddof = Annotated[
    float | None,
    typer.Option(help="Divide by n - DDOF in the variance: 0 for the population's, 1 for a sample's.", metavar="N"),
]
FeatureRange = Annotated[
    tuple[float, float] | None, typer.Option(help="The range that minmax scales into; 0 1 without it.", metavar="A B")
]
UnseenOption = Annotated[
    Unseen | None,
    typer.Option(help="Rows of groups without statistics: raise refuses them, whole goes by all.", metavar="RULE"),
]
Json = Annotated[bool, typer.Option("--json", help="Report to stdout as JSON, for machines.")]
Out = Annotated[
    Path, typer.Option("--output", "-o", help="The file to write, its extension is its format; or the folder.")
]
Stats = Annotated[Path, typer.Argument(metavar="S.json", help="Statistics that scale or stats wrote.")]
Input = Annotated[Path, typer.Argument(metavar="IN", help="CSV, Parquet, Feather, Arrow IPC or .npy.")]


def _version(wanted: bool) -> None:
    if wanted:
        from gammabeta import __version__

        say(f"gammabeta {__version__}")
        raise typer.Exit


@app.callback()
def gammabeta(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Of an error, show the trace too; it may stand after a command as well.")
    ] = False,
) -> None:
    """Scale the columns of a file, exactly: a statistic, then an affine map.

    y = gamma * (x - center) / scale + beta

    \b
      gammabeta scale --example                      see it on a real table
      gammabeta scale in.csv                         see it on yours; nothing is written
      gammabeta scale in.csv -o out.csv --stats s.json
      gammabeta apply s.json new.csv -o new-out.csv  the same map for another file
      gammabeta invert s.json out.csv -o back.csv    the way back
      gammabeta stats jan.parquet feb.parquet -o both.json
      gammabeta report in.csv -o report.html         a page: each column's shape, and what to watch
      gammabeta diagnose my.networks:make --data inputs.npy     a network's batch norms, and what to watch
      gammabeta export s.json --to onnx -o map.onnx  the map for SQL, ONNX, polars, scikit-learn, C
      gammabeta lab                                  see why, in a page that computes

    Files may be of any size. CSV (.csv, .tsv, also .gz, .zst, .bz2, .xz, .zip), Parquet, Feather, Arrow IPC, .npy,
    .npz; Zarr and folders of images are measured too; s3://, http:// and the like are read from.
    """


@app.command()
@with_read_options
def scale(
    source: Annotated[Path | None, typer.Argument(metavar="IN", help=ONE_OR_MANY)] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The file to write, or the folder. Without it: a look, nothing is written."
        ),
    ] = None,
    method: MethodOption = None,
    columns: Columns = None,
    exclude: Exclude = None,
    feature_range: FeatureRange = None,
    stats: Annotated[
        Path | None, typer.Option(help="Keep the statistics here, for apply and invert.", metavar="S.json")
    ] = None,
    ddof: Ddof = None,
    by: By = None,
    footers: Annotated[
        bool, typer.Option("--footers/--no-footers", help="minmax by what a Parquet file's footer says, where it does.")
    ] = True,
    workers: Workers = None,
    skip_bad: SkipBad = False,
    example: Annotated[bool, typer.Option("--example", help="Take scikit-learn's breast cancer table for IN.")] = False,
    json: Json = False,
    *,
    read: "ReadOptions | None",
) -> None:
    """Scale a file's columns of numbers by their own statistics.

    \b
      gammabeta scale --example
      gammabeta scale in.parquet -o out.parquet
      gammabeta scale in.csv -o out.csv --method minmax --feature-range -1 1
      gammabeta scale in.csv -o out.csv --columns age,income --stats s.json
      gammabeta scale in.csv -o out.csv --exclude "id,*_code" --ddof 1
      gammabeta scale in.csv -o out.csv --missing -9999 --decimal ,
      gammabeta scale folder -o scaled               every file of a folder, by the statistics of all
      gammabeta scale in.csv --by store -o out.csv   each row by the statistics of its own group

    Other columns pass through untouched. Floats keep their type, integers become float64.
    OUT may be IN: it is replaced when the new file is whole. A folder goes into another folder:
    whatever stopped it, the same command goes on from there, and does nothing twice.
    """
    from gammabeta import data
    from gammabeta.cli import output as results
    from gammabeta.cli.progress import Meter
    from gammabeta.data.dataset.discovery import is_data_set
    from gammabeta.data.formats.registry import open_source
    from gammabeta.data.formats.table import example as breast_cancer

    if (source is None) != example:
        raise DataError("one file is needed: gammabeta scale IN, or gammabeta scale --example")
    many = source is not None and is_data_set(source)
    if many and output is None:
        raise DataError(
            f"a folder is scaled into another: gammabeta scale {source} -o OUT; its statistics: gammabeta stats"
        )
    table = breast_cancer() if source is None else source if many else open_source(source, read=read)
    name = str(getattr(table, "path", table))
    if getattr(table, "looks_headless", False):
        note("the first line is taken for the columns' names, but it holds numbers")
    recipe, only, but = _recipe(method, ddof, feature_range), split_names(columns), split_names(exclude)
    if output is None:
        if by is not None:
            raise DataError("--by goes with -o OUT; to see the groups: gammabeta stats IN --by COLUMN")
        if stats is not None:
            raise DataError("--stats goes with -o OUT; to keep statistics alone: gammabeta stats IN -o S.json")
        with Meter() as meter:
            found = data.preview(table, recipe=recipe, columns=only, exclude=but, bins=results.bins(), progress=meter)
        results.show_preview(name, found, json)
        return
    with at_work(many, output) as meter:
        written = data.scale(
            table,
            output,
            recipe=recipe,
            columns=only,
            exclude=but,
            read=read if many else None,
            by=split_names(by),
            stats=stats,
            footers=footers,
            workers=workers,
            skip_bad=skip_bad,
            progress=meter,
            on_file_done=meter.on_file_done,
        )
    show_written("scaled", name, written, json, stats)


@app.command("stats")
@with_read_options
def stats_(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="IN...", help="Data files, folders, patterns in quotes, stats files, in any mixture."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Keep the statistics here.", metavar="S.json")
    ] = None,
    columns: Columns = None,
    exclude: Exclude = None,
    by: By = None,
    method: MethodOption = None,
    feature_range: FeatureRange = None,
    ddof: Ddof = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Of many files: leave out those that cannot be read.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Of many files: read a sample of those that are known again, and compare.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Which sample --check takes.", metavar="N")] = 0,
    json: Json = False,
    *,
    read: "ReadOptions | None",
) -> None:
    """Take the statistics of files and add them up.

    \b
      gammabeta stats in.parquet
      gammabeta stats jan.csv feb.csv -o year.json
      gammabeta stats year.json mar.csv -o year.json
      gammabeta stats photos -o photos.json          a folder of images: all pixels, by channel
      gammabeta stats year.json --exclude id -o less.json
      gammabeta stats year.json --method minmax -o year-minmax.json
      gammabeta stats in.csv --by kind -o kinds.json     of each group of rows
      gammabeta stats data/ -o data.json             and again: only new and changed files are read
      gammabeta stats "data/**/*.parquet" -o data.json --check

    The sums are exact: in any order, from any number of files. A stats file says how to scale
    too, so that apply and invert need no options.

    Of a folder, a pattern or several files, -o S.json keeps each file's statistics in S.ledger:
    broken off at any moment, the same command goes on from there.
    """
    from gammabeta import data
    from gammabeta.cli import output as results
    from gammabeta.cli import stats_by, stats_update
    from gammabeta.cli.progress import Meter
    from gammabeta.data.core.statistics_io import statistics_path
    from gammabeta.data.passes.groupby import is_grouped

    recipe, only, but = _recipe(method, ddof, feature_range), split_names(columns), split_names(exclude)
    if by is not None or any(map(is_grouped, sources)):
        if recipe is not None:
            raise DataError("--method, --ddof and --feature-range go with scale --by, not with stats --by")
        stats_update.refuse(skip_bad, check, " and without --by: groups have no ledger")
        stats_by.stats(sources, split_names(by), output, only, but, read, json)
        return
    if output is not None:
        statistics_path(output)
    names = [str(path) for path in sources]
    found = stats_update.data_set_of(sources, read)
    if found is not None:
        stats_update.tell_ignored(found, output)
    if found is not None and output is not None:
        done = stats_update.updated(found, output, only, but, recipe, skip_bad, seed if check else None)
        results.show_statistics(names, done.statistics, json, output, done)
        return
    stats_update.refuse(skip_bad, check)
    with Meter() as meter:
        total = data.gather(list(sources), only, but, recipe=recipe, read=read, progress=meter)
    if output is not None:
        data.save(total, output)
    results.show_statistics(names, total, json, output)


@app.command()
@with_read_options
def apply(
    stats: Stats,
    source: Inputs,
    output: Out,
    unseen: UnseenOption = None,
    workers: Workers = None,
    skip_bad: SkipBad = False,
    json: Json = False,
    *,
    read: "ReadOptions | None",
) -> None:
    """Scale a file by the statistics of another.

    \b
      gammabeta scale train.csv -o train-scaled.csv --stats s.json
      gammabeta apply s.json test.csv -o test-scaled.csv
      gammabeta apply s.json folder -o folder-scaled

    It is read and scaled in the way that the stats file says. Columns are found by name, in any order;
    those without statistics pass through.
    """
    from gammabeta import data
    from gammabeta.data.dataset.discovery import is_data_set

    _refuse_swapped("apply", stats, source)
    with at_work(is_data_set(source), output) as meter:
        written = data.apply(
            stats,
            source,
            output,
            read=read,
            unseen="whole" if unseen is Unseen.whole else "raise",
            workers=workers,
            skip_bad=skip_bad,
            progress=meter,
            on_file_done=meter.on_file_done,
        )
    show_written("scaled", str(source), written, json, None)


@app.command()
@with_read_options
def invert(
    stats: Stats,
    source: Inputs,
    output: Out,
    unseen: UnseenOption = None,
    workers: Workers = None,
    skip_bad: SkipBad = False,
    json: Json = False,
    *,
    read: "ReadOptions | None",
) -> None:
    """Take a scaled file back to its original units.

    \b
      gammabeta invert s.json train-scaled.csv -o train-back.csv
      gammabeta invert s.json folder-scaled -o folder-back

    Columns that were integers come back as float64, within rounding.
    """
    from gammabeta import data
    from gammabeta.data.dataset.discovery import is_data_set

    _refuse_swapped("invert", stats, source)
    with at_work(is_data_set(source), output) as meter:
        written = data.invert(
            stats,
            source,
            output,
            read=read,
            unseen="whole" if unseen is Unseen.whole else "raise",
            workers=workers,
            skip_bad=skip_bad,
            progress=meter,
            on_file_done=meter.on_file_done,
        )
    show_written("taken back", str(source), written, json, None)


@app.command("report")
def report_(
    source: Input,
    against: Annotated[
        Path | None, typer.Argument(metavar="[SECOND]", help="A file to compare with IN, under IN's statistics.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.", metavar="PAGE.html")] = Path(
        "report.html"
    ),
    columns: Columns = None,
    exclude: Exclude = None,
    json: Json = False,
) -> None:
    """Write a page about a file: each column's numbers, its shape, and what to watch before it is scaled.

    \b
      gammabeta report in.parquet
      gammabeta report in.csv -o in.html --exclude id
      gammabeta report january.csv february.csv -o drift.html    how far the second has moved

    The page is one HTML file that opens without a network. It is made with the extra `report`:
    pip install 'gammabeta[report]'
    """
    from gammabeta import report as pages
    from gammabeta.cli import output as results
    from gammabeta.cli.progress import Meter

    with Meter() as meter:
        found = pages.write(
            source, output, against=against, columns=split_names(columns), exclude=split_names(exclude), progress=meter
        )
    results.show_page(found, output, json)


@app.command()
def lab(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port of the page; 0 takes any that is free.", metavar="N")
    ] = 2718,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    lang: Annotated[Language, typer.Option(help="The language that the page starts in: en or ko.", metavar="LANG")] = (
        Language.en
    ),
) -> None:
    """Open the lab: seven claims about normalization, computed while you watch.

    \b
      gammabeta lab
      gammabeta lab --lang ko
      gammabeta lab --port 8080 --no-browser

    The page is served to this machine alone, and asks no other for anything. Its address holds a token, new at
    every start, without which nothing is answered: keep it to yourself. Ctrl-C ends it.
    Needs the extra: pip install 'gammabeta[lab]'.
    """
    from threading import Thread

    from gammabeta.kernels import thread_pool
    from gammabeta.lab import server

    with server.opened(port) as listening:
        token = server.new_token()
        address = server.address(listening, token, lang)
        say(f"The lab is at {address} (Ctrl-C ends it)")
        if browser:
            waiting = Thread(target=_browse, args=(address,), daemon=True)  # a browser in a terminal waits for the page
            thread_pool.started(waiting)
        server.serve(listening, token)


app.command()(diagnose)
app.command("example")(write_example)
app.command()(export)


def _browse(address: str) -> None:
    """Open a page in the browser, or say that there is none."""
    import webbrowser

    if not webbrowser.open(address):
        note("no browser could be opened; open that address in one")


def _refuse_swapped(verb: str, stats: Path, source: Path) -> None:
    """Raise `DataError` where the data come first and the statistics second."""
    if source.suffix.lower() == ".json" != stats.suffix.lower():
        raise DataError(
            f"the statistics come first, the data second: are {str(stats)!r} and {str(source)!r} the other way round? "
            f"gammabeta {verb} {source} {stats} -o OUT"
        )


def _recipe(method: Method | None, ddof: float | None, feature_range: tuple[float, float] | None) -> "Recipe | None":
    """The `Recipe` that the options give; None without options."""
    from gammabeta.data import Recipe

    if method is None and ddof is None and feature_range is None:
        return None
    if feature_range is not None and method is not Method.minmax:
        raise DataError("--feature-range goes with --method minmax")
    if ddof is not None and method is Method.minmax:
        raise DataError("--ddof goes with --method standard")
    ddof = 0 if ddof is None else int(ddof) if ddof == ddof // 1 else ddof
    return Recipe("minmax" if method is Method.minmax else "standard", ddof, feature_range or (0.0, 1.0))
