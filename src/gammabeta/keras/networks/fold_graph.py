"""Keras' `LayerGraph`: the calls of a Functional or Sequential model and of the models in it."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers
from keras.src.models.functional import Functional  # a model made of inputs and outputs has no public class

from gammabeta.affine import Affine
from gammabeta.errors import DataError, KindError
from gammabeta.keras.networks import linear, stat_layers
from gammabeta.keras.norm.layer import BatchNormalization
from gammabeta.networks.fold import planner
from gammabeta.networks.fold.planner import LayerLink
from gammabeta.networks.fold.report import RefusalError
from gammabeta.norm.linear_map import Features, Linear

NORMS = (layers.BatchNormalization, BatchNormalization)
_SAME = (
    layers.Identity,
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.ActivityRegularization,
)
_OUTPUT = "the model's output"


class LayerGraph(planner.LayerGraph):
    """The graph of calls that Keras records by `KerasTensor`s; a site is a Keras node."""

    def __init__(self, model: Any) -> None:
        if not isinstance(model, keras.layers.Layer):
            raise KindError(f"model must be a Keras model, got {type(model).__name__}")
        if functional(model) is None:
            raise DataError(
                f"model must be a built Sequential or a model of inputs and outputs, whose graph Keras keeps, got "
                f"{type(model).__name__}: fold such models within it, each by itself"
            )
        self.layers = stat_layers.inside(model)
        self.norms = [name for name, layer in self.layers.items() if stat_layers.is_norm(layer)]
        self.names = {id(layer): name for name, layer in self.layers.items()}
        self.sites: dict[str, list[Any]] = {}
        self.gone: set[str] = set()
        self.hidden: dict[str, str] = {}
        self.readers: dict[int, list[Any]] = {}
        self.made: dict[int, Any] = {}
        for graph in _graphs(model, set()):
            self._add(graph)

    def _add(self, graph: Any) -> None:
        for node in _nodes(graph):
            for tensor in node.arguments.keras_tensors:
                self.readers.setdefault(id(tensor), []).append(node)
            self.made |= {id(tensor): node for tensor in node.outputs}
            layer = node.operation
            if (name := self.names.get(id(layer))) is None:
                continue
            self.sites.setdefault(name, []).append(node)
            if functional(layer) is None:
                held = (self.names.get(id(part)) for part in stat_layers.inside(layer).values() if part is not layer)
                self.hidden |= {part: name for part in held if part is not None}
        for tensor in keras.tree.flatten(graph._outputs):
            self.readers.setdefault(id(tensor), []).append(_OUTPUT)

    def features(self, norm: str) -> Features:
        layer = self.layers[norm]
        kind: Any = getattr(type(layer), "thawed", type(layer))
        if kind not in NORMS:
            raise RefusalError(f"{type(layer).__name__} has a forward pass of its own")
        if norm in self.hidden:
            raise RefusalError(f"it is within {self.hidden[norm]}, whose calls Keras does not keep")
        if norm not in self.sites:
            raise RefusalError("it is not called")
        for site in self.sites[norm]:
            if _training(site) and layer.trainable and not getattr(layer, "is_frozen", False):
                raise RefusalError("it is called with training=True, and normalizes by each batch's own statistics")
            if getattr(layer, "zero_masked", False) and _masked(site):
                raise RefusalError("it is called with a mask, where its output is 0")
        return Features(_affine(layer), _axes(layer))

    def source(self, site: Any) -> LayerLink:
        reader = site
        while True:
            tensor = self._fed(reader)
            node = self.made.get(id(tensor))
            if node is None or node.is_input:
                raise RefusalError("it normalizes the model's input")
            if others := [other for other in self.readers[id(tensor)] if other is not reader]:
                raise RefusalError(f"{self.name(node)}, before it, also goes to {self.name(others[0])}")
            if self._way(node) != "same":
                return LayerLink(node, self.name(node))
            reader = node

    def sinks(self, site: Any) -> Sequence[LayerLink]:
        """site: a call of a norm, or one of the model's inputs."""
        found: list[LayerLink] = []
        waiting = [(site.outputs[0] if hasattr(site, "outputs") else site, 0)]
        while waiting:
            tensor, flat = waiting.pop()
            readers = self.readers.get(id(tensor), [])
            if not readers:
                raise RefusalError("nothing reads its output")
            for node in readers:
                if node is _OUTPUT:
                    raise RefusalError("its output is the model's")
                self._fed(node)
                way = self._way(node)
                if way is None:
                    found.append(LayerLink(node, self.name(node), flat))
                elif way == "flat":
                    waiting.append((node.outputs[0], flat or len(tensor.shape)))
                else:
                    waiting.append((node.outputs[0], flat))
        return found

    def check_linear(self, layer: str, words: str, after: bool) -> None:
        if layer not in self.layers:
            raise RefusalError(f"{words} {layer}, which is not linear or not known to be")
        if why := linear.unusable(self.layers[layer], after):
            raise RefusalError(f"{words} {layer} ({type(self.layers[layer]).__name__}), which {why}")
        if layer in self.hidden:
            raise RefusalError(f"{words} {layer}, which {self.hidden[layer]} also holds")

    def uneven(self, layer: str) -> str | None:
        return linear.uneven(self.layers[layer])

    def lies(self, features: Features, link: LayerLink, after: bool) -> Affine:
        layer, affine = self.layers[link.layer], features.affine
        tensor = self._fed(link.site) if after else link.site.outputs[0]
        rank = len(tensor.shape)
        wanted: tuple[int, ...] = (linear.channel_axis(layer, rank),)
        size = linear.read(layer).inputs if after else linear.read(layer).outputs
        if link.flat:
            affine, wanted = _flat(features, link.flat, size), features.axes(link.flat)
        if features.axes(link.flat or rank) != wanted:
            raise RefusalError(f"its features lie on another axis than those of {link.layer}")
        if affine.shape != (size,):
            raise RefusalError(f"{link.layer} takes {size} features, and the map has {features.affine.shape}")
        return affine

    def read(self, layer: str) -> Linear:
        return linear.read(self.layers[layer])

    def check_written(self, layer: str, linear_: Linear) -> None:
        linear.written(self.layers[layer], linear_)

    def name(self, node: Any) -> str:
        """A call in words: the name of the layer, if it is one."""
        if node is _OUTPUT:
            return _OUTPUT
        return self.names.get(id(node.operation), f"the function {node.operation.name}")

    def _fed(self, node: Any) -> Any:
        """The one tensor that a call takes."""
        given = node.arguments.keras_tensors
        if len(given) != 1:
            raise RefusalError(f"its output goes to {self.name(node)}" if given else f"{self.name(node)} is an input")
        return given[0]

    def _way(self, node: Any) -> str | None:
        """How a value passes a call unchanged: "same", "flat"; or None."""
        layer = node.operation
        if self.name(node) in self.gone or (type(layer) in _SAME and not _training(node)):
            return "same"
        flattens = type(layer) is layers.Flatten and layer.data_format == "channels_last"
        return "flat" if flattens else None


def functional(model: Any) -> Any:
    """A model with a graph as Keras' Functional, or None if there is no graph, or a call of one's own."""
    inner = model._functional if type(model) is keras.Sequential else model
    return inner if isinstance(inner, Functional) and type(inner).call is Functional.call else None


def _graphs(model: Any, seen: set[int]) -> Iterator[Any]:
    """A model's graph, and those of the models in it, each once."""
    graph = functional(model)
    if graph is None or id(graph) in seen:
        return
    seen.add(id(graph))
    yield graph
    for node in _nodes(graph):
        yield from _graphs(node.operation, seen)


def _nodes(graph: Any) -> list[Any]:
    """The calls of a graph, inputs included, in order."""
    return [node for _, nodes in sorted(graph._nodes_by_depth.items(), reverse=True) for node in nodes]


def _training(node: Any) -> bool:
    """Whether a call says that it is training."""
    given = node.arguments
    return bool(given.kwargs.get("training", given.args[1] if len(given.args) > 1 else False))


def _masked(node: Any) -> bool:
    masks = (getattr(tensor, "_keras_mask", None) for tensor in node.arguments.keras_tensors)
    return node.arguments.kwargs.get("mask") is not None or any(mask is not None for mask in masks)


def _axes(layer: Any) -> Any:
    named = layer.axis if isinstance(layer.axis, tuple) else (layer.axis,)
    return lambda rank: tuple(sorted(a % rank for a in named))


def _affine(layer: Any) -> Affine:
    mean, var = linear.floats(layer.moving_mean), linear.floats(layer.moving_variance)
    gamma, beta = (None if value is None else linear.floats(value) for value in (layer.gamma, layer.beta))
    return planner.norm_affine(mean, var, gamma, beta, layer.epsilon)


def _flat(features: Features, rank: int, inputs: int) -> Affine:
    """The map of (n, …, c) made (n, inputs): channels vary fastest."""
    affine, along = features.affine, features.axes(rank)
    if along not in ((rank - 1,), tuple(range(1, rank))):
        raise RefusalError("its features do not lie on the last axis, which stays in order when it is flattened")
    many = max(1, inputs // max(1, affine.center.size))
    return Affine(*(np.tile(p.reshape(-1), many) for p in (affine.center, affine.slope, affine.shift)))
