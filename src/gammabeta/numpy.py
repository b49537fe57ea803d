"""The batch-norm layer, written to be read: y = γ · (x − mean) / √(var + eps) + β, forward and backward.

In training the mean and the variance are the batch's, and running ones are kept under a `Convention`; in evaluation
they are the running ones. Every framework's layer is compared with this one.
"""

import warnings
from copy import copy
from math import prod
from typing import Any, NamedTuple, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gammabeta import axes
from gammabeta._util import html
from gammabeta.backends import array_ops, masked
from gammabeta.conventions import TORCH, Convention
from gammabeta.errors import DataError
from gammabeta.kernels import batchnorm, reference
from gammabeta.kernels.batchnorm_blocks import Batch, Floats
from gammabeta.norm import formula
from gammabeta.norm.state import BatchNormState

Array = NDArray[Any]


class Gradients(NamedTuple):
    """The gradients of x, γ and β."""

    dx: Array
    dgamma: Floats
    dbeta: Floats


class _Saved(NamedTuple):
    """What the forward pass saves for the backward pass: x itself, not a copy, and its statistics, (f,)."""

    x: Array
    reduced_axes: tuple[int, ...]
    mask: Array | None
    batch: Batch
    training: bool


class BatchNorm:
    """y = γ · (x − mean) / √(var + eps) + β, with γ and β to be learned.

    A batch is normalized by its biased variance, Σ(x − mean)² / n; `convention` says which variance the running one is,
    how fast it follows, and eps. All is computed in float64 (16 bits in float32) and rounded once to x's type. A batch
    does not move the running statistics of a feature of which it has fewer than two values, or a NaN or an infinity:
    `skipped` counts the batches with the latter.

    Args:
        features: the shape of γ and β: an int, or a tuple.
        axis: the reduced axes of x: 0 for a statistic per position; None for all but `convention.feature_axis`.
        convention: `gammabeta.TORCH`, `KERAS`, `TENSORFLOW`, `FLAX`, `ONNX`, or another.

    Attributes:
        gamma, beta, running_mean, running_var: float64, of the shape `features`; to be set at will.
        batches: how many batches moved the running statistics.
        skipped: how many had a NaN or an infinity.

    Raises:
        DataError: `features` is not positive, or not what `axis` leaves.

    Ioffe and Szegedy (2015), algorithms 1 and 2 and section 3: https://arxiv.org/abs/1502.03167

    >>> layer = BatchNorm(2)
    >>> layer.forward(np.array([[1.0, 10.0], [3.0, 30.0]]), training=True).round(3)
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> layer.running_mean, layer.running_var
    (array([0.2, 2. ]), array([ 1.1, 20.9]))
    >>> layer.backward(np.array([[1.0, 0.0], [0.0, 0.0]])).dbeta
    array([1., 0.])
    """

    def __init__(
        self, features: int | tuple[int, ...], *, axis: axes.Axis | None = None, convention: Convention = TORCH
    ) -> None:
        self.features = (features,) if isinstance(features, int) else tuple(features)
        if not all(isinstance(n, int) and n > 0 for n in self.features):
            raise DataError(f"features must be a positive integer or a tuple of them, got {features!r}")
        if axis is None and len(self.features) != 1:
            raise DataError(f"axis must be given, since features has {len(self.features)} axes and not one: {features}")
        self.axis = axis
        self.convention = convention
        self.gamma = np.ones(self.features)
        self.beta = np.zeros(self.features)
        self.running_mean = np.zeros(self.features)
        self.running_var = np.ones(self.features)
        self.batches = self.skipped = 0
        self._saved: _Saved | None = None

    def forward(self, x: ArrayLike, training: bool, mask: ArrayLike | None = None) -> Array:
        """Normalize a batch: in training by its own statistics, which move the running ones; else by the running ones.

        Args:
            x: float16, bfloat16, float32 or float64. It is kept, not copied, until `backward`. What a masked array
                hides does not count, and y is masked there.
            training: which statistics.
            mask: boolean, True where a value counts: of the shape of the reduced axes, or of x's with lengths of 1
                allowed. Elsewhere y is 0. A batch with no value left moves nothing.

        Returns:
            y, of x's shape and dtype.

        Raises:
            DataError: x has other features, no values, or in training one for each feature; the mask another shape.
            KindError: x is not of a floating type, or the mask not boolean. On any error nothing is updated.
        """
        given = masked.read(x)
        x, present = masked.split(given)
        _, values, reduced_axes = formula.checked(np.asarray(x), self._axis(np.ndim(x)), self.convention.eps)
        self._check(values, reduced_axes, training)
        valid: Any = None if mask is None else formula.broadcast_mask(array_ops.of(values), mask, values, reduced_axes)
        valid = valid if present is None else present if valid is None else valid & present
        now = copy(self)  # another thread may move the running statistics, and all four go together
        gamma, beta, mean, var = (now._shaped(p) for p in ("gamma", "beta", "running_mean", "running_var"))
        if training:
            y, batch, count = self._by_batch(values, reduced_axes, gamma, beta, valid)
            self._move(batch, count)
        else:
            batch = Batch(mean, np.zeros(gamma.shape), var, 0)
            y = self._by_running(values, reduced_axes, gamma, beta, batch, valid)
        self._saved = _Saved(values, reduced_axes, valid, batch, training)
        return cast(Array, masked.like(given, y))

    def backward(self, dy: ArrayLike) -> Gradients:
        """The gradients of x, γ and β, given that of the last `forward`'s y.

        In training the statistics depend on x; with x̂ = (x − mean) / √(var + eps),

            dβ = Σdy,  dγ = Σdy·x̂,  dx = γ / √(var + eps) · (dy − dβ/n − x̂·dγ/n).

        In evaluation they do not, and dx = γ / √(var + eps) · dy.

        Args:
            dy: real numbers, of y's shape. Where the mask was False it counts for nothing.

        Returns:
            dx, of x's dtype, and dgamma and dbeta, float64.

        Raises:
            DataError: dy has another shape, or there was no `forward`.
        """
        if self._saved is None:
            raise DataError("backward needs a forward before it: call forward(x, training=True) first")
        x, reduced_axes, mask, batch, training = self._saved
        dy = np.asarray(dy)
        if dy.shape != x.shape:
            raise DataError(f"dy must have the shape of the last y, {x.shape}, got {dy.shape}")
        gamma, eps = self._shaped("gamma"), self.convention.eps
        if training and mask is None:
            dx, dgamma, dbeta = batchnorm.backward(dy, x, reduced_axes, batch, gamma, eps)
        else:
            back = reference.backward if training else reference.evaluate_backward
            mean, var, gamma = (self._broadcast_like(p, x, reduced_axes) for p in (batch.mean, batch.var, gamma))
            dx, dgamma, dbeta = back(dy, x, reduced_axes, mean, var, gamma, eps, True if mask is None else mask)
        return Gradients(dx, dgamma.reshape(self.features), dbeta.reshape(self.features))

    def state(self) -> BatchNormState:
        """The parameters and running statistics, for `from_state` of any framework's layer."""
        now = copy(self)
        gamma, beta, mean, var = (
            now._shaped(name).reshape(now.features).copy() for name in ("gamma", "beta", "running_mean", "running_var")
        )
        return BatchNormState(gamma, beta, mean, var, now.batches, now.convention)

    @classmethod
    def from_state(
        cls, state: BatchNormState, convention: Convention | None = None, *, axis: axes.Axis | None = None
    ) -> Self:
        """A layer that goes on under the convention of the state's source, or under another, such as `gb.TORCH`.

        In evaluation, eps being part of the convention, the output is the source's as long as that is kept. The feature
        axis is the convention's: a layer of torch's (n, c, …) for data with channels last takes
        `convention=state.convention.replace(feature_axis=-1)`, or the reduced axes as `axis`.
        """
        layer = cls(state.mean.shape, axis=axis, convention=state.convention if convention is None else convention)
        layer.running_mean, layer.running_var, layer.batches = state.mean.copy(), state.var.copy(), state.batches
        if state.gamma is not None:
            layer.gamma = state.gamma.copy()
        if state.beta is not None:
            layer.beta = state.beta.copy()
        return layer

    def _repr_html_(self) -> str:
        names = ("gamma", "beta", "running_mean", "running_var")
        eps, decay = self.convention.eps, self.convention.decay
        title = f"BatchNorm, {self.batches:,} batches seen, eps {eps:g}, decay {'1 − 1/n' if decay is None else decay}"
        values = {name.replace("_", " "): self._shaped(name).reshape(self.features) for name in names}
        return html.features(title, self.features, values)

    def _axis(self, ndim: int) -> axes.Axis:
        """The axes of x to reduce."""
        if self.axis is not None:
            return self.axis
        feature = self.convention.feature_axis
        if not -ndim <= feature < ndim or ndim < 2:
            raise DataError(f"x must have two axes or more, one of them the feature axis {feature}, got {ndim}")
        return tuple(i for i in range(ndim) if i != feature % ndim)

    def _check(self, x: Array, reduced_axes: tuple[int, ...], training: bool) -> None:
        """Refuse x of other features, and training batches with fewer than two values a feature."""
        features = tuple(x.shape[i] for i in axes.feature_axes(reduced_axes, x.ndim))
        if features != self.features:
            raise DataError(
                f"x must have features {self.features} beside the reduced axes {reduced_axes}, got {features} "
                f"in {x.shape}"
            )
        count = prod(x.shape[i] for i in reduced_axes)
        if training and count < 2:
            raise DataError(
                f"training needs at least two values for each feature, got {count} in {x.shape}: a single value is "
                f"its own mean, and y would be β whatever it is; use a larger batch, or training=False"
            )

    def _by_batch(
        self, x: Array, reduced_axes: tuple[int, ...], gamma: Floats, beta: Floats, mask: Array | None
    ) -> tuple[Array, Batch, Floats]:
        """y, the batch's statistics, and how many values each feature had."""
        eps = self.convention.eps
        if mask is None:
            y, batch = batchnorm.forward(x, reduced_axes, gamma, beta, eps)
            return y, batch, np.full(gamma.shape, float(batch.values))
        gamma, beta = (self._broadcast_like(p, x, reduced_axes) for p in (gamma, beta))
        y, mean, var, count = reference.forward(x, reduced_axes, gamma, beta, eps, mask)
        batch = Batch(mean.reshape(-1), np.zeros(gamma.size), var.reshape(-1), 0)
        return y, batch, count.reshape(-1).astype(np.float64)

    def _by_running(
        self, x: Array, reduced_axes: tuple[int, ...], gamma: Floats, beta: Floats, batch: Batch, mask: Array | None
    ) -> Array:
        """y by the running statistics, as in evaluation."""
        if mask is None:
            scale = gamma / np.sqrt(batch.var + self.convention.eps)
            return batchnorm.applied(x, reduced_axes, batch.mean, batch.mean_lo, scale, beta)
        mean, var, gamma, beta = (
            self._broadcast_like(p, x, reduced_axes) for p in (batch.mean, batch.var, gamma, beta)
        )
        return reference.evaluate(x, mean, var, gamma, beta, self.convention.eps, mask)

    def _move(self, batch: Batch, count: Floats) -> None:
        """Move the running statistics towards the batch's, feature by feature."""
        enough, finite = count > 1, np.isfinite(batch.mean) & np.isfinite(batch.var)
        if not finite.all():
            if self.skipped == 0:
                features = np.flatnonzero(~finite)[:5].tolist()
                warnings.warn(
                    f"a batch has NaN or infinity in features {features}: their running statistics stay as they were. "
                    f"This is said once; `skipped` counts such batches",
                    RuntimeWarning,
                    stacklevel=3,
                )
            self.skipped += 1
        moved = enough & finite
        if not moved.any():
            return
        changed: dict[str, Any] = {"batches": self.batches + 1}
        var = self.convention.running_variance(batch.var, np.maximum(count, 2))
        for name, new in (("running_mean", batch.mean), ("running_var", var)):
            old = self._shaped(name)
            with np.errstate(invalid="ignore"):
                updated = self.convention.updated(old, new, batches=changed["batches"])
            changed[name] = np.where(moved, updated, old).reshape(self.features)
        self.__dict__ = self.__dict__ | changed  # at once: another thread may read the layer

    def _shaped(self, name: str) -> Floats:
        """A parameter or a running statistic as (f,)."""
        value = np.asarray(getattr(self, name), np.float64)
        if value.shape != self.features:
            raise DataError(f"{name} must have the shape of the features, {self.features}, got {value.shape}")
        return value.reshape(-1)

    @staticmethod
    def _broadcast_like(value: Floats, x: Array, reduced_axes: tuple[int, ...]) -> Floats:
        """A view of (f,) that broadcasts against x."""
        return value.reshape(axes.parameter_shape(reduced_axes, x.shape))
