"""The base class of the scalers: checks of the input, and results in the input's kind."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from math import prod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn import get_config
from sklearn.base import OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.utils.validation import _check_sample_weight, check_array, validate_data

from gammabeta import axes
from gammabeta.affine import Affine
from gammabeta.backends import ann_data, array_ops, arrays, dataframes, masked, named_dims, registry
from gammabeta.backends.array_ops import ArrayOps, Parameters
from gammabeta.errors import DataError, KindError
from gammabeta.export.fitted_map import Exports, FittedMap
from gammabeta.scalers import labelled
from gammabeta.scalers.fitted_state import StatisticMixin
from gammabeta.scalers.onnx import OnnxMixin
from gammabeta.statistics import Extrema, Moments
from gammabeta.statistics.concat import concat_alike
from gammabeta.statistics.validation import refuse_no_array, refuse_traced

Array = NDArray[Any]

_INFINITE = "Input X contains infinity or a value too large for {!r}."  # scikit-learn's words
_SAME = "same"
_FRAMES = ("pandas", "polars")
FLOATS = [np.float64, np.float32, np.float16]


class Scaler(OneToOneFeatureMixin, TransformerMixin, OnnxMixin, StatisticMixin, Exports):
    """The base class of the scalers: a subclass says which statistic of X it takes and which map that gives."""

    copy: bool
    axis: axes.Axis | None
    dim: named_dims.Dim | None

    def __init_subclass__(cls, **wishes: Any) -> None:
        """Take tensors in a graph past scikit-learn's wrapper of `transform`, which no compiler can follow."""
        super().__init_subclass__(**wishes)
        if "transform" in cls.__dict__:
            cls.transform = _with_graphs(cls.transform)

    # In: from what is given to a statistic

    def _fit_statistic(self, X: Any, sample_weight: Any = None, sparse_formats: Any = False) -> Any:
        """The statistic of X, once X is checked, and the number of its rows."""
        first, X = not hasattr(self, "n_samples_seen_"), masked.read(X)
        refuse_traced(X)
        if self.dim is not None or not isinstance(X, np.ndarray):
            labelled.refuse_without_dims(self, X)
            if named_dims.is_data_array(X):
                return self._fit_data_array(X, sample_weight, sparse_formats)
            if ann_data.is_ann_data(X):
                return self._fit_ann_data(X, sample_weight, sparse_formats)
        if self._is_frame(X):
            self._check_frame(X, first)
            parts = self._frame_parts(X, self._weights(sample_weight, np.broadcast_to(0.0, X.shape)))
            return side_by_side(parts, X.shape[1]), X.shape[0]
        values = self._values(X, sparse_formats)
        self._check_features(X, values, first)
        weights = self._weights(sample_weight, values)
        if sparse.issparse(values):
            return self._of_sparse(values, weights), values.shape[0]
        statistic = self._finite(self._of(values, self.axis or 0, weights), values.dtype)
        return statistic, prod(values.shape) // max(1, prod(statistic.shape))

    def _fit_data_array(self, X: Any, sample_weight: Any, sparse_formats: Any) -> Any:
        """`_fit_statistic` of a DataArray, which sets the names of the features' dimensions too."""
        laid = labelled.laid_for_fit(self, X)
        weights = labelled.weights_for(laid, masked.read(sample_weight), X)
        names = labelled.text_names(X, list(laid.labels))
        return self._fit_named(laid.values, laid.axis, weights, sparse_formats, names, laid.labels)

    def _fit_ann_data(self, X: Any, sample_weight: Any, sparse_formats: Any) -> Any:
        """`_fit_statistic` of AnnData, whose genes have names."""
        labelled.refuse_other_genes(self, X)
        return self._fit_named(ann_data.matrix(X), None, sample_weight, sparse_formats, list(X.var_names))

    def _fit_named(self, values: Any, axis: Any, weights: Any, sparse: Any, names: Any, labels: Any = None) -> Any:
        """`_fit_statistic` of an array whose features' names are known apart from it."""
        plain = self._without_names(axis)
        lazy = registry.module("dask", "scalers").fit_statistic if arrays.is_lazy(values) else None
        found = (lazy or type(plain)._fit_statistic)(plain, values, weights, sparse)
        if not hasattr(self, "n_samples_seen_"):
            self._name_features(plain.n_features_in_, names, labels)
        return found

    def _applied_named(self, values: Any, axis: Any, affine: Affine, *, copy: bool, forward: bool) -> Any:
        """`_applied` of an array whose features' names are known apart from it, and fit."""
        plain = self._without_names(axis)
        lazy = registry.module("dask", "scalers").applied if arrays.is_lazy(values) else None
        return (lazy or type(plain)._applied)(plain, values, affine, copy=copy, forward=forward)

    def _without_names(self, axis: axes.Axis | None) -> Any:
        """A copy of this scaler that takes arrays as they lie, by position."""
        plain = self._now()
        plain.axis, plain.dim = axis, None
        plain.__dict__.pop("feature_names_in_", None)
        return plain

    def _is_frame(self, X: Any) -> bool:
        return not isinstance(X, np.ndarray) and self.axis in (None, 0) and dataframes.is_frame(X)

    def _values(self, X: Any, sparse_formats: Any = False, copy: bool = False) -> Any:
        """X as `check_array` gives it, but of its own dtype where that is real, and not searched for infinities."""
        if arrays.elsewhere(X) and 0 not in X.shape and (X.ndim == 2 if self.axis is None else X.ndim > 1):
            return X
        _refuse_no_array(X)
        values = arrays.to_numpy(arrays.detached(X))
        if masked.is_masked(values):
            # As it is, once what lies beneath has been found to be fit for it.
            self._values(masked.filled(values), sparse_formats)
            return values.copy() if copy else values
        shaped = (
            values.ndim == 2 or (values.ndim > 2 and self.axis is not None) if type(values) is np.ndarray else False
        )
        if shaped and values.size:
            real = values.dtype.kind in "biuf" and values.dtype.itemsize <= 8
            if real or values.dtype.name == "bfloat16":
                return values  # what `check_array` would do takes longer than the statistic of a small table
        tabular = self.axis is None
        return check_array(
            values,
            accept_sparse=sparse_formats,
            dtype=FLOATS,
            copy=copy,
            ensure_all_finite=False,
            ensure_2d=tabular,
            allow_nd=not tabular,
            estimator=self,
            input_name="X",
        )

    def _check_features(self, X: Any, values: Any, reset: bool) -> None:
        """Set or check names and number of the features."""
        if values is X and self.axis is None and type(values) is np.ndarray and self._knows(values.shape[1], reset):
            return
        if self.axis is None or sparse.issparse(values):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return
        shape = tuple(values.shape[i] for i in axes.feature_axes(self.axis, values.ndim))
        if reset:
            self.n_features_in_ = prod(shape)
            self.__dict__.pop("feature_names_in_", None)
        elif shape != self._shape:
            got, name = f"features of shape {shape} beside axis {self.axis}", type(self).__name__
            raise DataError(f"X has {got}, but {name} is expecting {self._shape}")

    def _knows(self, features: int, reset: bool) -> bool:
        """Do quickly what `validate_data` does for an array where no names are known; False if it must do it."""
        if reset:
            self.__dict__.pop("feature_names_in_", None)
            self.n_features_in_ = features
            return True
        return not hasattr(self, "feature_names_in_") and getattr(self, "n_features_in_", None) == features

    def _check_frame(self, X: Any, reset: bool) -> None:
        validate_data(self, dataframes.native(X), reset=reset, skip_check_array=True)
        if 0 in X.shape:
            check_array(np.empty(X.shape), estimator=self, input_name="X")  # says what is missing

    def _frame_parts(self, X: Any, weights: Array | None) -> Iterator[tuple[list[int], Any]]:
        for places, block, rows in dataframes.blocks(X):
            own = weights if weights is None or rows is None else weights[rows]
            yield places, self._finite(self._of(block, 0, own), block.dtype)

    def _weights(self, sample_weight: Any, values: Any) -> Any:
        sample_weight = masked.read(sample_weight)
        if sample_weight is None or self.axis not in (None, 0):
            return arrays.to_numpy(sample_weight)
        if masked.is_masked(sample_weight):
            sample_weight = sample_weight.filled(0)
        return _check_sample_weight(arrays.to_numpy(sample_weight), values, dtype=np.float64)

    def _finite(self, statistic: Any, dtype: np.dtype[Any]) -> Any:
        self._refuse_infinities(has_infinities(statistic), dtype)
        return statistic

    def _of(self, values: Array, axis: axes.Axis, weights: Any) -> Any:
        raise NotImplementedError

    def _of_sparse(self, values: Any, weights: Any) -> Any:
        raise NotImplementedError

    @property
    def _shape(self) -> tuple[int, ...]:
        """The features' shape."""
        statistic = self.__dict__.get(self._statistic)
        return statistic.shape if statistic is not None else (self.n_features_in_,)

    # Out: from what is given to its image

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """The names of the features, which the map does not change, as scikit-learn's scalers give them."""
        return super(Scaler, self._now()).get_feature_names_out(input_features)

    def _applied(self, X: Any, affine: Affine, *, copy: bool, forward: bool) -> Any:
        """X under the map, in X's kind; `forward` checks names and clips."""
        output, X = self._output(), masked.read(X)
        if self.dim is not None or not isinstance(X, np.ndarray):
            labelled.refuse_without_dims(self, X)
            if named_dims.is_data_array(X):
                return self._data_array_applied(X, affine, copy=copy, forward=forward)
            if ann_data.is_ann_data(X):
                labelled.refuse_other_genes(self, X)
                matrix = ann_data.matrix(X)
                image = self._applied_named(matrix, None, affine, copy=copy or X.is_view, forward=forward)
                as_frame = output in _FRAMES and forward
                return image if as_frame else ann_data.with_matrix(X, image, copy=copy)
        if self._is_frame(X):
            if forward or _permuted(self, X):
                self._check_frame(X, False)
            if X.shape[1] != len(affine.center):
                name, wanted = type(self).__name__, len(affine.center)
                raise ValueError(f"X has {X.shape[1]} features, but {name} is expecting {wanted} features as input.")
            if output == "same":
                return dataframes.mapped(X, lambda block, places: self._image(block, affine[places], None, forward))
            return dataframes.matrix(X, lambda block, places, out: self._image(block, affine[places], out, forward))
        values = self._values(X, self._sparse_out, copy)
        if forward:
            self._check_features(X, values, False)
        if sparse.issparse(values):
            return self._sparse_image(values, forward)
        if values is X and not isinstance(X, np.ndarray):
            image = self._image(X, affine, X if X.is_floating_point() and not copy else None, forward)
            return arrays.to_numpy(image) if forward and output in _FRAMES else image
        writable = values.flags.writeable and values.dtype in FLOATS and not masked.is_masked(values)
        image = self._image(values, affine, values if writable and not copy else None, forward)
        if forward and output in _FRAMES:
            return image  # scikit-learn's wrapper makes the frame
        return image if isinstance(X, np.ndarray) or not arrays.is_tensor(X) else arrays.like(X, image)

    def _data_array_applied(self, X: Any, affine: Affine, *, copy: bool, forward: bool) -> Any:
        """The image of a DataArray, a DataArray; lazy where it is."""
        laid = labelled.laid_for_transform(self, X)
        image = self._applied_named(laid.values, laid.axis, affine, copy=copy, forward=forward)
        if self._output() in _FRAMES and forward:
            return image  # scikit-learn's wrapper makes the frame
        return named_dims.like(X, laid.dims, image[0] if laid.single else image)

    def _in_graph(self, space: ArrayOps, X: Any, *, forward: bool) -> Any:
        """The image of a tensor by its framework's own operations, which are differentiable and can be traced.

        A trace has no values in which to find infinities, and takes the map as it is when it is made. Of a table's
        scaler it may also have one row alone, as under `jax.vmap`, and from a data set without batches.
        """
        X, known = space.as_tensor(X), space.known(X)
        if getattr(X.shape, "rank", 0) is None:
            raise DataError("X must have a known number of axes, got a tensor of unknown rank: call X.set_shape")
        rank = len(X.shape)
        if self.axis is None and rank != 2 and (known or rank != 1):
            raise DataError(f"X must be of (rows, features), got {rank} axes: give axis= to scale arrays of others")
        features = axes.feature_axes(self.axis, rank) if self.axis is not None else (rank - 1,)
        parameters, limits = _constants(self, forward, features, rank)
        got, wanted = (tuple(shape[i] for i in features) for shape in (space.shape(X), parameters[0].shape))
        if any(n is not None and n != p for n, p in zip(got, wanted, strict=True)):
            raise DataError(f"X must have the features {wanted} that {type(self).__name__} was fitted on, got {got}")
        if known and bool(space.any(space.infinite(X))):
            self._refuse_infinities(1, arrays.dtype_name(X))
        image = space.affine(X, parameters)
        return image if limits is None else space.clip(image, *limits)

    def _fitted_map(self) -> FittedMap:
        now = self._now()
        names = getattr(now, "feature_names_in_", None)
        known = None if names is None else tuple(str(name) for name in names)
        return now._map(True)._fitted_map()._replace(limits=now._limits(), names=known)

    def _limits(self) -> tuple[float, float] | None:
        """What `transform` clips to; None where it does not."""
        return None

    def _map(self, forward: bool) -> Affine:
        """The map of `transform`, or of `inverse_transform`."""
        raise NotImplementedError

    _sparse_out: ClassVar[Any] = False

    def set_output(self, *, transform: str | None = None) -> Self:
        """Say what `transform` and `fit_transform` give for a data frame, as scikit-learn's method does.

        Args:
            transform: "default", an array; "pandas" or "polars", a frame of theirs; None changes nothing. And "same",
                which scikit-learn does not know: the kind of frame that is given, with its columns' floating types,
                nulls, index and names, of `inverse_transform` too.

        Returns:
            The scaler.

        >>> import pandas as pd
        >>> from gammabeta import MinMaxScaler
        >>> frame = pd.DataFrame({"a": [1, None, 4]}, index=[5, 6, 7], dtype="Float32")
        >>> MinMaxScaler().set_output(transform="same").fit_transform(frame)
              a
        5   0.0
        6  <NA>
        7   1.0
        """
        if transform is not None:
            # scikit-learn's wrapper reads "transform", and its `clone` copies the whole dictionary
            config: dict[str, Any] = {"transform": transform}
            self._sklearn_output_config = {"transform": "default", _SAME: True} if transform == _SAME else config
        return self

    def _output(self) -> str:
        """What `set_output`, or scikit-learn's configuration, asks for: "default", "same", "pandas" or "polars"."""
        own = getattr(self, "_sklearn_output_config", {})
        return _SAME if _SAME in own else str(own.get("transform", get_config()["transform_output"]))

    def _rules(self) -> Any:
        """An unfitted clone by whose `_image` blocks are mapped elsewhere, as by this scaler's."""
        return clone(self)

    def _image(self, values: Array, affine: Affine, out: Array | None, forward: bool) -> Array:
        image, infinite = affine._image(values, out, axis=self.axis)
        self._refuse_infinities(infinite, values.dtype)
        return self._clipped(image) if forward else image

    def _refuse_infinities(self, infinite: Any, dtype: Any) -> None:
        """Raise scikit-learn's error if `infinite`, the number of infinities counted in the same sweep, is not 0."""
        if infinite and not get_config()["assume_finite"]:
            raise ValueError(_INFINITE.format(dtype))

    def _clipped(self, image: Array) -> Array:
        return image

    def _sparse_image(self, values: Any, forward: bool) -> Any:
        raise NotImplementedError


def _with_graphs(transform: Callable[..., Any]) -> Callable[..., Any]:
    """A `transform` that maps tensors in a graph by their framework's own operations, and all else as it does."""

    @wraps(transform)
    def wrapped(self: Any, X: Any, *given: Any, **named: Any) -> Any:
        space = array_ops.in_graph(X)
        if space is None or (space.known(X) and self._output() in _FRAMES):
            return transform(self, X, *given, **named)
        return self._in_graph(space, X, forward=True)

    return wrapped


def _constants(
    scaler: Scaler, forward: bool, features: tuple[int, ...], rank: int
) -> tuple[Parameters, tuple[float, float] | None]:
    """A map's parameters, for data of so many axes, and what its images are clipped to."""
    now = scaler._now()
    affine = now._map(forward)
    affine.refuse_extremes("a framework's operations")
    if len(affine.shape) != len(features):
        raise DataError(f"X must have features of shape {affine.shape} beside axis {scaler.axis}, got {rank} axes")
    lengths = dict(zip(features, affine.shape, strict=True))
    shape = [lengths.get(i, 1) for i in range(rank)]
    center, slope, shift = (p.reshape(shape) for p in (affine.center, affine.slope, affine.shift))
    return (center, slope, shift), now._limits() if forward else None


_constants._dynamo_marked_constant = True  # type: ignore[attr-defined]  # torch.compiler.assume_constant_result's mark


def has_infinities(statistic: Moments | Extrema) -> bool:
    """Whether a statistic is of data with infinities."""
    if isinstance(statistic, Moments):
        return bool(statistic.infinities.any())
    return bool((statistic.min == -np.inf).any() or (statistic.max == np.inf).any())


def side_by_side(parts: Iterator[tuple[list[int], Any]], columns: int) -> Any:
    """The statistic of a table from those of its blocks: pieces of the same columns add up, columns come together."""
    blocks: dict[tuple[int, ...], Any] = {}
    for places, part in parts:
        key = tuple(places)
        blocks[key] = blocks[key] + part if key in blocks else part
    order = [place for places in blocks for place in places]
    together = concat_alike(list(blocks.values()))
    return together if order == list(range(columns)) else together[np.argsort(order)]


def _refuse_no_array(X: Any) -> None:
    """Raise `KindError` if X is a ragged or sparse tensor, a data set, a loader or an iterator: what to call."""
    if isinstance(X, np.ndarray):
        return
    if hasattr(X, "flat_values") or hasattr(X, "dense_shape"):
        refuse_no_array(X)
    if isinstance(X, (Sequence, Mapping)) or any(hasattr(X, name) for name in ("shape", "__array__", "__dataframe__")):
        return
    if hasattr(X, "__iter__") or hasattr(X, "__getitem__"):
        raise KindError(
            f"X must be one array or frame, got {type(X).__name__}: call partial_fit with each of its batches, or "
            "gammabeta.data.measure, which reads data sets, and from_moments or from_extrema with what it finds"
        )


def _permuted(scaler: Scaler, X: Any) -> bool:
    """Whether a frame's columns are those of the fit in another order."""
    names, given = getattr(scaler, "feature_names_in_", None), [str(name) for name in dataframes.names(X)]
    return names is not None and given != list(names) and sorted(given) == sorted(names)
