"""What goes into and comes out of each layer, batch after batch."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode

from gammabeta import formula, spaces
from gammabeta.diagnosis import Layer
from gammabeta.statistics import Moments
from gammabeta.torch import tracked
from gammabeta.torch.batches import tensors
from gammabeta.torch.diagnose.step import Moves

Floats = NDArray[np.float64]

FLAT = {
    "relu": (0.0, inf),
    "relu6": (0.0, 6.0),
    "sigmoid": (-5.99, 5.99),  # beyond it the slope is below 1 % of the steepest
    "tanh": (-2.99, 2.99),  # likewise
    "hardtanh": (-1.0, 1.0),
    "hardsigmoid": (-3.0, 3.0),
}
"""Between which inputs an activation is not flat."""


@dataclass
class _Seen:
    """The sums of a layer."""

    moments: Moments | None = None
    means: list[tuple[Floats, Floats]] = field(default_factory=list)
    calls: int = 0
    not_finite: int = 0
    activation: str = ""
    outputs: int = 0
    below: Any = 0
    above: Any = 0


class Watch:
    """Layers that are watched while a model runs in evaluation."""

    def __init__(self, layers: dict[str, Any]) -> None:
        self._layers = layers
        self._seen = {name: _Seen() for name in layers}
        self._names = {layer: name for name, layer in layers.items()}
        self._waiting: list[tuple[str, torch.Tensor, tuple[int, ...], torch.Tensor | None]] = []
        self._masks: Any = None
        self._bad = False

    @contextmanager
    def on(self, model: Any) -> Iterator[None]:
        """Watch within the block."""
        handles: list[Any] = []
        try:
            handles += [m.register_forward_hook(self._after, with_kwargs=True) for m in self._layers.values()]
            with tracked.evaluating(model):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def begin(self, masks: Any) -> None:
        """A new batch, with its mask or masks."""
        self._masks, self._bad = masks, False
        self._waiting.clear()

    def look(self, run: Callable[[], Any]) -> bool:
        """Run the model; whether a NaN or an infinity came to a layer or out of the model."""
        with _Activations(self._activated):
            result = run()
        return self._bad or any(not bool(torch.isfinite(t).all()) for t in tensors(result))

    def _after(self, layer: Any, given: tuple[Any, ...], named: dict[str, Any], y: Any) -> None:
        name = self._names[layer]
        x, mask = tracked.call(layer, given, named)
        if mask is None:
            mask = self._masks.get(name) if isinstance(self._masks, Mapping) else self._masks
        away = tracked.reduced(name, layer, x)
        self._add(self._seen[name], x.detach(), away, mask)
        if not isinstance(y, torch.Tensor):
            return
        if getattr(layer, "activation", None) == "relu":
            self._count(name, "relu", y.detach(), away, mask)
        else:
            self._waiting = [*self._waiting[-7:], (name, y, away, mask)]

    def _add(self, seen: _Seen, x: torch.Tensor, away: tuple[int, ...], mask: torch.Tensor | None) -> None:
        finite = torch.isfinite(x)
        wanted = (
            torch.ones_like(finite) if mask is None else formula.spread(spaces.of(x), mask, x, away).expand(x.shape)
        )
        missing = int((wanted & ~finite).sum())
        seen.not_finite += missing
        self._bad |= missing > 0
        if mask is not None or missing:
            x = torch.where(wanted & finite, x, torch.nan)
        part = tracked.exact(x, away, None, "omit")
        seen.calls += 1
        seen.moments = part if seen.moments is None else seen.moments + part
        seen.means.append((part.count.reshape(-1), np.nan_to_num(part.mean.reshape(-1))))

    def _activated(self, kind: str, x: Any) -> None:
        for name, y, away, mask in self._waiting:
            if y is x:
                self._count(name, kind, y, away, mask)

    def _count(self, name: str, kind: str, y: torch.Tensor, away: tuple[int, ...], mask: torch.Tensor | None) -> None:
        seen = self._seen[name]
        seen.activation = kind
        if kind not in FLAT:
            return
        low, high = FLAT[kind]
        kept = torch.ones((), dtype=torch.bool, device=y.device)
        if mask is not None:
            kept = formula.spread(spaces.of(y), mask, y, away)
        seen.outputs = seen.outputs + _each(kept.expand(y.shape), away)
        seen.below = seen.below + _each((y <= low) & kept, away)
        seen.above = seen.above + _each((y >= high) & kept, away)

    def layers(self, moves: dict[str, Moves]) -> tuple[Layer, ...]:
        """What was seen, layer by layer."""
        return tuple(self._layer(name, layer, moves.get(name)) for name, layer in self._layers.items())

    def _layer(self, name: str, layer: Any, moves: Moves | None) -> Layer:
        seen, features = self._seen[name], layer.running_mean.numel()
        unknown = np.full(features, np.nan)
        mean, var, count = unknown, unknown, np.zeros(features)
        if seen.moments is not None:
            mean, var, count = (v.reshape(-1) for v in (seen.moments.mean, seen.moments.var, seen.moments.count))
        shares = unknown, unknown
        if np.any(seen.outputs):
            shares = tuple(part / np.maximum(seen.outputs, 1) for part in (seen.below, seen.above))
        running = tracked.statistics(layer)
        counter = getattr(layer, "num_batches_tracked", None)
        return Layer(
            name=name,
            kind=layer._get_name(),
            eps=float(getattr(layer, "eps", 0.0)),
            gamma=_floats(layer, "weight", features, 1.0),
            beta=_floats(layer, "bias", features, 0.0),
            running_mean=running[0].reshape(-1),
            running_var=running[1].reshape(-1),
            mean=mean,
            var=var,
            count=count,
            effective=_effective(seen, mean, var),
            calls=seen.calls,
            not_finite=seen.not_finite,
            activation=seen.activation,
            below=shares[0],
            above=shares[1],
            frozen=tracked.frozen(layer),
            tracked=int(counter) if isinstance(counter, torch.Tensor) else None,
            updates=None if moves is None else moves.updates,
            repeated=0 if moves is None else moves.repeated,
        )


def _each(flags: torch.Tensor, away: tuple[int, ...]) -> Any:
    """How many there are of each feature, (f,)."""
    return flags.sum(away).reshape(-1).cpu().double().numpy()


def _floats(layer: Any, name: str, features: int, default: float) -> Floats:
    value = getattr(layer, name, None)
    if not isinstance(value, torch.Tensor):
        return np.full(features, default)
    found: Floats = value.detach().to("cpu", torch.float64).numpy().reshape(-1).copy()
    return found


def _effective(seen: _Seen, mean: Floats, var: Floats) -> Floats:
    """How many independent values a batch's mean is worth: n / (Σ nᵢ(mᵢ − m)² / (b − 1) / var), at most n.

    Were the values of a batch independent, the b batches' means mᵢ would vary by var / nᵢ, and the divisor, the design
    effect (Kish 1965), be 1.
    """
    if len(seen.means) < 2:
        return np.full(mean.shape, np.nan)
    counts, means = (np.array(part) for part in zip(*seen.means, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (counts * (means - mean) ** 2).sum(axis=0) / np.maximum((counts > 0).sum(axis=0) - 1, 1)
        effective = counts.mean(axis=0) / np.maximum(between / var, 1.0)
    return np.where(var > 0, effective, np.nan)


class _Activations(TorchFunctionMode):
    """Tells of each function that is called, with its first argument, if it is an activation."""

    def __init__(self, tell: Callable[[str, Any], None]) -> None:
        super().__init__()
        self._tell = tell

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "").strip("_")
        if args and name in _ACTIVATIONS:
            self._tell(name, args[0])
        return func(*args, **(kwargs or {}))


_ACTIVATIONS = {
    *FLAT,
    "leaky_relu",
    "elu",
    "selu",
    "celu",
    "gelu",
    "silu",
    "mish",
    "softplus",
    "hardswish",
    "prelu",
    "softmax",
}
