"""A network's weights in the order in which they are used, in no framework's layout.

Each framework's folder reads its models into a `NetworkSnapshot` and writes one into a model. `match` pairs the layers
of two networks; `load` writes one network's weights into another and reports where the two part.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.errors import KindError

Array = NDArray[Any]

DENSE, CONVOLUTION, TRANSPOSED = "dense", "convolution", "transposed convolution"
EMBEDDING, BATCH, LAYER, GROUP = "embedding", "batch norm", "layer norm", "group norm"
OUTPUT = "output"
"""No layer's kind, but that of what the model gave."""

NEUTRAL = {"bias": 0.0, "gamma": 1.0, "beta": 0.0}
"""What a weight is where a layer has none."""

ROUNDING = 2.0**-16
"""How far two float32 results may be apart, of the largest: a sum of up to 2^16 products is right to about
√(2^16) = 2^8 of float32's half ULPs of 2^-24, each rounding being as likely up as down (Higham 2002, §2.8)."""

CLOSER = 4
"""How many times as close values must be to show another match than the order does: what differs for another reason,
such as eps, is far from it."""


@dataclass(frozen=True)
class LayerSnapshot:
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
class NetworkSnapshot:
    """A model's layers with weights, in the order of their first use, and the input of the run.

    Args:
        framework: "torch", "keras" or "flax".
        example: the model's arguments, features last.
        channels_first: whether the features of images lie on axis 1 in the framework.
        loose: what holds weights and is of no known kind, or was not used.
        outputs: what the model gave, in the framework's layout; none where that is no array and no tuple, list or
            mapping of arrays.
    """

    framework: str
    layers: tuple[LayerSnapshot, ...]
    example: tuple[Array, ...]
    channels_first: bool
    loose: tuple[str, ...] = ()
    outputs: tuple[Array, ...] = ()

    @property
    def ends(self) -> tuple[LayerSnapshot, ...]:
        """The outputs, as layers without weights."""
        names = [OUTPUT] if len(self.outputs) == 1 else [f"{OUTPUT} {i}" for i in range(len(self.outputs))]
        return tuple(LayerSnapshot(name, OUTPUT, {}, {}, y, y) for name, y in zip(names, self.outputs, strict=True))

    def inputs(self, channels_first: bool) -> tuple[Array, ...]:
        """The example as a framework takes it whose images have their features first, or last."""
        images = any(layer.kind in (CONVOLUTION, TRANSPOSED) for layer in self.layers[:1])
        return tuple(np.moveaxis(x, -1, 1) if images and channels_first and x.ndim > 2 else x for x in self.example)


def check_snapshot(network: Any) -> None:
    """Raise unless `network` is a `NetworkSnapshot`."""
    if not isinstance(network, NetworkSnapshot):
        raise KindError(f"network must be what snapshot(model, example) gave, got {type(network).__name__}")


def relative_error(a: Array, b: Array) -> float:
    """The largest difference of two arrays / their largest value; NaN equals NaN; infinity if the shapes differ."""
    if np.shape(a) != np.shape(b):
        return math.inf
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(x - y)).max(initial=0.0)
    largest = max(np.abs(x[np.isfinite(x)]).max(initial=0.0), np.abs(y[np.isfinite(y)]).max(initial=0.0))
    return float(np.nan_to_num(difference, nan=np.inf) / largest) if largest else float(difference > 0)


def model_output_error(a: Array, b: Array) -> float:
    """The relative error of two models' outputs, whether channels come first or last in each."""
    if a.size != b.size:
        return math.inf
    ways = [[y, np.moveaxis(y, 1, -1)] if y.ndim > 2 else [y] for y in (a, b)]
    order = reordering(a, b)
    nearest = min(relative_error(x.reshape(-1), y.reshape(-1)) for x, y in product(*ways))
    return nearest if order is None else relative_error(a[:, order], b)


def flat(outputs: Any, read: Callable[[Any], Array]) -> tuple[Array, ...]:
    """The arrays of a model's output; none if it holds anything else."""
    values = [outputs[key] for key in sorted(outputs, key=str)] if isinstance(outputs, Mapping) else outputs
    parts = values if isinstance(values, tuple | list) else [values]
    return tuple(read(part) for part in parts) if all(hasattr(part, "shape") for part in parts) else ()


def reordering(there: Array, here: Array) -> Array | None:
    """The order in which features flattened there come here, if it is another one: `there[:, order]` is `here`.

    One of the two flattens (channels, places), the other (places, channels). Values may differ for other reasons too,
    such as eps: it is the order in which they are four times as close or more.
    """
    features = there.shape[-1]
    if there.shape != here.shape or there.ndim != 2 or relative_error(there, here) <= ROUNDING:
        return None
    divisors = (n for n in range(2, features) if features % n == 0)
    orders = (np.arange(features).reshape(n, -1).T.reshape(-1) for n in divisors)
    best = min(orders, key=lambda order: relative_error(there[:, order], here), default=None)
    return (
        best
        if best is not None and CLOSER * relative_error(there[:, best], here) <= relative_error(there, here)
        else None
    )


def same_padding(sizes: Any, taps: Any, strides: Any, dilation: Any) -> tuple[tuple[int, int], ...]:
    """How many zeros "same" padding puts before and after each axis."""
    pads = []
    for size, tap, stride, step in zip(sizes, taps, strides, dilation, strict=True):
        total = max((-(-size // stride) - 1) * stride + step * (tap - 1) + 1 - size, 0)
        pads.append((total // 2, total - total // 2))
    return tuple(pads)
