"""Versioned JSON documents of statistics, in which every number is exact and nothing can be executed.

An integer i · 2^e is written as "0x<i in hexadecimal>p<e>", a float as `float.hex` writes it.
"""

import json
import re
from collections.abc import Iterable
from math import isfinite, prod
from numbers import Real
from reprlib import Repr
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.errors import StateError
from gammabeta.kernels import limbs
from gammabeta.kernels.limbs import Limbs

VERSION = 1
MOST = 2**62
"""No count of values or rows is greater: two of them add up in 64 bits."""

_INTEGER = re.compile(r"(-?)0x([0-9a-f]{1,2048})p([+-][0-9]{1,4})")  # Σw·x² over the whole range takes 1,700 digits
_FLOAT = re.compile(r"-?0x[01]\.[0-9a-f]{1,13}p([+-][0-9]{1,4})|-?inf")
_LEAST_EXPONENT = -1022  # of a float in hexadecimal: below it digits would be lost
_SURROGATE = re.compile("[\ud800-\udfff]")
_WIDEST = 2**24  # features of statistics that have none in another axis: nothing in the document vouches for them


def dump(kind: str, fields: dict[str, Any]) -> str:
    """The text of a document of a kind, at this version."""
    return json.dumps(document(kind, fields), allow_nan=False)


def document(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The dictionary of a document of a kind, at this version."""
    return {"format": kind, "version": VERSION, **fields}


def load(text: str | bytes, kind: str, names: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a document of that kind, which must be exactly those named."""
    try:
        found = parsed(text)
    except StateError as error:
        raise StateError(f"a state must be a JSON document of format {kind}, got something else: {error}") from None
    return fields(found, kind, names)


def parsed(text: str | bytes) -> Any:
    """The value of a JSON text; `StateError` for a key twice in an object and for NaN or Infinity."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_finite)
    except StateError:
        raise
    except RecursionError:
        raise StateError("it is nested too deeply") from None
    except (ValueError, TypeError) as error:
        raise StateError(str(error)) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise StateError(f"each key of an object must come once, {shown(twice)} comes twice")
    return found


def _no_number(word: str) -> Any:
    raise StateError(f"numbers must be finite, got {word}")


def _finite(text: str) -> float:
    return float(text) if isfinite(float(text)) else _no_number(text[:20])


def load_some(text: str | bytes, kind: str, names: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, Any]:
    """As `load`, of a document in which some fields need not be."""
    try:
        found = parsed(text)
    except StateError:
        return load(text, kind, names)  # says what is wrong
    more = [name for name in optional if isinstance(found, dict) and name in found]
    return fields(found, kind, (*names, *more))


def fields(value: Any, kind: str, names: tuple[str, ...]) -> dict[str, Any]:
    """A parsed document of that kind, whose fields must be exactly those named."""
    if not isinstance(value, dict) or value.get("format") != kind:
        found = value.get("format") if isinstance(value, dict) else type(value).__name__
        raise StateError(f"a state must be a JSON document of format {kind}, got {shown(found)}")
    if type(value.get("version")) is not int or value["version"] != VERSION:
        version = shown(value.get("version"))
        raise StateError(f"this release reads {kind} version {VERSION}, got {version}; use the release that wrote it")
    if set(value) != {"format", "version", *names}:
        odd = sorted(set(value) ^ {"format", "version", *names})
        raise StateError(f"{kind} must have the fields {', '.join(names)}; missing or unknown: {shown(odd)}")
    return value


_SHORT = Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxstring = 2, 3, 4, 60


def shown(value: Any) -> str:
    """A value from a document for a message: its beginning, however large or deep it is."""
    text = _SHORT.repr(value)
    return text if len(text) <= 160 else f"{text[:157]}..."


def shape(value: Any) -> tuple[int, ...]:
    """A shape: a list of sizes."""
    sizes = isinstance(value, list) and len(value) <= 64 and all(is_count(n) for n in value)
    if not sizes or (0 in value and prod(n for n in value if n) > _WIDEST):
        raise StateError(f"shape must be a list of sizes, got {shown(value)}")
    return tuple(value)


def counts(value: Any, n: int, name: str) -> list[int]:
    """n integers, none negative."""
    if not all(is_count(count) for count in _list(value, n, name)):
        raise StateError(f"{name} must hold integers from 0 to 2^62")
    return list(value)


def is_count(value: Any) -> bool:
    """Whether a value is how many there are of something: an integer, not negative, and no flag."""
    return type(value) is int and 0 <= value <= MOST


def real(value: Any) -> bool:
    """Whether a value is a number that float64 holds: finite, and no flag."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return isfinite(value)
    except OverflowError:
        return False


def is_flag(value: Any) -> bool:
    """Whether a value is true or false."""
    return type(value) is bool


def is_axis(value: Any) -> bool:
    """Whether a value names axes: an integer, several, or None."""
    return value is None or all(type(i) is int for i in (value if isinstance(value, tuple) else (value,)))


def is_dim(value: Any) -> bool:
    """Whether a value names dimensions: a text, several, all of them (`...`), or None."""
    return value is None or value is ... or texts(value if isinstance(value, tuple) else (value,))


def is_range(value: Any) -> bool:
    """Whether a value is the ends of a range: two finite numbers, the lower first."""
    ends = isinstance(value, tuple | list) and len(value) == 2 and all(map(real, value))
    return ends and float(value[0]) < float(value[1]) and all(isfinite(float(end)) for end in value)


def is_bound(value: Any) -> bool:
    """Whether a value can be what results are clipped to: a number above 0, or None."""
    return value is None or (real(value) and value > 0)


def is_ddof(value: Any) -> bool:
    """Whether a value can be taken from a count: a number from 0 to the greatest count."""
    return real(value) and 0 <= value <= MOST


def plain(value: Any) -> Any:
    """A number as JSON has it."""
    return value.item() if isinstance(value, np.generic) else value


def texts(values: Iterable[Any]) -> bool:
    """Whether all values are text that can be written: no half of a surrogate pair."""
    return all(isinstance(value, str) and not _SURROGATE.search(value) for value in values)


def integers_to_text(numbers: Limbs) -> list[str]:
    """Each number as an odd integer times a power of two."""
    integers, exponent = limbs.to_integers(numbers)
    texts = []
    for integer in integers:
        zeros = (integer & -integer).bit_length() - 1 if integer else -exponent
        texts.append(f"{integer >> zeros if integer else 0:#x}p{exponent + zeros:+d}")
    return texts


def integers_from_text(value: Any, n: int, name: str) -> Limbs:
    """n numbers that `integers_to_text` wrote."""
    found = []
    for text in _list(value, n, name):
        match = _INTEGER.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise StateError(f'{name} must hold integers as text such as "-0x1fp-3", got {shown(text)}')
        integer, exponent = int(match[2], 16), int(match[3])
        if integer and not -limbs.RANGE <= exponent <= limbs.RANGE - integer.bit_length():
            raise StateError(f"{name} must hold sums of numbers of 64 bits, got {shown(text)}")
        found.append((-integer if match[1] else integer, exponent if integer else 0))
    exponent = min((e for _, e in found), default=0)
    return limbs.from_integers([integer << (e - exponent) for integer, e in found], exponent)


def floats_to_text(values: NDArray[np.float64]) -> list[str]:
    """Each float in hexadecimal."""
    return [float(v).hex() for v in values.reshape(-1)]


def floats_from_text(value: Any, n: int, name: str) -> NDArray[np.float64]:
    """n floats that `floats_to_text` wrote."""
    return np.array([float_from_text(text, name) for text in _list(value, n, name)], np.float64)


def float_from_text(text: Any, name: str) -> float:
    """A float that `float.hex` wrote; no NaN."""
    match = _FLOAT.fullmatch(text) if isinstance(text, str) else None
    if match is None or (match[1] and int(match[1]) < _LEAST_EXPONENT):
        raise StateError(f'{name} must hold floats as text such as "0x1.8p+1", got {shown(text)}')
    try:
        return float.fromhex(text)
    except OverflowError:
        raise StateError(f"{name} must hold floats of 64 bits, got {shown(text)}") from None


def _list(value: Any, n: int, name: str) -> list[Any]:
    if not isinstance(value, list) or len(value) != n:
        got = len(value) if isinstance(value, list) else type(value).__name__
        raise StateError(f"{name} must be a list of {n} values, one for each feature, got {got}")
    return value
