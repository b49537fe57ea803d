"""`StandardScaler` and `MinMaxScaler`: a statistic followed by an affine map, as scikit-learn estimators.

They take scikit-learn's place: parameters, attributes, errors and the estimator protocol are its own. What differs is
how they come to their numbers: the statistic is kept (`moments_`, `extrema_`), is exact, and adds up (`merge`,
`partial_fit`), so that the pieces in which data comes change no bit; `affine_` is the map. And what goes in comes out:
NumPy, scipy.sparse, data frames of any library, tensors of torch, TensorFlow and JAX. `fold_scalers` and
`cross_validate` fit the scalers of a cross-validation's folds in one pass.
"""

from gammabeta.scalers.linear_model import fold
from gammabeta.scalers.minmax import MinMaxScaler
from gammabeta.scalers.model_selection import cross_validate, fold_scalers
from gammabeta.scalers.standard import StandardScaler

__all__ = ["MinMaxScaler", "StandardScaler", "cross_validate", "fold", "fold_scalers"]
