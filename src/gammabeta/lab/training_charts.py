"""The pictures of a training: loss, accuracy, the activations of every layer over the steps, γ and β moving."""

from typing import Any

import altair as alt
import numpy as np

from gammabeta.lab import charts
from gammabeta.lab.charts import BLUE, ORANGE, RED
from gammabeta.lab.live_training import BINS, LOOKS, Live
from gammabeta.lab.words import Words

OF_WAY = {"none": RED, "batch norm": BLUE, "γ = 1, β = 0": ORANGE}
FAINT = 0.004  # a share that would not be seen


def curves(say: Words, live: Live) -> list[Any]:
    """The loss and the accuracy of each way."""
    x = charts.axis("x", say("step"), scale={"domain": [0, live.steps]})
    found = []
    for name in ("loss", "accuracy"):
        series = {say(way): (np.array(seen.steps), np.array(getattr(seen, name))) for way, seen in live.seen.items()}
        y = charts.axis("y", say(f"{name}, unit"), scale={"zero": True})
        found.append(charts.lines(series, x, y, list(OF_WAY.values()), say(name)))
    return found


def learned(say: Words, live: Live) -> list[Any]:
    """How far γ is from 1 and β from 0, by layer: the first dark, the last bright."""
    seen = live.seen["batch norm"]
    steps, layers = np.meshgrid(seen.steps, np.arange(1, live.depth + 1), indexing="ij")
    x = charts.axis("step", say("step"), scale={"domain": [0, live.steps]})
    y = charts.axis("distance", say("distance"), scale={"zero": True})
    shade = alt.Color("layer:O", title=say("layer"), scale=alt.Scale(scheme="viridis"))
    found = []
    for values, title in ((seen.gamma, say("gamma moves")), (seen.beta, say("beta moves"))):
        data = charts.rows(step=steps.ravel(), layer=layers.ravel(), distance=np.ravel(values))
        chart = alt.Chart(data).mark_line(strokeWidth=2).encode(alt.X(**x), alt.Y(**y), shade)
        found.append(charts.framed(chart, title))
    return found


def activations(say: Words, live: Live) -> list[Any]:
    """For each way a histogram of every layer's activations, held-out pictures, at every look: darker is more."""
    return [_activations(say, live, way) for way in live.seen]


def _activations(say: Words, live: Live, way: str) -> Any:
    seen = live.seen[way]
    steps = np.array(seen.steps)
    width = live.steps / LOOKS
    at, layer, part = np.nonzero(np.array(seen.shares) > FAINT)
    low = layer + 0.06 + 0.88 * part / BINS
    data = charts.rows(
        low=low.round(3),
        high=(low + 0.88 / BINS).round(3),
        start=steps[at],
        end=steps[at] + width,
        share=np.array(seen.shares)[at, layer, part].round(3),
    )
    labels = alt.Axis(
        values=[i + 0.5 for i in range(live.depth)],
        labelExpr=f"'{say('layer')} ' + floor(datum.value + 1)",
        grid=False,
        ticks=False,
    )
    shade = alt.Color(
        "share:Q",
        title=say("share"),
        scale=alt.Scale(scheme="blues", domain=[0, 0.5], clamp=True),
        legend=alt.Legend(values=[0, 0.25, 0.5], gradientLength=140, format="%"),
    )
    upside_down = alt.Scale(domain=[live.depth, 0])
    y = alt.Y("low:Q", title=say("bands", bend=say(live.bend), top=f"{live.top:g}"), axis=labels, scale=upside_down)
    x = charts.axis("start", say("step"), scale={"domain": [0, live.steps + width]}, grid=False)
    chart = alt.Chart(data).mark_rect().encode(alt.X(**x), alt.X2("end"), y, alt.Y2("high"), shade)
    return charts.framed(chart, say("activations", way=say(way)), 46 * live.depth)
