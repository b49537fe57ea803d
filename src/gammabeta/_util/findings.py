"""Findings, which are things to watch in data or a network, and how numbers are written in them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, log10
from typing import Any, Protocol, TypeVar


@dataclass(frozen=True)
class Kind:
    """A kind of finding: what it is called, why it matters and how much: 3 scaling fails, 2 it misleads, 1 a note."""

    key: str
    title: str
    why: str
    weight: int


@dataclass(frozen=True)
class Finding:
    """Something to watch in a column: the key of its kind, and a sentence."""

    kind: str
    text: str


class _OfKind(Protocol):
    @property
    def kind(self) -> str: ...


class _Weighted(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def weight(self) -> int: ...


F = TypeVar("F", bound=_OfKind)


def worst_first(found: Iterable[F], kinds: Sequence[_Weighted]) -> tuple[F, ...]:
    """Findings in descending order of their kinds' weights; those of equal weight keep their order."""
    weights = {kind.key: -kind.weight for kind in kinds}
    return tuple(sorted(found, key=lambda finding: weights[finding.kind]))


def number(value: float, digits: int = 4, minus: str = "−") -> str:
    """A number as text, rounded to some significant digits.

    >>> number(1234567.0), number(0.25), number(-3.0), number(0.12345, 3)
    ('1.235e+06', '0.25', '−3', '0.123')
    """
    return f"{value:.{digits}g}".replace("-", minus)


def percent(share: float) -> str:
    """A share as text in percent; never 0 or 100 where it is not quite.

    >>> percent(0.5), percent(0.99999), percent(1e-6), percent(1.0)
    ('50 %', '99.999 %', '0.0001 %', '100 %')
    """
    rest = min(share, 1 - share)
    digits = max(0, -int(log10(rest)) - 1) if rest > 0 else 0
    if digits > 6:
        return f"{number(100 * share)} %" if share < 0.5 else f"all but {number(100 * (1 - share))} %"
    text = f"{100 * share:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def finite_or_none(value: Any) -> float | None:
    """A number as a JSON document can hold it: None in the place of NaN and infinities."""
    return float(value) if isfinite(value) else None
