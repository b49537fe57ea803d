"""`gammabeta diagnose`: what a network's batch norms do on data, and what to watch."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gammabeta.errors import DataError, GammabetaError

if TYPE_CHECKING:
    from gammabeta.diagnosis import Diagnosis


def diagnose(
    model: Annotated[
        str, typer.Argument(metavar="MODULE:NAME", help="A torch, Keras or flax model, or what makes one.")
    ],
    data: Annotated[
        str,
        typer.Option(
            help="A .npy or .npz file of inputs, for torch a .pt too, or module:name that gives batches.",
            metavar="DATA",
        ),
    ],
    weights: Annotated[
        Path | None, typer.Option(help="A state_dict that torch.save wrote, or Keras' weights.", metavar="FILE")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows in a batch of a file.", metavar="N")] = 64,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A page to write as well.", metavar="PAGE.html")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Report to stdout as JSON, for machines.")] = False,
) -> None:
    """Look at a network's batch norms on data: do the running statistics fit, which channels are dead?

    \b
      gammabeta diagnose my.networks:make --data inputs.npy
      gammabeta diagnose my.networks:make --weights model.pt --data my.data:loader -o network.html
      gammabeta diagnose my.networks:make --data inputs.npz --json

    MODULE is imported, from the working directory too. Of a .npz with several arrays, and of a .pt with
    a mapping, the entries are the model's inputs by their names.
    """
    from gammabeta.cli import networks

    network = networks.network(model, weights)
    batches = networks.batches(data, batch_size, network)
    try:
        found = network.diagnose(network.model, batches)
    except GammabetaError:
        raise
    except Exception as error:
        raise DataError(f"{model} failed on {data}: {type(error).__name__}: {error}") from error
    if output is not None:
        from gammabeta import report

        report.network(found, output)
    if json:
        sys.stdout.write(found.to_json() + "\n")
    else:
        _show(found, output)


def _show(found: "Diagnosis", output: Path | None) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from gammabeta.cli.report import _console, _say
    from gammabeta.diagnosis.result import HEADS

    console = _console()
    _say(console, f"{found.model}: {len(found.layers)} batch-norm layers, {found.batches} batches")
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for head in HEADS:
        table.add_column(head, justify="left" if head == "layer" else "right", no_wrap=head != "layer")
    for row in found.table():
        table.add_row(*map(Text, row))
    console.print(table)
    for sentence in found.sentences():
        _say(console, sentence)
    if output is not None:
        _say(console, f"→ {output}")
