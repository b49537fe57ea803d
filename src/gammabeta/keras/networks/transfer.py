"""Keras' models as `NetworkSnapshot`, and back: what a model has learned, to and from other frameworks."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.layers import BatchNormalization, Dense, DepthwiseConv1D, DepthwiseConv2D, Embedding

from gammabeta.errors import KindError
from gammabeta.keras.norm.layer import BatchNormalization as Ours
from gammabeta.networks.transfer import snapshot as snapshots
from gammabeta.networks.transfer.layout import Layout, norm_rules, unfrozen_class
from gammabeta.networks.transfer.load import Parity, adopted
from gammabeta.networks.transfer.snapshot import Array, LayerSnapshot, NetworkSnapshot, check_snapshot

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_DEPTHWISE = (DepthwiseConv1D, DepthwiseConv2D)
_TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
_KINDS: dict[type, str] = {
    Dense: snapshots.DENSE,
    Embedding: snapshots.EMBEDDING,
    keras.layers.LayerNormalization: snapshots.LAYER,
    keras.layers.GroupNormalization: snapshots.GROUP,
    BatchNormalization: snapshots.BATCH,
    Ours: snapshots.BATCH,
    **dict.fromkeys((*_CONVOLUTIONS, *_DEPTHWISE), snapshots.CONVOLUTION),
    **dict.fromkeys(_TRANSPOSED, snapshots.TRANSPOSED),
}
_LAYOUT = Layout(
    _KINDS,
    {"weight": "embeddings"},
    {"weight": "kernel", "bias": "bias"},
    {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "var": "moving_variance"},
)


def snapshot(model: Any, example: Any) -> NetworkSnapshot:
    """What a model has learned, layer by layer in the order of use, for `load_snapshot` of any framework.

    Args:
        model: Dense, Conv1D to 3D, DepthwiseConv, ConvTranspose, Embedding, LayerNormalization, GroupNormalization, and
            batch normalization, Keras' and this library's. It is run in evaluation mode, and stays as it is.
        example: its input, an array or a tuple of them.
    """
    if not isinstance(model, keras.layers.Layer):
        raise KindError(f"model must be a Keras model or layer, got {type(model).__name__}")
    given = tuple(_floats(x) for x in (example if isinstance(example, tuple | list) else (example,)))
    leaves, seen = _leaves(model), dict[str, LayerSnapshot]()
    with ExitStack() as stack:
        for path, layer in leaves.items():
            if unfrozen_class(layer) in _KINDS:
                stack.enter_context(_watched(path, layer, seen))
        taken = [ops.convert_to_tensor(x) for x in (example if isinstance(example, tuple | list) else (example,))]
        y = model(taken[0] if len(taken) == 1 else taken, training=False)
    loose = [f"{path} ({type(layer).__name__})" for path, layer in leaves.items() if layer.weights and path not in seen]
    return NetworkSnapshot("keras", tuple(seen.values()), given, False, tuple(loose), snapshots.flat(y, _floats))


def load_snapshot(
    model: Any, network: NetworkSnapshot, example: Any = None, *, names: Mapping[str, str] | None = None
) -> Parity:
    """Give a model what another has learned, in place, and say where the two part.

    Layers match in the order of their use; where branches are run in another order, by what each layer is given.

    Args:
        model: built, of the same layers, whatever their names and whichever of its branches runs first.
        network: what `snapshot` of any framework gave.
        example: the model's input, if it is not the other's with the channels of images moved.
        names: from names of the network's layers to names of the model's, for those that would be matched wrongly; the
            others are matched as without it.

    Returns:
        Where the two part: the first layer that does, and why; and what is set differently.

    Raises:
        StateError: the layers do not match, or those that `names` brings together are of other kinds or shapes; the
            message names the first, and nothing is written.
        DataError: `names` has a name that is no layer's, or one twice; nothing is written.
    """
    check_snapshot(network)
    if example is None:
        example = network.inputs(channels_first=False)
        if network.layers[0].kind != snapshots.EMBEDDING:
            example = tuple(np.asarray(x, np.float32) for x in example)

    def write(path: str, weights: dict[str, Array]) -> None:
        layer = _leaves(model)[path]
        for name, value in weights.items():
            place = getattr(layer, _LAYOUT.attributes(layer)[name])
            place.assign(_theirs(layer, name, value).reshape(place.shape))

    return adopted(network, lambda: snapshot(model, example), write, names)


def _leaves(model: Any) -> dict[str, Any]:
    """The innermost layers, by names that are their own."""
    leaves: dict[str, Any] = {}
    for layer in model._flatten_layers():
        if not list(layer._flatten_layers(include_self=False)):
            name = layer.name if layer.name not in leaves else f"{layer.name}#{len(leaves)}"
            leaves[name] = layer
    return leaves


@contextmanager
def _watched(path: str, layer: Any, seen: dict[str, LayerSnapshot]) -> Iterator[None]:
    """Write down the first call of a layer, before its activation."""
    call, held = layer.call, vars(layer)
    activation: Any = getattr(layer, "activation", None)
    before: list[Any] = []

    def called(x: Any, *args: Any, **kwargs: Any) -> Any:
        before.clear()
        y = call(x, *args, **kwargs)
        if path not in seen:
            seen[path] = _read(path, layer, x, before[0] if before else y)
        return y

    def activated(x: Any) -> Any:
        before.append(x)
        return activation(x)

    held["call"] = called
    if activation is not None:
        held["activation"] = activated
    try:
        yield
    finally:
        del held["call"]
        if activation is not None:
            held["activation"] = activation


def _read(path: str, layer: Any, x: Any, y: Any) -> LayerSnapshot:
    kind = _LAYOUT.kind(layer)
    weights = {name: _canonical(layer, name, _floats(value)) for name, value in _LAYOUT.variables(layer).items()}
    axis = _axis(layer)
    given = _floats(x) if kind == snapshots.EMBEDDING else np.moveaxis(_floats(x), axis, -1)
    return LayerSnapshot(path, kind, weights, _rules(layer, kind, given), given, np.moveaxis(_floats(y), axis, -1))


def _canonical(layer: Any, name: str, value: Array) -> Array:
    """A weight as `LayerSnapshot` has it."""
    kind = _LAYOUT.kind(layer)
    if name != "weight" or kind == snapshots.EMBEDDING:
        return value
    if isinstance(layer, _DEPTHWISE):  # (*taps, in, multiplier)
        value = value.reshape(*value.shape[:-2], 1, -1)
    return np.moveaxis(value, (-1, -2), (0, 1))


def _theirs(layer: Any, name: str, value: Array) -> Array:
    """`_canonical` undone; of a depthwise kernel up to its shape."""
    plain = name != "weight" or _LAYOUT.kind(layer) == snapshots.EMBEDDING
    return value if plain else np.moveaxis(value, (0, 1), (-1, -2))


def _axis(layer: Any) -> int:
    """The axis of the features."""
    if hasattr(layer, "data_format"):
        return -1 if layer.data_format == "channels_last" else 1
    axis = getattr(layer, "axis", -1)
    return int(axis[0] if isinstance(axis, tuple | list) else axis)


def _rules(layer: Any, kind: str, given: Array) -> dict[str, Any]:
    decay = getattr(layer, "momentum", None)
    rules = norm_rules(layer, kind, eps="epsilon", groups="groups", decay=decay, unbiased=False)
    if kind in (snapshots.CONVOLUTION, snapshots.TRANSPOSED):
        groups = given.shape[-1] if isinstance(layer, _DEPTHWISE) else layer.groups if hasattr(layer, "groups") else 1
        rules |= {"groups": groups, "strides": tuple(layer.strides), "dilation": tuple(layer.dilation_rate)}
    if kind == snapshots.CONVOLUTION and layer.padding in ("same", "valid"):
        valid = ((0, 0),) * len(layer.kernel_size)
        sizes = given.shape[1:-1], layer.kernel_size, layer.strides, layer.dilation_rate
        rules["padding"] = valid if layer.padding == "valid" else snapshots.same_padding(*sizes)
    return rules


def _floats(x: Any) -> Array:
    values = np.asarray(ops.convert_to_numpy(x))
    return values.astype(np.float64) if values.dtype.kind != "i" else values
