"""`digits.svg`: held-out accuracy over the steps of training, with and without batch norm, over several seeds.

The runs are those of `examples/digits.py`, each way at the learning rate that is best for it on the training data.
"""

import json
import sys
from typing import Any

import altair as alt

from gammabeta.lab.charts import BLUE, ORANGE, RED
from pictures.common import DOCS, HERE, coloured, save

sys.path.insert(0, str(DOCS.parent / "examples"))

from digits import NETWORKS, WAYS, best

NUMBERS = HERE / "digits.json"
STEPS, SEEDS = 300, 5
NAMES = dict(zip(WAYS, ("without a norm", "batch norm", "batch norm, γ = 1 and β = 0"), strict=True))
COLOURS = dict(zip(NAMES.values(), (RED, BLUE, ORANGE), strict=True))
TITLE = "Held-out accuracy over 300 steps, three networks: without a norm, with batch norm, with γ and β frozen"


def measure() -> None:
    """Train: the accuracies along the way, by network, way and seed."""
    found = []
    for depth, bend in NETWORKS:
        for way in WAYS:
            rate, runs = best(depth, bend, way, STEPS, SEEDS)
            for seed, run in enumerate(runs):
                keys = {"depth": depth, "bend": bend, "way": way, "rate": rate, "seed": seed}
                found.append(keys | {"held_out": [[step, round(reached, 4)] for step, reached in run.held_out]})
    NUMBERS.write_text("[\n" + ",\n".join(map(json.dumps, found)) + "\n]\n", encoding="utf-8")


def panel(runs: list[dict[str, Any]], title: str) -> Any:
    """One network: a thin line for each seed, a thick one for their mean."""
    rows = [
        {"step": step, "accuracy": reached, "which": NAMES[run["way"]], "seed": run["seed"]}
        for run in runs
        for step, reached in run["held_out"]
    ]
    lines = alt.Chart(alt.InlineData(values=rows)).encode(
        alt.X("step:Q", title="step, of 60 pictures each", scale=alt.Scale(domain=[0, STEPS], nice=False)),
        coloured(COLOURS),
    )
    accuracy = alt.Y("accuracy:Q", title="accuracy on held-out pictures", scale=alt.Scale(domain=[0, 1]))
    mean = alt.Y("mean(accuracy):Q", title="accuracy on held-out pictures")
    dashes = alt.Scale(domain=list(NAMES.values()), range=[[8, 3], [1, 0], [2, 3]])
    return alt.layer(
        lines.mark_line(strokeWidth=0.8, opacity=0.45).encode(accuracy, detail="seed:N"),
        lines.mark_line(strokeWidth=2.6).encode(mean, alt.StrokeDash("which:N", title=None, scale=dashes)),
    ).properties(width=236, height=220, title=title)


def draw() -> None:
    runs = json.loads(NUMBERS.read_text(encoding="utf-8"))
    panels = [
        panel([run for run in runs if (run["depth"], run["bend"]) == network], f"{network[0]} layers, {network[1]}")
        for network in NETWORKS
    ]
    save(alt.hconcat(*panels), TITLE, "digits.svg", symbolSize=400, symbolStrokeWidth=2.6, symbolOpacity=1)
