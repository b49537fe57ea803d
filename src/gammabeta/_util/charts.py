"""Altair charts of a statistic and of a map; Altair is imported when a chart is asked for."""

from itertools import islice, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.errors import DataError

Floats = NDArray[np.float64]

MOST = 50  # features that a chart shows
# Okabe and Ito (2008): told apart by every kind of eye
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_FIRST, _SECOND = COLOURS[:2]


def altair() -> Any:
    """The module altair; `DataError` where it is not installed."""
    try:
        import altair as found
    except ImportError as error:
        raise DataError("a chart is drawn by Altair, which is missing: pip install 'gammabeta[report]'") from error
    return found


def mean_and_std(mean: Floats, std: Floats) -> Any:
    """A chart of each feature's mean, with one standard deviation to both sides. mean, std: of the features' shape."""
    alt = altair()
    rows = [
        {"feature": _place(at), "mean": float(mean[at]), "low": float(m - s), "high": float(m + s)}
        for at in _places(mean.shape)
        if np.isfinite((m := mean[at]) + (s := std[at]))
    ]
    feature = alt.Y("feature:N", sort=None, title=_title(mean.shape, "feature"))
    base = alt.Chart(alt.Data(values=rows)).encode(y=feature)
    bars = base.mark_rule(strokeWidth=4, opacity=0.4, color=_FIRST).encode(
        x=alt.X("low:Q", title="mean ± standard deviation", scale=alt.Scale(zero=False)), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=50, opacity=1, color=_FIRST).encode(
        x="mean:Q", tooltip=["feature:N", "mean:Q", "low:Q", "high:Q"]
    )
    return bars + points


def lines(center: Floats, scale: Floats, shift: Floats) -> Any:
    """A chart of each feature's map, from y three below `shift` to three above it; the center is a point."""
    alt = altair()
    ends, middles = [], []
    for at in _places(center.shape):
        c, s, t = float(center[at]), float(scale[at]), float(shift[at])
        reach = 3 / abs(s) if s else 3.0
        if np.isfinite([c - reach, c + reach, t]).all():
            name = _place(at)
            ends += [{"feature": name, "x": x, "y": (x - c) * s + t} for x in (c - reach, c + reach)]
            middles.append({"feature": name, "x": c, "y": t})
    colour = alt.Color(
        "feature:N", sort=None, title=_title(center.shape, "feature"), scale=alt.Scale(range=list(COLOURS))
    )
    x, y = alt.X("x:Q", title="x", scale=alt.Scale(zero=False)), alt.Y("y:Q", title="y = (x − center) · scale + shift")
    drawn = alt.Chart(alt.Data(values=ends)).mark_line(color=_FIRST).encode(x=x, y=y)
    points = alt.Chart(alt.Data(values=middles)).mark_point(filled=True, size=50, color=_SECOND).encode(x=x, y=y)
    if len(middles) > 1:
        drawn, points = drawn.encode(color=colour), points.encode(color=colour)
    return drawn + points


def _places(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    return list(islice(product(*map(range, shape)), MOST))


def _place(at: tuple[int, ...]) -> str:
    return ", ".join(map(str, at))


def _title(shape: tuple[int, ...], name: str) -> str:
    count = int(np.prod(shape))
    return name if count <= MOST else f"{name} (the first {MOST} of {count:,})"
