"""torch's models as `NetworkSnapshot`, and back: what a model has learned, to and from other frameworks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from gammabeta import axes
from gammabeta.backends import arrays
from gammabeta.networks.transfer import snapshot as snapshots
from gammabeta.networks.transfer.layout import Layout, norm_rules
from gammabeta.networks.transfer.load import Parity, adopted
from gammabeta.networks.transfer.snapshot import Array, LayerSnapshot, NetworkSnapshot, check_snapshot
from gammabeta.torch.networks import linear, modules, norm_kinds
from gammabeta.torch.networks.norm_kinds import SOURCES
from gammabeta.torch.norm import group_layers
from gammabeta.torch.norm.layer import BatchNorm


def snapshot(model: nn.Module, example: Any) -> NetworkSnapshot:
    """What a model has learned, layer by layer in the order of use, for `load_snapshot` of any framework.

    Args:
        model: Linear, Conv1d to 3d, ConvTranspose1d to 3d, Embedding, LayerNorm, GroupNorm, and batch norms, torch's
            and this library's. It is run in evaluation mode, and stays as it is.
        example: its input, a tensor or a tuple of them.

    >>> network = snapshot(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.LayerNorm(2)), torch.ones(4, 3))
    >>> [str(layer) for layer in network.layers]
    ['0 (dense)', '2 (layer norm)']
    """
    modules.check(model)
    modules.check_values(model)
    own, seen = modules.skeleton(model), dict[str, LayerSnapshot]()

    def watch(path: str, layer: Any) -> None:
        def write_down(layer: Any, args: Any, y: torch.Tensor) -> None:
            if path not in seen:
                seen[path] = _read(path, layer, args[0], y)

        layer.register_forward_hook(write_down)

    for path, layer in own.named_modules():
        if _LAYOUT.kind(layer):
            watch(path, layer)
    with torch.no_grad():
        y = modules.called(own, example)
    held = (path for path, layer in own.named_modules() if layer._parameters or modules.is_norm(layer))
    loose = [f"{path} ({type(own.get_submodule(path)).__name__})" for path in held if path not in seen]
    given = tuple(arrays.to_numpy(x) for x in modules.arguments(example)[0])
    images = any(layer.kind in (snapshots.CONVOLUTION, snapshots.TRANSPOSED) for layer in list(seen.values())[:1])
    example = tuple(np.moveaxis(x, 1, -1) if images and x.ndim > 2 else x for x in given)
    return NetworkSnapshot("torch", tuple(seen.values()), example, True, tuple(loose), snapshots.flat(y, _floats))


def load_snapshot(
    model: nn.Module, network: NetworkSnapshot, example: Any = None, *, names: Mapping[str, str] | None = None
) -> Parity:
    """Give a model what another has learned, in place, and say where the two part.

    Layers match in the order of their use; where branches are run in another order, by what each layer is given.

    Args:
        model: of the same layers, whatever their names and whichever of its branches runs first.
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
        kind = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
        given = (torch.from_numpy(np.ascontiguousarray(x)) for x in network.inputs(channels_first=True))
        example = tuple(x.to(kind) if x.is_floating_point() else x for x in given)

    @torch.no_grad()
    def write(path: str, weights: dict[str, Array]) -> None:
        layer = model.get_submodule(path)
        for name, value in weights.items():
            place = getattr(layer, _LAYOUT.attributes(layer)[name])
            place.copy_(torch.from_numpy(np.ascontiguousarray(value, np.float64)))

    return adopted(network, lambda: snapshot(model, example), write, names)


_KINDS = {
    nn.Linear: snapshots.DENSE,
    nn.Embedding: snapshots.EMBEDDING,
    nn.LayerNorm: snapshots.LAYER,
    nn.GroupNorm: snapshots.GROUP,
    group_layers.LayerNorm: snapshots.LAYER,
    group_layers.GroupNorm: snapshots.GROUP,
    BatchNorm: snapshots.BATCH,
    **dict.fromkeys(linear.CONVOLUTIONS, snapshots.CONVOLUTION),
    **dict.fromkeys(linear.TRANSPOSED, snapshots.TRANSPOSED),
    **dict.fromkeys(SOURCES, snapshots.BATCH),
}


def _class(layer: Any) -> type:
    """The class of a layer before it was frozen; of a subclass that computes as torch's layer does, torch's."""
    thawed: type | None = getattr(type(layer), "thawed", None)
    if thawed is None and norm_kinds.known(layer) and not norm_kinds.follows(layer):
        return norm_kinds.kind(layer)
    return thawed or linear.kind(layer)


_LAYOUT = Layout(
    _KINDS,
    {"weight": "weight"},
    {"weight": "weight", "bias": "bias"},
    {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"},
    _class,
)


def _read(path: str, layer: Any, x: torch.Tensor, y: torch.Tensor) -> LayerSnapshot:
    kind = _LAYOUT.kind(layer)
    weights = {name: _floats(value) for name, value in _LAYOUT.variables(layer).items()}
    given, gave = (_last(t, _axis(layer, kind, t.ndim)) for t in (x, y))
    return LayerSnapshot(
        path, kind, weights, _rules(layer, kind), given if kind != snapshots.EMBEDDING else _floats(x), gave
    )


def _rules(layer: Any, kind: str) -> dict[str, Any]:
    momentum = getattr(layer, "momentum", None)
    decay = None if momentum is None else round(1 - momentum, 15)
    rules = norm_rules(layer, kind, eps="eps", groups="num_groups", decay=decay, unbiased=True)
    if kind in (snapshots.CONVOLUTION, snapshots.TRANSPOSED):
        rules |= {"groups": layer.groups, "strides": layer.stride, "dilation": layer.dilation}
    if kind == snapshots.CONVOLUTION and not isinstance(layer.padding, str):
        rules["padding"] = tuple((n, n) for n in layer.padding)
    return rules


def _axis(layer: Any, kind: str, rank: int) -> int:
    """The axis of the features."""
    if kind in (snapshots.DENSE, snapshots.EMBEDDING, snapshots.LAYER):
        return -1
    axis = getattr(layer, "axis", None)
    return 1 if axis is None else axes.feature_axes(axis, rank)[-1]


def _last(tensor: torch.Tensor, axis: int) -> Array:
    return np.moveaxis(_floats(tensor), axis, -1)


def _floats(tensor: torch.Tensor) -> Array:
    values: Array = arrays.to_numpy(tensor.detach().to("cpu", torch.float64)).copy()
    return values
