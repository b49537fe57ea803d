"""xarray's DataArrays in the scalers: laid by the names of their dimensions, and given back as DataArrays.

A fit keeps the names of the features' dimensions, and the labels along them, as `dims_in_`. Whatever comes later is
laid by these names: a transposed array is the same data, and one with other labels is refused.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gammabeta import axes
from gammabeta.backends import named_dims
from gammabeta.backends.named_dims import Labels
from gammabeta.errors import DataError, KindError
from gammabeta.statistics.validation import repeated_weights

if TYPE_CHECKING:
    from gammabeta.scalers.base import Scaler


class Laid(NamedTuple):
    """A DataArray as an array with the features where `axis` says, the names of its axes, and its features' labels."""

    values: Any
    dims: tuple[Any, ...]
    axis: axes.Axis | None
    labels: Labels
    single: bool  # whether it lacked all dimensions but the features', and has an axis of length 1 for them


def refuse_without_dims(scaler: "Scaler", X: Any) -> None:
    """Refuse what has no named dimensions where they are asked for, and what is several arrays.

    Raises:
        DataError: axis and dim are both given.
        KindError: X is a Dataset or a DataTree; or `dim` is set, and X no DataArray.
    """
    if scaler.axis is not None and scaler.dim is not None:
        raise DataError(f"axis or dim must be None, got axis={scaler.axis!r} and dim={scaler.dim!r}")
    if named_dims.is_dataset(X) or named_dims.is_tree(X):
        raise KindError(
            f"X must be one DataArray, got a {type(X).__name__}: take a scaler for each variable, X[name], or one "
            "array of all, X.to_dataarray()"
        )
    if scaler.dim is not None and not named_dims.is_data_array(X):
        raise KindError(
            f"dim={scaler.dim!r} names dimensions of an xarray DataArray, which X must be, got {type(X).__name__}"
        )


def laid_for_fit(scaler: "Scaler", X: Any) -> Laid:
    """A DataArray as the scaler's statistic takes it: its dimensions in the order of those of an earlier fit.

    Raises:
        DataError: there is no such dimension, or the features are others than before.
    """
    known: Labels | None = getattr(scaler, "dims_in_", None)
    if scaler.dim is not None:
        reduced = named_dims.reduced_axes(X, scaler.dim)
        features = [name for i, name in enumerate(X.dims) if i not in reduced]
        if known is not None and set(known) == set(features):
            features = list(known)
        others = [X.dims[i] for i in reduced]
        return _checked(scaler, X, (*others, *features), tuple(range(len(others))), features)
    return _laid_by_axis(scaler, X, known)


def laid_for_transform(scaler: "Scaler", X: Any) -> Laid:
    """A DataArray as the scaler's map takes it. With `dim` it may lack reduced dimensions, and have more of them.

    Raises:
        DataError: it lacks dimensions of the features, or has other labels along them than the fit's.
    """
    known: Labels | None = getattr(scaler, "dims_in_", None)
    if scaler.dim is None:
        return _laid_by_axis(scaler, X, known)
    features = list(known) if known is not None else [name for name in X.dims if name not in _named(scaler, X)]
    others = [name for name in X.dims if name not in features]
    return _checked(scaler, X, (*others, *features), tuple(range(max(1, len(others)))), features)


def _named(scaler: "Scaler", X: Any) -> tuple[Any, ...]:
    names = named_dims.names_of(scaler.dim)
    return tuple(X.dims) if names == (...,) else names


def _laid_by_axis(scaler: "Scaler", X: Any, known: Labels | None) -> Laid:
    """A DataArray of a scaler without `dim`: of a table the rows are reduced, else `axis`."""
    at = axes.feature_axes(scaler.axis or 0, X.ndim) if X.ndim else ()
    features = [X.dims[i] for i in at]
    dims = tuple(X.dims)
    if known is not None and len(known) == len(at) and set(known) != set(features) and set(known) <= set(dims):
        others = iter(name for name in dims if name not in known)
        mine = iter(known)
        dims = tuple(next(mine) if i in at else next(others) for i in range(len(dims)))
    elif known is not None and set(known) == set(features):
        mine = iter(known)
        dims = tuple(next(mine) if i in at else name for i, name in enumerate(dims))
    return _checked(scaler, X, dims, scaler.axis, [dims[i] for i in at])


def _checked(scaler: "Scaler", X: Any, dims: tuple[Any, ...], axis: axes.Axis | None, features: list[Any]) -> Laid:
    known: Labels | None = getattr(scaler, "dims_in_", None)
    if not set(features) <= set(X.dims) or (known is not None and list(known) != features):
        wanted = tuple(known or features)
        raise DataError(f"X must have the dimensions of the fit's features, {wanted}, and rows; got {tuple(X.dims)}")
    if X.dtype.kind in "mM":  # scikit-learn would take nanoseconds, and a missing time for a number
        raise KindError(f"X must be of numbers, got {X.dtype}; make them of it: (x - start) / np.timedelta64(1, 'D')")
    labels, names = named_dims.labels_of(X, features), text_names(X, features)
    if known is not None:
        named_dims.refuse_other_labels(known, labels, "the fit")
    elif names is not None and hasattr(scaler, "feature_names_in_"):
        named_dims.refuse_other_labels({features[0]: list(scaler.feature_names_in_)}, labels, "the fit")
    shape = tuple(X.sizes[name] for name in features)
    if scaler.dim is not None and hasattr(scaler, "n_samples_seen_") and shape != scaler._shape:
        raise DataError(f"X must have {scaler._shape} features along {tuple(features)}, as the fit had, got {shape}")
    values = named_dims.values_of(X.transpose(*dims))
    single = scaler.dim is not None and len(dims) == len(features)
    return Laid(values[None] if single else values, dims, axis, labels, single)


def weights_for(laid: Laid, weights: Any, X: Any) -> Any:
    """Weights of a DataArray's values as `Moments.of` takes them.

    Raises:
        DataError: they have other dimensions, labels or lengths.
        KindError: they are no DataArray, and two or more axes are reduced, whose order would have to be known.
    """
    reduced = axes.reduced(laid.axis or 0, len(laid.dims))
    if not named_dims.is_data_array(weights):
        if weights is not None and len(reduced) > 1:
            raise KindError(
                f"sample_weight of values along {tuple(laid.dims[i] for i in reduced)} must be a DataArray, whose "
                f"dimensions say what they go with, got {type(weights).__name__}"
            )
        return weights
    beside = named_dims.broadcast_like(weights, X.transpose(*laid.dims))
    if named_dims.is_lazy(X):
        return beside
    axis = laid.axis or 0
    if laid.axis is None and any(beside.shape[i] != 1 for i in axes.feature_axes(axis, len(laid.dims))):
        raise DataError(
            f"sample_weight must be along the rows, {laid.dims[0]!r}, got {tuple(weights.dims)}; or say dim"
        )
    return repeated_weights(np.asarray(beside), axis, laid.values.shape)


def refuse_other_genes(scaler: "Scaler", X: Any) -> None:
    """Refuse AnnData whose genes are others than those of the fit, or in another order, and other axes than cells.

    Raises:
        DataError: with the first gene that differs.
    """
    if scaler.axis not in (None, 0):
        raise DataError(f"of AnnData every gene is a feature: axis must be None or 0, got {scaler.axis!r}")
    known = getattr(scaler, "feature_names_in_", None)
    if known is None or not hasattr(scaler, "n_samples_seen_") or list(known) == list(X.var_names):
        return
    pairs = enumerate(zip(known, X.var_names, strict=False))
    at = next((i for i, (own, name) in pairs if own != name), min(len(known), X.n_vars))
    own, name = (repr(names[at]) if at < len(names) else "no more" for names in (list(known), list(X.var_names)))
    raise DataError(
        f"AnnData must have the genes of the fit in its order, of which number {at} is {own}, got {name}; "
        "adata[:, scaler.feature_names_in_]"
    )


def text_names(X: Any, features: list[Any]) -> list[str] | None:
    """The names of a table's features, where the features have one dimension, and it has texts for labels."""
    if len(features) != 1 or features[0] not in getattr(X, "coords", {}):
        return None
    labels = X.coords[features[0]].values.tolist()
    return labels if all(isinstance(label, str) for label in labels) else None
