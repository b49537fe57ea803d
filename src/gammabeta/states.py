"""Statistics as text: versioned JSON documents in which every number is exact, and nothing can be executed.

An integer i · 2^e is written as "0x<i in hexadecimal>p<e>", a float as `float.hex` writes it.
"""

import json
import re
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.errors import StateError
from gammabeta.kernels import limbs
from gammabeta.kernels.limbs import Limbs

VERSION = 1

_INTEGER = re.compile(r"(-?)0x([0-9a-f]{1,2048})p([+-]\d{1,4})")  # Σw·x² over the whole range takes 1,700 digits
_FLOAT = re.compile(r"-?0x[01]\.[0-9a-f]{1,13}p[+-]\d{1,4}|-?0x0\.0p\+0|-?inf")
_LARGEST = 2**62


def dump(kind: str, fields: dict[str, Any]) -> str:
    """A document of a kind, at this version."""
    return json.dumps({"format": kind, "version": VERSION, **fields}, allow_nan=False)


def load(text: str | bytes, kind: str, names: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a document of that kind, which must be exactly those named."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError, TypeError) as error:
        raise StateError(f"a state must be a JSON document of format {kind}, got something else: {error}") from None
    if not isinstance(document, dict) or document.get("format") != kind:
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise StateError(f"a state must be a JSON document of format {kind}, got {str(found)[:60]!r}")
    if document.get("version") != VERSION or isinstance(document["version"], bool):
        version = str(document.get("version"))[:20]
        raise StateError(f"this release reads {kind} version {VERSION}, got {version}; use the release that wrote it")
    if set(document) != {"format", "version", *names}:
        odd = sorted(set(document) ^ {"format", "version", *names})
        raise StateError(f"{kind} must have the fields {', '.join(names)}; missing or unknown: {str(odd)[:200]}")
    return document


def shape(value: Any) -> tuple[int, ...]:
    """A shape: a list of sizes."""
    sizes = isinstance(value, list) and len(value) <= 64 and all(_is_count(n) for n in value)
    if not sizes or prod(n for n in value if n) > _LARGEST // 8:
        raise StateError(f"shape must be a list of sizes, got {str(value)[:60]}")
    return tuple(value)


def counts(value: Any, n: int, name: str) -> list[int]:
    """n integers, none negative."""
    if not all(_is_count(count) for count in _list(value, n, name)):
        raise StateError(f"{name} must hold integers from 0 to 2^62")
    return list(value)


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
        if match is None or abs(int(match[3])) > 3300:
            raise StateError(f'{name} must hold integers as text such as "-0x1fp-3", got {str(text)[:40]!r}')
        found.append((int(match[2], 16) * (-1 if match[1] else 1), int(match[3])))
    exponent = min((e for _, e in found), default=0)
    return limbs.from_integers([integer << (e - exponent) for integer, e in found], exponent)


def floats_to_text(values: NDArray[np.float64]) -> list[str]:
    """Each float in hexadecimal."""
    return [float(v).hex() for v in values.reshape(-1)]


def floats_from_text(value: Any, n: int, name: str) -> NDArray[np.float64]:
    """n floats that `floats_to_text` wrote."""
    texts = _list(value, n, name)
    for text in texts:
        if not isinstance(text, str) or not _FLOAT.fullmatch(text):
            raise StateError(f'{name} must hold floats as text such as "0x1.8p+1", got {str(text)[:40]!r}')
    try:
        return np.array([float.fromhex(text) for text in texts], np.float64)
    except OverflowError:
        raise StateError(f"{name} must hold floats of 64 bits, got one beyond their range") from None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _list(value: Any, n: int, name: str) -> list[Any]:
    if not isinstance(value, list) or len(value) != n:
        got = len(value) if isinstance(value, list) else type(value).__name__
        raise StateError(f"{name} must be a list of {n} values, one for each feature, got {got}")
    return value
