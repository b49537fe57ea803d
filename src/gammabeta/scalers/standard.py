"""Standardization as a scikit-learn estimator."""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn import preprocessing
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval
from sklearn.utils.sparsefuncs import inplace_column_scale
from sklearn.utils.validation import check_is_fitted

from gammabeta import axes
from gammabeta.affine import Affine, standard_scale
from gammabeta.backends import array_ops, arrays
from gammabeta.backends.named_dims import Dim
from gammabeta.errors import DataError
from gammabeta.scalers.base import Array, Scaler
from gammabeta.scalers.fitted_state import largest_count
from gammabeta.scalers.sparse import sparse_moments
from gammabeta.statistics import Moments, serialization

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: this scikit-learn has no callbacks."""


# scikit-learn's words
_CENTER = "Cannot {} sparse matrices: pass `with_mean=False` instead{} See docstring for motivation and alternatives."


class StandardScaler(CallbackSupportMixin, Scaler):
    """Standardize features: z = (x − mean) / scale, in float64 and rounded once to the type of the result.

    scikit-learn's `StandardScaler` in parameters, attributes, errors and protocol. The mean and the variance are the
    correctly rounded ones, whatever the order, pieces, threads or machines in which the data was seen.

    Args:
        copy: False scales floating arrays in place where they can be written to; read-only ones, sparse ones too, are
            copied as in scikit-learn. Infinities are found on the way, so
            that an array refused for them has been written over by then.
        with_mean: center. Sparse matrices are refused then.
        with_std: divide by the standard deviation, or by 1 where a feature is constant.
        ddof: the variance is Σw·(x − mean)² / (Σw − ddof); 0 is scikit-learn's, 1 the sample's.
        axis: the axes that are reduced, as in NumPy, for arrays of any number of dimensions: (0, 2, 3) for images
            (n, c, h, w) per channel, (0, 1) for sequences (n, t, f) per feature. None is scikit-learn's: the rows of a
            table, and anything but a table is an error.
        max_value: what `transform` clips to, as scanpy's `pp.scale` does: to `max_value` from above and, with
            `with_mean`, to `-max_value` from below. None clips nothing. `inverse_transform` does not find again what
            was clipped.
        dim: the dimensions that are reduced, by name, in the place of `axis`: "time", or ("lat", "lon"), as xarray's
            methods have it, and `...` for all. X is then a DataArray.

    Attributes:
        mean_, var_, scale_: float64, of the features' shape; None where scikit-learn's are.
        n_samples_seen_: values seen of each feature, NaN left out; one number if they agree; float with weights.
        n_features_in_, feature_names_in_: as scikit-learn's.
        dims_in_: of a DataArray, the names of the features' dimensions, in the order of the attributes' axes, and the
            labels along each, None where it has none.
        moments_: the exact `Moments`, which add up and can be taken away.
        affine_: the `Affine` map of `transform`.

    Data frames become arrays, or what `set_output` asks for, as in scikit-learn; `set_output(transform="same")` gives
    back the same kind of frame, with its types, nulls, index and names.

    xarray's DataArrays become DataArrays with the dimensions, coordinates, attributes and name of what was given; one
    that Dask holds stays lazy. They are laid by the names of their dimensions, whatever their order, and must have the
    labels of the fit along the features'. With `dim`, `transform` takes an array without the dimensions that were
    reduced, too, and with others. AnnData, in memory, becomes AnnData with X scaled and all else kept, under
    scikit-learn's rules for sparse X; its genes are the features, by `var_names`.

    Attributes may be set: `transform` goes by `mean_` and `scale_`, and as in scikit-learn what is learned afterwards
    is added to `mean_`, `var_` and `n_samples_seen_` as they are. `moments_` follows with the next rows.

    What is not as in scikit-learn: tensors come back as tensors on their device. Negative weights are refused. NaN is
    left out of the fit and stays in the image.

    >>> import numpy as np
    >>> scaler = StandardScaler().fit([[0.0, 1.0], [0.0, 3.0], [3.0, 5.0], [3.0, 7.0]])
    >>> scaler.mean_, scaler.var_
    (array([1.5, 4. ]), array([2.25, 5. ]))
    >>> scaler.transform([[3.0, 4.0]])
    array([[1., 0.]])
    >>> images = np.random.default_rng(0).normal(size=(8, 3, 16, 16)).astype(np.float32)
    >>> StandardScaler(axis=(0, 2, 3)).fit_transform(images).shape
    (8, 3, 16, 16)
    """

    _statistic, _format, _statistic_type = "moments_", "gammabeta.standard_scaler", Moments
    _fitted = ("mean_", "var_", "scale_", "n_samples_seen_")
    _summary = ("mean_", "var_")
    _peer = preprocessing.StandardScaler
    _sparse_out = "csr"
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "copy": ["boolean"],
        "with_mean": ["boolean"],
        "with_std": ["boolean"],
        "ddof": [Interval(Real, 0, None, closed="left")],
        "axis": [Integral, tuple, None],
        "dim": "no_validation",
        "max_value": [Interval(Real, 0, None, closed="neither"), None],
    }

    _parameters_read: ClassVar[dict[str, Any]] = {
        "ddof": serialization.is_ddof,
        "axis": serialization.is_axis,
        "dim": serialization.is_dim,
        "max_value": serialization.is_bound,
    }

    moments_: Moments
    mean_: Any
    var_: Any
    scale_: Any

    def __init__(
        self,
        *,
        copy: bool = True,
        with_mean: bool = True,
        with_std: bool = True,
        ddof: float = 0,
        axis: axes.Axis | None = None,
        dim: Dim | None = None,
        max_value: float | None = None,
    ) -> None:
        self.copy = copy
        self.with_mean = with_mean
        self.with_std = with_std
        self.ddof = ddof
        self.axis = axis
        self.dim = dim
        self.max_value = max_value

    @classmethod
    def from_moments(cls, moments: Moments, **parameters: Any) -> Self:
        """A scaler fitted on what `moments` has seen; `DataError` if infinities were among it.

        >>> StandardScaler.from_moments(Moments.of([[1.0], [3.0]]) + Moments.of([[5.0]])).mean_
        array([3.])
        """
        if moments.infinities.any():
            raise DataError("moments must be of finite values to scale by, these are of infinities too; leave them out")
        weighted = bool((moments.count % 1 != 0).any())
        return cls(**parameters)._adopt(moments, largest_count(moments.count), weighted, None)

    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn mean and variance of X.

        Args:
            X: array-like, sparse matrix, data frame or tensor of (rows, features), or what `axis` says; any real type.
            y: not looked at.
            sample_weight: (rows,), or with `axis` one for each place along the reduced axes; finite, not negative. For
                a DataArray a DataArray too, of some of its dimensions, broadcast by name.

        Raises:
            ValueError: scikit-learn's own: infinities, no rows, other features than before, a wrong shape.
            DataError: columns of a frame that are not numeric, by name; wrong weights; no such dimension.
            KindError: X is a Dataset, or no DataArray where `dim` is set.
        """
        return self._fitted_anew(X, y, sample_weight)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from more rows, as if they had come with those before. Arguments and errors are those of `fit`."""
        learner = self._now()
        with self._announced(X, y, sample_weight):
            moments, rows = learner._fit_statistic(X, sample_weight, ("csr", "csc"))
            return self._add(learner, moments, rows, X, weighted=sample_weight is not None)

    @contextmanager
    def _announced(self, X: Any, y: Any, sample_weight: Any) -> Iterator[None]:
        """Tell scikit-learn's callbacks, if there are any."""
        if not (hasattr(self, "_skl_callbacks") or hasattr(self, "_parent_callback_ctx")):
            yield
            return
        context = self._init_callback_context()
        given = {"estimator": self, "X": X, "y": y, "metadata": {"sample_weight": sample_weight}}
        context.call_on_fit_task_begin(**given)
        yield
        context.call_on_fit_task_end(**given, reconstruction_attributes={})

    def _validate_params(self) -> None:
        """scikit-learn's check of the parameters, but for usual ones: it takes as long as the fit of a small table."""
        own = type(self)._parameter_constraints is StandardScaler._parameter_constraints
        switches = self.copy, self.with_mean, self.with_std
        usual = (
            all(type(switch) is bool for switch in switches)
            and type(self.ddof) in (int, float)
            and self.axis is None
            and self.max_value is None
        )
        if not (own and usual and 0 <= self.ddof < np.inf):
            super()._validate_params()

    def _of(self, values: Array, axis: axes.Axis, weights: Any) -> Moments:
        return Moments.of(values, axis, weights=weights)

    def _of_sparse(self, values: Any, weights: Array | None) -> Moments:
        if self.with_mean:
            raise ValueError(_CENTER.format("center", "."))
        moments: Moments = self._finite(sparse_moments(values, weights), values.dtype)
        return moments

    def _publish(self, m: Moments, rows: int, weighted: bool) -> None:
        self.mean_ = m.mean.copy() if self.with_mean or self.with_std else None
        self.var_ = m.with_ddof(self.ddof).var.copy() if self.with_std else None
        self.scale_ = standard_scale(m, self.ddof) if self.with_std else None
        self._var_ddof = self.ddof  # which may be set to another before the next rows come
        counts = m.count.copy() if weighted else m.count.astype(np.int64)
        first = counts.reshape(-1)[:1]
        self.n_samples_seen_ = first[0] if len(first) and (counts == first).all() else counts

    def _attributes_of(self, m: Moments) -> dict[str, Any]:
        ddof = self.__dict__.get("_var_ddof", self.ddof)
        return {"mean_": m.mean, "var_": m.with_ddof(ddof).var, "n_samples_seen_": m.count}

    def _of_attributes(self, mean: Any, var: Any, seen: Any, /) -> Moments:
        return Moments.from_statistics(seen, mean, var, ddof=self.__dict__.get("_var_ddof", self.ddof))

    @classmethod
    def _impossible(cls, m: Moments, rows: int, weighted: bool) -> str:
        if m.infinities.any():
            return "infinities, which are refused"
        if not weighted and ((m.count % 1 != 0) | (m.count > serialization.MOST)).any():
            return "counts that are none, without weights"
        most = largest_count(m.count)
        return "" if rows == most else f"{rows} rows where {most} were counted"

    @property
    def affine_(self) -> Affine:
        """The map of `transform`, made of the attributes as they are."""
        return self._now()._map(True)

    def _parameters(self) -> tuple[Array, Array]:
        check_is_fitted(self)
        mean = arrays.to_numpy(self.mean_) if self.with_mean else 0.0
        scale = arrays.to_numpy(self.scale_) if self.with_std else 1.0
        shape = np.shape(mean) or np.shape(scale) or self._shape
        return np.broadcast_to(mean, shape), np.broadcast_to(scale, shape)

    def transform(self, X: Any, copy: bool | None = None) -> Any:
        """Standardize X: an array or a tensor gives one of the same type, a frame what `set_output` asks for.

        Args:
            X: as in `fit`.
            copy: in place of the parameter `copy`.
        """
        now = self._now()
        return now._applied(X, now._map(True), copy=now.copy if copy is None else copy, forward=True)

    def inverse_transform(self, X: Any, copy: bool | None = None) -> Any:
        """Undo `transform`: x = z · scale + mean. Arguments are those of `transform`."""
        space = array_ops.in_graph(X)
        if space is not None:
            return self._in_graph(space, X, forward=False)
        now = self._now()
        return now._applied(X, now._map(False), copy=now.copy if copy is None else copy, forward=False)

    def _map(self, forward: bool) -> Affine:
        mean, scale = self._parameters()
        return Affine(mean, 1 / scale, 0.0) if forward else Affine(0.0, scale, mean)

    def _sparse_image(self, values: Any, forward: bool) -> Any:
        if self.with_mean:
            raise ValueError(_CENTER.format("center", ".") if forward else _CENTER.format("uncenter", ""))
        self._refuse_infinities(np.isinf(values.data).any(), values.dtype)
        if self.scale_ is not None:
            values = values if values.data.flags.writeable else values.copy()  # shared memory, as joblib's, is not
            inplace_column_scale(values, 1 / self.scale_ if forward else self.scale_)
        if forward and self.max_value is not None:
            values = values if values.data.flags.writeable else values.copy()
            self._clipped(values.data)
        return values

    def _clipped(self, image: Any) -> Any:
        if self.max_value is None:
            return image
        low = -self.max_value if self.with_mean else None
        into = {"out": image} if type(image) is np.ndarray else {}
        return image.clip(low, self.max_value, **into)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = not self.with_mean
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.array_api_support = True
        return tags
