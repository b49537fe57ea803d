"""Batch norm for PyTorch: y = γ · (x − mean) / √(var + eps) + β, in the place of `torch.nn.BatchNorm1d`, `2d` and `3d`.

from gammabeta.torch import BatchNorm, convert

model = convert(model)          # every torch.nn.BatchNorm* in it; parameters, hooks and flags stay
layer = BatchNorm(64)           # state_dict as torch's, both ways
"""

from gammabeta.torch.adapt import adapt
from gammabeta.torch.convert import convert, revert
from gammabeta.torch.diagnose import diagnose
from gammabeta.torch.fold import fold
from gammabeta.torch.freeze import freeze, unfreeze
from gammabeta.torch.layer import BatchNorm
from gammabeta.torch.port import adopt, learned
from gammabeta.torch.recalibrate import recalibrate
from gammabeta.torch.running import accumulate

__all__ = [
    "BatchNorm",
    "accumulate",
    "adapt",
    "adopt",
    "convert",
    "diagnose",
    "fold",
    "freeze",
    "learned",
    "recalibrate",
    "revert",
    "unfreeze",
]
