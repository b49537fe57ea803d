"""Norms for PyTorch: y = γ · (x − mean) / √(var + eps) + β, in the place of torch's own layers.

from gammabeta.torch import BatchNorm, convert

model = convert(model)          # every torch.nn.BatchNorm* in it; parameters, hooks and flags stay
layer = BatchNorm(64)           # state_dict as torch's, both ways; LayerNorm, GroupNorm, InstanceNorm2d, RMSNorm too
"""

from gammabeta.torch.networks.adapt import adapt, unadapt
from gammabeta.torch.networks.convert import convert, left_alone, revert
from gammabeta.torch.networks.diagnose import diagnose
from gammabeta.torch.networks.fold import fold
from gammabeta.torch.networks.freeze import freeze, unfreeze
from gammabeta.torch.networks.recalibrate import recalibrate
from gammabeta.torch.networks.transfer import load_snapshot, snapshot
from gammabeta.torch.norm.group_layers import (
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
    RMSNorm,
)
from gammabeta.torch.norm.layer import BatchNorm
from gammabeta.torch.norm.normalize import Normalize
from gammabeta.torch.norm.running_stats import accumulate

__all__ = [
    "BatchNorm",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "Normalize",
    "RMSNorm",
    "accumulate",
    "adapt",
    "convert",
    "diagnose",
    "fold",
    "freeze",
    "left_alone",
    "load_snapshot",
    "recalibrate",
    "revert",
    "snapshot",
    "unadapt",
    "unfreeze",
]
