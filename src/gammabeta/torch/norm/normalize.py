"""A fitted map as a layer: what normalizes a network's inputs travels with its weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch

from gammabeta.backends.array_ops import SINGLE_ONLY
from gammabeta.errors import DataError
from gammabeta.networks import normalize

Tensor = torch.Tensor


class Normalize(torch.nn.Module):
    """y = (x − center) · slope + shift, by a fitted scaler or an `Affine`, clipped where the scaler clips.

    In float64, rounded once to x's type: the bits of `scaler.transform`, in a compiled or exported network too unless
    its compiler contracts. On a device without float64 it is float32's, the center in two parts. An integer x gives
    torch's default type. Differentiable in x; the map does not learn.

    Args:
        scaler: a fitted `StandardScaler` or `MinMaxScaler`, of gammabeta or scikit-learn, a pipeline of such, or an
            `Affine`. The features lie where the scaler's `axis` says; a table's, and an `Affine`'s, on x's last axes.

    `center`, `slope` and `shift` are buffers: float32, three parts along the first axis, whose sum is the number in
    float64. They stay float32 when the module is cast, as by `.half()`.

    Raises:
        DataError: a parameter that is not finite or that float32 does not reach; at a call, x has other features.
        KindError: the scaler is none of these.

    >>> from gammabeta import StandardScaler
    >>> layer = Normalize(StandardScaler().fit([[999999.0], [1000001.0]]))
    >>> layer(torch.tensor([[1000001.0]]))
    tensor([[1.]])
    """

    center: Tensor
    slope: Tensor
    shift: Tensor

    def __init__(self, scaler: Any) -> None:
        super().__init__()
        fitted, self.axis = normalize.fitted(scaler)
        self.limits = fitted.limits
        for name in ("center", "slope", "shift"):
            self.register_buffer(name, torch.from_numpy(normalize.parts(getattr(fitted, name))))

    def forward(self, x: Tensor) -> Tensor:
        """The image of x, of its shape."""
        shape = normalize.parameter_shape(tuple(self.center.shape[1:]), self.axis, tuple(x.shape))
        center, slope, shift = (p.reshape(3, *shape) for p in (self.center, self.slope, self.shift))
        dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
        if x.device.type in SINGLE_ONLY:
            y = ((x.float() - center[0]) - center[1]) * slope[0] + shift[0]
        else:
            center, slope, shift = ((p[0].double() + p[1].double()) + p[2].double() for p in (center, slope, shift))
            y = (x.double() - center) * slope + shift
        return (y if self.limits is None else y.clamp(*self.limits)).to(dtype)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"{tuple(self.center.shape[1:])}, axis={self.axis}" + (f", limits={self.limits}" if self.limits else "")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the buffers, and keep their type: a half has no parts of a float64."""
        held = {name: buffer for name, buffer in self._buffers.items() if buffer is not None}
        super()._apply(fn, recurse)
        for name, before in held.items():
            after = self._buffers[name]
            if after is not None and after.dtype != before.dtype:
                self._buffers[name] = before.to(after.device)
        return self


def save_program(scaler: Any, path: Path) -> None:
    """Write a table's map as a program of torch.export, from float32 (rows, features): torch alone runs it."""
    layer = Normalize(scaler)
    if layer.center.ndim != 2 or layer.axis not in (None, 0):
        raise DataError(f"the map must be of a table's columns, got features of shape {tuple(layer.center.shape[1:])}")
    example = torch.zeros(2, layer.center.shape[1])
    program = torch.export.export(layer, (example,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    with path.open("wb") as file:
        torch.export.save(program, file)
