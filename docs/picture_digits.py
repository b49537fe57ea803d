"""Draw `digits.svg`: held-out accuracy over the steps of training, with and without batch norm, over several seeds.

    python docs/picture_digits.py            # draw what digits.json holds
    python docs/picture_digits.py --measure  # train anew first: some minutes

The runs are those of `examples/digits.py`, each way at the learning rate that is best for it on the training data.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import altair as alt

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from digits import NETWORKS, WAYS, best

from gammabeta.lab.pictures import BLUE, FONT, ORANGE, RED

PLACE = Path(__file__).with_name("digits.svg")
NUMBERS = PLACE.with_suffix(".json")
STEPS, SEEDS = 300, 5
NAMES = dict(zip(WAYS, ("without a norm", "batch norm", "batch norm, γ = 1 and β = 0"), strict=True))


def measured() -> list[dict[str, Any]]:
    """The accuracies along the way, by network, way and seed."""
    found = []
    for depth, bend in NETWORKS:
        for way in WAYS:
            rate, runs = best(depth, bend, way, STEPS, SEEDS)
            for seed, run in enumerate(runs):
                keys = {"depth": depth, "bend": bend, "way": way, "rate": rate, "seed": seed}
                found.append(keys | {"held_out": [[step, round(reached, 4)] for step, reached in run.held_out]})
    return found


def panel(runs: list[dict[str, Any]], title: str) -> Any:
    """One network: a thin line for each seed, a thick one for their mean."""
    rows = [
        {"step": step, "accuracy": reached, "which": NAMES[run["way"]], "seed": run["seed"]}
        for run in runs
        for step, reached in run["held_out"]
    ]
    colour = alt.Color("which:N", title=None, scale=alt.Scale(domain=list(NAMES.values()), range=[RED, BLUE, ORANGE]))
    lines = alt.Chart(alt.InlineData(values=rows)).encode(
        alt.X("step:Q", title="step, of 60 pictures each", scale=alt.Scale(domain=[0, STEPS], nice=False)),
        colour,
    )
    accuracy = alt.Y("accuracy:Q", title="accuracy on held-out pictures", scale=alt.Scale(domain=[0, 1]))
    mean = alt.Y("mean(accuracy):Q", title="accuracy on held-out pictures")
    dashes = alt.Scale(domain=list(NAMES.values()), range=[[8, 3], [1, 0], [2, 3]])
    return alt.layer(
        lines.mark_line(strokeWidth=0.8, opacity=0.45).encode(accuracy, detail="seed:N"),
        lines.mark_line(strokeWidth=2.6).encode(mean, alt.StrokeDash("which:N", title=None, scale=dashes)),
    ).properties(width=236, height=220, title=title)


def chart(runs: list[dict[str, Any]]) -> Any:
    """The picture."""
    panels = [
        panel([run for run in runs if (run["depth"], run["bend"]) == network], f"{network[0]} layers, {network[1]}")
        for network in NETWORKS
    ]
    return (
        alt.hconcat(*panels, background="white", padding=12)
        .configure(font=FONT)
        .configure_axis(labelFontSize=12, titleFontSize=13, titleFontWeight="normal", gridColor="#e8e8e8", tickCount=5)
        .configure_title(fontSize=14, anchor="start")
        .configure_legend(
            orient="top", labelFontSize=13, labelLimit=300, symbolSize=400, symbolStrokeWidth=2.6, symbolOpacity=1
        )
        .configure_view(stroke=None)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true")
    if parser.parse_args().measure:
        NUMBERS.write_text("[\n" + ",\n".join(map(json.dumps, measured())) + "\n]\n", encoding="utf-8")
    chart(json.loads(NUMBERS.read_text(encoding="utf-8"))).save(PLACE)
