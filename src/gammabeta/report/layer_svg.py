"""The SVG picture of a batch norm: each channel's data in units of its running statistics."""

from html import escape
from typing import Any

WIDTH, HEIGHT, REACH = 720, 150, 3.0  # pixels, and deviations to both sides
MAX_BARS = 240  # channels: three pixels for each
_MIDDLE, _UNIT = HEIGHT / 2, HEIGHT / 2 / (REACH + 0.25)


def picture(layer: dict[str, Any]) -> str:
    """The SVG text of a layer: a bar for each channel's data, on a scale where the running mean ± deviation is −1 to 1.

    Of more than `MAX_BARS` channels those with the largest gap are drawn, in the layer's order.
    """
    shown = _shown(layer)
    if not shown:
        return ""
    step = WIDTH / len(shown)
    bars = "".join(
        _bar(layer, i, (place + 0.5) * step, max(1.0, min(9.0, 0.6 * step))) for place, i in enumerate(shown)
    )
    top, bottom = _y(1), _y(-1)
    said = (
        f"{len(shown)} of {len(layer['channels']['mean'])} channels of {layer['name']}, data against running statistics"
    )
    return (
        f'<svg class="strip" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}" '
        f'preserveAspectRatio="none">'
        f'<rect class="band" x="0" y="{top:.1f}" width="{WIDTH}" height="{bottom - top:.1f}"/>'
        f'<line class="zero" x1="0" x2="{WIDTH}" y1="{_MIDDLE}" y2="{_MIDDLE}"/>{bars}</svg>'
    )


def _shown(layer: dict[str, Any]) -> list[int]:
    gaps = layer["channels"]["gap"]
    known = [i for i, mean in enumerate(layer["channels"]["shift"]) if mean is not None]
    return sorted(sorted(known, key=lambda i: -(gaps[i] or 0.0))[:MAX_BARS])


def _bar(layer: dict[str, Any], i: int, x: float, width: float) -> str:
    values = {name: column[i] for name, column in layer["channels"].items()}
    half = (max(values["var"] or 0.0, 0.0) / (max(values["running_var"] or 0.0, 0.0) + layer["eps"])) ** 0.5
    top, bottom = _y(values["shift"] + half), _y(values["shift"] - half)
    kind = "dead" if i in layer["dead"] else "idle" if i in layer["never_active"] or i in layer["saturated"] else "data"
    title = ", ".join(
        f"{name.replace('_', ' ')} {values[name]:.4g}"
        for name in ("gap", "mean", "running_mean", "var", "running_var", "gamma", "beta")
        if values[name] is not None
    )
    return (
        f'<rect class="{kind}" x="{x - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" '
        f'height="{max(bottom - top, 1.5):.1f}"><title>channel {i}: {escape(title)}</title></rect>'
    )


def _y(value: float) -> float:
    return _MIDDLE - max(-REACH, min(REACH, value)) * _UNIT
