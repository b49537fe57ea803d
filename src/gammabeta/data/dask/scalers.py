"""The scalers for Dask collections: `fit` reads them once, `transform` is lazy."""

from typing import Any

import numpy as np

import gammabeta.scalers as core
from gammabeta.affine import Affine
from gammabeta.backends import dataframes as frames
from gammabeta.data.dask import arrays
from gammabeta.data.dask import dataframes as partitions
from gammabeta.data.dask.reduction import Part
from gammabeta.data.dask.statistics import is_array, is_frame
from gammabeta.errors import DataError
from gammabeta.scalers.base import Scaler


class _OnDask(Scaler):
    """The base of both scalers: handles Dask collections, and leaves all other data to `gammabeta.scalers`."""

    def _fit_statistic(self, X: Any, sample_weight: Any = None, sparse_formats: Any = False) -> Any:
        if is_array(X):
            return arrays.fit_statistic(self, X, sample_weight)
        if is_frame(X):
            return arrays.checked_part(self, self._frame_part(X, sample_weight), np.dtype(np.float64))
        return super()._fit_statistic(X, sample_weight, sparse_formats)

    def _frame_part(self, X: Any, weights: Any) -> Part:
        self._refuse_axis()
        self._check_frame(X._meta_nonempty, not hasattr(self, "n_samples_seen_"))
        list(frames.blocks(X._meta_nonempty))  # refuses columns that are not numeric
        part: Part = partitions.total(X, (self._statistic_type,), refuse=False, weights=weights).compute().item()
        return part

    def _applied(self, X: Any, affine: Affine, *, copy: bool, forward: bool) -> Any:
        if is_array(X):
            return arrays.applied(self, X, affine, copy=copy, forward=forward)
        if not is_frame(X):
            return super()._applied(X, affine, copy=copy, forward=forward)
        arrays.refuse_output(self)
        self._refuse_axis()
        of_frames: Any = self._now().set_output(transform="same")
        meta = super(_OnDask, of_frames)._applied(X._meta_nonempty, affine, copy=True, forward=forward).iloc[:0]
        return partitions.image(X, self, affine, forward, meta)

    def _refuse_axis(self) -> None:
        if self.axis not in (None, 0):
            raise DataError(f"a Dask DataFrame's columns are its features: axis must be None or 0, got {self.axis!r}")


class StandardScaler(_OnDask, core.StandardScaler):
    """`gammabeta.StandardScaler` for Dask arrays and DataFrames: the same parameters, attributes, errors and bits.

    `fit` and `partial_fit` compute at once, in one reading of the collection; `transform` and `inverse_transform` are
    lazy and keep chunks, unknown ones too, or partitions, divisions, index, names and each column's floating type.
    Nothing is changed in place, whatever `copy` says. An infinity is an error: of `fit`, and of the computation that
    meets it in `transform`. `sample_weight`: an array of (rows,) for an array, a Dask Series for a frame. What is no
    Dask collection goes as in the core.

    >>> import dask.array as da
    >>> x = da.from_array([[0.0, 1.0], [0.0, 3.0], [3.0, 5.0], [3.0, 7.0]], chunks=(2, 1))
    >>> scaler = StandardScaler().fit(x)
    >>> scaler.mean_
    array([1.5, 4. ])
    >>> scaler.transform(x)[2:].compute()[:, 0]
    array([1., 1.])
    """


class MinMaxScaler(_OnDask, core.MinMaxScaler):
    """`gammabeta.MinMaxScaler` for Dask arrays and DataFrames, as `StandardScaler` is.

    >>> import dask.array as da
    >>> x = da.from_array([[-1.0, 2.0], [0.0, 6.0], [1.0, 18.0]], chunks=2)
    >>> MinMaxScaler().fit(x).transform(x).compute()[1]
    array([0.5 , 0.25])
    """
