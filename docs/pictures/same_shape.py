"""`same-shape.svg`: one column, standardized and min-max normalized, keeps its histogram.

The column is the mean cell area of scikit-learn's breast cancer table. The histograms are counted anew from what each
map gives, in bins between its least and greatest value: that their bars are the same is found, not drawn.
"""

import numpy as np
from sklearn.datasets import load_breast_cancer

import gammabeta as gb
from pictures.common import DOCS

PLACE = DOCS / "same-shape.svg"
BINS = 24
WIDTH, HEIGHT = 960, 372
PANEL, GAP, LEFT = 264, 36, 48
TOP, BASE = 128, 278

STYLE = """
    .card { fill: #ffffff; stroke: #d8dee4 }
    text { fill: #1f2328; font-family: Helvetica, Arial, "DejaVu Sans", sans-serif; text-anchor: middle }
    .formula { font: italic 27px Georgia, "Times New Roman", "DejaVu Serif", serif }
    .title { font-size: 16px; font-weight: 600 }
    .note, .tick { fill: #59636e; font-size: 13px }
    .axis, .mean { stroke: #59636e }
    .mean { stroke-dasharray: 3 3 }
    .raw { fill: #8c959f } .standard { fill: #2f81d8 } .minmax { fill: #1f9d62 }
    @media (prefers-color-scheme: dark) {
      .card { fill: #0d1117; stroke: #3d444d }
      text { fill: #f0f6fc }
      .note, .tick { fill: #9ba4ae }
      .axis, .mean { stroke: #9ba4ae }
      .raw { fill: #7d8590 } .standard { fill: #58a6ff } .minmax { fill: #3fb97a }
    }
"""


def column() -> np.ndarray:
    """x: (569,), the column "mean area"."""
    table = load_breast_cancer()
    return table.data[:, list(table.feature_names).index("mean area")]


def counts(y: np.ndarray) -> np.ndarray:
    """How many values lie in each of `BINS` equal bins from the least to the greatest."""
    return np.histogram(y, bins=BINS)[0]


def panel(
    place: int, kind: str, title: str, notes: tuple[str, str], y: np.ndarray, ticks: list[float], mean: float
) -> list[str]:
    """One histogram with its axis, the place of its mean, and what was done."""
    left, low, high = LEFT + place * (PANEL + GAP), y.min(), y.max()

    def across(value: float) -> float:
        return left + PANEL * (value - low) / (high - low)

    bars, tallest, step = counts(y), counts(y).max(), PANEL / BINS
    lines = [f'<text class="title" x="{left + PANEL / 2:.0f}" y="{TOP - 22}">{title}</text>']
    for i, count in enumerate(bars):
        tall = (BASE - TOP) * count / tallest
        spot = f'x="{left + i * step:.1f}" y="{BASE - tall:.1f}" width="{step - 1.5:.1f}" height="{tall:.1f}"'
        lines.append(f'<rect class="{kind}" {spot}/>')
    lines.append(f'<path class="mean" d="M{across(mean):.1f} {TOP - 4}V{BASE}"/>')
    lines.append(f'<path class="axis" d="M{left} {BASE + 0.5}h{PANEL}"/>')
    for tick in ticks:
        lines.append(f'<path class="axis" d="M{across(tick):.1f} {BASE}v5"/>')
        label = f"{tick:,g}".replace("-", "−")
        lines.append(f'<text class="tick" x="{across(tick):.1f}" y="{BASE + 20}">{label}</text>')
    for down, note in zip((50, 69), notes, strict=True):
        lines.append(f'<text class="note" x="{left + PANEL / 2:.0f}" y="{BASE + down}">{note}</text>')
    return lines


def svg() -> str:
    """The picture."""
    x = column()
    m, e = gb.Moments.of(x), gb.Extrema.of(x)
    standard, minmax = gb.Affine.standard(m), gb.Affine.minmax(e)
    mean, std, least, most = float(m.mean), float(m.std), float(e.min), float(e.max)
    formula = "y = γ · (x − center) / scale + β"
    raw_ticks = [500.0, 1000.0, 1500.0, 2000.0, 2500.0]
    parts = [
        panel(0, "raw", "the column", ("cell area of 569 patients", "dashed: its mean"), x, raw_ticks, mean),
        panel(
            1,
            "standard",
            "standardized",
            (f"center = mean = {mean:.1f}", f"scale = std = {std:.1f}"),
            standard(x),
            [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
            0.0,
        ),
        panel(
            2,
            "minmax",
            "min-max",
            (f"center = min = {least:.1f}", f"scale = max − min = {most - least:.1f}"),
            minmax(x),
            [0.0, 0.25, 0.5, 0.75, 1.0],
            float(minmax(np.array(mean))),
        ),
    ]
    body = "\n  ".join(line for part in parts for line in part)
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return f"""<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">
  <title>One column three times, raw, standardized and min-max normalized: the same histogram on three axes</title>
  <style>{STYLE}  </style>
  <rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="12"/>
  <text class="formula" x="{WIDTH / 2:.0f}" y="58">{formula}</text>
  {body}
</svg>
"""


def draw() -> None:
    PLACE.write_text(svg(), encoding="utf-8")
