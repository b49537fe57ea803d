"""torch's `StatLayers`: modules with running statistics, of any library, and the moments of their inputs."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.overrides import TorchFunctionMode

from gammabeta import axes
from gammabeta.backends import array_ops, arrays
from gammabeta.errors import DataError, KindError
from gammabeta.networks import recalibrate
from gammabeta.networks.recalibrate import Before, Pair
from gammabeta.norm import formula
from gammabeta.statistics import Moments
from gammabeta.statistics.accumulator import MomentsAccumulator
from gammabeta.torch.norm import validation
from gammabeta.torch.norm.layer import BatchNorm

Module = nn.Module


class StatLayers(recalibrate.StatLayers):
    """The modules with the buffers `running_mean` and `running_var`, of one shape, that may move.

    One whose γ is a buffer as well was written to be frozen (torchvision's, detectron2's, transformers'); an instance
    norm's statistics are not those of its values.

    Raises:
        KindError: model is no nn.Module.
        DataError: a layer is lazy and has no statistics yet, or lies on the meta device.
    """

    which = "running_mean and running_var"
    none_left = ": batch norm that was folded away or quantized has none left"
    unseen = "within a scripted model no hook runs, recalibrate it before"
    mask_type = torch.Tensor

    def __init__(self, model: Any) -> None:
        if not isinstance(model, Module):
            raise KindError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        layers: dict[str, Any] = {}
        others: dict[str, str] = {}
        for name, layer in model.named_modules():
            if "running_mean" in layer._buffers and "running_var" in layer._buffers:
                if reason := _barred(name, layer):
                    others[name] = reason
                else:
                    layers[name] = layer
        super().__init__(model, layers, others)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.model.named_modules() if name in self.layers or name in self.others]

    def variables(self, layer: Any) -> tuple[torch.Tensor, ...]:
        return layer.running_mean, layer.running_var

    def read(self, variable: torch.Tensor) -> torch.Tensor:
        return variable.detach().clone()

    @torch.no_grad()
    def write(self, variable: torch.Tensor, value: torch.Tensor) -> None:
        variable.copy_(value)

    def write_stats(self, layer: Any, values: Pair) -> None:
        for place, value in zip(self.variables(layer), values, strict=True):
            if place.is_cpu and place.dtype is torch.float32:  # NumPy writes there in a third of the time
                np.copyto(place.detach().numpy(), value, casting="same_kind")
            else:
                self.write(place, torch.tensor(value))

    def counted(self, layer: Any, calls: int) -> None:
        counter = getattr(layer, "num_batches_tracked", None)
        if isinstance(counter, torch.Tensor):
            counter.fill_(calls)

    def add(self, total: MomentsAccumulator, name: str, layer: Any, x: Any, mask: Any) -> None:
        reduced_axes = reduced(name, layer, x)
        with _named(name):
            if mask is None:
                total.add(x.detach(), reduced_axes)
            else:
                total.join(exact(x.detach(), reduced_axes, mask))
        refuse(total, name)

    def looking(self, count: int) -> AbstractContextManager[Any]:
        """In the first batch: a reading of a layer's statistics in another module's code, as QAT's ConvBn does it."""
        return _Reading(self) if count == 1 else nullcontext()

    @contextmanager
    def watching(self, before: Before) -> Iterator[None]:
        handles = []
        try:
            for name, layer in self.layers.items():
                handles.append(layer.register_forward_pre_hook(_hook(name, before), with_kwargs=True))
            with evaluating(self.model):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def unbiased(self, layer: Any) -> bool:
        """As torch's layers do, unless the layer says otherwise."""
        return unbiased(layer)

    def statistics(self, layer: Any) -> Pair:
        return statistics(layer)


def inside(model: Any) -> Any:
    """The model itself, without what compiles it or spreads it over processes."""
    while isinstance(model, Module):
        if "_orig_mod" in model._modules:  # torch.compile's
            model = model._orig_mod
        elif isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            break
    return model


def uncompiled() -> Any:
    """A context in which compiled modules run uncompiled, so that hooks run; the compiler itself is not imported."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


class _Reading(TorchFunctionMode):
    """Sets `found.read_elsewhere` when a function is given a layer's statistics and no call of that layer is going on.

    A layer's first hook and its last are this mode's own, so that its other hooks are within its call.
    """

    def __init__(self, found: StatLayers) -> None:
        super().__init__()
        self._found, self._handles = found, list[Any]()
        self._owners: dict[int, Any] = {id(v): layer for layer in found.layers.values() for v in found.variables(layer)}
        self._within: list[Any] = []

    def __enter__(self) -> Any:
        for layer in self._found.layers.values():
            self._handles += (
                layer.register_forward_pre_hook(lambda layer, given: self._within.append(layer), prepend=True),
                layer.register_forward_hook(lambda layer, given, y: self._within.remove(layer)),
            )
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for handle in self._handles:
            handle.remove()

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if not self._found.read_elsewhere:
            given = (self._owners.get(id(value)) for value in (*args, *(kwargs or {}).values()))
            self._found.read_elsewhere = any(layer is not None and layer not in self._within for layer in given)
        return func(*args, **(kwargs or {}))


def _barred(name: str, layer: Any) -> str:
    mean, var = layer._buffers["running_mean"], layer._buffers["running_var"]
    if nn.parameter.is_lazy(mean) or (mean is not None and mean.is_meta):
        raise DataError(
            f"{name or 'the model'} must have its statistics in memory, and it is lazy, or on the meta device: run the "
            f"model on one batch, or load its weights, first"
        )
    if mean is None or var is None:
        return "keeps no running statistics"
    if isinstance(layer, _InstanceNorm):
        return "instance norm: its statistics are means over instances"
    if frozen(layer):
        return "frozen"
    return "" if mean.shape == var.shape else "running_mean and running_var differ in shape"


def frozen(layer: Any) -> bool:
    """Whether a layer's statistics must not move: frozen by `freeze` or by its author."""
    return getattr(layer, "is_frozen", False) is True or "weight" in layer._buffers


def unbiased(layer: Any) -> bool:
    """Whether the running variance is Σ(x − mean)² / (n − 1): as torch's, unless the layer says otherwise."""
    return bool(getattr(layer, "unbiased", True))


def reduced(name: str, layer: Any, x: Any) -> tuple[int, ...]:
    """The reduced axes of a layer's input: all but axis 1, unless it is one of this library's."""
    try:
        if isinstance(layer, BatchNorm):
            return validation.reduced(layer, x)
    except (DataError, KindError) as error:
        raise type(error)(f"{name or 'the model'}: {error}") from None
    if not isinstance(x, torch.Tensor) or x.ndim < 2 or layer.running_mean.shape != x.shape[1:2]:
        shape = tuple(getattr(x, "shape", ()))
        raise DataError(
            f"{name or 'the model'} must be called with (n, c, …), c being its {tuple(layer.running_mean.shape)} "
            f"features, got {type(x).__name__} {shape}: only gammabeta.torch.BatchNorm may have its features elsewhere"
        )
    return (0, *range(2, x.ndim))


def refuse(total: MomentsAccumulator, name: str) -> None:
    """Raise `DataError`, with the layer's name, if a total has NaN or infinities."""
    with _named(name):
        total.refuse_nan()
    if not total.finite:
        features = [tuple(map(int, at)) for at in np.argwhere(total.moments().infinities)[:5]]
        raise DataError(
            f"{name or 'the model'} must be given finite values, got infinities in features {features}: find where "
            f"they arise with gammabeta.torch.diagnose"
        )


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{name or 'the model'}: {error}; find where it arises with gammabeta.torch.diagnose") from None


def exact(
    x: torch.Tensor, reduced_axes: tuple[int, ...], mask: torch.Tensor | None, nan: Literal["omit", "raise"] = "raise"
) -> Moments:
    """The exact moments of x over the reduced axes, where the mask says that a value counts; on a GPU where it lies."""
    if mask is None:
        return Moments.of(x, axis=reduced_axes, nan=nan)
    mask = formula.broadcast_mask(array_ops.of(x), mask, x, reduced_axes)
    features = axes.feature_axes(reduced_axes, x.ndim)
    if any(mask.stride(i) and mask.shape[i] > 1 for i in features):
        return Moments.of(arrays.to_numpy(x), axis=reduced_axes, weights=arrays.to_numpy(mask), nan=nan)
    rows = mask[tuple(0 if i in features else slice(None) for i in range(x.ndim))]
    return Moments.of(x.movedim(features, tuple(range(-len(features), 0)))[rows], axis=0, nan=nan)


def statistics(layer: Any) -> Pair:
    """The running mean and variance, copies in float64."""
    mean, var = (v.detach().to("cpu", torch.float64).numpy().copy() for v in (layer.running_mean, layer.running_var))
    return mean, var


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Run the block with every module in evaluation mode, without gradients and uncompiled; then restore the modes."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        with torch.no_grad(), uncompiled():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _hook(name: str, before: Before) -> Any:
    def hook(layer: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        before(name, layer, *call(layer, given, named))

    return hook


def call(layer: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, torch.Tensor | None]:
    """x and the mask of a call of a layer."""
    x = given[0] if given else next(iter(named.values()), None)
    if not isinstance(layer, BatchNorm):
        return x, None
    return x, given[1] if len(given) > 1 else named.get("mask")
