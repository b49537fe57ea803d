"""A network's weights in the order in which they are used, in no framework's layout: how it moves to another.

Each framework's folder reads its models into a `Network` and writes one into a model; what is the same for all, which
layer meets which, and where two networks part, is here.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.errors import KindError, StateError

Array = NDArray[Any]

DENSE, CONVOLUTION, TRANSPOSED = "dense", "convolution", "transposed convolution"
EMBEDDING, BATCH, LAYER, GROUP = "embedding", "batch norm", "layer norm", "group norm"

ROUNDING = 2.0**-16
"""How far two float32 results may be apart, of the largest: a sum of up to 2^16 products is right to about
√(2^16) = 2^8 of float32's half ULPs of 2^-24, each rounding being as likely up as down (Higham 2002, §2.8)."""

_NEUTRAL = {"bias": 0.0, "gamma": 1.0, "beta": 0.0}
"""What a weight is where a layer has none."""


@dataclass(frozen=True)
class Layer:
    """A layer with weights, and what it was given and gave in a run.

    Args:
        name: the path in its model.
        kind: "dense", "convolution", "transposed convolution", "embedding", "batch norm", "layer norm", "group norm".
        weights: of a dense layer `weight` (out, in) and `bias`; of a convolution `weight` (out, in / groups, *taps), of
            a transposed one (in, out / groups, *taps), its taps as torch has them; of an embedding `weight` (rows,
            features); of a norm `gamma`, `beta`, and of batch norm `mean` and `var`.
        rules: what else decides its output: eps, groups, strides, padding, dilation; of batch norm decay and unbiased.
        given, gave: (n, …, features), whatever axis the features are on in the framework.
    """

    name: str
    kind: str
    weights: dict[str, Array]
    rules: dict[str, Any]
    given: Array
    gave: Array

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


@dataclass(frozen=True)
class Network:
    """A model's layers with weights, in the order of their first use, and the input of the run.

    Args:
        framework: "torch", "keras" or "flax".
        example: the model's arguments, features last.
        channels_first: whether the features of images lie on axis 1 in the framework.
        loose: what holds weights and is of no known kind, or was not used.
    """

    framework: str
    layers: tuple[Layer, ...]
    example: tuple[Array, ...]
    channels_first: bool
    loose: tuple[str, ...] = ()

    def inputs(self, channels_first: bool) -> tuple[Array, ...]:
        """The example as a framework takes it whose images have their features first, or last."""
        images = any(layer.kind in (CONVOLUTION, TRANSPOSED) for layer in self.layers[:1])
        return tuple(np.moveaxis(x, -1, 1) if images and channels_first and x.ndim > 2 else x for x in self.example)


@dataclass(frozen=True)
class Parity:
    """Where two networks part.

    Attributes:
        layers: the pairs of layers, in order, by their names.
        first: the first layer whose output differs, or whose input does, and why; None if none does.
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


def check(network: Any) -> None:
    """Refuse what `learned` did not give."""
    if not isinstance(network, Network):
        raise KindError(f"network must be what learned(model, example) gave, got {type(network).__name__}")


def parity(one: Network, other: Network) -> Parity:
    """Where two networks part that were run on the same input.

    Raises:
        StateError: they have other layers; the message names the first.
    """
    pairs = matched(one, other)
    rules = [line for a, b in pairs for line in _rules(a, b, ("eps", "decay", "unbiased"))]
    first = next((reason for reason in map(_parting, pairs, [None, *pairs]) if reason), None)
    last = apart(pairs[-1][0].gave, pairs[-1][1].gave)
    return Parity(tuple((a.name, b.name) for a, b in pairs), first, tuple(rules), last)


def adopted(source: Network, read: Callable[[], Network], write: Callable[[str, dict[str, Array]], None]) -> Parity:
    """Write a network's weights into a model that `read` reads and `write` writes to by layer, and compare the two.

    A dense layer after a flattening takes its features in the framework's order: (c, h, w) or (h, w, c). Which it is,
    the values that reach it show.

    Raises:
        StateError: the model has other layers; the message names the first, and nothing is written.
    """
    pairs = matched(source, read())
    for theirs, own in pairs:
        write(own.name, filled(theirs, own))
    for i, (theirs, own) in enumerate(pairs):
        if theirs.kind != DENSE or not (channels := _channels(source, i)):
            continue
        order = reordering(theirs.given, read().layers[i].given, channels)
        if order is not None:
            weight = theirs.weights["weight"][:, order]
            write(own.name, filled(replace(theirs, weights={**theirs.weights, "weight": weight}), own))
    return parity(source, read())


def matched(one: Network, other: Network) -> list[tuple[Layer, Layer]]:
    """The layers of two networks in pairs."""
    for network in (one, other):
        check(network)
        if network.loose:
            raise StateError(
                f"every layer with weights must be of a known kind and be used in the run, and in the "
                f"{network.framework} model these are not: {', '.join(network.loose)}"
            )
        if not network.layers:
            raise StateError(f"a model must have layers with weights, and the {network.framework} model has none")
    for a, b in zip(one.layers, other.layers, strict=False):
        mine, yours = _common(a, b), {name: value.shape for name, value in b.weights.items()}
        if a.kind != b.kind or not mine.items() <= yours.items():
            raise StateError(
                f"layers must match in the order in which they are used, and the first that do not are {a} of "
                f"{one.framework} with {mine} and {b} of {other.framework} with {yours}. Nothing is written"
            )
    if len(one.layers) != len(other.layers):
        longer = max(one, other, key=lambda network: len(network.layers))
        extra = longer.layers[min(len(one.layers), len(other.layers))]
        raise StateError(
            f"layers must match one by one, and the {longer.framework} model has {extra} more, the first of "
            f"{abs(len(one.layers) - len(other.layers))}. Nothing is written"
        )
    return list(zip(one.layers, other.layers, strict=True))


def filled(source: Layer, own: Layer) -> dict[str, Array]:
    """The source's weights for those that a layer has; where the source has none, what makes no difference."""
    return {
        name: source.weights[name] if name in source.weights else np.full(value.shape, _NEUTRAL[name])
        for name, value in own.weights.items()
    }


def _common(layer: Layer, other: Layer) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights that another layer must have too: all but those that make no difference."""
    return {
        name: value.shape
        for name, value in layer.weights.items()
        if name in other.weights or name not in _NEUTRAL or (value != _NEUTRAL[name]).any()
    }


def _parting(pair: tuple[Layer, Layer], before: tuple[Layer, Layer] | None) -> str | None:
    """Why two layers part, if they do: before them, or in them."""
    a, b = pair
    if apart(a.gave, b.gave) <= ROUNDING:
        return None
    order = None if before is None else reordering(a.given, b.given, before[0].gave.shape[-1])
    shapes = ""
    if a.gave.shape != b.gave.shape:
        shapes = f" of other shapes, {a.gave.shape} and {b.gave.shape} with features last"
    if apart(a.given if order is None else a.given[..., order], b.given) <= ROUNDING:
        return f"{a.name} and {b.name}: from the same input they give other values{shapes}; {_why(a, b, order)}"
    place = "the model's input" if before is None else f"{before[0].name} and {before[1].name}, which agree"
    return f"{a.name} and {b.name}: they are given other values, by something after {place}"


def _why(a: Layer, b: Layer, order: Array | None) -> str:
    weights = a.weights if order is None else {**a.weights, "weight": a.weights["weight"][:, order]}
    other = [n for n in b.weights if n in weights and apart(weights[n], b.weights[n]) > ROUNDING]
    reasons = [f"other {' and '.join(other)}"] if other else []
    evaluated = [name for name in a.rules if name not in _WORDS]
    return "; ".join([*reasons, *_rules(a, b, evaluated)]) or "the arithmetic differs"


def _rules(a: Layer, b: Layer, names: Iterable[str]) -> list[str]:
    return [
        f"{a.name} has {name} {a.rules[name]}, {b.name} has {b.rules[name]}{_WORDS.get(name, '')}"
        for name in names
        if name in a.rules and name in b.rules and a.rules[name] != b.rules[name]
    ]


_WORDS = {
    "decay": " (the weight of the old value): they will differ after further training",
    "unbiased": " (whether the running variance is the unbiased one): they will differ after further training",
}


def apart(a: Array, b: Array) -> float:
    """The largest difference of two arrays, of their largest value; 0 where both are NaN, infinity of other shapes."""
    if np.shape(a) != np.shape(b):
        return math.inf
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(x - y)).max(initial=0.0)
    largest = max(np.abs(x[np.isfinite(x)]).max(initial=0.0), np.abs(y[np.isfinite(y)]).max(initial=0.0))
    return float(np.nan_to_num(difference, nan=np.inf) / largest) if largest else float(difference > 0)


def reordering(there: Array, here: Array, channels: int) -> Array | None:
    """The order in which features flattened there come here, if it is another one: `there[:, order]` is `here`.

    Values may differ for other reasons too, such as eps: it is the order in which they are four times as close or more.
    """
    features = there.shape[-1]
    if there.shape != here.shape or features % channels or apart(there, here) <= ROUNDING:
        return None
    places = np.arange(features)
    orders = places.reshape(channels, -1).T.reshape(-1), places.reshape(-1, channels).T.reshape(-1)
    best = min(orders, key=lambda order: apart(there[..., order], here))
    return best if 4 * apart(there[..., best], here) <= apart(there, here) else None


def _channels(network: Network, place: int) -> int | None:
    """The channels of the last layer of images before a place."""
    images = [layer for layer in network.layers[:place] if layer.gave.ndim > 2]
    return images[-1].gave.shape[-1] if images else None


def same_padding(sizes: Any, taps: Any, strides: Any, dilation: Any) -> tuple[tuple[int, int], ...]:
    """How many zeros "same" padding puts before and after each axis."""
    pads = []
    for size, tap, stride, step in zip(sizes, taps, strides, dilation, strict=True):
        total = max((-(-size // stride) - 1) * stride + step * (tap - 1) + 1 - size, 0)
        pads.append((total // 2, total - total // 2))
    return tuple(pads)
