"""Batch norm as an `nnx.Module`: y = γ · (x − mean) / √(var + eps) + β, in the place of `flax.nnx.BatchNorm`.

The layer chooses the statistics and keeps the running ones; `functions` computes.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

import jax
import numpy as np
from flax import nnx
from flax.nnx.nn import dtypes
from jax import numpy as jnp

from gammabeta.backends import array_ops
from gammabeta.conventions import FLAX, Convention
from gammabeta.errors import DataError, StateError
from gammabeta.flax.norm import functional, masks, sync, validation
from gammabeta.flax.norm.functional import Plan
from gammabeta.norm import formula
from gammabeta.norm.functional import normalized
from gammabeta.norm.running_stats import RunningStats
from gammabeta.norm.state import BatchNormState


class BatchNorm(nnx.BatchNorm):
    """y = γ · (x − mean) / √(var + eps) + β, with one mean and one variance for each feature.

    In training the mean and the biased variance are the batch's, of differences and never E[x²] − E[x]², and the
    running ones follow; in evaluation they are the running ones. `scale`, `bias`, `mean` and `var` are those of
    `flax.nnx.BatchNorm`, of the same types, names and shapes, so that either layer takes the other's state. float16 and
    bfloat16 are computed in float32, and the running statistics kept in float32, or in `param_dtype` where wider.

    A batch does not move the running statistics of a feature of which it has fewer than two values, or a NaN or an
    infinity. Of a single value y is β, as in flax; of an empty batch y is empty.

    Args:
        num_features: the length of the feature axis; with a tuple as `axis` a tuple of lengths, in x's order.
        use_running_average: whether this is evaluation; `train()`, `eval()` and a call may say otherwise.
        axis: the axes that are **kept**, as in flax: those of the features.
        momentum: the weight of the **old** running value, as in flax; None for the mean of all batches, which are then
            counted in one more `BatchStat`, `batches`.
        epsilon: greater than 0.
        dtype: of y; None for the type that x, γ and β promote to. x is not rounded to it before the arithmetic.
        param_dtype, use_bias, use_scale, bias_init, scale_init, bias_metadata, scale_metadata, rngs: as in flax.
        axis_name: the name of the axis of `jax.vmap`, `jax.pmap` or `jax.shard_map` over whose devices the statistics
            are shared; each value counts the same, however unevenly masks spread them.
        axis_index_groups: groups of that axis' indices that share them, as in `jax.lax.psum`.
        use_fast_variance: taken for flax's sake; the variance is the accurate one either way.
        promote_dtype: asked which type y takes, as in flax; the arithmetic is as above whatever it says.
        unbiased: whether the running variance takes Σ(x − mean)² / (n − 1), as in torch, or / n, as in flax.
        ghost: how many samples are normalized together (Hoffer, Hubara and Soudry 2017); of a batch there are as many
            such parts as fit whole, about equally long. Each moves the running statistics.
        renorm: (r_max, d_max), batch renormalization (Ioffe 2017): y = γ · (x̂ · r + d) + β.
        zero_masked: whether y is 0 where a mask is False, whatever x is there, and no gradient flows there. If not, as
            in flax, x is normalized there like everywhere: of a NaN y is NaN, and so are the gradients.

    Raises:
        DataError: an argument is out of its range; at a call, x has other features, a mask does not fit, or ghost
            batches have one value each.
        KindError: a type is not float16, bfloat16, float32 or float64.
        StateError: `axis_name` is that of no axis around the call. On any error nothing is updated.

    Ioffe and Szegedy (2015), algorithms 1 and 2: https://arxiv.org/abs/1502.03167

    >>> layer = BatchNorm(2, rngs=nnx.Rngs(0))
    >>> layer(jnp.array([[1.0, 10.0], [3.0, 30.0]])).round(3)
    Array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    >>> nnx.update(nnx.BatchNorm(2, rngs=nnx.Rngs(0)), nnx.state(layer))
    """

    def __init__(
        self,
        num_features: int | tuple[int, ...],
        *,
        use_running_average: bool | None = False,
        axis: int | tuple[int, ...] = -1,
        momentum: float | None = 0.99,
        epsilon: float = 1e-5,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        use_bias: bool = True,
        use_scale: bool = True,
        bias_init: Any = nnx.initializers.zeros,
        scale_init: Any = nnx.initializers.ones,
        axis_name: Any = None,
        axis_index_groups: Any = None,
        use_fast_variance: bool = True,
        promote_dtype: Any = dtypes.promote_dtype,
        rngs: nnx.Rngs,
        bias_metadata: Mapping[str, Any] = MappingProxyType({}),
        scale_metadata: Mapping[str, Any] = MappingProxyType({}),
        unbiased: bool = False,
        ghost: int | None = None,
        renorm: tuple[float, float] | None = None,
        zero_masked: bool = False,
    ) -> None:
        self.features = validation.features(num_features, axis)
        validation.options(momentum, epsilon, dtype, param_dtype, ghost, renorm)
        stats_dtype = jnp.promote_types(param_dtype, jnp.float32)
        self.mean = nnx.BatchStat(jnp.zeros(self.features, stats_dtype))
        self.var = nnx.BatchStat(jnp.ones(self.features, stats_dtype))
        self.batches = nnx.BatchStat(jnp.zeros((), jnp.int32)) if momentum is None else nnx.data(None)
        # In flax's order, and with as many keys: the layers after this one start as they would after flax's.
        self.scale = nnx.data(None)
        self.bias = nnx.data(None)
        if use_scale:
            self.scale = nnx.Param(scale_init(rngs.params(), self.features, param_dtype), **scale_metadata)
        if use_bias:
            self.bias = nnx.Param(bias_init(rngs.params(), self.features, param_dtype), **bias_metadata)
        self.num_features: Any = num_features
        self.use_running_average = use_running_average
        self.axis: Any = axis
        self.momentum: Any = momentum
        self.epsilon = epsilon
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.use_bias = use_bias
        self.use_scale = use_scale
        self.axis_name = axis_name
        self.axis_index_groups = axis_index_groups
        self.use_fast_variance = use_fast_variance
        self.promote_dtype = promote_dtype
        self.unbiased = unbiased
        self.ghost = ghost
        self.renorm = renorm
        self.zero_masked = zero_masked

    def __call__(self, x: Any, use_running_average: bool | None = None, *, mask: Any = None) -> jax.Array:
        """Normalize a batch.

        Args:
            x: float16, bfloat16, float32 or float64; one sample where it has the axes of the features alone, as under
                `jax.vmap`.
            use_running_average: whether this is evaluation; None for what the layer says.
            mask: boolean, True where a value counts in the statistics: of the shape of the reduced axes, such as (n, t)
                for x (n, t, c), or any that broadcasts to x's, as in flax.

        Returns:
            y, of x's shape.
        """
        x = jnp.asarray(x)
        reduced_axes = validation.reduced(self, x, one_sample=True)
        scale, bias = (None if p is None else p[...] for p in (self.scale, self.bias))
        result = self._result(x, scale, bias)
        values = x.astype(jnp.promote_types(jnp.promote_types(x.dtype, result), jnp.float32))
        mask = None if mask is None else masks.broadcast_mask(array_ops.of(x), mask, x, reduced_axes)
        one_sample = not reduced_axes
        if one_sample:
            values, mask, reduced_axes = values[None], None if mask is None else mask[None], (0,)
        if self._evaluating(use_running_average):
            y = self._by_running(values, scale, bias, reduced_axes, mask)
        else:
            y, running = self._by_batch(values, scale, bias, reduced_axes, mask)
            self._keep(running)
        return (y[0] if one_sample else y).astype(result)

    def _evaluating(self, asked: bool | None) -> bool:
        if asked is None and self.use_running_average is None:
            raise DataError(
                "use_running_average must be True or False, at construction, by train() or eval(), or at the call; "
                "it is None in all of them"
            )
        return bool(self.use_running_average if asked is None else asked)

    def _result(self, x: Any, scale: Any, bias: Any) -> Any:
        """The dtype of y."""

        def promoted(*given: Any) -> Any:
            x, _, _, scale, bias = self.promote_dtype(given, dtype=self.dtype)
            return jnp.zeros((), dtypes.canonicalize_dtype(x, scale, bias, dtype=self.dtype))

        return jax.eval_shape(promoted, x, self.mean[...], self.var[...], scale, bias).dtype

    def _by_running(self, x: Any, scale: Any, bias: Any, reduced_axes: tuple[int, ...], mask: Any) -> Any:
        if 0 in x.shape:
            return self._empty(x, scale, bias, reduced_axes)
        mean, var, mask = self.mean[...], self.var[...], mask if self.zero_masked else None
        return normalized(x, scale, bias, axis=reduced_axes, eps=self.epsilon, mean=mean, var=var, mask=mask).y

    def _by_batch(
        self, x: Any, scale: Any, bias: Any, reduced_axes: tuple[int, ...], mask: Any
    ) -> tuple[Any, RunningStats]:
        group = sync.group(self.axis_name, self.axis_index_groups)
        batches = jnp.zeros((), jnp.int32) if self.batches is None else self.batches[...]
        running = RunningStats(self.mean[...], self.var[...], batches)
        if 0 in x.shape:
            return self._empty(x, scale, bias, reduced_axes), running
        parts = self._parts(x, reduced_axes)
        if mask is None:
            validation.enough(x, reduced_axes, parts, group.devices)
        plan = Plan(reduced_axes, self.convention, self.renorm, self.zero_masked, group.add)
        if parts == 1:
            return functional.by_batch(x, scale, bias, running, mask, plan)
        return functional.by_parts(x, scale, bias, running, mask, plan, parts)

    def _empty(self, x: Any, scale: Any, bias: Any, reduced_axes: tuple[int, ...]) -> Any:
        """y of a batch without values, from which γ and β take gradients of 0."""
        space, along = array_ops.of(x), tuple(i for i in range(x.ndim) if i not in reduced_axes)
        named = ("scale", scale), ("bias", bias)
        return formula.affine(x, 1.0, *(formula.broadcast_like(space, name, value, x, along) for name, value in named))

    def _parts(self, x: Any, reduced_axes: tuple[int, ...]) -> int:
        """In how many ghost batches x is normalized."""
        if self.ghost is None:
            return 1
        if 0 not in reduced_axes:
            raise DataError(f"ghost= splits axis 0, the samples, which axis={self.axis} keeps")
        if not isinstance(x.shape[0], int):
            raise DataError(f"ghost= needs a known number of samples, got {x.shape[0]}: export with ghost=None")
        return max(1, x.shape[0] // self.ghost)

    def _keep(self, running: RunningStats) -> None:
        self.mean[...], self.var[...] = running.mean, running.var
        if self.batches is not None:
            self.batches[...] = running.batches

    def state(self) -> BatchNormState:
        """What the layer has learned, for `from_state` of any framework's layer.

        Flax counts no batches: `batches` is 0, unless the layer has momentum=None.
        """
        gamma, beta = (None if p is None else np.asarray(p[...]).astype(np.float64) for p in (self.scale, self.bias))
        mean, var = (np.asarray(p[...]).astype(np.float64) for p in (self.mean, self.var))
        batches = 0 if self.batches is None else int(self.batches[...])
        return BatchNormState(gamma, beta, mean, var, batches, self.convention)

    @classmethod
    def from_state(cls, state: BatchNormState, convention: Convention | None = None, **arguments: Any) -> Self:
        """A layer that goes on under the convention of the state's source, or under another, such as `gb.FLAX`.

        In evaluation, eps being part of the convention, the output is the source's as long as that is kept. So is the
        feature axis: a layer of torch's (n, c, …) for data with channels last takes `axis=-1`.

        Args:
            arguments: others of the layer's; a state of several feature axes needs `axis`.
        """
        rule = state.convention if convention is None else convention
        shape = state.mean.shape
        given: dict[str, Any] = {"use_scale": state.gamma is not None, "use_bias": state.beta is not None}
        given |= {"axis": rule.feature_axis, "momentum": rule.decay, "epsilon": rule.eps, "unbiased": rule.unbiased}
        layer = cls(shape[0] if len(shape) == 1 else shape, **{**given, "rngs": nnx.Rngs(0), **arguments})
        values = {"scale": state.gamma, "bias": state.beta, "mean": state.mean, "var": state.var}
        for name, value in {**values, "batches": state.batches}.items():
            variable = getattr(layer, name)
            if variable is not None and value is not None:
                variable[...] = jnp.asarray(value, variable.dtype)
        return layer

    @property
    def convention(self) -> Convention:
        """Under which rule the running statistics are kept."""
        if self.momentum is None and self.batches is None:
            raise StateError("momentum=None needs a count of batches: give it at construction, not afterwards")
        along = validation.named(self.axis)
        feature_axis = along[0] if len(along) == 1 else FLAX.feature_axis
        return Convention(self.epsilon, self.momentum, self.unbiased, feature_axis)
