"""The HTML page of a network's diagnosis: findings and a picture of each layer, without scripts."""

from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from gammabeta import __version__
from gammabeta.report.layer_svg import picture


def rendered(document: dict[str, Any]) -> str:
    """The page of a diagnosis' document."""
    assets = files("gammabeta.report") / "assets"
    style = "\n".join((assets / name).read_text("utf-8") for name in ("page.css", "network.css"))
    template = (assets / "network.html.jinja").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    return environment.from_string(template).render(
        document=document,
        version=__version__,
        style=Markup(style),
        layers=[(layer, Markup(picture(layer)), _found(document, layer["name"])) for layer in document["layers"]],
    )


def _found(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [finding for finding in document["findings"] if finding["layer"] == name]
