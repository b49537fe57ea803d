"""Folding in a graph of any framework: which norms go into which layers, and why others stay.

What a framework's graph is made of, its `LayerGraph` says; what is not proven there raises a `RefusalError` with the
reason.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gammabeta.affine import Affine
from gammabeta.errors import DataError
from gammabeta.networks.fold.report import FoldedNorm, RefusalError, SkippedNorm
from gammabeta.norm import linear_map
from gammabeta.norm.linear_map import Features, Floats, Linear


def features_of(scaler: Any) -> Features:
    """`scalers.as_affine.features_of`, imported at the call: scikit-learn takes a second to import."""
    from gammabeta.scalers import as_affine

    return as_affine.features_of(scaler)


class LayerLink(NamedTuple):
    """The end of a path from a norm: the call there, the layer called, and how the path reshapes the value."""

    site: Any
    layer: str
    flat: int = 0
    """How many axes there were before all after the first became one, if they did; 1 where that is not known."""
    swapped: bool = False
    """Whether the last two axes of three are swapped."""
    start: Any = None
    """Where the way begins, if the graph asks for that."""
    rows: int = 0
    """How often the first two axes became one: a layer's output (n, l, c) as the norm's input (n · l, c)."""
    averaged: int = 0
    """How many axes the norm's output must have for the means over positions on the path; 0 without any."""


class LayerGraph(ABC):
    """The graph of calls of a model's layers, as `FoldPlanner` asks it.

    Attributes:
        norms: the names of its batch norms.
        sites: where each layer is called.
        gone: norms that were folded away, and let values pass.
    """

    norms: list[str]
    sites: dict[str, list[Any]]
    gone: set[str]

    @abstractmethod
    def features(self, norm: str) -> Features:
        """A norm's map in evaluation."""

    @abstractmethod
    def source(self, site: Any) -> LayerLink:
        """The call whose value reaches a norm's call at `site`, and nothing else."""

    @abstractmethod
    def sinks(self, site: Any) -> Sequence[LayerLink]:
        """All calls that the value of the call at `site` reaches."""

    @abstractmethod
    def check_linear(self, layer: str, words: str, after: bool) -> None:
        """Refuse a layer that is not linear, or not known to be, before a norm or `after` one."""

    @abstractmethod
    def uneven(self, layer: str) -> str | None:
        """Why a constant added to a layer's input does not add a constant to its output, if so."""

    @abstractmethod
    def lies(self, features: Features, link: LayerLink, after: bool) -> Affine:
        """A norm's map as one of a layer's output channels or, `after` a norm, of its input channels: (channels,)."""

    @abstractmethod
    def read(self, layer: str) -> Linear:
        """A layer's weights in float64."""

    @abstractmethod
    def check_written(self, layer: str, linear: Linear) -> None:
        """Refuse weights that the layer's type cannot hold."""

    def words(self, layer: str) -> str:
        """A layer's name for messages."""
        return layer

    def check_plan(self, norm: str | None, plan: dict[str, Linear]) -> None:
        """Refuse a plan as a whole: new weights by layer for folding a norm, or for None the scaler."""
        for name, linear in plan.items():
            self.check_written(name, linear)

    def remove(self, norm: str) -> None:
        """Mark a norm as folded away."""
        self.gone.add(norm)


def from_channels_last(kernel: Floats, groups: int = 1) -> Floats:
    """A kernel (*taps, inputs / groups, outputs) as `Linear` has its weight; of a dense layer without taps."""
    weight = kernel.reshape(-1, *kernel.shape[-2:]).transpose(2, 1, 0)
    return weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])


def to_channels_last(weight: Floats, shape: tuple[int, ...]) -> Floats:
    """`from_channels_last` undone, for a kernel of that shape."""
    return weight.reshape(-1, *weight.shape[2:]).transpose(2, 1, 0).reshape(shape)


def layer_weights(
    linear: Linear, shape: tuple[int, ...], transposed: bool, embedding: bool
) -> tuple[Floats, Floats | None]:
    """A layer's weight of that shape, channels last, and its bias; an embedding has the bias in every row instead.

    transposed: whether the weight's last two axes are (outputs, inputs).
    """
    if transposed:
        values = to_channels_last(linear.weight, (*shape[:-2], *shape[:-3:-1])).swapaxes(-1, -2)
    else:
        values = to_channels_last(linear.weight, shape)
    return (values + linear.bias, None) if embedding else (values, linear.bias)


def norm_affine(mean: Floats, var: Floats, gamma: Floats | None, beta: Floats | None, eps: float) -> Affine:
    """A batch norm's map in evaluation, γ · (x − mean) / √(var + eps) + β, of one value for each channel: (f,).

    Raises:
        RefusalError: its numbers are not finite, or its features have several axes.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = (1.0 if gamma is None else gamma) / np.sqrt(var + eps)
    shift = 0.0 if beta is None else beta
    if not all(np.isfinite(p).all() for p in (mean, scale, shift)):
        raise RefusalError("its running statistics or parameters are not finite")
    if mean.ndim != 1:
        raise RefusalError(f"it has features of shape {mean.shape}, not one for each channel")
    return Affine(mean, scale, shift)


def check_size(values: Floats, dtype: str, max_value: float, min_normal: float) -> None:
    """Refuse weights beyond the largest number of a type, or all below its least normal one."""
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= max_value or 0 < largest < min_normal:
        raise RefusalError(f"the folded weights are beyond {dtype}: up to {largest:.3g}")


class FoldPlanner:
    """Plans the folding of a model: new float64 weights by layer, norms folded, and reasons for those skipped."""

    def __init__(self, graph: LayerGraph) -> None:
        self.graph = graph
        self.layers: dict[str, Linear] = {}
        self.done: list[FoldedNorm] = []
        self.why: dict[str, str] = {}
        self._folded: set[str] = set()

    def fold_norms(self) -> None:
        """Fold what can be, until nothing more can: a norm that is gone may have stood between two others."""
        found = True
        while found:
            found = sum(self._fold(norm) for norm in self._left()) > 0

    def _left(self) -> list[str]:
        """The norms that are not folded yet."""
        return [norm for norm in self.graph.norms if norm not in self._folded]

    def _fold(self, norm: str) -> bool:
        reasons = []
        for order, after in (("before", False), ("after", True)):
            try:
                features = self.graph.features(norm)
                plan = self._taking(self.graph.sites[norm], features) if after else self._giving(norm, features)
                self.graph.check_plan(norm, plan)
            except RefusalError as refused:
                reasons.append(str(refused))
                continue
            self.layers |= plan
            self._folded.add(norm)
            self.graph.remove(norm)
            self.done.append(FoldedNorm(norm, tuple(plan), order))
            return True
        self.why[norm] = "; ".join(dict.fromkeys(reasons))
        return False

    def _giving(self, norm: str, features: Features) -> dict[str, Linear]:
        """The layers before a norm, by name, with its map folded in."""
        ends = [self.graph.source(site) for site in self.graph.sites[norm]]
        layers = self._linears(ends, "its input comes from", after=False)
        return {end.layer: layers[end.layer].after(self.graph.lies(features, end, False)) for end in ends}

    def _taking(self, starts: Sequence[Any], features: Features) -> dict[str, Linear]:
        """The layers that read a map's output, by name, with the map folded in."""
        ends = [end for start in starts for end in self.graph.sinks(start)]
        layers = self._linears(ends, "its output goes to", after=True)
        for end in ends:
            if (why := self.graph.uneven(end.layer)) and linear_map.origin_of(features.affine).any():
                raise RefusalError(f"{self.graph.words(end.layer)} cannot take it: {why}")
        return {end.layer: layers[end.layer].before(self.graph.lies(features, end, True)) for end in ends}

    def _linears(self, ends: list[LayerLink], words: str, after: bool) -> dict[str, Linear]:
        """The weights of the layers called at the ends, by name; each must be called nowhere else."""
        sites = [end.site for end in ends]
        for end in ends:
            self.graph.check_linear(end.layer, words, after)
            if any(site not in sites for site in self.graph.sites[end.layer]):
                raise RefusalError(f"{words} {end.layer}, which is also called elsewhere")
        names = dict.fromkeys(end.layer for end in ends)
        return {name: self.layers.get(name) or self.graph.read(name) for name in names}

    def fold_scaler(self, features: Features, start: Any) -> str:
        """Fold what raw data go through into the layers that take the model's input; the name of the first."""
        try:
            plan = self._taking([start], features)
            self.graph.check_plan(None, plan)
        except RefusalError as refused:
            raise DataError(
                f"the input must go into linear layers of the scaler's features and nowhere else, for the scaler to be "
                f"folded into them: {refused}. Nothing is folded"
            ) from None
        self.layers |= plan
        self.done.append(FoldedNorm("scaler", tuple(plan), "after"))
        return next(iter(plan))

    def skipped(self) -> tuple[SkippedNorm, ...]:
        """The norms not folded, with the reasons."""
        return tuple(SkippedNorm(norm, self.why[norm]) for norm in self._left())
