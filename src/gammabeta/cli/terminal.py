"""Writing to the terminal: control characters in names are made visible.

Names come from files that others made. A sign that moves a cursor, colours, or turns the direction of what is read is
shown as Python writes it, such as `\\x1b`; so is one that the terminal's encoding does not have.
"""

import json
import os
import re
import sys
import traceback
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from gammabeta.errors import FileError

if TYPE_CHECKING:
    from rich.console import Console

UNCUT = 140  # columns of a table in a file or a pipe, where nothing is cut
# Controls, signs of direction and other signs without a shape, halves of surrogate pairs, ends of lines.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


class Unread(Exception):  # noqa: N818
    """Raised when the reader of the output has closed it."""


class Heading(NamedTuple):
    """A heading of a table, and the alignment of its column."""

    text: str
    left: bool = False
    wraps: bool = False


def visible(text: str) -> str:
    r"""The text with its control and invisible characters escaped.

    >>> print(visible("a\x1b[31m, \u202eb and \udcff"))
    a\x1b[31m, \u202eb and \udcff
    """
    if text.isprintable():
        return text
    return "".join(_shown(sign) if unicodedata.category(sign) in _UNSEEN else sign for sign in text)


def _shown(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


def say(text: str) -> None:
    """Write a line to the standard output."""
    _write(visible(text) + "\n")


def say_json(document: dict[str, Any]) -> None:
    """Write a document to the standard output as one line of JSON, in ASCII."""
    _write(json.dumps(document, allow_nan=False) + "\n")


def say_table(headings: Sequence[Heading], rows: Sequence[Sequence[str]]) -> None:
    """Write a table to the standard output, as wide as the terminal is."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in headings:
        table.add_column(
            Text(visible(heading.text)), justify="left" if heading.left else "right", no_wrap=not heading.wraps
        )
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console = _console()
    with console.capture() as drawn:
        console.print(table)
    _write(drawn.get())


def width() -> int:
    """The width of the standard output in characters."""
    return _console().width


def note(text: str) -> None:
    """Write a line to the standard error: something odd, which does not stop the work."""
    _tell(f"gammabeta: note: {_one_line(text)}\n")


def complain(text: str, error: BaseException | None = None) -> None:
    """Write a line to the standard error: what has stopped the work. With an error, its trace comes first."""
    if error is not None:
        _tell_lines("".join(traceback.format_exception(error)))
    _tell(f"gammabeta: {_one_line(text)}\n")


def watched() -> "Console":
    """The console of the standard error, for the progress bar."""
    from rich.console import Console

    return Console(stderr=True)


def is_watched() -> bool:
    """Whether the standard error is a terminal."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # it is closed
        return False


def take_over() -> None:
    """Prepare the process: open the standard streams that are closed, so that no file takes their numbers, and write
    warnings through this module."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    warnings.showwarning = _warned


def check() -> None:
    """Refuse to work without an open standard output.

    Raises:
        FileError: the standard output is closed.
    """
    if sys.stdout is None or sys.stdout.closed:
        raise FileError("the standard output must be open, it is closed; to throw away what is told: > /dev/null")


def finish() -> None:
    """Flush the standard output.

    Raises:
        Unread: nobody reads it any more.
        FileError: it cannot be written.
    """
    with _sending():
        sys.stdout.flush()


def _write(text: str) -> None:
    with _sending():
        sys.stdout.write(_encodable(text, sys.stdout))


@contextmanager
def _sending() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        _let_go()
        raise Unread from None
    except OSError as error:
        _let_go()
        raise FileError(f"cannot write to the standard output: {error.strerror or error}") from error


def _let_go() -> None:
    """Redirect the standard output to nowhere, so that Python does not complain when it closes it."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(text: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # where nobody hears it, the exit status has to do
            sys.stderr.write(_encodable(text, sys.stderr))
            sys.stderr.flush()


def _tell_lines(text: str) -> None:
    for line in text.rstrip("\n").split("\n"):
        _tell(visible(line) + "\n")


def _one_line(text: str) -> str:
    return visible(re.sub(r"\s*\r?\n\s*", " ", text.strip()))


def _encodable(text: str, stream: TextIO) -> str:
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _console() -> "Console":
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = UNCUT
    return console


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    _tell_lines(warnings.formatwarning(message, category, filename, lineno, line))
