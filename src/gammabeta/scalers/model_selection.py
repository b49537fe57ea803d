"""Cross-validation in which one pass over the data fits the scalers of all folds.

Rows that are in the training sets of the same splits, an *atom*, share a statistic. One pass takes those of all atoms,
and a training set's is the sum of its atoms': for five folds, four of five parts. Sums are exact, so that this equals
the fit on the training rows to the bit, whatever the splitter: folds that overlap, repeat or leave rows out.
"""

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn import model_selection
from sklearn.base import BaseEstimator, TransformerMixin, clone, is_classifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import _safe_indexing

from gammabeta import axes
from gammabeta.backends import dataframes
from gammabeta.errors import DataError, KindError
from gammabeta.scalers.base import Scaler
from gammabeta.scalers.standard import StandardScaler
from gammabeta.statistics import Extrema, Moments
from gammabeta.statistics.factorize import factorized

Rows = NDArray[np.int64]

MOST_ATOMS = 4096  # in one pass; splits that together have more, such as many repeats, share several


class Fold(NamedTuple):
    """A split, and the scaler fitted on its training rows."""

    train: Rows
    test: Rows
    scaler: Any


def fold_scalers(
    X: Any, y: Any = None, *, scaler: Any = None, cv: Any = None, groups: ArrayLike | None = None
) -> Iterator[Fold]:
    """Each split of a cross-validation, with the scaler fitted on its training rows: one pass over X for all.

    Args:
        X: array or data frame of (rows, features), or what the scaler's `axis` says, the rows being the first axis.
        y, groups: for the splitter.
        scaler: a `StandardScaler` or `MinMaxScaler` that says how; standardization without it. It is not changed.
        cv: any splitter of scikit-learn's, a number of folds, or the splits themselves; five folds without it.

    Returns:
        train and test, the rows' numbers, and a new scaler: attributes and bits are those of `scaler.fit(X[train])`.

    Raises:
        KindError: the scaler is of another class or has `dim`, or X is a sparse matrix.
        DataError: the rows are not the first of the scaler's axes.
        ValueError: what `scaler.fit` raises.

    >>> import numpy as np
    >>> x = np.arange(12.0).reshape(-1, 1)
    >>> for train, test, scaler in fold_scalers(x, cv=3):
    ...     print(test, scaler.mean_, bool(scaler.mean_ == StandardScaler().fit(x[train]).mean_))
    [0 1 2 3] [7.5] True
    [4 5 6 7] [5.5] True
    [ 8  9 10 11] [3.5] True
    """
    scaler = StandardScaler() if scaler is None else scaler
    if not isinstance(scaler, Scaler):
        raise KindError(f"scaler must be a StandardScaler or MinMaxScaler of gammabeta, got {type(scaler).__name__}")
    if scaler.dim is not None:
        raise KindError(
            f"folds are of rows by their numbers: dim must be None, got {scaler.dim!r}; pass X.values, and say axis"
        )
    if sparse.issparse(X):
        raise KindError(
            f"X must be an array or a data frame, got a sparse {type(X).__name__}; fit its folds one by one"
        )
    splits = [
        (_numbers(train, len(X)), _numbers(test, len(X)))
        for train, test in model_selection.check_cv(cv, y).split(X, y, groups)
    ]
    return _folds(scaler, X, splits)


def _numbers(rows: ArrayLike, n: int) -> Rows:
    """The numbers of rows that are named by number or chosen by a mask."""
    numbers: Rows = np.arange(n)[np.asarray(rows)]
    return numbers


def _folds(scaler: Any, X: Any, splits: list[tuple[Rows, Rows]]) -> Iterator[Fold]:
    at = 0
    while at < len(splits):
        codes, shares = _atoms([train for train, _ in splits[at:]], len(X))
        atoms = _AtomStatistics(scaler, X, codes, shares.shape[1])
        for share, (train, test) in zip(shares, splits[at:], strict=False):
            yield Fold(train, test, atoms.scaler(share, len(train)))
        at += len(shares)


def _atoms(trains: list[Rows], n: int) -> tuple[NDArray[np.int32], Rows]:
    """Which atom each row is of, and how often each of the first training sets has each atom's rows: (sets, atoms).

    The sets are as many as have no more than `MOST_ATOMS` together, and one at least.
    """
    codes = np.zeros(n, np.int32)
    counts: list[Rows] = []
    for train in trains:
        times = np.bincount(train, minlength=n)
        distinct, finer, _ = factorized(codes.astype(np.int64) * (times.max(initial=0) + 1) + times)
        if counts and len(distinct) > MOST_ATOMS:
            break
        codes = finer.small()
        counts.append(times)
    first = np.zeros(codes.max(initial=-1) + 1, np.int64)
    first[codes] = np.arange(n)
    return codes, np.array([times[first] for times in counts])


class _AtomStatistics:
    """The statistic of each atom, and from these the scaler of any training set."""

    def __init__(self, scaler: Any, X: Any, codes: NDArray[np.int32], atoms: int) -> None:
        self._template = clone(scaler)
        self._template._validate_params()
        self._X, self._codes, self._atoms = X, codes, atoms
        self._dtype, self._inner = np.dtype(np.float64), 1
        self._each = self._of_frame() if self._template._is_frame(X) else self._of_array()

    def scaler(self, share: Rows, rows: int) -> Any:
        """The scaler fitted on so many rows, those of each atom as often as `share` says."""
        fitted, template = clone(self._template), self._template
        fitted.n_features_in_ = template.n_features_in_
        if hasattr(template, "feature_names_in_"):
            fitted.feature_names_in_ = template.feature_names_in_
        statistic = self._each[np.repeat(np.arange(self._atoms), share)].total()
        return fitted._set(fitted._finite(statistic, self._dtype), rows * self._inner, self._X)

    def _of_array(self) -> Moments | Extrema:
        template, axis = self._template, self._template.axis or 0
        values = template._values(self._X)
        template._check_features(self._X, values, True)
        if 0 not in axes.reduced(axis, values.ndim):
            raise DataError(f"axis must have the rows, 0, among the reduced axes to be split into folds, got {axis!r}")
        self._dtype = values.dtype
        each = self._grouped(values, axis, self._codes)
        self._inner = values.size // max(1, prod(each.shape[1:])) // max(1, len(values))
        return each

    def _of_frame(self) -> Moments | Extrema:
        self._template._check_frame(self._X, True)
        columns: dict[int, Any] = {}
        for places, block, rows in dataframes.blocks(self._X):
            each = self._grouped(block, 0, self._codes if rows is None else self._codes[rows])
            for i, place in enumerate(places):
                columns[place] = columns[place] + each[:, i] if place in columns else each[:, i]
        together = type(columns[0]).stack([columns[place] for place in range(len(columns))])
        turned: Moments | Extrema = together[np.arange(len(columns)), np.arange(self._atoms)[:, None]]
        return turned

    def _grouped(self, values: Any, axis: axes.Axis, codes: NDArray[np.int32]) -> Any:
        """The statistic of each atom, (atoms, *features)."""
        found = self._template._statistic_type.of(values, axis, groups=codes)
        return found.each.scatter(found.labels, self._atoms)


class _Rows(TransformerMixin, BaseEstimator):
    """A transformer from row numbers to these rows, scaled by the scaler of their fold."""

    def __init__(self, X: Any, scalers: dict[bytes, Any]) -> None:
        self.X = X
        self.scalers = scalers

    def __sklearn_clone__(self) -> "_Rows":
        return _Rows(self.X, self.scalers)  # which else would copy X

    def fit(self, X: Rows, y: Any = None) -> "_Rows":
        """Find the scaler that was fitted on these rows."""
        self.scaler_ = self.scalers[X.tobytes()]
        return self

    def transform(self, X: Rows) -> Any:
        """The rows of these numbers, scaled."""
        return self.scaler_.transform(_safe_indexing(self.X, X[:, 0]))


def cross_validate(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    scaler: Any = None,
    cv: Any = None,
    groups: ArrayLike | None = None,
    **options: Any,
) -> dict[str, Any]:
    """scikit-learn's `cross_validate` of `make_pipeline(scaler, estimator)`, with one pass over X for all the scalers.

    Args:
        estimator: what comes after the scaler: an estimator or a pipeline.
        X, y, scaler, groups: as for `fold_scalers`.
        cv: as for `fold_scalers`; a number stratifies where the estimator is a classifier.
        options: scikit-learn's: scoring, n_jobs, return_train_score, return_estimator, params, error_score, …

    Returns:
        scikit-learn's dictionary; scores are the same to the bit. With return_estimator, pipelines of scaler and
        estimator, fitted.

    >>> from sklearn.datasets import load_wine
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> x, y = load_wine(return_X_y=True)
    >>> cross_validate(KNeighborsClassifier(), x, y, cv=3)["test_score"].round(3)
    array([0.917, 0.966, 0.949])
    """
    splitter = model_selection.check_cv(cv, y, classifier=is_classifier(estimator))
    folds = list(fold_scalers(X, y, scaler=scaler, cv=splitter, groups=groups))
    rows = _Rows(X, {fold.train.tobytes(): fold.scaler for fold in folds})
    (name, _), step = make_pipeline(StandardScaler() if scaler is None else scaler, estimator).steps
    found: dict[str, Any] = model_selection.cross_validate(
        Pipeline([(name, rows), step]),
        np.arange(len(X)).reshape(-1, 1),
        y,
        cv=[(fold.train, fold.test) for fold in folds],
        **options,
    )
    if "estimator" in found:
        pairs = zip(folds, found["estimator"], strict=True)
        found["estimator"] = [Pipeline([(name, fold.scaler), *fitted.steps[1:]]) for fold, fitted in pairs]
    return found
