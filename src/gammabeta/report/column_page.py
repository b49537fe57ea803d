"""The HTML page of a report, a single file that loads nothing from a server.

What comes from a file reaches the page in two ways: escaped by Jinja, or as JSON in which no character opens a tag or a
comment. Should both fail, the page's content security policy still lets no script run but its own two.
"""

import hashlib
import json
from base64 import b64encode
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from gammabeta.report import column_chart
from gammabeta.report.document import Document
from gammabeta.report.vega_bundle import bundle

_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def rendered(document: Document) -> str:
    """The HTML text of the page."""
    assets = files("gammabeta.report") / "assets"
    style, script, template = (
        (assets / name).read_text("utf-8") for name in ("page.css", "page.js", "page.html.jinja")
    )
    vega = bundle()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    spec = column_chart.two_histograms() if document["kind"] == "drift" else column_chart.histogram()
    return environment.from_string(template).render(
        document=document,
        title="gammabeta report: " + " → ".join(file["name"] for file in document["files"]),
        lines=list(_lines(document)),
        watched=list(_watched(document)),
        hashes=" ".join(map(_hash, (vega, script))),
        style=Markup(style),
        data=Markup(embedded(document)),
        spec=Markup(embedded(spec)),
        bundle=Markup(vega),
        script=Markup(script),
    )


def embedded(value: Any) -> str:
    """JSON text for a script element, with the characters that HTML could read as markup escaped.

    >>> embedded({"name": "</script><!--"})
    '{"name":"\\\\u003c/script\\\\u003e\\\\u003c!--"}'
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPES)


def _hash(script: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _watched(document: Document) -> Any:
    """The kinds of findings in a document, the worst first, each with the indices of its columns."""
    for kind in document["kinds"]:
        at = [
            i
            for i, column in enumerate(document["columns"])
            if any(finding["kind"] == kind["key"] for finding in column["findings"])
        ]
        if at:
            yield kind, at


def _lines(document: Document) -> Any:
    columns = len(document["columns"])
    roles = ("First, whose statistics are used: ", "Second: ") if document["kind"] == "drift" else ("",)
    for file, role in zip(document["files"], roles, strict=True):
        yield f"{role}{file['rows']:,} row{'s' if file['rows'] != 1 else ''}, {size(file['bytes'])}"
    remarkable = sum(bool(column["findings"]) for column in document["columns"])
    common = " in both" if document["kind"] == "drift" else ""
    yield f"{columns:,} column{'s' if columns != 1 else ''} of numbers{common}, {remarkable:,} to watch"


def size(count: int) -> str:
    """A number of bytes as text with a unit.

    >>> size(999), size(1_139_628_753)
    ('999 bytes', '1.1 GB')
    """
    units = ("bytes", "kB", "MB", "GB")
    power = min(3, (len(str(count)) - 1) // 3)
    return f"{count / 1000**power:,.{min(power, 1)}f} {units[power]}"
