"""Batch norm as an `nn.Module`: y = γ · (x − mean) / √(var + eps) + β, in the place of `torch.nn.BatchNorm*`.

The layer chooses the statistics and keeps the running ones. `fast_path`, `autograd_cpu`, `autograd_gpu` and `sync`
compute.
"""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from copy import deepcopy
from typing import Any, Self

import torch
from torch.nn import Identity, Module, SyncBatchNorm
from torch.nn.modules.batchnorm import _BatchNorm

from gammabeta import axes
from gammabeta.axes import Axis
from gammabeta.backends import array_ops
from gammabeta.conventions import Convention
from gammabeta.errors import DataError, StateError
from gammabeta.norm import formula
from gammabeta.norm.running_stats import RunningStats, renormalized, scale_and_shift
from gammabeta.norm.state import BatchNormState
from gammabeta.torch.norm import autograd_cpu, autograd_gpu, fast_path, running_stats, sync, validation
from gammabeta.torch.norm.autograd_cpu import Plan
from gammabeta.torch.norm.running_stats import BatchStats

Tensor = torch.Tensor

EXTRAS = {"axis": None, "activation": None, "ghost": None, "renorm": None, "sync": False, "unbiased": True}
"""The arguments that torch's layers do not have, and what makes a layer do as these do."""

_CONVERTING: Any = vars(SyncBatchNorm)["convert_sync_batchnorm"].__func__.__code__


class BatchNorm(_BatchNorm):
    """y = γ · (x − mean) / √(var + eps) + β for (n, c), (n, c, l), (n, c, h, w), (n, c, d, h, w) and other axes.

    In training the mean and the biased variance are the batch's, and the running ones follow with weight `momentum`;
    in evaluation they are the running ones. Parameters, buffers and `state_dict` are those of torch's layers. On a CPU
    all is computed in float64 (16 bits in float32) and rounded once to x's type; on a GPU Triton's kernels do
    the same. Elsewhere, compiled for a CPU and exported it is the formula in torch's operations, in float32 or wider.

    A batch does not move the running statistics of a feature of which it has fewer than two values, or a NaN or an
    infinity (`skipped` counts the latter), nor when activation checkpointing computes it a second time, nor while
    `track_running_stats` is False, also where that was set later. An empty batch gives an empty output.

    Args:
        num_features: c; with `axis` the shape of the features, an int or a tuple.
        eps, momentum, affine, track_running_stats, device, dtype, bias: as in torch; momentum=None is the mean of all.
        axis: the axes of x that are **reduced**: 0 for a statistic per position; None for all but axis 1.
        activation: "relu" or "silu", in the same sweep where a kernel has it: ReLU on a CPU, whose backward pass then
            keeps x and a bit for each value; both on a GPU, whose backward pass computes them again.
        ghost: how many samples are normalized together (Hoffer, Hubara and Soudry 2017); of a batch there are as many
            such parts as fit whole, about equally long. Each moves the running statistics.
        renorm: (r_max, d_max), batch renormalization (Ioffe 2017): y = γ · (x̂ · r + d) + β.
        sync: True, or a process group, for the statistics of all its processes' batches together, on any backend;
            each value counts the same, however unevenly they are spread.
        unbiased: whether the running variance takes Σ(x − mean)² / (n − 1), as torch does, or / n, as Keras and flax.

    Raises:
        DataError: an argument is out of its range; at a call, x has other features, or too few values in training.
        KindError: x is no tensor of a floating type. On any error nothing is updated.

    Ioffe and Szegedy (2015), algorithms 1 and 2: https://arxiv.org/abs/1502.03167

    >>> layer = BatchNorm(2)
    >>> layer(torch.tensor([[1.0, 10.0], [3.0, 30.0]])).detach().round(decimals=3)
    tensor([[-1., -1.],
            [ 1.,  1.]])
    >>> _ = torch.nn.BatchNorm1d(2).load_state_dict(layer.state_dict())
    """

    num_features: Any
    axis: Axis | None
    activation: str | None
    ghost: int | None
    renorm: tuple[float, float] | None
    sync: Any
    unbiased: bool
    running_mean: Any
    running_var: Any
    num_batches_tracked: Any

    def __init__(
        self,
        num_features: int | tuple[int, ...],
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
        axis: Axis | None = None,
        activation: str | None = None,
        ghost: int | None = None,
        renorm: tuple[float, float] | None = None,
        sync: Any = False,
        unbiased: bool = True,
    ) -> None:
        features = validation.features(num_features, axis)
        validation.options(eps, momentum, activation, ghost, renorm, track_running_stats)
        named = {} if bias else {"bias": False}  # an older torch does not know the name
        shape: Any = features if isinstance(num_features, tuple | list) else features[0]
        super().__init__(shape, eps, momentum, affine, track_running_stats, device, dtype, **named)
        self._extend(axis=axis, activation=activation, ghost=ghost, renorm=renorm, sync=sync, unbiased=unbiased)

    def _extend(self, **extras: Any) -> None:
        """Set what torch's layers do not have."""
        for name, value in extras.items():
            setattr(self, name, value)
        self._waiting: BatchStats | tuple[()] | None = None
        self._ranks: tuple[int, ...] | None = None  # those that x may have; None for any
        # No buffer: those are moved, emptied and zipped with a peer's by code that knows the peer's alone.
        self._skipped = torch.zeros((), dtype=torch.long, device=self._statistics_device())

    def _statistics_device(self) -> torch.device:
        return torch.device("cpu") if self.running_mean is None else self.running_mean.device

    @property
    def skipped(self) -> int:
        """How many batches had a feature whose running statistics could not follow. In no `state_dict`."""
        return 0 if self._skipped.is_meta else int(self._skipped)

    @property
    def features(self) -> tuple[int, ...]:
        """The shape of γ, β and the running statistics, also of those that have been exchanged, as by pruning."""
        named = validation.features(self.num_features, self.axis)
        held = [tuple(v.shape) for v in (self.running_mean, self.running_var, self.weight, self.bias) if v is not None]
        return named if not held or named in held else held[0]

    def forward(self, x: Tensor, mask: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
        """Normalize a batch, then add `residual`, then apply the activation.

        Args:
            x: float16, bfloat16, float32 or float64, of any strides.
            mask: boolean, True where a value counts: of x's shape with lengths of 1 allowed, or of the shape of the
                reduced axes, such as (n, l) for x (n, c, l). Elsewhere the normalized value is 0, whatever x is.
            residual: of x's shape and type.
        """
        if mask is None and residual is None and not torch.compiler.is_compiling():
            y = self._small(x)
            if y is not None:
                return y
        reduced_axes = validation.reduced(self, x)
        validation.check_residual(x, residual)
        plan = Plan(reduced_axes, self.eps, self.activation)
        if not self.training and self.running_mean is not None:
            return self._evaluate(x, mask, residual, plan)
        if self.ghost is None:
            return self._normalize(x, mask, residual, plan)
        return torch.cat([self._normalize(*part, plan) for part in self._parts(x, mask, residual, plan)])

    def _small(self, x: Tensor) -> Tensor | None:
        """A batch in one kernel call, or None if it is more than that."""
        by_batch = self.training or self.running_mean is None
        if by_batch and (self.ghost is not None or self.renorm is not None or self.sync is not False):
            return None
        if not by_batch and torch.is_grad_enabled():
            return None
        how = fast_path.call(self, x)
        if how is None:
            return None
        return fast_path.by_batch(self, x, how) if by_batch else fast_path.by_running(x, how)

    @property
    def _synchronized(self) -> bool:
        return self.sync is not False and self.training and sync.group(self.sync).size() > 1

    @property
    def _moving(self) -> bool:
        """Whether a batch moves the running statistics: callbacks set `track_running_stats` to False to stop that."""
        return self.training and self.track_running_stats and self.running_mean is not None

    def _evaluate(self, x: Tensor, mask: Tensor | None, residual: Tensor | None, plan: Plan) -> Tensor:
        given = self.running_mean, self.running_var
        exporting = torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting()
        if exporting and mask is None and self.axis is None:
            # One operation, which runtimes and fusion passes know.
            y = torch.nn.functional.batch_norm(x, *given, self.weight, self.bias, False, 0.0, self.eps)
            return autograd_cpu.finished(y, residual, plan)
        if mask is None and not torch.compiler.is_compiling() and autograd_cpu.fits(x):
            return autograd_cpu.by_running(x, self.weight, self.bias, residual, plan, given)
        if x.numel() == 0:
            return self._empty(x, residual, plan)
        return autograd_gpu.normalized(x, self.weight, self.bias, residual, plan, given, mask)[0]

    def _normalize(self, x: Tensor, mask: Tensor | None, residual: Tensor | None, plan: Plan) -> Tensor:
        """By the batch's statistics, which then move the running ones."""
        if x.numel() == 0 and not self._synchronized:
            if self._moving:
                running_stats.count_empty(self)
            return self._empty(x, residual, plan)
        if self.renorm is not None and self.training:
            y, seen = self._by_batch(x, None, None, mask, None, plan._replace(activation=None))
            y = autograd_cpu.finished(self._renormalized(y, seen, mask, plan.reduced_axes), residual, plan)
        else:
            y, seen = self._by_batch(x, self.weight, self.bias, mask, residual, plan)
        if self._moving and x.numel() == 0 and not (torch.as_tensor(seen.values) > 0).any():
            running_stats.count_empty(self)
        elif self._moving:
            running_stats.move(self, seen)
        return y

    def _empty(self, x: Tensor, residual: Tensor | None, plan: Plan) -> Tensor:
        """The output for a batch without values; γ and β have the gradient 0."""
        y = x.clone()
        y = y if self.weight is None else y * self.weight.sum()
        y = y if self.bias is None else y + self.bias.sum()
        return autograd_cpu.finished(y.to(x.dtype), residual, plan)

    def _by_batch(
        self,
        x: Tensor,
        gamma: Tensor | None,
        beta: Tensor | None,
        mask: Tensor | None,
        residual: Tensor | None,
        plan: Plan,
    ) -> tuple[Tensor, BatchStats]:
        """The output, and the batch's statistics."""
        if self._synchronized:
            return sync.normalized(x, gamma, beta, residual, plan, mask, sync.group(self.sync))
        if mask is None:
            validation.enough(x, plan.reduced_axes)
        if mask is None and not torch.compiler.is_compiling() and autograd_cpu.fits(x):
            y, batch = autograd_cpu.by_batch(x, gamma, beta, residual, plan)
            mean, var = (torch.from_numpy(value).view(self.features) for value in (batch.mean, batch.var))
            return y, BatchStats(mean, var, batch.values)
        y, found = autograd_gpu.normalized(x, gamma, beta, residual, plan, mask=mask)
        return y, BatchStats(found.mean, found.var, found.count)

    def _renormalized(
        self, normal: Tensor, seen: BatchStats, mask: Tensor | None, reduced_axes: tuple[int, ...]
    ) -> Tensor:
        """γ · (x̂ · r + d) + β: the running statistics' output, as far as the bounds of r and d allow (Ioffe 2017)."""
        space = array_ops.of(normal)
        running = RunningStats(self.running_mean.double(), self.running_var.double(), None)
        r, d = renormalized(space, seen, running, self.eps, self.renorm or (1.0, 0.0))
        computing = torch.promote_types(normal.dtype, torch.float32)
        shape = axes.parameter_shape(reduced_axes, tuple(normal.shape))
        scale, shift = scale_and_shift(r.to(computing), d.to(computing), self.weight, self.bias)
        y = normal * scale.reshape(shape) + shift.reshape(shape)
        if mask is not None:
            mask = formula.broadcast_mask(space, mask, normal, reduced_axes)
            y = torch.where(mask, y, torch.zeros((), dtype=y.dtype, device=y.device))
        return y.to(normal.dtype)

    def _parts(
        self, x: Tensor, mask: Tensor | None, residual: Tensor | None, plan: Plan
    ) -> list[tuple[Tensor, Tensor | None, Tensor | None]]:
        """The batch in parts of about `ghost` samples."""
        if 0 not in plan.reduced_axes:
            raise DataError(f"ghost= splits axis 0, the samples, which axis={self.axis} does not reduce")
        many = max(1, x.shape[0] // (self.ghost or x.shape[0]))
        if mask is not None and mask.shape[0] != x.shape[0]:
            mask = formula.broadcast_mask(array_ops.of(x), mask, x, plan.reduced_axes)
        given: list[Any] = [[None] * many if p is None else torch.tensor_split(p, many) for p in (x, mask, residual)]
        return list(zip(*given, strict=True))

    def accumulate(self) -> AbstractContextManager[None]:
        """`gammabeta.torch.accumulate` for this layer."""
        return running_stats.waiting(self)

    def state(self) -> BatchNormState:
        """What the layer has learned, for `from_state` of any framework's layer."""
        if self.running_mean is None:
            raise StateError("state() needs the running statistics, which track_running_stats=False does not keep")
        affine = {
            name: None if value is None else value.detach().to("cpu", torch.float64).numpy().copy()
            for name, value in (("gamma", self.weight), ("beta", self.bias))
        }
        mean, var = (v.to("cpu", torch.float64).numpy().copy() for v in (self.running_mean, self.running_var))
        return BatchNormState(
            **affine, mean=mean, var=var, batches=int(self.num_batches_tracked), convention=self.convention
        )

    @classmethod
    def from_state(cls, state: BatchNormState, convention: Convention | None = None, **arguments: Any) -> Self:
        """A layer that goes on under the convention of the state's source, or under another, such as `gb.TORCH`.

        In evaluation, eps being part of the convention, the output is the source's as long as that is kept.
        """
        rule = state.convention if convention is None else convention
        features = state.mean.shape[0] if state.mean.ndim == 1 else state.mean.shape
        momentum = None if rule.decay is None else round(1 - rule.decay, 15)
        arguments = {"affine": state.gamma is not None, "bias": state.beta is not None, **arguments}
        layer = cls(features, rule.eps, momentum, unbiased=rule.unbiased, **arguments)
        values = (
            (layer.weight, state.gamma),
            (layer.bias, state.beta),
            (layer.running_mean, state.mean),
            (layer.running_var, state.var),
            (layer.num_batches_tracked, state.batches),
        )
        with torch.no_grad():
            for place, value in values:
                if place is not None and value is not None:
                    place.copy_(torch.as_tensor(value))
        return layer

    @property
    def convention(self) -> Convention:
        """Under which rule the running statistics are kept."""
        decay = None if self.momentum is None else 1 - self.momentum
        return Convention(eps=self.eps, decay=decay, unbiased=self.unbiased, feature_axis=1)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        running_stats.count_there(self, self._statistics_device())
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo[id(self.sync)] = self.sync  # a process group cannot be copied: the copy belongs to the same one
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(deepcopy(self.__dict__, memo))
        return new

    def extra_repr(self) -> str:
        """torch's, and the arguments that torch's layers do not have where they are used."""
        return ", ".join([super().extra_repr(), *(f"{name}={value!r}" for name, value in self._extras().items())])

    def _extras(self) -> dict[str, Any]:
        """The arguments in use that torch's layers do not have, by name."""
        return {name: getattr(self, name) for name in EXTRAS if getattr(self, name) != EXTRAS[name]}

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """torch's; `SyncBatchNorm.convert_sync_batchnorm`, which asks for them, is refused what it would drop."""
        if sys._getframe(1).f_code is _CONVERTING:
            dropped = {name: value for name, value in self._extras().items() if name != "sync"}
            dropped |= {name: module for name, module in super().named_children() if type(module) is not Identity}
            validation.check_sync_conversion(dropped)
        return super().named_children()

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing: Any,
        unexpected: Any,
        errors: Any,
    ) -> None:
        own = {**self._parameters, **self._buffers}
        if wrong := validation.shapes(state_dict, prefix, own):
            errors.extend(wrong)
        else:
            super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)
