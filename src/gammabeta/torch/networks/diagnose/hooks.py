"""torch's `DiagnosisSession`: hooks on layers, and the functions that the model calls."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from gammabeta.backends import array_ops
from gammabeta.networks import recalibrate
from gammabeta.networks.diagnose import Origin
from gammabeta.networks.diagnose.accumulator import LayerParameters, Moves, Shares
from gammabeta.networks.diagnose.session import DiagnosisSession, Run
from gammabeta.norm import formula
from gammabeta.statistics import Moments
from gammabeta.torch.networks import norm_kinds, stat_layers
from gammabeta.torch.networks.diagnose import nonfinite, training_step

Axes = tuple[int, ...]


class Watch(DiagnosisSession):
    """A diagnosis of a torch model."""

    framework = "torch"

    @contextmanager
    def watching(self) -> Iterator[None]:
        handles: list[Any] = []
        try:
            for name, layer in self.layers.items():
                handles.append(layer.register_forward_hook(partial(self._after, name), with_kwargs=True))
                if follow := norm_kinds.follows(layer):
                    handles.append(follow[-1].register_forward_pre_hook(partial(self._within, name)))
            with stat_layers.evaluating(self.model):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def running(self, run: Run) -> Any:
        with _Activations(self.activated):
            return run(self.model)

    def has(self, value: Any) -> set[str]:
        return nonfinite.has(value)

    def checked(self, masks: Any) -> Any:
        return recalibrate.masked(masks, self.layers, torch.Tensor)

    def parameters(self, layer: Any) -> LayerParameters:
        counter = getattr(layer, "num_batches_tracked", None)
        return LayerParameters(
            layer._get_name(),
            getattr(layer, "eps", 0.0),
            _floats(layer, "weight"),
            _floats(layer, "bias"),
            *stat_layers.statistics(layer),
            stat_layers.frozen(layer),
            int(counter) if isinstance(counter, torch.Tensor) else None,
        )

    def weights(self) -> Iterable[tuple[str, Any]]:
        return chain(self.model.named_parameters(), self.model.named_buffers())

    def arising(self, run: Run, batch: int) -> tuple[Origin, ...]:
        return nonfinite.found(self.model, run, batch)

    def step(self, run: Run) -> dict[str, Moves]:
        return training_step.tried(self.model, self.layers, run)

    def _after(self, name: str, layer: Any, given: tuple[Any, ...], named: dict[str, Any], y: Any) -> None:
        x, mask = stat_layers.call(layer, given, named)
        mask = self.mask(name, mask)
        reduced_axes = stat_layers.reduced(name, layer, x)
        self.given(name, *_moments(x.detach(), reduced_axes, mask))
        if not isinstance(y, torch.Tensor) or norm_kinds.follows(layer):
            return
        if getattr(layer, "activation", None) == "relu":
            self.followed(name, "relu", partial(_shares, y.detach(), reduced_axes, mask))
        else:
            self.gave(name, y, partial(_shares, y.detach(), reduced_axes, mask))

    def _within(self, name: str, act: Any, given: tuple[Any, ...]) -> None:
        """What a norm with an activation inside gives that activation."""
        y = given[0]
        reduced_axes = stat_layers.reduced(name, self.layers[name], y)
        self.gave(name, y, partial(_shares, y.detach(), reduced_axes, self.mask(name, None)))


def _moments(x: torch.Tensor, reduced_axes: Axes, mask: torch.Tensor | None) -> tuple[Moments, int]:
    """The exact moments of the finite values that count, and how many that count are not finite."""
    finite = torch.isfinite(x)
    wanted = (
        torch.ones_like(finite)
        if mask is None
        else formula.broadcast_mask(array_ops.of(x), mask, x, reduced_axes).expand(x.shape)
    )
    missing = int((wanted & ~finite).sum())
    if mask is not None or missing:
        x = torch.where(wanted & finite, x, torch.nan)
    return stat_layers.exact(x, reduced_axes, None, "omit"), missing


def _shares(y: torch.Tensor, reduced_axes: Axes, mask: torch.Tensor | None, low: float, high: float) -> Shares:
    if mask is None:
        mask = torch.ones((), dtype=torch.bool, device=y.device)
    else:
        mask = formula.broadcast_mask(array_ops.of(y), mask, y, reduced_axes)
    return Shares(*(_each(flags & mask, reduced_axes) for flags in (mask.expand(y.shape), y <= low, y >= high)))


def _each(flags: torch.Tensor, reduced_axes: Axes) -> Any:
    """The number of True flags of each feature, float64 (f,)."""
    return flags.sum(reduced_axes).reshape(-1).cpu().double().numpy()


def _floats(layer: Any, name: str) -> Any:
    value = getattr(layer, name, None)
    return value.detach().to("cpu", torch.float64).numpy() if isinstance(value, torch.Tensor) else None


class _Activations(TorchFunctionMode):
    """Calls tell(name, first argument) for each torch function that is called."""

    def __init__(self, tell: Callable[[str, Any], None]) -> None:
        super().__init__()
        self._tell = tell

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if args:
            self._tell(getattr(func, "__name__", ""), args[0])
        return func(*args, **(kwargs or {}))
