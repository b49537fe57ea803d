"""Batch norm for Keras 3: y = γ · (x − mean) / √(var + ε) + β, in the place of `keras.layers.BatchNormalization`.

from gammabeta.keras import BatchNormalization

layer = BatchNormalization()    # arguments, weights and saved files as Keras', on TensorFlow, JAX and torch
"""

from gammabeta.keras.networks.adapt import adapt
from gammabeta.keras.networks.diagnose import diagnose
from gammabeta.keras.networks.fold import fold
from gammabeta.keras.networks.freeze import freeze, unfreeze
from gammabeta.keras.networks.recalibrate import recalibrate
from gammabeta.keras.networks.transfer import load_snapshot, snapshot
from gammabeta.keras.norm.layer import BatchNormalization
from gammabeta.keras.norm.normalization import Normalization

__all__ = [
    "BatchNormalization",
    "Normalization",
    "adapt",
    "diagnose",
    "fold",
    "freeze",
    "load_snapshot",
    "recalibrate",
    "snapshot",
    "unfreeze",
]
