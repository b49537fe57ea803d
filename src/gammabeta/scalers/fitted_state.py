"""The fitted state of a scaler: its statistic, `merge`, JSON, and safety between threads.

A scaler may be read while another thread fits it. What is learned is made beside the scaler and put into it at once, as
a new `__dict__`; whoever reads more than one attribute reads them of a copy. Rows that several threads add at the same
time are all counted.
"""

import copy
import os
import threading
import warnings
from collections.abc import Callable
from math import prod
from typing import Any, ClassVar, Self

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils.validation import check_is_fitted

from gammabeta import __version__, axes
from gammabeta.backends import arrays, named_dims
from gammabeta.errors import DataError, KindError, StateError
from gammabeta.statistics import serialization

_swapping = threading.Lock()  # for as long as a statistic is added to a scaler's own


def _forget() -> None:
    """Make a new lock after a fork: in the child no thread would release the old one."""
    global _swapping
    _swapping = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class StatisticMixin(BaseEstimator):
    """The mixin of a fitted statistic and of the attributes that follow from it; a subclass says which."""

    _statistic_type: ClassVar[Any]  # Moments or Extrema
    _statistic: ClassVar[str]  # the attribute that keeps it
    _format: ClassVar[str]  # the name of the document that `to_json` writes
    _fitted: ClassVar[tuple[str, ...]]  # the attributes that follow

    _peer: ClassVar[Any]  # scikit-learn's class
    _summary: ClassVar[tuple[str, str]]  # those of them which, with the rows, say what the statistic says

    _parameters_read: ClassVar[dict[str, Callable[[Any], bool]]]  # what those that are no flags may be in a document

    axis: axes.Axis | None
    dim: named_dims.Dim | None
    n_features_in_: int
    n_samples_seen_: Any

    def _set(self, statistic: Any, rows: int, X: Any = None, *, weighted: bool = False) -> Self:
        """Keep the statistic and set the attributes that follow from it, in X's kind under array API dispatch."""
        setattr(self, self._statistic, statistic)
        self._publish(statistic, rows, weighted)
        if get_config()["array_api_dispatch"] and arrays.is_tensor(X):
            for name in self._fitted:
                value = getattr(self, name)
                if isinstance(value, np.ndarray | np.generic):
                    setattr(self, name, arrays.like(X, np.array(value)))
        return self

    def _publish(self, statistic: Any, rows: int, weighted: bool) -> None:
        raise NotImplementedError

    def _now(self) -> Self:
        """A shallow copy of the scaler, which other threads do not change."""
        now = object.__new__(type(self))
        now.__dict__ = self.__dict__.copy()
        return now

    def _fitted_anew(self, *given: Any) -> Self:
        """Fit an unfitted copy, and take over in one step every attribute that changed in it."""
        anew: Any = self._now()  # whose `partial_fit` is its class's
        for name in (*self._fitted, self._statistic):
            anew.__dict__.pop(name, None)
        before = anew.__dict__.copy()
        anew.__dict__.pop("dims_in_", None)
        anew.partial_fit(*given)
        after = anew.__dict__
        changed = {name: v for name, v in after.items() if name not in before or before[name] is not v}
        with _swapping:
            unchanged = self.__dict__.copy()
            for name in before.keys() - after.keys():
                unchanged.pop(name, None)
            self.__dict__ = unchanged | changed
        return self

    def _add(self, learner: Self, statistic: Any, rows: int, X: Any = None, *, weighted: bool = False) -> Self:
        """Add what a copy of this scaler has learned of X."""
        with _swapping:
            new = self._now()
            if not hasattr(learner, "n_samples_seen_"):
                if hasattr(new, "n_samples_seen_"):  # since the copy was made
                    new._refuse_others(statistic, *learner._names())
                else:
                    new._name_features(learner.n_features_in_, *learner._names())
            if hasattr(new, "n_samples_seen_"):
                before, before_rows, before_weighted = new._state()
                statistic, rows, weighted = before + statistic, before_rows + rows, before_weighted or weighted
            new._set(statistic, rows, X, weighted=weighted)
            self.__dict__ = new.__dict__
        return self

    def merge(self, other: Self) -> Self:
        """Add what another scaler of this class has seen, as if this one had been fitted on both: to the same bits.

        The parameters stay this scaler's; one that is not fitted yet takes over everything the other has seen.

        >>> import numpy as np
        >>> from gammabeta import StandardScaler
        >>> whole, first, rest = StandardScaler(), StandardScaler(), StandardScaler()
        >>> x = np.random.default_rng(0).normal(size=(9, 2))
        >>> merged = first.fit(x[:4]).merge(rest.fit(x[4:]))
        >>> bool((merged.scale_ == whole.fit(x).scale_).all())
        True

        Raises:
            KindError: the other is of another class.
            DataError: it was fitted on other features.
            StateError: one of them had its attributes set by hand, and lacks some of them; or both together have
                seen more than 2⁶² rows.
        """
        if type(other) is not type(self):
            raise KindError(f"{type(self).__name__} merges with its own class, got {type(other).__name__}")
        other = other._now()
        statistic, rows, weighted = other._state()
        names = other._names()
        with _swapping:
            new = self._now()
            if hasattr(new, "n_samples_seen_"):
                mine, my_rows, my_weighted = new._state()
                new._refuse_others(statistic, *names)
                weighted = weighted or my_weighted
                if my_rows + rows > serialization.MOST and not weighted:
                    raise StateError(f"scalers must have seen 2^62 rows at most together, got {my_rows + rows}")
                new._set(mine + statistic, my_rows + rows, weighted=weighted)
            else:
                new._adopt(statistic, rows, weighted, *names)
            self.__dict__ = new.__dict__
        return self

    def _names(self) -> tuple[Any, Any]:
        """The features' names, and the names and labels of their dimensions; None where they have none."""
        return getattr(self, "feature_names_in_", None), getattr(self, "dims_in_", None)

    def _refuse_others(self, statistic: Any, names: Any, dims: Any = None) -> None:
        """Refuse the statistic of other features."""
        mine, (my_names, my_dims) = self._state()[0], self._names()
        same_names = names is None or my_names is None or np.array_equal(names, my_names)
        if mine.shape != statistic.shape or not same_names:
            raise DataError(
                f"scalers merge over the same features, got {mine.shape} {_listed(my_names)} and "
                f"{statistic.shape} {_listed(names)}"
            )
        if dims is not None and my_dims is not None:
            if list(dims) != list(my_dims):
                raise DataError(f"scalers merge over the same dimensions, got {list(my_dims)} and {list(dims)}")
            named_dims.refuse_other_labels(my_dims, dims, "the other scaler")

    def _adopt(self, statistic: Any, rows: int, weighted: bool, names: Any, dims: Any = None) -> Self:
        self._name_features(prod(statistic.shape), names, dims)
        return self._set(statistic, rows, weighted=weighted)

    def _name_features(self, features: int, names: Any, dims: Any = None) -> None:
        self.n_features_in_ = features
        for name in ("feature_names_in_", "dims_in_"):
            self.__dict__.pop(name, None)
        if names is not None:
            self.feature_names_in_ = np.asarray(names, dtype=object)
        if dims is not None:
            self.dims_in_ = dims

    def _state(self) -> tuple[Any, int, bool]:
        """The statistic, how many rows, and whether weights were among them.

        The statistic is that of the attributes where these were set by hand.
        """
        check_is_fitted(self)
        statistic = self.__dict__.get(self._statistic)
        needed = [name for name in (*self._summary, "n_samples_seen_") if self.__dict__.get(name) is None]
        if needed and (statistic is None or "n_samples_seen_" in needed):
            raise StateError(
                f"this {type(self).__name__} must have been fitted: it lacks {', '.join(needed)}; set them"
            )
        seen = np.asarray(arrays.to_numpy(self.n_samples_seen_))
        if statistic is None or self._is_edited(statistic):
            first, second = (np.asarray(arrays.to_numpy(getattr(self, name))) for name in self._summary)
            statistic = self._of_attributes(first, second, seen)
        return statistic, largest_count(seen), seen.dtype.kind == "f"

    def _is_edited(self, statistic: Any) -> bool:
        """Whether an attribute is not the one that follows from the statistic."""
        following = self._attributes_of(statistic)
        return any(not _same(self.__dict__.get(name), value) for name, value in following.items())

    def _attributes_of(self, statistic: Any) -> dict[str, Any]:
        """The attributes that say what the statistic says, as it gives them."""
        raise NotImplementedError

    def _of_attributes(self, first: Any, second: Any, seen: Any, /) -> Any:
        """The statistic of attributes that were set by hand: the two of `_summary`, and `n_samples_seen_`."""
        raise NotImplementedError

    def to_sklearn(self) -> Any:
        """scikit-learn's own scaler with the same attributes, for what asks for its class, as converters to ONNX do.

        >>> from gammabeta import MinMaxScaler
        >>> type(MinMaxScaler().fit([[1.0], [3.0]]).to_sklearn())
        <class 'sklearn.preprocessing._data.MinMaxScaler'>

        Raises:
            DataError: it scales along other axes than a table's rows.
        """
        now = self._now()
        check_is_fitted(now)
        if now.axis not in (None, 0) or now.dim is not None or len(now._shape) != 1:
            got = now.axis if now.dim is None else f"None and dim={now.dim!r}"
            raise DataError(f"scikit-learn's scalers are of tables: axis must be None, got {got!r}")
        given = now.get_params(deep=False)
        if given.get("max_value") is not None:
            raise DataError(f"scikit-learn's scaler clips nothing: max_value must be None, got {given['max_value']}")
        theirs = self._peer(**{name: given[name] for name in self._peer().get_params()})
        _copy_attributes(now, theirs, self._fitted)
        return theirs

    @classmethod
    def from_sklearn(cls, scaler: Any) -> Self:
        """A scaler with the parameters and attributes of a fitted one of scikit-learn's; it can learn on and merge.

        Its statistic is exactly that of the attributes, `Moments.from_statistics`, which scikit-learn has rounded.

        >>> from sklearn.preprocessing import StandardScaler as Theirs
        >>> from gammabeta import StandardScaler
        >>> StandardScaler.from_sklearn(Theirs().fit([[1.0], [3.0]])).mean_
        array([2.])

        Raises:
            KindError: it is of another class.
        """
        if not isinstance(scaler, cls._peer):
            raise KindError(f"scaler must be scikit-learn's {cls._peer.__name__}, got {type(scaler).__name__}")
        check_is_fitted(scaler)
        ours = cls(**scaler.get_params(deep=False))
        _copy_attributes(scaler, ours, cls._fitted)
        if all(getattr(ours, name, None) is not None for name in (*cls._summary, "n_samples_seen_")):
            setattr(ours, cls._statistic, ours._state()[0])
        return ours

    def __getstate__(self) -> dict[str, Any]:
        """The attributes and this library's version, for a pickle."""
        return {**super().__getstate__(), "_gammabeta_version": __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the attributes of a pickle; warn as scikit-learn does if another version of the library made it."""
        state = state.copy()
        version = state.pop("_gammabeta_version", None) or "before 0.1.0"
        if version != __version__:
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=type(self).__name__,
                    current_sklearn_version=f"{__version__} of gammabeta",
                    original_sklearn_version=version,
                ),
                stacklevel=2,
            )
        super().__setstate__(state)

    def to_json(self) -> str:
        """The fitted scaler as JSON: parameters, feature names and the exact statistic; `from_json` reads it back.

        Nothing in it can be executed, unlike a pickle.
        """
        now = self._now()
        statistic, rows, weighted = now._state()
        names, dims = now._names()
        if dims is not None and not serialization.texts(dims):
            raise StateError(f"dimensions must be named by text to be written, got {list(dims)}; rename them")
        fields = {
            "parameters": {name: _plain(value) for name, value in now.get_params(deep=False).items()},
            "feature_names": None if names is None else [str(name) for name in names],
            "dims": None if dims is None else [[name, labels] for name, labels in dims.items()],
            "rows": rows,
            "weighted": weighted,
            "statistic": statistic._document(),
        }
        return serialization.dump(self._format, fields)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The scaler in a document that `to_json` wrote: the same bits in every attribute.

        >>> from gammabeta import StandardScaler
        >>> scaler = StandardScaler(ddof=1).fit([[1.0], [2.0], [6.0]])
        >>> StandardScaler.from_json(scaler.to_json()).scale_ == scaler.scale_
        array([ True])

        Raises:
            StateError: it is damaged, cut short, of another class or version, or does not hold what it must.
        """
        fields = ("parameters", "feature_names", "dims", "rows", "weighted", "statistic")
        found = serialization.load(text, cls._format, fields)
        names, rows, weighted = found["feature_names"], found["rows"], found["weighted"]
        scaler = cls._of_parameters(found["parameters"])
        statistic = cls._statistic_type._of_document(found["statistic"])
        named = isinstance(names, list) and serialization.texts(names) and (len(names),) == statistic.shape
        if not (names is None or named) or type(rows) is not int or type(weighted) is not bool:
            raise StateError(
                f"{cls._format} must hold rows, weighted, and feature_names (null, or one for each feature)"
            )
        dims = _dims_of(found["dims"], statistic.shape)
        if scaler.dim is None and not _lies(statistic.shape, scaler.axis):
            raise StateError(
                f"{cls._format} must hold the statistic of the features beside axis {scaler.axis}, "
                f"got shape {statistic.shape}"
            )
        if wrong := cls._impossible(statistic, rows, weighted):
            raise StateError(f"{cls._format} must hold a statistic that a scaler can have seen, got {wrong}")
        return scaler._adopt(statistic, rows, weighted, names, dims)

    @classmethod
    def _of_parameters(cls, given: Any) -> Self:
        """A scaler with the parameters in a document: all of them, each of its type."""
        if not isinstance(given, dict) or set(given) != set(cls._get_param_names()):
            raise StateError(
                f"{cls._format} must hold the parameters of {cls.__name__}, got {serialization.shown(given)}"
            )
        found = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
        found = {name: ... if name == "dim" and v == "..." else v for name, v in found.items()}
        for name, value in found.items():
            if not cls._parameters_read.get(name, serialization.is_flag)(value):
                raise StateError(f"{cls._format} cannot have been made with {name}={serialization.shown(given[name])}")
        return cls(**found)

    @classmethod
    def _impossible(cls, statistic: Any, rows: int, weighted: bool) -> str:
        """Why no scaler can have seen so many rows with this statistic; "" if one can."""
        raise NotImplementedError


def _copy_attributes(of: Any, to: Any, names: tuple[str, ...]) -> None:
    """Copy what a scaler was fitted to, as NumPy's arrays, and the output that it was asked for."""
    for name in (*names, "n_features_in_", "feature_names_in_"):
        if hasattr(of, name):
            setattr(to, name, copy.deepcopy(arrays.to_numpy(getattr(of, name))))
    output = getattr(of, "_sklearn_output_config", None)
    if output is not None:
        to.set_output(transform=output.get("transform"))


def _same(value: Any, following: Any) -> bool:
    """Whether an attribute, None where it was not set, has the values that follow, in its own type."""
    if value is None:
        return True
    value = np.asarray(arrays.to_numpy(value))
    if value.shape not in ((), following.shape):
        return False
    if value.dtype.kind == "f":  # JAX's arrays may have 32 bits
        following = following.astype(value.dtype)
    return bool(np.all((value == following) | ((value != value) & (following != following))))


def largest_count(counts: Any) -> int:
    """The greatest of some counts as an integer; of infinite sums of weights the greatest float."""
    return int(np.nan_to_num(counts).max(initial=0))


def _lies(shape: tuple[int, ...], axis: axes.Axis | None) -> bool:
    """Whether features of a shape can lie beside the axes that are reduced."""
    if axis is None:
        return len(shape) == 1 and shape[0] > 0
    try:
        reduced_axes = 1 if isinstance(axis, int) else len(axis)
        return len(axes.feature_axes(axis, reduced_axes + len(shape))) == len(shape)
    except DataError:
        return False


def _dims_of(given: Any, shape: tuple[int, ...]) -> named_dims.Labels | None:
    """The dimensions in a document: for each of the features' axes its name, and the labels along it or null."""
    if given is None:
        return None
    pairs: list[Any] = (
        given if isinstance(given, list) and all(isinstance(p, list) and len(p) == 2 for p in given) else [[0, 0]]
    )
    names = [name for name, _ in pairs]
    whole = serialization.texts(names) and len(set(names)) == len(names) == len(shape)
    if not whole or not all(_are_labels(labels, n) for (_, labels), n in zip(pairs, shape, strict=True)):
        raise StateError(
            "dims must be null, or a name for each axis of the features with its labels, one each, or null"
        )
    return dict(pairs)


def _are_labels(labels: Any, n: int) -> bool:
    if labels is None:
        return True
    listed = isinstance(labels, list) and len(labels) == n
    return listed and all(isinstance(label, str | int | float) for label in labels)


def _listed(names: Any) -> str:
    return "" if names is None else str(list(names))[:200]


def _plain(value: Any) -> Any:
    """A parameter as JSON has it."""
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if value is ...:
        return "..."
    return value.item() if isinstance(value, np.generic) else value
