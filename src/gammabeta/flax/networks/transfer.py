"""flax' nnx models as `NetworkSnapshot`, and back: what a model has learned, to and from other frameworks."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from flax import nnx
from jax import numpy as jnp

from gammabeta.errors import KindError
from gammabeta.flax.norm.layer import BatchNorm
from gammabeta.networks.transfer import snapshot as snapshots
from gammabeta.networks.transfer.layout import Layout, norm_rules, unfrozen_class
from gammabeta.networks.transfer.load import Parity, adopted
from gammabeta.networks.transfer.snapshot import Array, LayerSnapshot, NetworkSnapshot, check_snapshot

_KINDS: dict[type, str] = {
    nnx.Linear: snapshots.DENSE,
    nnx.Embed: snapshots.EMBEDDING,
    nnx.LayerNorm: snapshots.LAYER,
    nnx.GroupNorm: snapshots.GROUP,
    nnx.BatchNorm: snapshots.BATCH,
    BatchNorm: snapshots.BATCH,
    nnx.Conv: snapshots.CONVOLUTION,
    nnx.ConvTranspose: snapshots.TRANSPOSED,
}
_LAYOUT = Layout(
    _KINDS,
    {"weight": "embedding"},
    {"weight": "kernel", "bias": "bias"},
    {"gamma": "scale", "beta": "bias", "mean": "mean", "var": "var"},
)


def snapshot(model: Any, example: Any) -> NetworkSnapshot:
    """What a model has learned, layer by layer in the order of use, for `load_snapshot` of any framework.

    Args:
        model: an `nnx.Module` of Linear, Conv, ConvTranspose, Embed, LayerNorm, GroupNorm, and batch norms, flax' and
            this library's. A copy is run in evaluation mode; the model stays as it is.
        example: its input, an array or a tuple of them.
    """
    if not isinstance(model, nnx.Module):
        raise KindError(f"model must be a flax.nnx.Module, got {type(model).__name__}")
    own = nnx.clone(model)
    own.eval()
    given = example if isinstance(example, tuple | list) else (example,)
    paths = {id(layer): path for path, layer in _modules(own).items()}
    seen: dict[str, LayerSnapshot] = {}
    with ExitStack() as stack:
        for kind in _KINDS:
            stack.enter_context(_watched(kind, paths, seen))
        y = own(*(jnp.asarray(x) for x in given))
    held = {path: layer for path, layer in _modules(own).items() if _holds(layer)}
    loose = [f"{path} ({type(layer).__name__})" for path, layer in held.items() if path not in seen]
    return NetworkSnapshot(
        "flax", tuple(seen.values()), tuple(_floats(x) for x in given), False, tuple(loose), snapshots.flat(y, _floats)
    )


def load_snapshot(
    model: Any, network: NetworkSnapshot, example: Any = None, *, names: Mapping[str, str] | None = None
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
        example = network.inputs(channels_first=False)

    def write(path: str, weights: dict[str, Array]) -> None:
        layer = _modules(model)[path]
        for name, value in weights.items():
            place = getattr(layer, _LAYOUT.attributes(layer)[name])
            place[...] = jnp.asarray(_turned(layer, name, value, (0, 1), (-1, -2)), place.dtype)

    return adopted(network, lambda: snapshot(model, example), write, names)


def _modules(model: Any) -> dict[str, Any]:
    return {".".join(map(str, path)): module for path, module in nnx.iter_modules(model)}


def _holds(layer: Any) -> bool:
    """Whether a module has parameters of its own."""
    return any(isinstance(value, nnx.Param) for value in vars(layer).values())


@contextmanager
def _watched(kind: Any, paths: dict[int, str], seen: dict[str, LayerSnapshot]) -> Iterator[None]:
    """Write down the first call of each layer of a kind. flax has no hooks: the class' call is exchanged."""
    call = kind.__call__

    def called(self: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        y = call(self, x, *args, **kwargs)
        path = paths.get(id(self))
        if path is not None and unfrozen_class(self) is kind and path not in seen:
            seen[path] = _read(path, self, x, y)
        return y

    kind.__call__ = called
    try:
        yield
    finally:
        kind.__call__ = call


def _read(path: str, layer: Any, x: Any, y: Any) -> LayerSnapshot:
    kind = _LAYOUT.kind(layer)
    weights = {
        name: _turned(layer, name, _floats(value[...]), (-1, -2), (0, 1))
        for name, value in _LAYOUT.variables(layer).items()
        if value[...] is not None
    }
    return LayerSnapshot(path, kind, weights, _rules(layer, kind, x), _floats(x), _floats(y))


def _turned(layer: Any, name: str, value: Array, source: tuple[int, int], target: tuple[int, int]) -> Array:
    """A weight from flax' axes to those of `LayerSnapshot`, or back.

    Without `transpose_kernel` a transposed convolution has its inputs before its outputs, and its taps backwards.
    """
    kind = _LAYOUT.kind(layer)
    if name != "weight" or kind == snapshots.EMBEDDING:
        return value
    if kind != snapshots.TRANSPOSED or layer.transpose_kernel:
        return np.moveaxis(value, source, target)
    pair = (source[1], source[0]) if source[0] < 0 else source
    ends = (target[1], target[0]) if target[0] < 0 else target
    moved = np.moveaxis(value, pair, ends)
    taps = range(2, value.ndim) if target == (0, 1) else range(value.ndim - 2)
    return np.flip(moved, tuple(taps))


def _rules(layer: Any, kind: str, x: Any) -> dict[str, Any]:
    decay = getattr(layer, "momentum", None)
    rules = norm_rules(layer, kind, eps="epsilon", groups="num_groups", decay=decay, unbiased=False)
    if kind == snapshots.CONVOLUTION:
        many = len(_each(layer.kernel_size, 1))
        taps, strides, steps = (_each(n, many) for n in (layer.kernel_size, layer.strides, layer.kernel_dilation))
        rules |= {"groups": layer.feature_group_count, "strides": strides, "dilation": steps}
        padding = layer.padding.upper() if isinstance(layer.padding, str) else None
        if padding == "VALID":
            rules["padding"] = ((0, 0),) * many
        elif padding == "SAME":
            rules["padding"] = snapshots.same_padding(x.shape[1:-1], taps, strides, steps)
    return rules


def _each(value: Any, many: int) -> tuple[int, ...]:
    """A number for each axis, as flax means one or none."""
    return tuple(value) if isinstance(value, tuple | list) else (1 if value is None else int(value),) * many


def _floats(x: Any) -> Array:
    values = np.asarray(x)
    return values if values.dtype.kind in "iu" else values.astype(np.float64)
