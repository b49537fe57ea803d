"""Exact statistics and affine maps of CUDA tensors where they lie: the bits that NumPy arrays of their values give."""

from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gammabeta import axes
from gammabeta.backends import arrays
from gammabeta.kernels import limbs, minmax, moments
from gammabeta.kernels.minmax import Range
from gammabeta.kernels.moments import Sums
from gammabeta.torch.norm.gpu_tiling import INTERPRETED, TRITON, Tiling, dense

Tensor = torch.Tensor
Integers = NDArray[np.int64]

TILE = 2048  # values, 8 for each thread of 8 warps: six 64-bit sums each leave registers for the rest
LANE = 4095  # tiles that a lane adds up

_SINGLE = (torch.float32, torch.bfloat16, torch.float16, torch.uint8, torch.int8, torch.int16)
_DOUBLE = (torch.float64, torch.int32)


def takes(x: Tensor) -> bool:
    """Whether x lies on a GPU, or is to be treated so (Triton's interpreter)."""
    return x.is_cuda or INTERPRETED


def sums(x: Tensor, axis: axes.Axis, omit: bool) -> Sums:
    """Exact Σx and Σx² of a tensor, as `kernels.moments.sums` gives them of an array; in the host's memory."""
    reduced_axes = axes.reduced(axis, x.ndim)
    x = _plain(x)
    if not _fits(x):
        return moments.sums(arrays.to_numpy(x), reduced_axes, omit)
    x = x if dense(x, reduced_axes) else x.contiguous()
    sweep = _Sweep(x, reduced_axes)
    counts = x.numel() // sweep.shape.features - sweep.specials[0] * omit
    return limbs.from_counts(counts), *sweep.sums(), sweep.specials


def extent(x: Tensor, axis: axes.Axis) -> Range:
    """Minimum, maximum and number of NaN per feature of a tensor, as `kernels.minmax.extent` gives them: (f,) each."""
    reduced_axes = axes.reduced(axis, x.ndim)
    x = _plain(x)
    if not x.numel() or x.dtype in (torch.int64, torch.uint64, torch.uint32, torch.uint16):
        return minmax.extent(arrays.to_numpy(x), reduced_axes)
    values = x.double() if not x.is_floating_point() else x
    missing = torch.isnan(values)
    low = torch.where(missing, torch.inf, values).amin(reduced_axes).reshape(-1).double() + 0.0  # −0.0 + 0.0 = 0.0
    high = torch.where(missing, -torch.inf, values).amax(reduced_axes).reshape(-1).double() + 0.0
    return low.cpu().numpy(), high.cpu().numpy(), missing.sum(reduced_axes).reshape(-1).cpu().numpy()


def image(
    x: Tensor, parameters: tuple[NDArray[np.float64], ...], reduced_axes: tuple[int, ...], out: Tensor | None = None
) -> tuple[Tensor, int]:
    """`Affine.image` of a tensor: (x − center) · scale + shift, and how many values of x were infinite."""
    x = _plain(x)
    x = x.double() if not x.is_floating_point() else x
    if not _fits(x):
        shape = axes.parameter_shape(reduced_axes, tuple(x.shape)) if reduced_axes else x.shape
        center, scale, shift = (torch.from_numpy(p.copy()).to(x.device).reshape(shape) for p in parameters)
        y = ((x.double() - center) * scale + shift).to(x.dtype)
        return y if out is None else out.copy_(y), int(torch.isinf(x).sum())
    x = x if dense(x, reduced_axes) else x.contiguous()
    y = out if out is not None and out.stride() == x.stride() else torch.empty_like(x)
    tiling = Tiling(x, reduced_axes, TILE)
    grid = tiling.mapping()
    infinite = x.new_empty(grid, dtype=torch.int32)
    given = (torch.from_numpy(p.copy()).to(x.device) for p in parameters)
    _kernels().image[grid](x, *given, y, infinite, *tiling.shape, **tiling.options, enable_fp_fusion=False)
    return y if out is None or y is out else out.copy_(y), int(infinite.sum())


def _plain(x: Tensor) -> Tensor:
    x = x.detach()
    return x.to(torch.uint8) if x.dtype is torch.bool else x


def _fits(x: Tensor) -> bool:
    return TRITON and x.numel() > 0 and x.dtype in (*_SINGLE, *_DOUBLE)


def _kernels() -> Any:
    return import_module("gammabeta.kernels.triton.moments")


class _Sweep:
    """One tensor's exact sums: finds each feature's largest exponent, then adds values window by window below it."""

    def __init__(self, x: Tensor, reduced_axes: tuple[int, ...]) -> None:
        self._x, self._tiling, self._kernels = x, Tiling(x, reduced_axes, TILE), _kernels()
        self.shape, self._grid = self._tiling.shape, self._tiling.summing(LANE)
        found = x.new_empty((5, self._grid[1], self.shape.features), dtype=torch.int64)
        self._kernels.extent[self._grid](x, found, *self.shape, **self._tiling.options, enable_fp_fusion=False)
        high, low = found[0].amax(0).cpu().numpy(), found[1].amin(0).cpu().numpy()
        self.specials: Integers = found[2:].sum(1).cpu().numpy()
        self._some = high > 0
        self._top = np.where(self._some, _exponents(high) + 1, 0)
        self._spread = int(np.max(self._top - _exponents(low), where=self._some, initial=0))

    def sums(self) -> tuple[limbs.Limbs, limbs.Limbs]:
        """Σx and Σx² of the finite values."""
        doubled = self._x.dtype in _DOUBLE
        binades = self._kernels.DOUBLE if doubled else self._kernels.SINGLE
        parts: tuple[list[limbs.Limbs], list[limbs.Limbs]] = ([], [])
        for below in range(0, self._spread, binades):
            top = self._top - below
            for (power, unit), counts in zip(self._kernels.UNITS, self._window(top, doubled, binades), strict=False):
                parts[power - 1].append(_limbs(counts, power * top + unit))
        total, squares = (_added(part, self.shape.features) for part in parts)
        return total, squares

    def _window(self, top: Integers, doubled: bool, binades: int) -> Integers:
        """The folds of the values below 2^top, (folds, 2, features): as low + high · 2³² units."""
        half = top // 2
        powers = (np.ldexp(1.0, np.clip(-part, -1000, 1000)) for part in (half, top - half))
        up, again = (torch.from_numpy(p).to(self._x.device) for p in powers)
        sums = self._x.new_empty((6 if doubled else 3, 2, self._grid[1], self.shape.features), dtype=torch.int64)
        self._kernels.folds[self._grid](
            *(self._x, up, again, sums, *self.shape),
            DOUBLED=doubled,
            LEAST=2.0**-binades,
            enable_fp_fusion=False,
            **self._tiling.options,
        )
        found: Integers = sums.sum(2).cpu().numpy()
        return found


def _exponents(bits: Integers) -> Integers:
    """⌊log₂|x|⌋ of float64 given as bits."""
    values = bits.view(np.float64)
    return np.frexp(values)[1].astype(np.int64) - 1


def _limbs(counts: Integers, exponents: Integers) -> limbs.Limbs:
    """The numbers (low + high · 2³²) · 2^exponent as limbs. counts: int64 (2, features): low, high."""
    least_ = int(exponents.min())
    numbers = zip(*counts.tolist(), (exponents - least_).tolist(), strict=True)
    return limbs.from_integers([(low + (high << limbs.BITS)) << more for low, high, more in numbers], least_)


def _added(parts: list[limbs.Limbs], features: int) -> limbs.Limbs:
    total = limbs.zeros(features)
    for part in parts:
        total = limbs.add(total, part)
    return total
