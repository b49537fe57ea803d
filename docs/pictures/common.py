"""What several pictures share: where they lie, how a chart looks by day and by night, and a browser."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from gammabeta.lab.charts import BLUE, FONT, GREEN, GREY, ORANGE, RED

HERE = Path(__file__).parent
DOCS = HERE.parent
GRID, LINK = "#e8e8e8", "#bbbbbb"
NIGHT = {
    "white": "#0d1117",
    "black": "#f0f6fc",
    "#000": "#f0f6fc",
    GRID: "#30363d",
    LINK: "#6e7681",
    "#888": "#9ba4ae",
    GREY: "#9ba4ae",
    BLUE: "#58a6ff",
    GREEN: "#2fc49a",
    ORANGE: "#f5c451",
    RED: "#ff8145",
}
"""The colours of a chart by night. Those of marks are lighter, and lie as far apart."""


def framed(chart: Any, **legend: Any) -> Any:
    """Panels on a card, in one type; `legend` is more of Vega's configuration of it."""
    return (
        chart.properties(background="white", padding=12)
        .configure(font=FONT)
        .configure_axis(labelFontSize=12, titleFontSize=13, titleFontWeight="normal", gridColor=GRID, labelLimit=320)
        .configure_title(fontSize=14, anchor="start", frame="group")
        .configure_legend(orient="top", labelFontSize=13, labelLimit=420, **legend)
        .configure_view(stroke=None)
    )


def svg(chart: Any, title: str, **legend: Any) -> str:
    """A framed chart as SVG, with its title in words, its colours by night beside those by day."""
    drawn = vl_convert.vegalite_to_svg(framed(chart, **legend).to_json())
    used = set(re.findall(r'(?:fill|stroke)="([^"]+)"', drawn))
    rules = [
        f'[{part}="{day}"] {{ {part}: {night} }}'
        for day, night in NIGHT.items()
        if day in used
        for part in ("fill", "stroke")
    ]
    style = f"<style>@media (prefers-color-scheme: dark) {{ {' '.join(rules)} }}</style>"
    return drawn.replace(">", f' role="img"><title>{title}</title>{style}', 1) + "\n"


def save(chart: Any, title: str, name: str, **legend: Any) -> None:
    """Write a chart to docs/."""
    (DOCS / name).write_text(svg(chart, title, **legend), encoding="utf-8")


def coloured(colours: dict[str, str]) -> alt.Color:
    """`which` by colour, with its legend."""
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color("which:N", title=None, scale=scale)


def shaped(shapes: dict[str, str]) -> alt.Shape:
    """`which` by shape too, so that no mark is told by its colour alone."""
    return alt.Shape("which:N", title=None, scale=alt.Scale(domain=list(shapes), range=list(shapes.values())))


@contextmanager
def browser() -> Iterator[Any]:
    """The system's Chromium."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        yield started
        started.close()
