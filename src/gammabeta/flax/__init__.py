"""Batch norm for Flax: y = γ · (x − mean) / √(var + eps) + β, in the place of `flax.nnx.BatchNorm`.

from gammabeta.flax import BatchNorm

layer = BatchNorm(64, rngs=nnx.Rngs(0))     # Param and BatchStat as flax's, both ways
"""

from gammabeta.flax.adapt import adapt
from gammabeta.flax.diagnose import diagnose
from gammabeta.flax.fold import fold
from gammabeta.flax.freeze import freeze, unfreeze
from gammabeta.flax.layer import BatchNorm
from gammabeta.flax.port import adopt, learned
from gammabeta.flax.recalibrate import recalibrate

__all__ = ["BatchNorm", "adapt", "adopt", "diagnose", "fold", "freeze", "learned", "recalibrate", "unfreeze"]
