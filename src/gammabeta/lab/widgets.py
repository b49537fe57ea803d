"""How the page is laid out: pictures side by side, controls in a row, numbers in a table; narrow screens stack them."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import marimo as mo

from gammabeta.affine import Affine


def pictures(*charts: Any) -> mo.Html:
    """Charts side by side, or one below the other where there is no room."""
    cells = "".join(f"<div>{mo.as_html(chart).text}</div>" for chart in charts)
    return mo.Html(f'<div class="lab-pictures lab-of-{len(charts)}">{cells}</div>')


def controls(*elements: Any) -> mo.Html:
    """The page's controls, in a row."""
    cells = "".join(f"<div>{mo.as_html(element).text}</div>" for element in elements)
    return mo.Html(f'<div class="lab-controls">{cells}</div>')


def numbers(values: Mapping[str, tuple[str, Any]]) -> mo.Html:
    """What was computed, each with its name: by a key, for those who look for it in the page, (name, value)."""
    cells = "".join(
        f'<div><dt>{escape(name)}</dt><dd data-number="{escape(key)}">{escape(text(value))}</dd></div>'
        for key, (name, value) in values.items()
    )
    return mo.Html(f'<dl class="lab-numbers">{cells}</dl>')


def table(key: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> mo.Html:
    """A table of numbers, which scrolls by itself where the screen is narrow."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th>{"".join(f"<td>{escape(text(v))}</td>" for v in values)}</tr>'
        for name, *values in rows
    )
    lines = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return mo.Html(f'<div class="lab-table" tabindex="0"><table data-number="{escape(key)}">{lines}</table></div>')


def progress(done: int, steps: int, label: str) -> mo.Html:
    """A line of text: how far the training is."""
    return mo.Html(
        f'<p class="lab-progress"><progress max="{steps}" value="{done}" aria-label="{escape(label)}"></progress> '
        f"<span>{escape(label)}</span></p>"
    )


def problem(message: str) -> Any:
    """A box with an error: what is wrong, and what to do."""
    return mo.callout(mo.Html(f"<p>{escape(message)}</p>"), kind="warn")


def line(affine: Affine) -> str:
    """An affine map of one number, written out.

    >>> line(Affine(center=1.0, slope=2.0, shift=0.5))
    'y = 2 · x − 1.5'
    """
    at_zero = float(affine(0.0))
    return f"y = {text(float(affine.slope))} · x {'−' if at_zero < 0 else '+'} {text(abs(at_zero))}"


def text(value: Any) -> str:
    """A number in four digits with a true minus sign; text as it is.

    >>> text(-0.000123456), text(12345.6), text(0.0), text("as it is")
    ('−0.0001235', '1.235e+04', '0', 'as it is')
    """
    return f"{value:.4g}".replace("-", "−") if isinstance(value, int | float) else str(value)
