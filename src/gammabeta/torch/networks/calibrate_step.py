"""One compiled call per batch and layer: adds the input to the exact sums, then writes the running statistics."""

from typing import Any

import torch

from gammabeta.kernels.calibrate import CalibrationPlan, Workspace
from gammabeta.statistics.accumulator import MomentsAccumulator
from gammabeta.torch import openmp
from gammabeta.torch.networks import stat_layers


class CalibrationStep:
    """Adds inputs of one shape to a total in one compiled call; if `adapting`, writes the layer's statistics too."""

    def __init__(
        self, total: MomentsAccumulator, layer: Any, x: torch.Tensor, sums: CalibrationPlan, adapting: bool
    ) -> None:
        self._total, self._shape, self._sums = total, x.shape, sums
        self._mean, self._var = layer._buffers["running_mean"], layer._buffers["running_var"]
        self._run = openmp.call_on_torch_threads if x.numel() > openmp.GRAIN else openmp.call_here
        self._places = (self._mean.data_ptr(), self._var.data_ptr()) if adapting else (0, 0)

    def fits(self, layer: Any, x: Any) -> bool:
        """Whether the step may take x: same layer buffers, shape and type as those that it was made for."""
        buffers = layer._buffers
        same = buffers["running_mean"] is self._mean and buffers["running_var"] is self._var
        return same and _plain(x) and x.shape == self._shape and self._total.in_runs

    def take(self, x: torch.Tensor) -> bool:
        """Add x (its memory is read, not kept); return whether mean and variance were written too."""
        mean, var = self._places
        return self._sums.add(x.data_ptr(), mean, var, self._run)


def step(
    total: MomentsAccumulator, name: str, layer: Any, x: Any, adapting: bool, place: Workspace
) -> CalibrationStep | None:
    """A `CalibrationStep` for calls with inputs like x; None unless x and the statistics are contiguous CPU float32."""
    statistics = layer._buffers["running_mean"], layer._buffers["running_var"]
    if not (_plain(x) and all(_plain(buffer) for buffer in statistics)):
        return None
    sums = total.calibration_plan(
        x.detach(), stat_layers.reduced(name, layer, x), int(stat_layers.unbiased(layer)), place
    )
    return None if sums is None else CalibrationStep(total, layer, x, sums, adapting)


def _plain(x: Any) -> bool:
    """Whether x is a plain contiguous float32 tensor on the CPU."""
    return type(x) is torch.Tensor and x.dtype is torch.float32 and x.is_cpu and x.is_contiguous()
