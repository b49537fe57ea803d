"""Every normalization is a statistic followed by an affine map: y = γ · (x − center) / scale + β.

    import gammabeta as gb

    m = gb.Moments.of(x)            # exact count, mean and variance; they add, and they subtract
    a = gb.Affine.standard(m)       # the map that a statistic gives
    y = a(x)

`gb.StandardScaler` and `gb.MinMaxScaler` are those two steps as scikit-learn estimators; `gammabeta.data` takes them to
files, and the command `gammabeta` to the shell. Importing this package loads no more than NumPy: a name is loaded when
it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from gammabeta.errors import DataError, FileError, GammabetaError, KindError, StateError

if TYPE_CHECKING:
    from gammabeta import data
    from gammabeta import numpy as numpy
    from gammabeta.affine import Affine
    from gammabeta.conventions import FLAX, KERAS, ONNX, TENSORFLOW, TORCH, Convention
    from gammabeta.networks.transfer.load import parity
    from gammabeta.norm.functional import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
    from gammabeta.scalers import MinMaxScaler, StandardScaler, cross_validate, fold, fold_scalers
    from gammabeta.statistics import Extrema, GroupedExtrema, GroupedMoments, Moments, sliding

__version__ = "0.1.0"

__all__ = [
    "FLAX",
    "KERAS",
    "ONNX",
    "TENSORFLOW",
    "TORCH",
    "Affine",
    "Convention",
    "DataError",
    "Extrema",
    "FileError",
    "GammabetaError",
    "GroupedExtrema",
    "GroupedMoments",
    "KindError",
    "MinMaxScaler",
    "Moments",
    "StandardScaler",
    "StateError",
    "__version__",
    "batch_norm",
    "cross_validate",
    "data",
    "fold",
    "fold_scalers",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "parity",
    "rms_norm",
    "sliding",
]

_HOME = {
    "FLAX": "conventions",
    "KERAS": "conventions",
    "ONNX": "conventions",
    "TENSORFLOW": "conventions",
    "TORCH": "conventions",
    "Affine": "affine",
    "Convention": "conventions",
    "Extrema": "statistics",
    "GroupedExtrema": "statistics",
    "GroupedMoments": "statistics",
    "MinMaxScaler": "scalers",
    "Moments": "statistics",
    "StandardScaler": "scalers",
    "batch_norm": "norm.functional",
    "cross_validate": "scalers",
    "fold": "scalers",
    "fold_scalers": "scalers",
    "group_norm": "norm.functional",
    "instance_norm": "norm.functional",
    "layer_norm": "norm.functional",
    "parity": "networks.transfer.load",
    "rms_norm": "norm.functional",
    "sliding": "statistics",
}


def __getattr__(name: str) -> object:
    if name in ("data", "flax", "keras", "numpy", "torch"):
        return import_module(f"gammabeta.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'gammabeta' has no attribute {name!r}")
    value: object = getattr(import_module(f"gammabeta.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
