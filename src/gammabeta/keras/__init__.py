"""Batch norm for Keras 3: y = γ · (x − mean) / √(var + ε) + β, in the place of `keras.layers.BatchNormalization`.

from gammabeta.keras import BatchNormalization

layer = BatchNormalization()    # arguments, weights and saved files as Keras', on TensorFlow, JAX and torch
"""

from gammabeta.keras.adapt import adapt
from gammabeta.keras.diagnose import diagnose
from gammabeta.keras.fold import fold
from gammabeta.keras.freeze import freeze, unfreeze
from gammabeta.keras.layer import BatchNormalization
from gammabeta.keras.port import adopt, learned
from gammabeta.keras.recalibrate import recalibrate

__all__ = ["BatchNormalization", "adapt", "adopt", "diagnose", "fold", "freeze", "learned", "recalibrate", "unfreeze"]
