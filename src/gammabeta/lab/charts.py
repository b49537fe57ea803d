"""The lab's pictures, as Altair charts: what is drawn is handed in, nothing is computed here but bins and places.

Colours are those of Okabe and Ito (2008), which people with any kind of colour vision tell apart.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from gammabeta.lab.words import Words

Floats = NDArray[np.float64]
Chart = alt.Chart | alt.LayerChart

BLACK, GREY = "#000000", "#767676"
ORANGE, SKY, GREEN, BLUE, RED, PINK = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"

HEIGHT = 220
LEAST, GREATEST = 1e-8, 1e4  # of the errors that are drawn in their place
FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"


def rows(**columns: Any) -> alt.InlineData:
    """Columns of one length as Vega's rows, in a string of JSON: Altair copies and checks a list value by value."""
    lists = [np.asarray(column).tolist() for column in columns.values()]
    return in_rows([dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)])


def in_rows(values: Sequence[Mapping[str, Any]]) -> alt.InlineData:
    """Vega data of rows that `rows` made."""
    return alt.InlineData(values=json.dumps(values), format=alt.JsonDataFormat(type="json"))


def named(name: str, **columns: Any) -> alt.InlineData:
    """`rows` with one more column, `which`: whose they are."""
    return rows(**columns, which=[name] * len(next(iter(columns.values()))))


def colours(names: Sequence[str], range_: Sequence[str]) -> alt.Color:
    """A colour for each `which`, with its legend."""
    return alt.Color("which:N", title=None, scale=alt.Scale(domain=list(names), range=list(range_)))


def framed(chart: Any, title: str = "", height: int = HEIGHT) -> Any:
    """The chart at full width, in the lab's font, without a menu."""
    return (
        chart.properties(width="container", height=height, usermeta={"embedOptions": {"actions": False}})
        .properties(**({"title": title} if title else {}))
        .configure(font=FONT, autosize=alt.AutoSizeParams(type="fit-x", contains="padding"))
        .configure_axis(labelFontSize=12, titleFontSize=13, titleFontWeight="normal", gridColor="#e8e8e8")
        .configure_title(fontSize=14, fontWeight=600, anchor="start")
        .configure_legend(labelFontSize=12, titleFontSize=12, orient="top", labelLimit=260)
        .configure_view(stroke=None)
    )


def axis(name: str, title: str, **options: Any) -> dict[str, Any]:
    """A quantitative channel's arguments. Ticks as many as there is room for."""
    scale = options.pop("scale", {})
    low_high = ({} if scale.get("type") == "log" else {"zero": False}) | {"nice": False} | scale
    return {
        "shorthand": f"{name}:Q",
        "title": title,
        "scale": alt.Scale(**low_high),
        "axis": alt.Axis(labelOverlap=True, tickCount=options.pop("ticks", 5), **options),
    }


def bars(values: Floats, bins: int = 40, span: tuple[float, float] | None = None) -> alt.InlineData:
    """How many values are in each bin: `low`, `high`, `count`."""
    counts, edges = np.histogram(values, bins=bins, range=span)
    return rows(low=edges[:-1], high=edges[1:], count=counts)


def histogram(say: Words, values: Floats, title: str, unit: str, colour: str) -> Any:
    """Bars from the least to the greatest value."""
    chart = (
        alt.Chart(bars(values))
        .mark_bar(color=colour, stroke="white", strokeWidth=0.5)
        .encode(
            alt.X(**axis("low", unit)),
            alt.X2("high"),
            alt.Y(**axis("count", say("how many"), scale={"zero": True}, ticks=4)),
            alt.Y2Datum(0),
            tooltip=[alt.Tooltip("low:Q", format=".4g"), alt.Tooltip("high:Q", format=".4g"), "count:Q"],
        )
    )
    return framed(chart, title)


def lines(
    series: Mapping[str, tuple[Floats, Floats]],
    x: dict[str, Any],
    y: dict[str, Any],
    colours: Sequence[str],
    title: str = "",
    *,
    points: bool = False,
    height: int = HEIGHT,
) -> Any:
    """A line for each series, (x, y); drawn in dashes too, so that no line is told by its colour alone."""
    names = list(series)
    data = in_rows(
        [
            {"x": a, "y": b, "which": name}
            for name, (xs, ys) in series.items()
            for a, b in zip(np.asarray(xs).tolist(), np.asarray(ys).tolist(), strict=True)
            if np.isfinite(b)
        ]
    )
    which = alt.Color("which:N", title=None, scale=alt.Scale(domain=names, range=list(colours[: len(names)])))
    dashes = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [12, 3]]
    dash = alt.StrokeDash(
        "which:N", title=None, scale=alt.Scale(domain=names, range=[dashes[i % 6] for i in range(len(names))])
    )
    chart = alt.Chart(data).mark_line(strokeWidth=2, point=points).encode(alt.X(**x), alt.Y(**y), which, dash)
    return framed(chart, title, height)


def used_part(
    say: Words, curve: tuple[Floats, Floats], used: tuple[Floats, Floats], best: Floats, bend: str, inputs: str
) -> Any:
    """An activation's curve, the part that the values use, and the straight line nearest to it.

    curve: (x, y) over the whole axis. used: the values' own x, sorted, and y. best: the line at the used x.
    """
    low, high = float(np.min(curve[1])), float(np.max(curve[1]))
    room = 0.15 * (high - low)
    x = axis("x", inputs, scale={"domain": [float(curve[0][0]), float(curve[0][-1])]}, ticks=7)
    y = axis("y", say("activation of input", bend=bend), scale={"domain": [low - room, high + room]})
    names = [say(key) for key in ("the curve", "the part in use", "its best straight line")]
    whole = alt.Chart(named(names[0], x=curve[0], y=curve[1])).mark_line(strokeWidth=1.5)
    part = alt.Chart(named(names[1], x=used[0], y=used[1])).mark_line(strokeWidth=7, opacity=0.8, clip=True)
    line = alt.Chart(named(names[2], x=used[0], y=best)).mark_line(strokeWidth=2, strokeDash=[6, 3], clip=True)
    floor = np.full(len(used[0]), low - 0.7 * room)
    ticks = alt.Chart(named(names[1], x=used[0], y=floor)).mark_tick(height=10, opacity=0.35, clip=True)
    colour = colours(names, [BLACK, SKY, RED])
    return framed(alt.layer(*(layer.encode(alt.X(**x), alt.Y(**y), colour) for layer in (part, whole, line, ticks))))


def two_histograms(
    say: Words, first: Floats, second: Floats, names: tuple[str, str], span: tuple[float, float], unit: str
) -> Any:
    """Two histograms over one axis: the first as an outline, the second filled."""
    x, y = (
        axis("low", unit, scale={"domain": list(span)}),
        axis("count", say("how many"), scale={"zero": True}, ticks=4),
    )
    (before, edges), (now, _) = (np.histogram(values, bins=50, range=span) for values in (first, second))
    filled = alt.Chart(named(names[1], low=edges[:-1], high=edges[1:], count=now)).mark_bar(opacity=0.7)
    outline = alt.Chart(named(names[0], low=edges, count=[*before.tolist(), 0]))
    outline = outline.mark_line(interpolate="step-after", strokeWidth=1.8)
    colour = colours(names, [BLACK, SKY])
    return framed(
        alt.layer(
            filled.encode(alt.X(**x), alt.X2("high"), alt.Y(**y), alt.Y2Datum(0), colour),
            outline.encode(alt.X(**x), alt.Y(**y), colour),
        )
    )


def batches(say: Words, means: Floats, running: Floats, truth: float, unit: str) -> Any:
    """Each mini-batch's mean, the running mean that follows them, and the mean of all the data."""
    number = np.arange(1, len(means) + 1)
    x, y = axis("batch", say("mini-batch number")), axis("mean", unit)
    names = [say(key) for key in ("of the mini-batch", "running", "of all pictures")]
    dots, line, whole = (
        alt.Chart(named(name, batch=number, mean=v))
        for name, v in zip(names, (means, running, np.full(len(means), truth)), strict=True)
    )
    marks = dots.mark_circle(size=32, opacity=0.8), line.mark_line(strokeWidth=2.5), whole.mark_line(strokeDash=[6, 3])
    colour = colours(names, [ORANGE, BLUE, BLACK])
    return framed(alt.layer(*(mark.encode(alt.X(**x), alt.Y(**y), colour) for mark in marks)))


def spreads(
    say: Words, sizes: Floats, measured: Mapping[str, Floats], law: Mapping[str, Floats], chosen: int, unit: str
) -> Any:
    """How much statistics scatter from batch to batch, over the batch's size, beside what the law 1/√n says."""
    x = axis("n", say("batch size"), scale={"type": "log", "base": 2}, format="d")
    y = axis("spread", unit, scale={"type": "log"}, format="~g")
    names = list(measured)
    colour = colours(names, [ORANGE, PINK])
    shape = alt.Shape("which:N", title=None, scale=alt.Scale(domain=names, range=["circle", "square"]))
    layers: list[Any] = [alt.Chart(rows(n=[chosen])).mark_rule(color=GREY, strokeDash=[2, 2]).encode(alt.X(**x))]
    for name in names:
        expected = alt.Chart(named(name, n=sizes, spread=law[name])).mark_line(strokeWidth=1.5)
        found = alt.Chart(named(name, n=sizes, spread=measured[name])).mark_point(filled=True, size=55, opacity=1)
        layers += [
            expected.encode(alt.X(**x), alt.Y(**y), colour),
            found.encode(alt.X(**x), alt.Y(**y), colour, shape),
        ]
    return framed(alt.layer(*layers))


def disagreement(say: Words, errors: Mapping[str, float], absent: Mapping[str, str], height: int = 20) -> Any:
    """How far each layer is from the exact answer, on a logarithmic axis; NaN and what is absent in words.

    errors: by layer, in standard deviations. absent: by layer that is not there, why.
    """
    names = [*errors, *absent]
    low, high = LEAST, GREATEST
    drawn = {name: min(max(value, low), high) for name, value in errors.items() if np.isfinite(value)}
    words = {name: plain(value) for name, value in errors.items()}
    kinds = [(say("another's layer"), RED, "square"), ("gammabeta", GREEN, "circle")]
    which = {name: kinds[name.startswith("gammabeta")][0] for name in names}
    y = alt.Y("layer:N", title=None, sort=names, axis=alt.Axis(labelLimit=200))
    x = axis("error", say("largest error"), ticks=7, format=".0e")
    x["scale"] = alt.Scale(type="log", domain=[low, high * 100])
    x["axis"].values = [10.0**k for k in range(-8, 5, 2)]
    colour = colours([kind[0] for kind in kinds], [kind[1] for kind in kinds])
    shape = alt.Shape(
        "which:N", title=None, scale=alt.Scale(domain=[kind[0] for kind in kinds], range=[kind[2] for kind in kinds])
    )
    points = alt.Chart(rows(layer=list(drawn), error=list(drawn.values()), which=[which[name] for name in drawn]))
    found = {**dict.fromkeys(errors, high), **drawn}
    labels = alt.Chart(rows(layer=list(found), error=list(found.values()), text=[words[name] for name in found]))
    reasons = alt.Chart(rows(layer=list(absent), error=[low] * len(absent), text=list(absent.values())))
    return framed(
        alt.layer(
            points.mark_rule(strokeWidth=2).encode(alt.X(**x), alt.X2Datum(low), y, colour),
            points.mark_point(filled=True, size=80, opacity=1).encode(alt.X(**x), y, colour, shape),
            labels.mark_text(align="left", dx=9, fontSize=12).encode(alt.X(**x), y, alt.Text("text:N")),
            reasons.mark_text(align="left", dx=4, fontSize=12, color=GREY).encode(alt.X(**x), y, alt.Text("text:N")),
        ),
        height=height * len(names),
    )


def plain(value: float) -> str:
    """An error as text, in two digits.

    >>> plain(0.000012345), plain(0.33), plain(2016.2), plain(float("nan"))
    ('1.2e−5', '0.33', '2,000', 'NaN')
    """
    if not np.isfinite(value):
        return "NaN" if np.isnan(value) else "infinity"
    if value >= 0.01:
        return f"{float(f'{value:.2g}'):,g}"
    digits, _, power = f"{value:.1e}".partition("e")
    return f"{digits}e−{abs(int(power))}" if value else "0"
