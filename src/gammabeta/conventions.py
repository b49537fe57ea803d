"""Conventions of batch norm: the numbers in which frameworks differ, under names.

    running ← decay · running + (1 − decay) · batch

Frameworks call either weight "momentum"; here `decay` is always the weight of the **old** value.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

from gammabeta.errors import DataError


@dataclass(frozen=True, slots=True)
class Convention:
    """eps, the decay of the running statistics, the divisor of the running variance, and where features lie.

    A batch is always normalized by its biased variance, Σ(x − mean)² / n. `unbiased` is about the running variance
    alone, which then takes Σ(x − mean)² / (n − 1).

    Args:
        eps: added to the variance, under the root; greater than 0.
        decay: the weight of the old value, from 0 to 1; None for the mean of all batches, each weighing the same.
        unbiased: whether the running variance takes the batch's unbiased one.
        feature_axis: the axis of x that is not reduced, unless a layer is told otherwise.

    Raises:
        DataError: eps is not greater than 0, or decay is not from 0 to 1.

    >>> TORCH
    Convention(eps=1e-05, decay=0.9, unbiased=True, feature_axis=1)
    >>> TORCH.updated(10.0, 4.0, batches=1), TORCH.running_variance(4.0, count=5)
    (9.4, 5.0)
    """

    eps: float = 1e-5
    decay: float | None = 0.9
    unbiased: bool = False
    feature_axis: int = 1

    def __post_init__(self) -> None:
        check_eps(self.eps)
        if self.decay is not None and not 0 <= self.decay <= 1:
            raise DataError(
                f"decay, the weight of the old running value, must be from 0 to 1, got {self.decay}; "
                "where a framework's momentum is the weight of the new value, decay is 1 − momentum"
            )

    def replace(self, **changes: Any) -> Self:
        """This convention with other values for some of its fields.

        >>> TORCH.replace(decay=None).decay is None
        True
        """
        return replace(self, **changes)

    def weight(self, batches: Any) -> Any:
        """The weight of the new batch, which is number `batches`, counted from 1."""
        return 1 / batches if self.decay is None else 1 - self.decay

    def running_variance(self, var: Any, count: Any) -> Any:
        """The variance that moves the running one, from a batch's biased variance over `count` ≥ 2 values."""
        return var * (count / (count - 1)) if self.unbiased else var

    def updated(self, running: Any, batch: Any, *, batches: Any) -> Any:
        """running + weight · (batch − running), of numbers or of arrays of any framework."""
        return running + (batch - running) * self.weight(batches)


def check_eps(eps: float) -> None:
    """Refuse an eps that is not greater than 0 and finite."""
    if not 0 < eps < float("inf"):
        raise DataError(
            f"eps must be greater than 0 and finite, got {eps}: a constant feature has variance 0, and would be 0 / 0"
        )


TORCH = Convention(eps=1e-5, decay=0.9, unbiased=True, feature_axis=1)
"""torch.nn.BatchNorm1d, 2d, 3d: `torch/nn/modules/batchnorm.py` (momentum=0.1 weighs the new value); the unbiased
running variance: `aten/src/ATen/native/Normalization.cpp`, `batch_norm_cpu_update_stats_template`."""

KERAS = Convention(eps=1e-3, decay=0.99, unbiased=False, feature_axis=-1)
"""keras.layers.BatchNormalization: `keras/src/layers/normalization/batch_normalization.py` (momentum=0.99 weighs
the old value)."""

TENSORFLOW = Convention(eps=1e-3, decay=0.99, unbiased=True, feature_axis=-1)
"""tf.compat.v1.nn.fused_batch_norm, which returns the unbiased variance:
`tensorflow/core/kernels/fused_batch_norm_op.cc` (`rest_size_adjust`). The operation leaves the decay to its caller;
0.99 is that of the layer over it, tf.compat.v1.layers.batch_normalization."""

FLAX = Convention(eps=1e-5, decay=0.99, unbiased=False, feature_axis=-1)
"""flax.nnx.BatchNorm and flax.linen.BatchNorm: `flax/nnx/nn/normalization.py` (momentum=0.99 weighs the old value)."""

ONNX = Convention(eps=1e-5, decay=0.9, unbiased=False, feature_axis=1)
"""BatchNormalization, opset 15: https://onnx.ai/onnx/operators/onnx__BatchNormalization.html (momentum=0.9 weighs the
old value; "the population variance")."""
