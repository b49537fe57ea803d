"""What a scaler has seen: its statistic, which adds up, and which JSON can hold."""

from collections.abc import Callable
from math import prod
from typing import Any, ClassVar, Self

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from gammabeta import arrays, axes, states
from gammabeta.errors import DataError, KindError, StateError


class Seen(BaseEstimator):
    """A fitted scaler's statistic and the attributes that follow from it. A subclass says which."""

    _kept: ClassVar[Any]  # Moments or Extrema
    _statistic: ClassVar[str]  # the attribute that keeps it
    _format: ClassVar[str]  # the name of the document that `to_json` writes
    _fitted: ClassVar[tuple[str, ...]]  # the attributes that follow

    _parameters_read: ClassVar[dict[str, Callable[[Any], bool]]]  # what those that are no flags may be in a document

    axis: axes.Axis | None
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

    def _reset(self) -> None:
        for name in (*self._fitted, self._statistic):
            self.__dict__.pop(name, None)

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
            StateError: one of them had its attributes set by hand, and has no statistic to add; or both together have
                seen more than 2⁶² rows.
        """
        if type(other) is not type(self):
            raise KindError(f"{type(self).__name__} merges with its own class, got {type(other).__name__}")
        check_is_fitted(other)
        names, other_names = (getattr(s, "feature_names_in_", None) for s in (self, other))
        statistic, rows, weighted = other._state()
        if hasattr(self, "n_samples_seen_"):
            mine, my_rows, my_weighted = self._state()
            same_names = names is None or other_names is None or np.array_equal(names, other_names)
            if mine.shape != statistic.shape or not same_names:
                raise DataError(
                    f"scalers merge over the same features, got {mine.shape} {_listed(names)} and "
                    f"{statistic.shape} {_listed(other_names)}"
                )
            weighted = weighted or my_weighted
            if my_rows + rows > states.MOST and not weighted:
                raise StateError(f"scalers must have seen 2^62 rows at most together, got {my_rows + rows}")
            return self._set(mine + statistic, my_rows + rows, weighted=weighted)
        return self._adopt(statistic, rows, weighted, other_names)

    def _adopt(self, statistic: Any, rows: int, weighted: bool, names: Any) -> Self:
        self.n_features_in_ = prod(statistic.shape)
        self.__dict__.pop("feature_names_in_", None)
        if names is not None:
            self.feature_names_in_ = np.asarray(names, dtype=object)
        return self._set(statistic, rows, weighted=weighted)

    def _state(self) -> tuple[Any, int, bool]:
        """The statistic, how many rows, and whether weights were among them."""
        check_is_fitted(self)
        statistic = self.__dict__.get(self._statistic)
        if statistic is None:
            raise StateError(f"this {type(self).__name__} must have been fitted: its attributes were set by hand")
        seen = np.asarray(arrays.to_numpy(self.n_samples_seen_))
        return statistic, most(seen), seen.dtype.kind == "f"

    def to_json(self) -> str:
        """The fitted scaler as JSON: parameters, feature names and the exact statistic; `from_json` reads it back.

        Nothing in it can be executed, unlike a pickle.
        """
        statistic, rows, weighted = self._state()
        names = getattr(self, "feature_names_in_", None)
        fields = {
            "parameters": {name: _plain(value) for name, value in self.get_params(deep=False).items()},
            "feature_names": None if names is None else [str(name) for name in names],
            "rows": rows,
            "weighted": weighted,
            "statistic": statistic._document(),
        }
        return states.dump(self._format, fields)

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
        found = states.load(text, cls._format, ("parameters", "feature_names", "rows", "weighted", "statistic"))
        names, rows, weighted = found["feature_names"], found["rows"], found["weighted"]
        scaler, statistic = cls._of_parameters(found["parameters"]), cls._kept._of_document(found["statistic"])
        named = isinstance(names, list) and states.texts(names) and (len(names),) == statistic.shape
        if not (names is None or named) or type(rows) is not int or type(weighted) is not bool:
            raise StateError(
                f"{cls._format} must hold rows, weighted, and feature_names (null, or one for each feature)"
            )
        if not _lies(statistic.shape, scaler.axis):
            raise StateError(
                f"{cls._format} must hold the statistic of the features beside axis {scaler.axis}, "
                f"got shape {statistic.shape}"
            )
        if wrong := cls._impossible(statistic, rows, weighted):
            raise StateError(f"{cls._format} must hold a statistic that a scaler can have seen, got {wrong}")
        return scaler._adopt(statistic, rows, weighted, names)

    @classmethod
    def _of_parameters(cls, given: Any) -> Self:
        """A scaler with the parameters in a document: all of them, each of its type."""
        if not isinstance(given, dict) or set(given) != set(cls._get_param_names()):
            raise StateError(f"{cls._format} must hold the parameters of {cls.__name__}, got {states.shown(given)}")
        found = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
        for name, value in found.items():
            if not cls._parameters_read.get(name, states.is_flag)(value):
                raise StateError(f"{cls._format} cannot have been made with {name}={states.shown(given[name])}")
        return cls(**found)

    @classmethod
    def _impossible(cls, statistic: Any, rows: int, weighted: bool) -> str:
        """Why no scaler can have seen so many rows with this statistic; "" if one can."""
        raise NotImplementedError


def most(counts: Any) -> int:
    """The greatest of some counts as an integer: that of weights whose sum is beyond float64 is the greatest float."""
    return int(np.nan_to_num(counts).max(initial=0))


def _lies(shape: tuple[int, ...], axis: axes.Axis | None) -> bool:
    """Whether features of a shape can lie beside the axes that are reduced."""
    if axis is None:
        return len(shape) == 1 and shape[0] > 0
    try:
        away = 1 if isinstance(axis, int) else len(axis)
        return len(axes.kept(axis, away + len(shape))) == len(shape)
    except DataError:
        return False


def _listed(names: Any) -> str:
    return "" if names is None else str(list(names))[:200]


def _plain(value: Any) -> Any:
    """A parameter as JSON has it."""
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value
