"""`speed.svg`: what the benchmarks measured, as benchmarks/RESULTS.md has it, and nothing else.

A row is a task: how long gammabeta takes, how long the others take, and one plain sweep over the same memory.
"""

import re
from typing import Any, NamedTuple

import altair as alt

from gammabeta.lab.charts import GREEN, GREY, RED
from pictures.common import DOCS, LINK, coloured, save, shaped

RESULTS = DOCS.parent / "benchmarks" / "RESULTS.md"
PLACE = DOCS / "speed.svg"
OURS, THEIRS, SWEEP = "gammabeta", "scikit-learn, torch, Keras, flax", "one plain sweep: the data read or copied"
COLOURS = {THEIRS: RED, OURS: GREEN, SWEEP: GREY}
SHAPES = {THEIRS: "square", OURS: "circle", SWEEP: "diamond"}
TITLE = "Times of gammabeta beside those of scikit-learn, torch, Keras and flax, and beside a plain sweep over the data"


class Row(NamedTuple):
    """A task and its milliseconds."""

    task: str
    ours: float
    theirs: float
    sweep: float

    @property
    def factor(self) -> str:
        """How many times as fast."""
        times = self.theirs / self.ours
        return f"{times:.0f}×" if times >= 10 else f"{times:.1f}×" if times >= 1 else f"{times:.2f}×"


def section(title: str) -> str:
    """A section of the results."""
    found = re.search(rf"(?ms)^## {re.escape(title)}\n(.*?)(?=^## |\Z)", RESULTS.read_text(encoding="utf-8"))
    if found is None:
        raise LookupError(f"{RESULTS.name} must have a section {title!r}: run the benchmark that writes it")
    return found[1]


def table(title: str) -> list[dict[str, str]]:
    """The rows of a section's table, by column."""
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section(title).splitlines()
        if line.startswith("|")
    ]
    return [dict(zip(header, row, strict=True)) for row in rows]


def scalers(size: str) -> list[Row]:
    """`fit` and `transform`, of a table of that size."""
    columns = ("gammabeta ms", "scikit-learn ms", "plain sweep ms")
    return [
        Row(row[""].removesuffix(size).strip(), *(float(row[column]) for column in columns))
        for row in table("Scalers")
        if row[""].endswith(f" {size}")
    ]


def file() -> list[Row]:
    """A file of a gigabyte. PyArrow alone, which reads it twice and writes it, is the sweep."""
    seconds = {row["a process, from start to end"]: float(row["seconds"]) for row in table("A Parquet file")}
    ours, theirs = seconds["`gammabeta scale`"], seconds["iter_batches with scikit-learn's partial_fit and transform"]
    sweep = seconds["PyArrow: read, read, write without dictionaries"]
    return [Row("read, scale, write", *(1000 * t for t in (ours, theirs, sweep)))]


def layers(title: str, wanted: str) -> list[Row]:
    """Training steps, forward and backward, of the shapes whose name matches; without what allocating memory costs."""
    found = []
    for row in table(title):
        name, *_ = row.values()
        if re.search(wanted, name) and row.get("memory", "kept") == "kept":
            ours, theirs = re.match(r"(\S+) / (\S+)", row["forward + backward"]).groups()
            name = name.removesuffix(" float32").replace(" on TensorFlow", "")
            found.append(Row(name, float(ours), float(theirs), float(row["copy"])))
    return found


def panels() -> list[dict[str, list[Row]]]:
    """The rows of two columns, by what stands above them."""
    return [
        {
            "Scalers, 1,000,000 × 100 float32": scalers("1,000,000 × 100 float32"),
            "Scalers, 200 × 30 float32": scalers("200 × 30 float32"),
            "A Parquet file of 1,000 MB, float32": file(),
        },
        {
            "Batch norm in torch, forward + backward, memory kept": layers("Batch norm in torch", r"\) float32$"),
            "Batch norm in Keras (TensorFlow) and flax": layers("Batch norm in Keras and flax", "float32$"),
        },
    ]


def machine() -> str:
    """What the scalers were measured on."""
    return re.match(r"\s*(.+?, \d+ cores)", section("Scalers"))[1]


def panel(title: str, rows: list[Row]) -> Any:
    """Tasks from top to bottom, each with its times and how many times as fast gammabeta is."""
    times = [
        {"task": row.task, "ms": ms, "which": which}
        for row in rows
        for which, ms in ((SWEEP, row.sweep), (THEIRS, row.theirs), (OURS, row.ours))
    ]
    spans = [{"task": row.task, "ms": min(row[1:]), "to": max(row[1:]), "text": row.factor} for row in rows]
    scale = alt.Scale(
        type="log", domain=[min(s["ms"] for s in spans) / 1.5, max(s["to"] for s in spans) * 12], nice=False
    )
    axis = alt.Axis(values=[10.0**k for k in range(-3, 6)], format="~g", labelFlush=False)
    low, high = (
        alt.X(name, title="milliseconds, on a logarithmic axis", axis=axis, scale=scale) for name in ("ms:Q", "to:Q")
    )
    y = alt.Y("task:N", title=None, sort=[row.task for row in rows])
    spread, points = alt.Chart(alt.InlineData(values=spans)), alt.Chart(alt.InlineData(values=times))
    return alt.layer(
        spread.mark_rule(color=LINK, strokeWidth=2).encode(low, alt.X2("to"), y),
        points.mark_point(filled=True, size=75, opacity=1).encode(low, y, coloured(COLOURS), shaped(SHAPES)),
        spread.mark_text(align="left", dx=9, fontSize=12).encode(high, y, alt.Text("text:N")),
    ).properties(width=275, height=21 * len(rows), title=title)


def draw() -> None:
    columns = [alt.vconcat(*(panel(*item) for item in column.items()), spacing=14) for column in panels()]
    told = f"Measured on: {machine()}. The number: how many times as fast gammabeta is."
    save(alt.hconcat(*columns, spacing=30, title=alt.Title(told, fontWeight="normal")), TITLE, PLACE.name)
