"""Min-max scaling as a scikit-learn estimator."""

from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse
from sklearn import preprocessing
from sklearn.base import _fit_context
from sklearn.utils.validation import check_is_fitted

from gammabeta import axes
from gammabeta.affine import Affine
from gammabeta.backends import array_ops, arrays
from gammabeta.backends.named_dims import Dim
from gammabeta.errors import DataError
from gammabeta.scalers.base import Array, Scaler
from gammabeta.scalers.fitted_state import largest_count
from gammabeta.statistics import Extrema, serialization

_TINY = np.finfo(np.float64).tiny


class MinMaxScaler(Scaler):
    """Scale features to a range: y = (x − min) · (high − low) / (max − min) + low, rounded once to the result's type.

    scikit-learn's `MinMaxScaler` in parameters, attributes, errors and protocol.

    Args:
        feature_range: (low, high), what the least and the greatest value seen go to.
        copy: as in `StandardScaler`.
        clip: keep what lies outside the values seen within `feature_range`.
        axis, dim: as in `StandardScaler`.

    Attributes:
        data_min_, data_max_, data_range_, scale_, min_: float64, of the features' shape.
        n_samples_seen_: how many rows.
        n_features_in_, feature_names_in_: as scikit-learn's; dims_in_: as in `StandardScaler`.
        extrema_: the `Extrema`, which add up.
        affine_: the `Affine` map of `transform`.

    Attributes may be set, and what is learned afterwards is added to `data_min_` and `data_max_` as they are.

    What is not as in scikit-learn: tensors come back as tensors, frames and DataArrays as in `StandardScaler`; the
    attributes are float64 for float32 data too, and so is the bound (10 eps) under which a range counts as constant; a
    feature that was all NaN does not stay NaN when values come.

    >>> scaler = MinMaxScaler().fit([[-1.0, 2.0], [0.0, 6.0], [1.0, 18.0]])
    >>> scaler.transform([[0.0, 10.0]])
    array([[0.5, 0.5]])
    >>> scaler.inverse_transform([[0.5, 0.5]])
    array([[ 0., 10.]])
    """

    _statistic, _format, _statistic_type = "extrema_", "gammabeta.minmax_scaler", Extrema
    _fitted = ("scale_", "min_", "n_samples_seen_", "data_min_", "data_max_", "data_range_")
    _summary = ("data_min_", "data_max_")
    _peer = preprocessing.MinMaxScaler
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "feature_range": [tuple],
        "copy": ["boolean"],
        "clip": ["boolean"],
        "axis": [Integral, tuple, None],
        "dim": "no_validation",
    }

    _parameters_read: ClassVar[dict[str, Any]] = {
        "feature_range": serialization.is_range,
        "axis": serialization.is_axis,
        "dim": serialization.is_dim,
    }

    extrema_: Extrema
    data_min_: Any
    data_max_: Any
    data_range_: Any
    scale_: Any
    min_: Any

    def __init__(
        self,
        feature_range: tuple[float, float] = (0, 1),
        *,
        copy: bool = True,
        clip: bool = False,
        axis: axes.Axis | None = None,
        dim: Dim | None = None,
    ) -> None:
        self.feature_range = feature_range
        self.copy = copy
        self.clip = clip
        self.axis = axis
        self.dim = dim

    @classmethod
    def from_extrema(cls, extrema: Extrema, **parameters: Any) -> Self:
        """A scaler fitted on what `extrema` has seen; where it does not know its count, `n_samples_seen_` is 0.

        Raises `DataError` if infinities were among it.

        >>> MinMaxScaler.from_extrema(Extrema.of([[1.0], [3.0]])).data_range_
        array([2.])
        """
        if np.isinf(extrema.min).any() or np.isinf(extrema.max).any():
            raise DataError("extrema must be finite to scale by, these are not; leave infinities out")
        return cls(**parameters)._adopt(extrema, largest_count(extrema.count), False, None)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn least and greatest values of X, which is as in `StandardScaler.fit` but not sparse."""
        return self._fitted_anew(X, y)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Learn from more rows, as if they had come with those before."""
        low, high = self.feature_range
        if low >= high:
            got = self.feature_range
            raise ValueError(f"Minimum of desired feature range must be smaller than maximum. Got {got}.")
        if sparse.issparse(X):
            raise TypeError("MinMaxScaler does not support sparse input. Consider using MaxAbsScaler instead.")
        learner = self._now()
        extrema, rows = learner._fit_statistic(X)
        return self._add(learner, extrema, rows, X)

    def _of(self, values: Array, axis: axes.Axis, weights: Any) -> Extrema:
        return Extrema.of(values, axis)

    def _publish(self, e: Extrema, rows: int, weighted: bool) -> None:
        self.data_min_, self.data_max_ = e.min.copy(), e.max.copy()
        affine = Affine.minmax(e, self.feature_range)
        self.scale_ = affine.slope.copy()
        with np.errstate(over="ignore", invalid="ignore"):
            self.data_range_ = self.data_max_ - self.data_min_
            self.min_ = _at_zero(self.data_min_, self.scale_, self.feature_range[0])
        self.n_samples_seen_ = rows

    def _attributes_of(self, e: Extrema) -> dict[str, Any]:
        return {"data_min_": e.min, "data_max_": e.max}

    def _of_attributes(self, low: Any, high: Any, seen: Any, /) -> Extrema:
        return Extrema.between(low, high, np.where(np.isnan(low) & np.isnan(high), 0, seen))

    @classmethod
    def _impossible(cls, e: Extrema, rows: int, weighted: bool) -> str:
        if np.isinf(e.min).any() or np.isinf(e.max).any():
            return "infinities, which are refused"
        if weighted:
            return "weights, of which it knows nothing"
        most = largest_count(e.count)
        return "" if most <= rows <= serialization.MOST else f"{rows} rows where {most} were counted"

    @property
    def affine_(self) -> Affine:
        """The map of `transform`, made of the attributes as they are.

        It centers on the minimum, so that large values lose no digits; scikit-learn's x · scale_ + min_ is the same
        map, and is taken where `scale_` or `min_` were set by hand.
        """
        now = self._now()
        check_is_fitted(now)
        scale, shift = (np.asarray(arrays.to_numpy(v)) for v in (now.scale_, now.min_))
        data_min, low = arrays.to_numpy(now.__dict__.get("data_min_")), now.feature_range[0]
        with np.errstate(over="ignore", invalid="ignore"):
            if data_min is None or not np.array_equal(shift, _at_zero(data_min, scale, low), equal_nan=True):
                return Affine(0.0, scale, shift)
            data_max = arrays.to_numpy(now.__dict__.get("data_max_"))
            plain = data_max is None or not (np.isinf(data_max - data_min) | np.isinf(scale) | (scale < _TINY)).any()
        if not plain or np.isinf(float(now.feature_range[1]) - float(low)):
            of_ends = Affine.minmax(now._of_attributes(data_min, data_max, 1), now.feature_range)
            if np.array_equal(of_ends.slope, scale, equal_nan=True):
                return of_ends
        return Affine(data_min, scale, low)

    def transform(self, X: Any) -> Any:
        """Scale X: an array or a tensor gives one of the same type, a frame what `set_output` asks for."""
        now = self._now()
        return now._applied(X, now._map(True), copy=now.copy, forward=True)

    def inverse_transform(self, X: Any) -> Any:
        """Undo `transform`, but for what was clipped."""
        space = array_ops.in_graph(X)
        if space is not None:
            return self._in_graph(space, X, forward=False)
        now = self._now()
        return now._applied(X, now._map(False), copy=now.copy, forward=False)

    def _map(self, forward: bool) -> Affine:
        return self.affine_ if forward else self.affine_.inverse()

    def _limits(self) -> tuple[float, float] | None:
        return self.feature_range if self.clip else None

    def _clipped(self, image: Array) -> Array:
        if not self.clip:
            return image
        return (
            np.clip(image, *self.feature_range, out=image)
            if type(image) is np.ndarray
            else image.clip(*self.feature_range)
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.array_api_support = True
        return tags


def _at_zero(data_min: Array, scale: Array, low: float) -> Array:
    """`min_`: what 0 goes to."""
    return np.where(data_min == 0, low, low - data_min * scale)
