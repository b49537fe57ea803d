"""The JavaScript bundle of Vega, Vega-Lite and Vega-Embed, from vl-convert, for pages that work offline.

vl-convert takes a second and a half and 130 MB of memory to make it, as often as it is asked, so it is kept.
"""

import hashlib
import os
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from gammabeta.data.io.paths import replacing
from gammabeta.errors import FileError

SNIPPET = "window.vegaEmbed = vegaEmbed;"


def bundle() -> str:
    """The text of the script, from the user's cache if it is there and whole."""
    place = folder() / f"vega-{version('vl-convert-python')}.js"
    with suppress(OSError, UnicodeDecodeError):
        checksum, _, script = place.read_text("utf-8").partition("\n")
        if checksum == _checksum(script):
            return script
    script = _made()
    with suppress(OSError, FileError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as temporary:
            temporary.write_text(f"{_checksum(script)}\n{script}", "utf-8", newline="\n")
    return script


def _made() -> str:
    import vl_convert

    script = vl_convert.javascript_bundle(SNIPPET).replace("\r\n", "\n").replace("\r", "\n")
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _checksum(text: str) -> str:
    return f"// sha256 {hashlib.sha256(text.encode()).hexdigest()}"


def folder() -> Path:
    """The user's cache folder of gammabeta."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "gammabeta"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gammabeta"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gammabeta"
