"""Conversion of fitted scalers, of this library and of scikit-learn, to `Affine` maps."""

from functools import reduce
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, RobustScaler
from sklearn.preprocessing import MinMaxScaler as TheirMinMaxScaler
from sklearn.preprocessing import StandardScaler as TheirStandardScaler
from sklearn.utils.validation import check_is_fitted

from gammabeta.affine import Affine
from gammabeta.errors import DataError, KindError
from gammabeta.norm.linear_map import Features, feature_axes_at
from gammabeta.scalers.base import Scaler

_THEIRS = (TheirStandardScaler, TheirMinMaxScaler, MaxAbsScaler, RobustScaler)


def features_of(scaler: Any) -> Features:
    """A scaler's map, and where its features lie.

    Args:
        scaler: a fitted `StandardScaler` or `MinMaxScaler` of gammabeta or scikit-learn, `MaxAbsScaler` or
            `RobustScaler`, a pipeline of such, or an `Affine`, which lies on the last axes as NumPy's rules say.

    Raises:
        KindError: it is something else, whose map is not affine or not known.
        DataError: it clips, which no affine map does.
    """
    if isinstance(scaler, Affine):
        return _of_affine(scaler)
    affine = affine_of(scaler)
    if isinstance(scaler, Scaler) and scaler.dim is not None:
        raise DataError(
            f"dim={scaler.dim!r} names dimensions, and a layer's arrays have none: pass scaler.affine_, whose "
            "features lie on the last axes, or fit with axis"
        )
    return Features(affine, feature_axes_at(scaler.axis) if isinstance(scaler, Scaler) else feature_axes_at(None))


def affine_of(scaler: Any) -> Affine:
    """A scaler's map alone; arguments and errors are those of `features_of`.

    >>> from gammabeta import MinMaxScaler
    >>> affine_of(MinMaxScaler().fit([[1.0], [3.0]]))
    Affine(center=[1.], slope=[0.5], shift=[0.])
    """
    if isinstance(scaler, Affine):
        return scaler
    if isinstance(scaler, Pipeline):
        return reduce(Affine.then, [affine_of(step) for _, step in scaler.steps if step not in (None, "passthrough")])
    if not isinstance(scaler, (Scaler, *_THEIRS)):
        raise KindError(
            f"scaler must be a fitted StandardScaler or MinMaxScaler, a pipeline of such, or a gammabeta.Affine, "
            f"got {type(scaler).__name__}"
        )
    check_is_fitted(scaler)
    for name, off in (("clip", False), ("max_value", None)):
        if getattr(scaler, name, off) != off:
            got = f"{type(scaler).__name__}({name}={getattr(scaler, name)})"
            raise DataError(f"{got} is not affine: what it clips no layer can. Fit one with {name}={off}")
    return scaler.affine_ if isinstance(scaler, Scaler) else _theirs(scaler)


def _theirs(scaler: Any) -> Affine:
    if isinstance(scaler, TheirMinMaxScaler):
        return Affine(scaler.data_min_, scaler.scale_, scaler.feature_range[0])
    if isinstance(scaler, TheirStandardScaler):
        center = scaler.mean_ if scaler.with_mean else None
    else:
        center = getattr(scaler, "center_", None)
    scale = np.ones(scaler.n_features_in_) if scaler.scale_ is None else scaler.scale_
    return Affine(0.0 if center is None else center, 1 / scale)


def _of_affine(affine: Affine) -> Features:
    """(f,) lies on the last axis; (c, 1, 1) on the third from the end."""
    shape = affine.shape
    wide = [i for i, n in enumerate(shape) if n != 1] or list(range(len(shape)))[:1]
    squeezed = affine[tuple(slice(None) if i in wide else 0 for i in range(len(shape)))]
    return Features(squeezed, lambda rank: tuple(rank - len(shape) + i for i in wide))
