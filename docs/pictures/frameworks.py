"""`frameworks.svg`: how far today's batch-norm layers are from the exact answer on three ordinary columns.

Each column has 1,024 float32 numbers; eps is 1e-5 everywhere. The exact answer takes the exact mean and variance. How
many threads share a framework's sum changes its error, up to tenfold.
"""

import json
from importlib.metadata import version
from typing import Any

import altair as alt

from gammabeta.lab import peers
from gammabeta.lab.charts import GREEN, RED, plain
from pictures.common import DOCS, HERE, LINK, coloured, save, shaped

PLACE = DOCS / "frameworks.svg"
NUMBERS = HERE / "frameworks.json"
COLUMNS = {"a year: 2010 ± 3": (2010, 3), "an altitude: 8000 ± 2 m": (8000, 2), "a count: 10,000 ± 1": (10_000, 1)}
PACKAGES = ("torch", "keras", "tensorflow-cpu", "jax", "flax")
LAYERS = {name: ours for *names, ours in peers.PROCESSES.values() for name in names}
"""By layer, what gammabeta is called there."""
LOW, HIGH = 1e-8, 1e4
THEIRS, OURS = "the framework's own layer", "gb.batch_norm on the same framework's array"
TITLE = "The largest error of each framework's batch norm, and of gb.batch_norm beside it, on three columns"


def measure() -> None:
    """Run the frameworks: the errors, by column and layer; NaN is null."""
    running = peers.Peers()
    found = {name: running.errors(peers.column(*column)) for name, column in COLUMNS.items()}
    running.close()
    errors = {name: {k: None if v != v else v for k, v in column.items()} for name, column in found.items()}
    numbers = {"versions": {name: version(name) for name in PACKAGES}, "errors": errors}
    NUMBERS.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def panel(title: str, errors: dict[str, float | None], first: bool) -> Any:
    """One column: for each layer its error and ours, with a line between."""
    order = sorted(LAYERS, key=lambda name: (not name.startswith("torch"), name.startswith("Keras"), name))
    rows = []
    for layer, ours in LAYERS.items():
        theirs = errors[layer]
        word = plain(float("nan") if theirs is None else theirs)
        at = HIGH if theirs is None else min(max(theirs, LOW), HIGH)
        rows.append({"layer": layer, "which": THEIRS, "error": at, "text": word, "ours": errors[ours]})
        rows.append({"layer": layer, "which": OURS, "error": errors[ours], "text": ""})
    y = alt.Y("layer:N", title=None, sort=order, axis=alt.Axis() if first else None)
    axis = alt.Axis(values=[10.0**k for k in range(-8, 5, 4)], format="~g", labelFlush=False)
    x = alt.X("error:Q", title="largest error of y (its std is 1)", axis=axis)
    x = x.scale(alt.Scale(type="log", domain=[LOW, HIGH * 30]))
    colour, shape = coloured({THEIRS: RED, OURS: GREEN}), shaped({THEIRS: "square", OURS: "circle"})
    chart = alt.Chart(alt.InlineData(values=rows))
    return alt.layer(
        chart.mark_rule(color=LINK, strokeWidth=2).encode(x, alt.X2("ours"), y),
        chart.mark_point(filled=True, size=75, opacity=1).encode(x, y, colour, shape),
        chart.mark_text(align="left", dx=8, fontSize=12).encode(x, y, alt.Text("text:N")),
    ).properties(width=222, height=196, title=title)


def draw() -> None:
    numbers = json.loads(NUMBERS.read_text(encoding="utf-8"))
    panels = [panel(name, errors, i == 0) for i, (name, errors) in enumerate(numbers["errors"].items())]
    save(alt.hconcat(*panels, spacing=14), TITLE, PLACE.name)
