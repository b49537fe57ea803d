"""A scaler and a linear model of scikit-learn as one linear model, which takes raw data."""

import copy
from typing import Any

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import (
    ARDRegression,
    BayesianRidge,
    GammaRegressor,
    PoissonRegressor,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.linear_model._base import LinearClassifierMixin, LinearModel
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from gammabeta.affine import Affine
from gammabeta.errors import DataError, KindError
from gammabeta.norm.linear_map import Linear
from gammabeta.scalers.as_affine import affine_of

LINEAR = (LinearModel, LinearClassifierMixin, SGDRegressor, PoissonRegressor, GammaRegressor, TweedieRegressor)
_MORE = (BayesianRidge, ARDRegression, LinearDiscriminantAnalysis)  # they keep more of the data than coef_


def fold(model: Any, *, scaler: Any = None) -> Any:
    """The linear model of raw data that a scaler and a linear model of scaled data are together.

    coef · (x − center) · scale + intercept = (coef · scale) · x + (intercept − Σ coef · scale · center), in float64,
    rounded once to the type of `coef_`. For a network use `gammabeta.torch.fold`.

    Args:
        model: a fitted linear model of scikit-learn, a regressor or a classifier, with `coef_` and `intercept_`; or a
            fitted pipeline of scalers that ends in one.
        scaler: what the data went through before a model that is no pipeline: a fitted `StandardScaler` or
            `MinMaxScaler` of gammabeta or scikit-learn, a pipeline of such, or an `Affine`.

    Returns:
        A copy of the linear model with other coefficients. The names of features are the scaler's.

    Raises:
        KindError: a step before the model is not an affine scaler, or the model is not linear.
        DataError: scaler and model have other features, the scaler clips, or the coefficients are beyond their type.

    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> import gammabeta as gb
    >>> x, y = load_diabetes(return_X_y=True, scaled=False)
    >>> pipeline = make_pipeline(gb.StandardScaler(), Ridge()).fit(x, y)
    >>> shipped = gb.fold(pipeline)
    >>> shipped
    Ridge()
    >>> bool(np.allclose(shipped.predict(x), pipeline.predict(x), rtol=1e-12))
    True
    """
    if isinstance(model, Pipeline):
        if scaler is not None:
            raise DataError("scaler= must not be given with a pipeline: put it there as the first step")
        if len(model.steps) < 2:
            raise DataError(
                "a pipeline must have a scaler before its linear model, got one step: nothing is to be folded"
            )
        return fold(model.steps[-1][1], scaler=model[:-1])
    if scaler is None:
        raise DataError("scaler must be given, unless the model is a pipeline: there is nothing to fold")
    if not isinstance(model, LINEAR) or isinstance(model, _MORE):
        raise KindError(
            f"model must be a linear model of scikit-learn, which predicts from coef_ · x + intercept_ alone, "
            f"got {type(model).__name__}; a network is for gammabeta.torch.fold"
        )
    folded = _folded(model, affine_of(scaler))
    names = getattr(scaler, "feature_names_in_", None)
    folded.__dict__.pop("feature_names_in_", None)
    if names is not None:
        folded.feature_names_in_ = names
    return folded


def _folded(model: Any, affine: Affine) -> Any:
    check_is_fitted(model)
    coefficients, intercept = np.asarray(model.coef_), np.asarray(model.intercept_)
    if coefficients.dtype.kind != "f":
        raise KindError(f"coef_ must be a dense array of floats, got {type(model.coef_).__name__}: call densify()")
    features = coefficients.shape[-1]
    if affine.shape not in ((), (features,)):
        raise DataError(f"scaler and model must have the same features, got {affine.shape} and {features}")
    rows = coefficients.reshape(-1, features).astype(np.float64)
    given = Affine(*(np.broadcast_to(p, (features,)) for p in (affine.center, affine.slope, affine.shift)))
    linear = Linear(rows[None, :, :, None], np.broadcast_to(intercept, len(rows)).astype(np.float64)).before(given)
    with np.errstate(over="ignore"):
        weight, bias = (part.astype(coefficients.dtype) for part in (linear.weight, linear.bias))
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise DataError(f"the folded coefficients must be finite in {coefficients.dtype}, and are not")
    folded = copy.deepcopy(model)
    folded.coef_ = weight.reshape(coefficients.shape)
    folded.intercept_ = bias if intercept.ndim or coefficients.ndim > 1 else bias[0]
    return folded
