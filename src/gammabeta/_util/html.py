"""HTML tables that show values in a notebook; all text is escaped."""

from collections.abc import Sequence
from html import escape
from itertools import islice, product
from math import isfinite, prod
from typing import Any

from numpy.typing import NDArray

SHOWN = 10  # features: a notebook is read, not searched


def features(title: str, shape: tuple[int, ...], columns: dict[str, NDArray[Any]]) -> str:
    """A table with a row for each feature, at most `SHOWN` of them. columns: arrays of that shape by their headings.

    >>> import numpy as np
    >>> "<td>0.25</td>" in features("Moments", (1,), {"mean": np.array([0.25])})
    True
    """
    count = prod(shape)
    places = list(islice(product(*map(range, shape)), SHOWN))
    rows = [[_place(at), *(cell(values[at]) for values in columns.values())] for at in places]
    more = f"{count - SHOWN:,} more features" if count > SHOWN else ""
    return table(title, ["feature" if shape else "", *columns], rows, more)


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    """A table of text under a title, and perhaps a note below it."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
    below = f"<div>… {escape(note)}</div>" if note else ""
    return f"<div><b>{escape(title)}</b><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}</div>"


# Apart from findings.number: a table of statistics shows counts whole.
def cell(value: Any) -> str:
    """A number in six digits, a whole one in all of its.

    >>> cell(1 / 3), cell(12345678.0), cell(1e20), cell(float("nan"))
    ('0.333333', '12,345,678', '1e+20', 'nan')
    """
    return f"{value:,.0f}" if isfinite(value) and value == int(value) and abs(value) < 1e15 else f"{value:.6g}"


def _place(at: tuple[int, ...]) -> str:
    return ", ".join(map(str, at))
