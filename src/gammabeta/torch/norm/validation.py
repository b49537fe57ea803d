"""The torch layer's checks of its arguments, inputs and loaded states, made before anything is updated."""

from collections.abc import Mapping
from math import prod
from numbers import Integral
from typing import Any

import torch

from gammabeta import axes
from gammabeta.conventions import check_eps
from gammabeta.errors import DataError, KindError
from gammabeta.norm.running_stats import check_count, check_ghost, check_renorm

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def features(num_features: Any, axis: axes.Axis | None) -> tuple[int, ...]:
    """`num_features` as the shape of γ and β."""
    shape = (num_features,) if isinstance(num_features, Integral) else tuple(num_features)
    if not shape or not all(isinstance(n, Integral) and int(n) > 0 for n in shape):
        raise DataError(f"num_features must be a positive integer, or with axis= a tuple of them, got {num_features!r}")
    if axis is None and len(shape) > 1:
        raise DataError(f"num_features must be one integer, unless axis= names the reduced axes, got {num_features!r}")
    if axis is not None:
        axes.reduced(axis, 64)  # whether these are axes at all, each named once: an array has at most 64
    return tuple(int(n) for n in shape)


def options(eps: float, momentum: float | None, activation: Any, ghost: Any, renorm: Any, tracked: bool) -> None:
    """Check the layer's other arguments."""
    check_eps(eps)
    if momentum is not None and not 0 <= momentum <= 1:
        raise DataError(
            f"momentum, the weight of the new batch, must be from 0 to 1, or None for the mean of all, got {momentum}"
        )
    if activation not in (None, "relu", "silu"):
        raise DataError(f'activation must be None, "relu" or "silu", got {activation!r}: apply any other to the output')
    check_ghost(ghost)
    if renorm is not None:
        check_renorm(renorm)
        if not tracked:
            raise DataError("renorm needs the running statistics: leave track_running_stats=True")


def reduced(layer: Any, x: Any) -> tuple[int, ...]:
    """The reduced axes of x, which must be of a floating type and have the layer's features."""
    if not isinstance(x, torch.Tensor):
        raise KindError(f"x must be a torch.Tensor, got {type(x).__name__}: use torch.as_tensor(x)")
    if x.dtype not in FLOATS:
        raise KindError(f"x must be float16, bfloat16, float32 or float64, got {x.dtype}: convert it with x.float()")
    if layer.axis is not None:
        reduced_axes = axes.reduced(layer.axis, x.ndim)
    elif x.ndim < 2:
        raise DataError(
            f"x must be (n, c) or (n, c, …), with {layer.num_features} channels on axis 1, got shape {tuple(x.shape)}"
        )
    else:
        reduced_axes = (0, *range(2, x.ndim))
    if layer._ranks is not None and x.ndim not in layer._ranks:
        raise DataError(
            f"x must have {' or '.join(map(str, layer._ranks))} axes, as the layer that this one was converted from "
            f"takes them, got shape {tuple(x.shape)}: batch it with x.unsqueeze(0), or use gammabeta.torch.BatchNorm"
        )
    found = tuple(x.shape[i] for i in range(x.ndim) if i not in reduced_axes)
    if found != layer.features:
        raise DataError(
            f"x must have features {layer.features} beside the reduced axes {reduced_axes}, got {found} in shape "
            f"{tuple(x.shape)}; give the layer num_features={found[0] if len(found) == 1 else found}, or axis="
        )
    for name in ("weight", "bias", "running_mean", "running_var"):
        value = getattr(layer, name)
        if value is not None and tuple(value.shape) != layer.features:
            raise DataError(
                f"{name} must have shape {layer.features}, that of the layer's features, got {tuple(value.shape)}: "
                f"replace it by one of that shape, or the layer by one of other features"
            )
    return reduced_axes


def enough(x: torch.Tensor, reduced_axes: tuple[int, ...]) -> None:
    """Raise unless x has two values of each feature, for the batch's own statistics."""
    check_count(prod([x.shape[i] for i in reduced_axes]), x.shape, "layer.eval()")


def check_residual(x: torch.Tensor, residual: torch.Tensor | None) -> None:
    """Raise unless a residual has x's shape and dtype."""
    if residual is not None and (residual.shape != x.shape or residual.dtype != x.dtype):
        raise DataError(
            f"residual must have x's shape {tuple(x.shape)} and dtype {x.dtype}, got {tuple(residual.shape)} and "
            f"{residual.dtype}: expand or convert it"
        )


def shapes(state: Mapping[str, Any], prefix: str, own: Mapping[str, Any]) -> list[str]:
    """Messages on entries of a state_dict whose shapes are not the layer's; [] if all fit."""
    return [
        f"{prefix}{name} must have shape {tuple(value.shape)}, got {tuple(state[prefix + name].shape)}: the state is "
        f"that of a layer with other features, and nothing of it was loaded here"
        for name, value in own.items()
        if value is not None and prefix + name in state and not _loads(state[prefix + name].shape, value.shape)
    ]


def _loads(given: Any, own: Any) -> bool:
    """Whether `Module.load_state_dict` takes that shape: it makes a scalar of the first of (n,)."""
    return bool(given == own) or (len(own) == 0 and len(given) == 1 and given[0] > 0)


def check_sync_conversion(dropped: dict[str, Any]) -> None:
    """Raise unless a layer does no more than a SyncBatchNorm, which keeps none of what is `dropped`."""
    if dropped:
        raise DataError(
            f"SyncBatchNorm.convert_sync_batchnorm must be given layers that do what torch's do, and one has "
            f"{dropped}, which it would drop: set layer.sync = True, or to a process group, in the place of it. "
            f"Layers before this one may have been converted"
        )
