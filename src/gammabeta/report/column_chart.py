"""The Vega-Lite specification of a column's chart: one histogram, and under it three axes.

It is one for the whole page: the page's script puts a column's counts and the ends of its axes into it. Written as
Vega-Lite has it, because importing Altair takes as long as reading half a gigabyte; a test has Altair check it.
"""

from typing import Any

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
AXES = (
    ("raw", "raw values, in the column’s own unit"),
    ("standard", "standardized: (x − mean) / std"),
    ("minmax", "min-max: (x − min) / (max − min)"),
)
APART = 52  # pixels from axis to axis
FIRST, SECOND = (
    "#0072B2",
    "#D55E00",
)  # Okabe and Ito (2008): told apart by every kind of eye; the page has others at night


def histogram() -> dict[str, Any]:
    """The specification of one file's histogram: bars of counts."""
    bars = {"type": "bar", "color": FIRST, "binSpacing": 0.5, "tooltip": True}
    return _spec([_bars(bars, "values per bar", [_tooltip("n", "values", ",")])])


def two_histograms() -> dict[str, Any]:
    """The specification of two files' histograms: the first as bars, the second as a line of steps."""
    title = "% of the file’s values per bar"
    bars = {"type": "bar", "color": FIRST, "opacity": 0.55, "binSpacing": 0, "tooltip": True}
    steps = {"type": "line", "color": SECOND, "interpolate": "step-after", "strokeWidth": 2}
    tooltips = [_tooltip("n", "% of the first", ".3~g"), _tooltip("m", "% of the second", ".3~g")]
    line = {"name": "second", "mark": steps, "encoding": {"y": {"field": "m", "type": "quantitative", "title": title}}}
    return _spec([_bars(bars, title, tooltips), line])


def _bars(mark: dict[str, Any], title: str, tooltips: list[dict[str, Any]]) -> dict[str, Any]:
    encoding = {
        "x2": {"field": "to"},
        "y": {"field": "n", "type": "quantitative", "title": title},
        "y2": {"datum": 0},
        "tooltip": [_tooltip("from", "from", ".5~g"), _tooltip("to", "to", ".5~g"), *tooltips],
    }
    return {"name": "first", "mark": mark, "encoding": encoding}


def _tooltip(field: str, title: str, form: str) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title, "format": form}


def _spec(marks: list[dict[str, Any]]) -> dict[str, Any]:
    (first, title), *others = AXES
    drawn = {"name": first, "encoding": {"x": _x("from", title, 0)}, "layer": marks}
    axes = [
        {
            "name": name,
            "data": {"values": []},  # nothing but an axis
            "mark": {"type": "rule"},
            "encoding": {"x": _x("from", title, APART * (i + 1))},
        }
        for i, (name, title) in enumerate(others)
    ]
    font = {"labelFont": "system-ui", "titleFont": "system-ui", "titleFontWeight": "normal", "labelFontSize": 11}
    return {
        "$schema": SCHEMA,
        "width": 1,
        "height": 210,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "background": "transparent",
        "data": {"values": []},
        "layer": [drawn, *axes],
        "resolve": {"scale": {"x": "independent"}},
        "config": {
            "axis": font,
            "axisX": {"grid": False, "labelFlush": True, "labelOverlap": True, "tickCount": 7, "titlePadding": 3},
            "axisY": {"tickCount": 4, "domain": False, "ticks": False},
            "view": {"stroke": None},
        },
    }


def _x(field: str, title: str, offset: int) -> dict[str, Any]:
    return {
        "field": field,
        "type": "quantitative",
        "scale": {"domain": [0, 1], "nice": False, "zero": False},
        "axis": {"title": title, "orient": "bottom", "offset": offset},
    }
