"""Factorization of labels: a column's distinct values in their order, and the code of each row.

Labels are kept as a sorted array of one of a few types, whatever they came as: bool, int64 (uint64 beyond it), float64,
datetime64, timedelta64, or Python objects, text above all. Missing labels (None, NaN, NaT) are one label, the last: NaN
or NaT where the type has one, else None.
"""

import re
from contextlib import suppress
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gammabeta.backends import masked
from gammabeta.errors import DataError, KindError, StateError
from gammabeta.kernels import factorize, groupby_partitioned, one_column
from gammabeta.kernels.groupby_partitioned import Codes
from gammabeta.statistics import serialization

Labels = NDArray[Any]

_FIXED = "biufmM"
_TIMES = re.compile(r"timedelta64|(datetime64|timedelta64)\[([1-9][0-9]{0,8})?(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\]")
_NAT = int(np.iinfo(np.int64).min)
_NATIVE = (str, int, float, bool)  # what JSON has a type for
_SMALL = 2**16  # a range of integers that is tallied however few rows there are


def as_array(labels: ArrayLike) -> Labels:
    """Labels as a NumPy array: numbers and dates in their dtype, text and all else as objects."""
    labels = masked.read(labels)
    array = _without_mask(labels) if masked.is_masked(labels) else np.asarray(labels)
    if array.dtype.kind in _FIXED:
        return array
    if array.dtype.kind in "cV":
        raise KindError(f"labels must have an order, got dtype {array.dtype}; use text or integers")
    # of a list's missing labels and numbers among text NumPy would make text
    return array.astype(object) if hasattr(labels, "dtype") else np.array(labels, object)


def _without_mask(labels: Any) -> Labels:
    """Masked labels with the missing label, NaN, NaT or None, where there is none."""
    if labels.dtype.kind in "mM":
        return np.asarray(np.where(masked.mask_of(labels), np.array("NaT", labels.dtype), labels.data))
    if labels.dtype.kind == "f":
        return np.asarray(masked.filled(labels))
    objects: NDArray[Any] = labels.data.astype(object)
    objects[masked.mask_of(labels)] = None
    return objects


def factorized(labels: Labels) -> tuple[Labels, Codes, NDArray[np.int64]]:
    """The distinct labels in their order, each row's place among them, and how many rows each has. labels: (n,).

    Raises:
        KindError: they cannot be hashed or have no order.
    """
    if labels.dtype.kind not in _FIXED:
        return _of_objects(labels.tolist())
    keys = _keys(labels)
    dense = _of_range(keys)
    if dense is not None:
        distinct, codes, rows = dense
    else:
        distinct, numbers = factorize.numbered(keys)
        codes = Codes(numbers, 0, len(distinct))
        rows = groupby_partitioned.tally(codes)
    values = _values(distinct, labels.dtype)
    order = np.argsort(values, kind="stable")
    if (order == np.arange(len(order))).all():
        return values, codes, rows
    return values[order], _renumbered(codes, order), rows[order]


def _keys(labels: Labels) -> NDArray[np.int64]:
    """An int64 for each label, the same for equal ones."""
    kind = labels.dtype.kind
    if kind == "f":
        floats = labels.astype(np.float64) + 0.0  # −0.0 + 0.0 = 0.0
        floats[np.isnan(floats)] = np.nan
        return floats.view(np.int64)
    if kind in "mM":
        return labels.astype(labels.dtype.newbyteorder("=")).view(np.int64)
    return labels.astype(np.uint64, copy=False).view(np.int64) if kind == "u" else labels.astype(np.int64, copy=False)


def _values(keys: NDArray[np.int64], dtype: np.dtype[Any]) -> Labels:
    """The labels of keys, in the type that they are kept in."""
    if dtype.kind == "u":
        unsigned = keys.view(np.uint64)
        return unsigned if unsigned.max(initial=0) > np.iinfo(np.int64).max else keys
    if dtype.kind == "f":
        return keys.view(np.float64)
    return keys.view(dtype.newbyteorder("=")) if dtype.kind in "mM" else keys.astype(bool if dtype.kind == "b" else int)


def _of_range(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], Codes, NDArray[np.int64]] | None:
    """Distinct keys that rise, codes and rows, if the keys lie so close together that a table of their range pays."""
    if not len(keys):
        return keys, Codes(keys, 0, 0), np.zeros(0, np.int64)
    low, high = int(keys.min()), int(keys.max())
    if high - low >= max(len(keys) // 4, _SMALL):
        return None
    everything = Codes(keys, low, high - low + 1)
    rows = groupby_partitioned.tally(everything)
    present = np.flatnonzero(rows)
    if len(present) == len(rows):
        return present + low, everything, rows
    return present + low, _renumbered(everything, present), rows[present]


def _renumbered(codes: Codes, order: NDArray[np.intp]) -> Codes:
    """New codes after a change of the labels' order: what was order[i] is i."""
    place = np.zeros(codes.size, np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    out = np.empty(len(codes.values), np.int32)
    for rows in one_column.pieces(0, len(out)):
        out[rows] = place[codes[rows].small()]
    return Codes(out, 0, len(order))


def _of_objects(labels: list[Any]) -> tuple[Labels, Codes, NDArray[np.int64]]:
    index: dict[Any, int] = {}
    try:
        numbers = np.fromiter((index.setdefault(label, len(index)) for label in labels), np.int32, len(labels))
    except TypeError as error:
        raise KindError(f"labels must be hashable, such as text or integers: {error}") from None
    missing = np.array([_is_missing(label) for label in index], bool)
    there = [label.item() if isinstance(label, np.generic) else label for label in index if not _is_missing(label)]
    try:
        order = sorted(range(len(there)), key=there.__getitem__)
    except TypeError as error:
        raise KindError(f"labels must be of one kind, which has an order: {error}; make them text") from None
    values = _array([there[i] for i in order], bool(missing.any()))
    rank = np.empty(len(there), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    place = np.full(len(missing), len(there), np.int32)
    place[~missing] = rank
    codes = Codes(place[numbers] if len(place) else numbers, 0, len(values))
    return values, codes, groupby_partitioned.tally(codes)


def _is_missing(label: Any) -> bool:
    """Whether a label is a missing one: None, NaN, NaT, pandas' NA."""
    return label is None or type(label).__name__ in ("NAType", "NaTType") or bool(label != label)


def _array(values: list[Any], missing: bool) -> Labels:
    """Labels in their order, and perhaps the missing one, in the type that they are kept in."""
    kinds = {type(value) for value in values}
    if kinds == {float} or (kinds == {int, float} and all(isinstance(_float(v), float) for v in values)):
        return np.array(values + [np.nan] * missing, np.float64)
    if kinds == {bool} and not missing:
        return np.array(values, bool)
    if kinds == {int} and not missing and (values[0] >= 0 or values[-1] < 2**63):
        with suppress(OverflowError):  # integers of more than 64 bits stay objects
            return np.array(values, np.int64 if values[-1] < 2**63 else np.uint64)
    array = np.empty(len(values) + missing, object)
    array[: len(values)] = values
    return array


def _float(value: Any) -> Any:
    """An integer that float64 holds as a float, all else as it is."""
    with suppress(OverflowError):
        return float(value) if isinstance(value, int) and float(value) == value else value
    return value


def united(a: Labels, b: Labels) -> tuple[Labels, NDArray[np.int32], NDArray[np.int32]]:
    """The labels that are in a or b, and the places of a's and of b's among them.

    Raises:
        KindError: they have no common order.
    """
    if not len(a) or not len(b) or a.dtype.kind == b.dtype.kind:
        both = _end_to_end([part for part in (a, b) if len(part)] or [a])
    else:
        both = np.empty(len(a) + len(b), object)
        both[:] = _alike(a, b) + _alike(b, a)
    labels, codes, _ = factorized(both)
    places = codes.small()
    return labels, places[: len(a)], places[len(a) :]


def _end_to_end(parts: list[Labels]) -> Labels:
    """Labels of one kind one after another; times in a unit that holds those of all."""
    if parts[0].dtype.kind not in "mM":
        return np.concatenate(parts)
    with suppress(OverflowError, TypeError):
        both = np.concatenate(parts)
        if all((_keys(part.astype(both.dtype).astype(part.dtype)) == _keys(part)).all() for part in parts):
            return both
    raise KindError(f"labels must be of times that one unit can hold, got {parts[0].dtype} and {parts[-1].dtype}")


def _alike(a: Labels, b: Labels) -> list[Any]:
    """a's labels as Python objects; integers that floats hold as floats, where b's are."""
    values: list[Any] = a.tolist()
    times = a.dtype.kind in "mM" and any(type(v) is int for v in values)  # NumPy makes integers of some
    if times or {"b"} < {a.dtype.kind, b.dtype.kind} - {"O"}:
        raise KindError(f"labels must be of one kind, got {a.dtype} and {b.dtype}; make them text")
    return [_float(v) for v in values] if b.dtype.kind == "f" else values


def found(known: Labels, labels: ArrayLike) -> NDArray[np.intp]:
    """The place of each label among the known ones.

    Raises:
        DataError: one is not among them.
    """
    distinct, places, codes = _sought(known, given := as_array(labels))
    unseen = distinct[places < 0]
    if len(unseen):
        more = f" and {len(unseen) - 1} more" if len(unseen) > 1 else ""
        raise DataError(f"every label must be that of a group, there is none of {unseen[:1].tolist()[0]!r}{more}")
    return places[codes.small()].reshape(given.shape)


def found_or(known: Labels, labels: ArrayLike, unseen: int) -> NDArray[np.intp]:
    """The place of each label among the known ones, `unseen` for one that is not among them."""
    _, places, codes = _sought(known, given := as_array(labels))
    return np.where(places < 0, unseen, places)[codes.small()].reshape(given.shape)


def _sought(known: Labels, given: Labels) -> tuple[Labels, NDArray[np.intp], Codes]:
    """The distinct labels given, the place of each among the known ones or −1, and each one's code."""
    distinct, codes, _ = factorized(given.reshape(-1))
    everything, of_known, of_distinct = united(known, distinct)
    place = np.full(len(everything), -1)
    place[of_known] = np.arange(len(known))
    return distinct, place[of_distinct], codes


def to_document(labels: Labels) -> dict[str, Any]:
    """Labels for a JSON document: their type, and integers, text, floats in hexadecimal; null is the missing one.

    Raises:
        KindError: they are of a type that it has no word for.
    """
    kind = labels.dtype.kind
    if kind == "O":
        odd = {type(label).__name__ for label in labels if not (label is None or type(label) in _NATIVE)}
        odd |= {f"{label}" for label in labels if isinstance(label, float) and not isfinite(label)}
        if odd:
            raise KindError(f"labels must be text, numbers or dates to be written, got {', '.join(sorted(odd))}")
        values = labels.tolist()
    elif kind == "f":
        values = [None if np.isnan(v) else v.hex() for v in labels.tolist()]
    elif kind in "mM":
        values = [None if np.isnat(v) else int(v.astype(np.int64)) for v in labels]
    else:
        values = labels.tolist()
    return {"type": "object" if kind == "O" else str(labels.dtype), "values": values}


def from_document(value: Any) -> Labels:
    """Labels that `to_document` wrote; `StateError` if these are none."""
    if isinstance(value, dict) and set(value) == {"type", "values"} and isinstance(value["values"], list):
        try:
            labels = _from_document(value["type"], value["values"])
            if labels is not None and _in_order(labels):
                return labels
        except (TypeError, ValueError, OverflowError):
            pass
    raise StateError(
        f"labels must be distinct, in their order and of a type that is known, got {serialization.shown(value)}"
    )


def _in_order(labels: Labels) -> bool:
    """Whether labels are those that `factorized` makes of them."""
    again, codes, _ = factorized(labels)
    if again.dtype != labels.dtype or codes.small().tolist() != list(range(len(labels))):
        return False
    return labels.dtype.kind == "O" or again.tobytes() == labels.tobytes()


def _from_document(kind: Any, values: list[Any]) -> Labels | None:
    if kind == "object":
        array = np.empty(len(values), object)
        array[:] = values
        return array if all(v is None or type(v) in _NATIVE for v in values) else None
    if kind == "float64":
        return np.array([np.nan if v is None else serialization.float_from_text(v, "labels") for v in values])
    if kind in ("bool", "int64", "uint64"):
        return np.array(values, kind) if all(type(v) is (bool if kind == "bool" else int) for v in values) else None
    if not (isinstance(kind, str) and _TIMES.fullmatch(kind) and str(np.dtype(kind)) == kind):
        return None
    if not all(v is None or (type(v) is int and v != _NAT) for v in values):
        return None
    return np.array([_NAT if v is None else v for v in values], np.int64).view(kind)
