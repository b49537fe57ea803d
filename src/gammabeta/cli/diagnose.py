"""`gammabeta diagnose`: what a network's batch norms do on data, and what to watch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gammabeta.cli.terminal import Heading, say, say_json, say_table
from gammabeta.errors import DataError, GammabetaError

if TYPE_CHECKING:
    from gammabeta.networks.diagnose import Diagnosis


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
    from gammabeta.cli import load_model

    network = load_model.network(model, weights)
    batches = load_model.batches(data, batch_size, network)
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
        say_json(found.document())
    else:
        _show(found, output)


def _show(found: "Diagnosis", output: Path | None) -> None:
    from gammabeta.networks.diagnose.result import HEADS

    say(f"{found.model}: {len(found.layers)} batch-norm layers, {found.batches} batches")
    say_table([Heading(head, left=head == "layer", wraps=head == "layer") for head in HEADS], found.table())
    for sentence in found.sentences():
        say(sentence)
    if output is not None:
        say(f"→ {output}")
