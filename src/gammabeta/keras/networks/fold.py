"""Batch norm in evaluation is an affine map, and so is the layer before or after it: the two are one layer."""

from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
from keras import ops

from gammabeta.affine import Affine
from gammabeta.backends import arrays
from gammabeta.errors import DataError
from gammabeta.keras.networks import linear
from gammabeta.keras.networks.fold_graph import LayerGraph, functional
from gammabeta.networks.fold import report as fold_report
from gammabeta.networks.fold.planner import FoldPlanner, features_of
from gammabeta.networks.fold.report import Difference, Report


def fold(model: keras.Model, *, scaler: Any = None, example: Any = None) -> tuple[keras.Model, Report]:
    """A model for evaluation without its batch norms, each folded into the layers before it or after it.

    y = γ · (W·x + b − mean) / √(var + ε) + β is one linear layer, and so is W·(norm of x) + b. Which layers meet is
    read from the graph that Keras keeps, that of models within the model too, and what is not proven there is not
    folded but reported. Weights are computed in float64 and rounded once to their own type. In the place of a norm
    comes an `Identity` of its name.

    Args:
        model: a built Sequential, or a model of inputs and outputs. `keras.layers.BatchNormalization` and
            `gammabeta.keras.BatchNormalization` in it are folded into Dense, Embedding, Conv1D to 3D, their transposed
            and depthwise kinds, and, if it comes before, SeparableConv.
        scaler: what the raw data would go through before the model: a fitted `StandardScaler` or `MinMaxScaler` of
            gammabeta or scikit-learn, a pipeline of such, or an `Affine` of the input's features. The folded model then
            takes raw data as its first input.
        example: the model's input, for which the difference is measured: an array, a list of them or a dict; raw data
            if there is a scaler.

    Returns:
        The folded model, a copy, and the report. The model itself stays as it is.

    Raises:
        KindError: model is no Keras model.
        DataError: there is nothing to fold, the model has no graph, or the scaler cannot be folded into the first
            layer.

    >>> from keras import layers
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="conv", use_bias=False)])
    >>> model.add(layers.BatchNormalization(name="norm"))
    >>> model.add(layers.ReLU())
    >>> folded, report = fold(model)
    >>> print(report)
    1 folded, 0 skipped; traced by Keras' graph
      norm folded into conv, before it
    >>> [type(layer).__name__ for layer in folded.layers]
    ['Conv2D', 'Identity', 'ReLU']
    """
    features = None if scaler is None else features_of(scaler)
    graph = LayerGraph(model)
    if not graph.norms and features is None:
        raise DataError(
            "model must have batch norms (keras.layers.BatchNormalization or gammabeta.keras.BatchNormalization), or "
            "scaler= be given: there is nothing to fold"
        )
    work = FoldPlanner(graph)
    work.fold_norms()
    notes: tuple[str, ...] = ()
    if features is not None:
        first = graph.layers[work.fold_scaler(features, functional(model)._inputs[0])]
        dtype = str(first.variable_dtype)
        notes = fold_report.digits(features.affine, float(linear.limits(dtype).eps), dtype, "a float64 model")
    result = _Copies(graph, work).of(model)
    report = Report(tuple(work.done), work.skipped(), "by Keras' graph", notes=notes)
    if example is not None:
        scaled = example if scaler is None else _scaled(model, example, scaler)
        pairs = zip(_outputs(result, example), _outputs(model, scaled), strict=True)
        report = replace(report, difference=max((_difference(*pair) for pair in pairs), key=lambda d: d.ulps))
    return result, report


class _Copies:
    """Copies of a model's layers, those of a `FoldPlanner` folded."""

    def __init__(self, graph: LayerGraph, work: FoldPlanner) -> None:
        self.graph, self.work = graph, work
        self.copies: dict[int, tuple[Any, Any]] = {}

    def of(self, model: Any) -> Any:
        """The folded copy of a model."""
        new = self._cloned(model)
        for old, copy in self.copies.values():
            name = self.graph.names[id(old)]
            if name in self.work.layers:
                linear.write(copy, old, self.work.layers[name])
            elif name not in self.graph.gone and functional(old) is None:
                _restored(copy, old)
        return new

    def _cloned(self, model: Any) -> Any:
        more = {} if type(model) is keras.Sequential else {"call_function": _called}
        return keras.models.clone_model(model, clone_function=self._copy, **more)

    def _copy(self, layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            return layer  # an operation without weights
        if id(layer) not in self.copies:
            self.copies[id(layer)] = layer, self._made(layer)
        return self.copies[id(layer)][1]

    def _made(self, layer: Any) -> Any:
        name = self.graph.names.get(id(layer))
        if functional(layer) is not None:
            return self._cloned(layer)
        if name in self.graph.gone:
            return keras.layers.Identity(name=layer.name, dtype=layer.dtype_policy)
        config = layer.get_config()
        if name in self.work.layers and "use_bias" in config:
            config["use_bias"] = True
        try:
            return type(layer).from_config(config)
        except Exception as error:
            raise DataError(
                f"{name} ({type(layer).__name__}) must be one that its class' from_config can make again from its "
                f"get_config, as for saving the model, and it is not: {str(error).splitlines()[0]}. Nothing is folded"
            ) from None


def _called(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """A layer's call; an identity in the place of a norm takes no mask, nor whether it is training."""
    return layer(*args, **kwargs) if type(layer) is not keras.layers.Identity else layer(*args[:1])


def _restored(copy: Any, old: Any) -> None:
    """Give a copy what a layer has learned: its weights, what it makes of them, and what is saved beside them."""
    copy.set_weights(old.get_weights())
    for new, part in zip(copy._flatten_layers(), old._flatten_layers(), strict=True):
        if hasattr(part, "save_assets"):  # a vocabulary
            with TemporaryDirectory() as folder:
                part.save_assets(folder)
                new.load_assets(folder)
        elif isinstance(part, keras.layers.Normalization):  # reads its weights once
            new.finalize_state()


def _outputs(model: Any, example: Any) -> list[Any]:
    return [np.asarray(ops.convert_to_numpy(y)) for y in keras.tree.flatten(model(example, training=False))]


def _difference(got: Any, want: Any) -> Difference:
    limits = linear.limits(want.dtype.name)
    return fold_report.difference(got, want, float(limits.eps), float(limits.smallest_normal))


def _scaled(model: Any, example: Any, scaler: Any) -> Any:
    """The example with its first input scaled."""
    if isinstance(example, dict):
        first = model.inputs[0].name
        return {**example, first: _image(example[first], scaler)}
    if isinstance(example, tuple | list):
        return [_image(example[0], scaler), *example[1:]]
    return _image(example, scaler)


def _image(raw: Any, scaler: Any) -> Any:
    values = arrays.to_numpy(raw)
    image = scaler(values) if isinstance(scaler, Affine) else scaler.transform(values)
    return np.asarray(image, dtype=values.dtype)
