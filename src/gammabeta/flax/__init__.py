"""Batch norm for Flax: y = γ · (x − mean) / √(var + eps) + β, in the place of `flax.nnx.BatchNorm`.

from gammabeta.flax import BatchNorm

layer = BatchNorm(64, rngs=nnx.Rngs(0))     # Param and BatchStat as flax's, both ways
"""

from gammabeta.flax.networks.adapt import adapt
from gammabeta.flax.networks.diagnose import diagnose
from gammabeta.flax.networks.fold import fold
from gammabeta.flax.networks.freeze import freeze, unfreeze
from gammabeta.flax.networks.recalibrate import recalibrate
from gammabeta.flax.networks.transfer import load_snapshot, snapshot
from gammabeta.flax.norm.layer import BatchNorm
from gammabeta.flax.norm.normalize import Normalize

__all__ = [
    "BatchNorm",
    "Normalize",
    "adapt",
    "diagnose",
    "fold",
    "freeze",
    "load_snapshot",
    "recalibrate",
    "snapshot",
    "unfreeze",
]
