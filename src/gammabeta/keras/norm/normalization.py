"""Normalization of inputs by the data's statistics, in the place of `keras.layers.Normalization`."""

from collections.abc import Iterable, Iterator
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from gammabeta.affine import Affine, constant
from gammabeta.backends import array_ops
from gammabeta.errors import DataError
from gammabeta.networks import normalize
from gammabeta.statistics import Moments

_EXACT = ("mean_float64", "variance_float64")  # beside Keras' variables in a file, where those were rounded


@keras.saving.register_keras_serializable(package="gammabeta")
class Normalization(keras.layers.Normalization):
    """y = (x − mean) / √variance, with the arguments, weights and call of `keras.layers.Normalization`.

    `adapt` takes the exact mean and biased variance, whatever the batches, NaN left out; a constant feature, whose
    variance is 0, is divided by 1, so that it goes to 0. The map is computed in float64, on every backend, and rounded
    once to the compute dtype; x is not rounded to it before.

    The weights are Keras', rounded; the float64 numbers are kept beside them, in a saved file too. Such a file holds
    more than Keras' own layer reads; this layer reads Keras' files.

    Args:
        axis: the axis that is **kept**, or a tuple of them; None for one mean of all.
        mean, variance: what to normalize by, in place of `adapt`: of the features' shape, or broadcast to it.
        invert: whether to go back: y = x · √variance + mean.

    Raises:
        DataError: `adapt` is given infinities, no batch, other features, or a layer with a mean of its own.

    >>> layer = Normalization()
    >>> layer.adapt(np.array([[999999.0, 5.0], [1000001.0, 5.0]], np.float32))
    >>> ops.convert_to_numpy(layer(np.array([[1000001.0, 5.0]], np.float32)))
    array([[1., 0.]], dtype=float32)
    """

    def __init__(
        self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any
    ) -> None:
        kwargs.setdefault("autocast", False)
        super().__init__(axis=axis, mean=mean, variance=variance, invert=invert, **kwargs)
        self._exact: Any = None
        self._affine: Any = None

    @classmethod
    def from_scaler(cls, scaler: Any, **kwargs: Any) -> Self:
        """The layer of a fitted scaler whose map only centers and divides.

        Args:
            scaler: as for `gammabeta.torch.Normalize`; of a table, or with an `axis` counted from the first.
            kwargs: the layer's other arguments, `invert` and `name` among them.

        Raises:
            DataError: the map clips, shifts or does not rise, which a mean and a variance cannot say.
        """
        fitted, axis = normalize.fitted(scaler)
        if fitted.limits is not None or (fitted.shift != 0).any() or not (fitted.slope > 0).all():
            raise DataError(
                "a scaler must only center and divide to be a Normalization, this one clips, shifts or turns"
            )
        reduced = (axis,) if isinstance(axis, int) else axis or ()
        if any(a < 0 for a in reduced):
            raise DataError(f"axis must be counted from the first for a layer of any batch, got {axis!r}")
        kept = tuple(a for a in range(max(reduced) + 1) if a not in reduced) if axis is not None else (-1,)
        more = fitted.center.ndim - len(kept)
        kept = (*kept, *(max(reduced, default=0) + 1 + i for i in range(more)))
        return cls(kept, fitted.center.tolist(), (1 / fitted.slope**2).tolist(), **kwargs)

    def build(self, input_shape: Any) -> None:
        """Make the weights, as Keras' layer."""
        super().build(input_shape)
        if input_shape is not None:
            self._set_map()

    def adapt(self, data: Any) -> None:
        """Take the exact statistics of data: an array or a tensor, a `tf.data.Dataset`, a `PyDataset` or batches."""
        if self.input_mean is not None:
            raise DataError("adapt must be of a layer without mean and variance, this one was given them")
        found: Any = None
        for batch in _batches(data):
            if not self.built:
                self.build(tuple(batch.shape))
            others = [(batch.shape[d], self._build_input_shape[d]) for d in self._keep_axis]
            if any(n != m for n, m in others) or len(batch.shape) != len(self._build_input_shape):
                raise DataError(f"batches must be like {self._build_input_shape}, got shape {tuple(batch.shape)}")
            part = Moments.of(batch, self._reduce_axis) if self._reduce_axis else Moments.of(batch[None], 0)
            found = part if found is None else found + part
        if found is None:
            raise DataError("data must have a batch at least, got none")
        if found.infinities.any() or not (found.count > 0).all():
            raise DataError("data must have finite values of each feature to normalize by, and no infinities")
        self._exact = found.mean, np.where(constant(found), 0.0, found.var)
        self.adapt_mean.assign(found.mean.astype(np.float32))
        self.adapt_variance.assign(self._exact[1].astype(np.float32))
        self.finalize_state()

    def finalize_state(self) -> None:
        """Take the map from the weights, which may have been set."""
        super().finalize_state()
        if self.input_mean is None and self.built:
            self._set_map()

    def call(self, inputs: Any) -> Any:
        """The image of the inputs."""
        if self._affine is None:
            raise DataError("the layer must be built before it is called: call build(input_shape) or adapt(data)")
        space = array_ops.of(inputs)
        x = space.as_tensor(inputs)
        y = space.affine(x, (self._affine.center, self._affine.slope, self._affine.shift))
        dtype = getattr(space.xp, self.compute_dtype)
        return space.cast(y, dtype)

    def _set_map(self) -> None:
        mean, variance = self._statistics()
        if not (variance >= 0).all():
            raise DataError("variance must be 0 or more in every feature")
        scale = np.where(variance == 0, 1.0, np.sqrt(variance))
        center, slope = (p.reshape(self._broadcast_shape) for p in (mean, scale))
        self._affine = Affine(0.0, slope, center) if self.invert else Affine(center, 1 / slope)

    def _statistics(self) -> tuple[Any, Any]:
        """Mean and variance in float64: those given; or the exact ones, where they are those of the weights."""
        if self.input_mean is not None:
            shape = self._mean_and_var_shape
            given = (np.asarray(p, np.float64) for p in (self.input_mean, self.input_variance))
            mean, variance = (np.broadcast_to(p, shape) for p in given)
            return mean, variance
        held = [np.asarray(ops.convert_to_numpy(w)) for w in (self.adapt_mean, self.adapt_variance)]
        exact = getattr(self, "_exact", None)  # Keras may build within its own __init__
        if exact is not None and all(np.array_equal(e.astype(w.dtype), w) for e, w in zip(exact, held, strict=True)):
            mean, variance = exact
            return mean, variance
        mean, variance = (w.astype(np.float64) for w in held)
        return mean, variance

    def save_own_variables(self, store: Any) -> None:
        """Keras' variables, and the float64 statistics where these were rounded."""
        super().save_own_variables(store)
        if self.input_mean is None and self._exact is not None:
            for name, value in zip(_EXACT, self._exact, strict=True):
                store[name] = value

    def load_own_variables(self, store: Any) -> None:
        """Read what `save_own_variables`, or Keras' layer, wrote."""
        names = list(store.keys())
        self._exact = tuple(np.asarray(store[name]) for name in _EXACT) if _EXACT[0] in names else None
        super().load_own_variables({name: store[name] for name in names if name not in _EXACT})


def _batches(data: Any) -> Iterator[Any]:
    """Data as batches: an array is one; of a pair, the inputs."""
    if isinstance(data, np.ndarray) or keras.ops.is_tensor(data):
        yield data
        return
    if hasattr(data, "element_spec"):  # tf.data's
        spec = data.element_spec
        data = data.batch(128) if len((spec[0] if isinstance(spec, tuple) else spec).shape) == 1 else data
    elif isinstance(data, keras.utils.PyDataset):
        data = map(data.__getitem__, range(len(data)))
    elif not isinstance(data, Iterable):
        raise DataError(f"data must be an array, a data set or batches, got {type(data).__name__}")
    for given in data:
        batch = given[0] if isinstance(given, tuple | list) else given
        yield batch if hasattr(batch, "shape") else np.asarray(batch)
