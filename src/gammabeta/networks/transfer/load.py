"""Writes one network's weights into another, and reports where the two part."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gammabeta.networks.transfer.match import (
    Pairs,
    arrangements,
    exchangeable,
    flattening,
    input_error,
    matched,
    nearer,
    output_error,
)
from gammabeta.networks.transfer.snapshot import (
    NEUTRAL,
    OUTPUT,
    ROUNDING,
    Array,
    LayerSnapshot,
    NetworkSnapshot,
    relative_error,
)

Orders = list[list[int] | None]
Write = Callable[[str, dict[str, Array]], None]

_TRIES = 24
"""How many arrangements of siblings are tried at one place: all those of four."""

_WORDS = {
    "decay": " (the weight of the old value): they will differ after further training",
    "unbiased": " (whether the running variance is the unbiased one): they will differ after further training",
}


@dataclass(frozen=True)
class Parity:
    """Where two networks part.

    Attributes:
        layers: the pairs of layers, in the order of the first network, by their names.
        first: the first layer whose output differs, or whose input does, and why, or else the model's output; None if
            none does.
        rules: where eps, decay or the running variance's estimator are other ones, whether it shows or not.
        difference: between the outputs of the last layers, of the largest value.
    """

    layers: tuple[tuple[str, str], ...]
    first: str | None
    rules: tuple[str, ...]
    difference: float

    @property
    def same(self) -> bool:
        """Whether every output is the same, as far as float32 can tell."""
        return self.first is None

    def __str__(self) -> str:
        head = f"{len(self.layers)} layers give the same" if self.same else f"they part at {self.first}"
        lines = [f"{head}; the last outputs differ by {self.difference:.2g} of the largest", *self.rules]
        return "\n  ".join(lines)


def parity(one: NetworkSnapshot, other: NetworkSnapshot, *, names: Mapping[str, str] | None = None) -> Parity:
    """Where two networks part that were run on the same input.

    Layers match in the order of their use, and where branches are run in another order, by what each is given and
    gives.

    Args:
        one: what `snapshot` of any framework gave.
        other: so too.
        names: from names of layers of `one` to those of their counterparts in `other`, for those that would be matched
            wrongly; the others are matched as without it.

    Raises:
        StateError: they have other layers, or those that `names` brings together are of other kinds or shapes; the
            message names the first.
        DataError: `names` has a name that is no layer's, or one twice.
        KindError: a network is not what `snapshot` gave, or `names` is no mapping.
    """
    names = {} if names is None else names
    return _report(nearer(matched(one, other, names), names, _distance))


def adopted(
    source: NetworkSnapshot, read: Callable[[], NetworkSnapshot], write: Write, names: Mapping[str, str] | None
) -> Parity:
    """Write a network's weights into a model that `read` reads and `write` writes to by layer, and compare the two.

    A dense layer after a flattening takes its features in the framework's order: (c, h, w) or (h, w, c). Which it is,
    the values that reach it show, and which branch is which as well. Siblings of equal shapes are given the same: where
    the networks part after them, they are exchanged, if that brings the place further on.

    Raises:
        StateError, DataError, KindError: as `parity` does, and nothing is written.
    """
    names = {} if names is None else names
    pairs = _settled(matched(source, read(), names), names, read, write)
    while (better := _rearranged(pairs, names, read, write)) is not None:
        pairs = better
    return _report(pairs)


def _settled(pairs: Pairs, names: Mapping[str, str], read: Callable[[], NetworkSnapshot], write: Write) -> Pairs:
    """Write weights, run, and match layers by their inputs, until the pairs stay the same.

    A layer is given what its counterpart is once all before it are right, so that each round settles one more at least.
    """
    for _ in range(len(pairs) + 1):
        orders = _give(pairs, write)
        network = read()
        here = {(layer.kind, layer.name): layer for layer in (*network.layers, *network.ends)}
        now = [(theirs, here[own.kind, own.name]) for theirs, own in pairs]
        pairs = nearer(now, names, input_error)
        if _names(pairs) == _names(now) and orders == _orders(now):
            break
    return now


def _rearranged(
    pairs: Pairs, names: Mapping[str, str], read: Callable[[], NetworkSnapshot], write: Write
) -> Pairs | None:
    """The pairs with siblings exchanged so that the networks part later; None, with the model as it was, if none do."""
    place = _first(pairs)
    if place is None:
        return None
    among, tried = input_error(pairs, place, pairs[place][1]) <= ROUNDING, False
    for other in arrangements(pairs, names, place, among, _TRIES):
        settled, tried = _settled(other, names, read, write), True
        further = _first(settled)
        if further is None or further > place:
            return settled
    if tried:
        _give(pairs, write)
    return None


def _give(pairs: Pairs, write: Write) -> Orders:
    """Write each layer's weights into its counterpart; the orders of the features that were flattened."""
    orders = _orders(pairs)
    for (theirs, own), order in zip(pairs, orders, strict=True):
        if own.kind != OUTPUT:
            write(own.name, _filled(_turned(theirs, order), own))
    return orders


def _orders(pairs: Pairs) -> Orders:
    orders = (flattening(pairs, i, own) for i, (_, own) in enumerate(pairs))
    return [None if order is None else order.tolist() for order in orders]


def _turned(layer: LayerSnapshot, order: Any) -> dict[str, Array]:
    """A layer's weights, for features in another order."""
    return layer.weights if order is None else {**layer.weights, "weight": layer.weights["weight"][:, order]}


def _filled(weights: dict[str, Array], own: LayerSnapshot) -> dict[str, Array]:
    """Weights for all that a layer has: given ones, and neutral values (bias 0, gamma 1) for the rest."""
    return {
        name: weights[name] if name in weights else np.full(value.shape, NEUTRAL[name])
        for name, value in own.weights.items()
    }


def _names(pairs: Pairs) -> tuple[tuple[str, str], ...]:
    return tuple((a.name, b.name) for a, b in pairs)


def _distance(pairs: Pairs, i: int, other: LayerSnapshot) -> float:
    """How far apart two layers are in what they are given or give."""
    return max(input_error(pairs, i, other), output_error(pairs[i][0], other))


def _first(pairs: Pairs) -> int | None:
    """The first place where outputs differ."""
    return next((i for i, (a, b) in enumerate(pairs) if output_error(a, b) > ROUNDING), None)


def _report(pairs: Pairs) -> Parity:
    place = _first(pairs)
    rules = [line for a, b in pairs for line in _rules(a, b, ("eps", "decay", "unbiased"))]
    layers = [pair for pair in pairs if pair[0].kind != OUTPUT]
    last = relative_error(layers[-1][0].gave, layers[-1][1].gave)
    return Parity(_names(layers), None if place is None else _reason(pairs, place), tuple(rules), last)


def _reason(pairs: Pairs, place: int) -> str:
    """Why two layers part: before them, or in them."""
    a, b = pairs[place]
    if input_error(pairs, place, b) <= ROUNDING:
        shapes = ""
        if a.gave.shape != b.gave.shape:
            shapes = f" of other shapes, {a.gave.shape} and {b.gave.shape} with features last"
        why = _why(a, b, flattening(pairs, place, b))
        return f"{a.name} and {b.name}: from the same input they give other values{shapes}; {why}"
    before = " and ".join(layer.name for layer in pairs[place - 1]) + ", which agree" if place else "the model's input"
    return f"{a.name} and {b.name}: they are given other values, by something after {before}{_advice(pairs, place)}"


def _advice(pairs: Pairs, place: int) -> str:
    """What to do if layers up to a place could have met others."""
    alike = any(exchangeable(pairs, i, j) for i in range(place + 1) for j in range(i + 1, len(pairs)))
    return ". If a layer has met another's counterpart, names={…} says which layer meets which" if alike else ""


def _why(a: LayerSnapshot, b: LayerSnapshot, order: Any) -> str:
    weights = _turned(a, order)
    other = [n for n in b.weights if n in weights and relative_error(weights[n], b.weights[n]) > ROUNDING]
    reasons = [f"other {' and '.join(other)}"] if other else []
    evaluated = [name for name in a.rules if name not in _WORDS]
    return "; ".join([*reasons, *_rules(a, b, evaluated)]) or "the arithmetic differs"


def _rules(a: LayerSnapshot, b: LayerSnapshot, names: Iterable[str]) -> list[str]:
    return [
        f"{a.name} has {name} {a.rules[name]}, {b.name} has {b.rules[name]}{_WORDS.get(name, '')}"
        for name in names
        if name in a.rules and name in b.rules and a.rules[name] != b.rules[name]
    ]
