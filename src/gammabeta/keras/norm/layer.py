"""Batch norm as a `keras.layers.BatchNormalization`: y = γ · (x − mean) / √(var + ε) + β, on TensorFlow, JAX and torch.

The layer chooses the statistics and keeps the moving ones; `functional` computes, in the backend's own operations.
"""

from typing import Any, Self

import keras
import numpy as np
from keras import ops

from gammabeta.axes import Axis
from gammabeta.backends import array_ops
from gammabeta.conventions import KERAS, Convention
from gammabeta.errors import DataError, StateError
from gammabeta.keras.norm import functional, masks, running_stats, validation
from gammabeta.keras.norm.functional import Batch
from gammabeta.norm.state import BatchNormState, Floats

Shape = tuple[int | None, ...]

SERIALIZED = {
    keras.initializers: (
        "beta_initializer",
        "gamma_initializer",
        "moving_mean_initializer",
        "moving_variance_initializer",
    ),
    keras.regularizers: ("beta_regularizer", "gamma_regularizer"),
    keras.constraints: ("beta_constraint", "gamma_constraint"),
}
"""The arguments that Keras takes as names, configurations or objects."""

EXTRAS = {"ghost": None, "unbiased": False, "zero_masked": False}
"""The arguments that Keras' layer does not have, and what makes a layer do as that does."""


@keras.saving.register_keras_serializable(package="gammabeta")
class BatchNormalization(keras.layers.BatchNormalization):
    """y = γ · (x − mean) / √(var + ε) + β, with the arguments, weights and call of `keras.layers.BatchNormalization`.

    In training the mean and the biased variance are the batch's, and the moving ones follow: momentum · moving +
    (1 − momentum) · batch. In evaluation, and with `trainable=False`, they are the moving ones. All is computed in
    float32 or wider, of differences, and rounded to the compute dtype once.

    A batch does not move the moving statistics of a feature of which it has fewer than two values, or a NaN or an
    infinity. Of a single value y is β, as in Keras; of an empty batch y is empty.

    Args:
        axis: the axis that is **kept**, or a tuple of them: -1 for a statistic of each channel of (n, …, c); (1, 2) for
            one of each position of (n, t, c).
        momentum, epsilon, center, scale: as in Keras, and so are the initializers, regularizers and constraints.
        renorm: True with `renorm_clipping` and `renorm_momentum`, as in Keras, with its three weights more; or
            (r_max, d_max): batch renormalization by the moving statistics, y = γ · (x̂ · r + d) + β (Ioffe 2017).
        synchronized: statistics of the batches of all replicas of a `tf.distribute` strategy together, each value
            counting the same, however unevenly they are spread. TensorFlow backend alone.
        ghost: how many samples are normalized together (Hoffer, Hubara and Soudry 2017); of a batch there are as many
            such parts as fit whole, about equally long. Each moves the moving statistics.
        unbiased: whether the moving variance takes Σ(x − mean)² / (n − 1), as torch does, or / n, as Keras.
        zero_masked: whether y is 0 where a mask is False, whatever x is there, and no gradient flows there. If not, as
            in Keras, x is normalized there like everywhere: of a NaN y is NaN, and so are the gradients.
        **kwargs: name, dtype, trainable, …, as of any Keras layer.

    Call arguments:
        inputs: float16, bfloat16, float32 or float64.
        training: which statistics.
        mask: True, or a number other than 0, where a value counts in the statistics: of the shape of the reduced axes,
            such as (n, t) for (n, t, c); or of inputs' leading axes; or of inputs' shape; lengths of 1 allowed.

    Raises:
        DataError: an argument is out of its range; at a call, inputs have other features, a mask does not fit, or ghost
            batches have one value each, as far as the shape is known.
        KindError: inputs are not of a floating type. On any error nothing is updated.

    Ioffe and Szegedy (2015), algorithms 1 and 2: https://arxiv.org/abs/1502.03167

    >>> layer = BatchNormalization()
    >>> y = layer(np.array([[1.0, 10.0], [3.0, 30.0]], np.float32), training=True)
    >>> ops.convert_to_numpy(y).round(3).tolist()  # ε is 1e-3
    [[-1.0, -1.0], [1.0, 1.0]]
    >>> [weight.name for weight in layer.weights]
    ['gamma', 'beta', 'moving_mean', 'moving_variance']
    """

    axis: Axis
    gamma: Any
    beta: Any
    moving_mean: Any
    moving_variance: Any

    def __init__(
        self,
        axis: Axis = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool | tuple[float, float] = False,
        renorm_clipping: dict[str, float] | None = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        *,
        ghost: int | None = None,
        unbiased: bool = False,
        zero_masked: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        given = locals()
        self.axis = validation.axis(axis)
        self.momentum, self.epsilon, self.renorm_momentum = float(momentum), float(epsilon), float(renorm_momentum)
        self.center, self.scale = center, scale
        for kind, names in SERIALIZED.items():
            for name in names:
                setattr(self, name, kind.get(given[name]))
        self.renorm = tuple(renorm) if isinstance(renorm, list) else renorm
        self.renorm_clipping = (renorm_clipping or {}) if renorm is True else renorm_clipping
        self.synchronized, self.ghost = synchronized, ghost
        self.unbiased, self.zero_masked = unbiased, zero_masked
        validation.options(self)

    def build(self, input_shape: Shape) -> None:
        """Make the weights for inputs of that shape."""
        shape = validation.features(self, input_shape)
        for name, wanted in (("gamma", self.scale), ("beta", self.center)):
            if wanted:
                options = {key: getattr(self, f"{name}_{key}") for key in ("initializer", "regularizer", "constraint")}
                setattr(self, name, self.add_weight(shape=shape, name=name, autocast=False, **options))

        def deviation(shape: Any, dtype: Any = None) -> Any:
            return ops.sqrt(self.moving_variance_initializer(shape, dtype=dtype))

        moving = {"moving_mean": self.moving_mean_initializer, "moving_variance": self.moving_variance_initializer}
        if self.renorm is True:
            moving |= {"moving_stddev": deviation, "renorm_mean": self.moving_mean_initializer}
            moving |= {"renorm_stddev": deviation}
        for name, initializer in moving.items():
            weight = self.add_weight(shape=shape, name=name, initializer=initializer, trainable=False, autocast=False)
            setattr(self, name, weight)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """That of the inputs."""
        validation.feature_axes(self, input_shape)
        return input_shape

    def compute_output_spec(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """The inputs' shape, in the compute dtype."""
        validation.reduced(self, inputs)
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalize a batch: in training by its own statistics, which move the moving ones; else by the moving ones."""
        reduced_axes, space = validation.reduced(self, inputs), array_ops.of(inputs)
        mask = None if mask is None else masks.broadcast_mask(space, mask, inputs, reduced_axes)
        batch = Batch(space, inputs, reduced_axes, mask)
        if training and self.trainable:
            y, new = functional.by_batch(self, batch)
            running_stats.assign(self, new)
        else:
            y = functional.by_moving(self, batch)
        return ops.cast(y, self.compute_dtype)

    @property
    def convention(self) -> Convention:
        """Under which rule the moving statistics are kept."""
        feature_axis = self.axis if isinstance(self.axis, int) else KERAS.feature_axis
        return Convention(self.epsilon, self.momentum, self.unbiased, feature_axis)

    def state(self) -> BatchNormState:
        """What the layer has learned, for `from_state` of any framework's layer; Keras counts no batches."""
        if not self.built:
            raise StateError("state() needs the weights, which a layer has once it was built: call it, or layer.build")
        gamma, beta = (None if weight is None else _floats(weight) for weight in (self.gamma, self.beta))
        return BatchNormState(gamma, beta, _floats(self.moving_mean), _floats(self.moving_variance), 0, self.convention)

    @classmethod
    def from_state(cls, state: BatchNormState, convention: Convention | None = None, **arguments: Any) -> Self:
        """A built layer that goes on under the convention of the state's source, or under another, such as `gb.KERAS`.

        In evaluation, ε being part of the convention, the output is the source's as long as that is kept. The feature
        axis is the convention's: a layer of torch's (n, c, …) for data with channels last takes `axis=-1`.
        """
        rule = state.convention if convention is None else convention
        shape = np.shape(state.mean)
        if rule.decay is None:
            raise DataError(
                "convention must have a decay, since Keras' moving statistics count no batches, got decay=None: give "
                "convention=state.convention.replace(decay=0.99)"
            )
        if len(shape) != 1 and "axis" not in arguments:
            raise DataError(f"axis must name the {len(shape)} axes that are kept, since the features are {shape}")
        arguments = {
            "axis": rule.feature_axis,
            "scale": state.gamma is not None,
            "center": state.beta is not None,
            **arguments,
        }
        layer = cls(momentum=rule.decay, epsilon=rule.eps, unbiased=rule.unbiased, **arguments)
        layer.build(validation.shape(layer, shape))
        deviation = np.sqrt(state.var + rule.eps)
        learned = [state.gamma if layer.scale else None, state.beta if layer.center else None, state.mean, state.var]
        if layer.renorm is True:
            learned += [deviation, state.mean, deviation]
        layer.set_weights([value for value in learned if value is not None])
        return layer

    def get_config(self) -> dict[str, Any]:
        """Keras', and the arguments that Keras' layer does not have where they are used."""
        config = {name: list(v) if isinstance(v := getattr(self, name), tuple) else v for name in ("axis", "renorm")}
        extras = {name: getattr(self, name) for name in EXTRAS if getattr(self, name) != EXTRAS[name]}
        return {**super().get_config(), **config, **extras}


def _floats(weight: Any) -> Floats:
    return np.array(ops.convert_to_numpy(weight), np.float64)
