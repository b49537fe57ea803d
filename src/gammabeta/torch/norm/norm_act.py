"""Batch norm, dropout and activation in one module, in the place of others' that are all three."""

from typing import Any

import torch

from gammabeta.torch.norm.layer import BatchNorm


class NormAct(BatchNorm):
    """act(drop(batch norm + residual)), of which `drop` and `act` are modules: what `convert` makes of timm's.

    Parameters, buffers and `state_dict` are those of the layer that it was.
    """

    drop: Any
    act: Any

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, residual: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As `BatchNorm`, then the modules."""
        y: torch.Tensor = self.act(self.drop(super().forward(x, mask, residual)))
        return y
