"""`ReadOptions`: how a file is to be read where neither its name nor its content says it."""

import codecs
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from gammabeta.errors import DataError, StateError
from gammabeta.statistics import serialization

FORMATS = ("csv", "parquet", "arrow", "npy", "npz")
_SIGNS = "0123456789+-.eE\"'\r\n"


@dataclass(frozen=True)
class ReadOptions:
    r"""How a file is read: its format, and for CSV how cells, lines and bytes are written.

    Args:
        format: csv, parquet, arrow, npy or npz, of a file whose name does not say it.
        missing: words that stand for no value, beside those that always do (docs/sources.md). One that is a number is
            a sentinel: with "-9999" the cells -9999, -9999.0 and -9.999e3 have no value.
        delimiter: between cells; without it the most frequent of , ; tab and | in the first line, a tab in .tsv.
        decimal: the sign before decimals.
        thousands: the sign between groups of digits, which stand in threes (or twos, as in 12,34,567).
        comment: lines that begin with it are left out; those after the header are not written to a scaled file.
        skip_rows: how many lines come before the header, or before the first row.
        header: whether a line names the columns; without one they are named "0", "1", ….
        encoding: as Python names it; without it UTF-8, or UTF-16 where the file begins with its byte order mark.
        flatten: columns of lists, names or patterns: the numbers of all lists are one feature. Without it lists of any
            length are left out, and a fixed-size list of k numbers is k features.
        infinite: "raise" refuses ±inf; "omit" counts it as missing in statistics. Scaled, it stays infinite.
        weights: the column that says how much each row counts, as in `Moments.of(x, weights=)`; it is not measured.
        union: of several files, a column that some have counts as missing in the others, and is left away there.

    Raises:
        DataError: an option is not one that it can be, or two signs are the same that must differ.

    >>> import tempfile, pathlib
    >>> from gammabeta.data import measure
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "x.csv")
    ...     _ = path.write_text("a;b\n1,5;-9999\n2,5;4\n")
    ...     measure(path, read=ReadOptions(decimal=",", missing=["-9999"])).moments.mean
    array([2., 4.])
    """

    format: str | None = None
    missing: tuple[str, ...] = ()
    delimiter: str | None = None
    decimal: str = "."
    thousands: str | None = None
    comment: str | None = None
    skip_rows: int = 0
    header: bool = True
    encoding: str | None = None
    flatten: tuple[str, ...] = ()
    infinite: str = "raise"
    weights: str | None = None
    union: bool = False

    CSV: ClassVar[tuple[str, ...]] = (
        "missing",
        "delimiter",
        "decimal",
        "thousands",
        "comment",
        "skip_rows",
        "header",
        "encoding",
    )

    def __post_init__(self) -> None:
        given: Any = self.missing
        if isinstance(given, str | int | float):
            given = (given,)
        if not isinstance(given, Iterable) or not all(isinstance(word, str | int | float) for word in given):
            raise DataError(f"missing must be words or numbers, got {given!r}")
        object.__setattr__(self, "missing", tuple(dict.fromkeys(str(word).strip() for word in given)))
        object.__setattr__(self, "flatten", _names("flatten", self.flatten))
        if self.format is not None and self.format not in FORMATS:
            raise DataError(f"format must be one of {', '.join(FORMATS)}, got {self.format!r}")
        for name in ("header", "union"):
            if not isinstance(getattr(self, name), bool):
                raise DataError(f"{name} must be True or False, got {getattr(self, name)!r}")
        if type(self.skip_rows) is not int or not 0 <= self.skip_rows < 1 << 31:
            raise DataError(f"skip_rows must be a number of lines, 0 or more, got {self.skip_rows!r}")
        if self.infinite not in ("raise", "omit"):
            raise DataError(f"infinite must be raise or omit, got {self.infinite!r}")
        if self.weights is not None and (not isinstance(self.weights, str) or not self.weights):
            raise DataError(f"weights must be the name of a column, got {self.weights!r}")
        self._check_signs()
        self._check_encoding()

    def _check_signs(self) -> None:
        if self.decimal not in (".", ","):
            raise DataError(f"decimal must be a point or a comma, got {self.decimal!r}")
        for name in ("delimiter", "thousands"):
            sign = getattr(self, name)
            allowed = ".'" if name == "thousands" else ""
            if sign is None:
                continue
            if not isinstance(sign, str) or len(sign) != 1 or (sign in _SIGNS and sign not in allowed):
                raise DataError(f"{name} must be one character, no digit, quote or line end, got {sign!r}")
        if self.delimiter is not None and len(self.delimiter.encode()) > 1:
            raise DataError(f"delimiter must be an ASCII character, got {self.delimiter!r}")
        if self.comment is not None and (not isinstance(self.comment, str) or not self.comment.strip()):
            raise DataError(f"comment must be the text that such lines begin with, got {self.comment!r}")
        if self.decimal == self.thousands:  # a delimiter may be one of them, where numbers stand in quotes
            raise DataError(f"decimal and thousands must be different signs, got {self.decimal!r} for both")

    def _check_encoding(self) -> None:
        if self.encoding is None:
            return
        try:
            known = codecs.lookup(self.encoding)
            is_text = known._is_text_encoding  # what rot13 and base64 are not
        except (LookupError, TypeError, ValueError):
            is_text = False
        if not is_text:
            raise DataError(f"encoding must be one that Python knows, such as latin-1, got {self.encoding!r}")

    def of_csv(self) -> list[str]:
        """The names of the options given that go with CSV files alone."""
        return [name for name in self.CSV if getattr(self, name) != getattr(PLAIN, name)]

    def beyond_csv(self) -> "ReadOptions":
        """The options that go with tables of any format."""
        return ReadOptions(flatten=self.flatten, infinite=self.infinite, weights=self.weights, union=self.union)

    def document(self) -> dict[str, Any]:
        """The options that are not the usual ones, as a part of a JSON document."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        usual = {field.name: field.default for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in given.items()
            if value != usual[name]
        }

    @classmethod
    def of_document(cls, value: Any) -> "ReadOptions":
        """The options in a JSON document. StateError if they are none."""
        names = {field.name for field in fields(cls)}
        if isinstance(value, dict) and set(value) <= names:
            texts = [value[name] for name in set(value) - {"missing", "flatten", "skip_rows", "header", "union"}]
            several = [value.get(name, []) for name in ("missing", "flatten")]
            if serialization.texts(texts) and all(isinstance(w, list) and serialization.texts(w) for w in several):
                try:
                    return cls(**value)
                except (DataError, TypeError):
                    pass
        raise StateError(f"read must hold options of reading, got {serialization.shown(value)}")


def _names(option: str, given: Any) -> tuple[str, ...]:
    """The names of columns given for an option, one or several."""
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (None,)
    if not all(isinstance(name, str) for name in names):
        raise DataError(f"{option} must be names of columns, got {given!r}")
    return tuple(dict.fromkeys(names))


PLAIN = ReadOptions()
