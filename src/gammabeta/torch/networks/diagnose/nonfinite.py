"""Where a NaN or an infinity first arose: the first operation whose inputs were free of it and whose output is not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, resolve_name

from gammabeta.networks.diagnose import Origin
from gammabeta.networks.diagnose.nonfinite import NonfiniteTracer
from gammabeta.networks.diagnose.session import Run
from gammabeta.torch.networks import stat_layers
from gammabeta.torch.networks.call_model import tensors


def found(model: Any, run: Run, batch: int) -> tuple[Origin, ...]:
    """Run the model again, looking at each operation: where an infinity first arose, and where a NaN did."""
    trace = NonfiniteTracer(has, batch)
    with stat_layers.evaluating(model), _modules(model, trace), _Operations(trace):
        run(model)
    return tuple(trace.origins.values())


class _Operations(TorchFunctionMode):
    """Compares the inputs and the output of each torch operation."""

    def __init__(self, trace: NonfiniteTracer) -> None:
        super().__init__()
        self.trace = trace

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        before = has((args, kwargs))  # an operation may write over its input
        result = func(*args, **kwargs)
        self.trace.compare(before, result, resolve_name(func) or getattr(func, "__name__", str(func)))
        return result


@contextmanager
def _modules(model: Any, trace: NonfiniteTracer) -> Iterator[None]:
    handles: list[Any] = []
    inputs: list[set[str]] = []

    def enter(name: str) -> Any:
        def hook(module: Any, given: Any, named: Any) -> None:
            inputs.append(trace.enter(name, (given, named)))

        return hook

    def leave(module: Any, given: Any, named: Any, result: Any) -> None:
        trace.leave(inputs.pop(), result)

    try:
        for name, module in model.named_modules():
            before = enter(f"{name or 'the model'} ({module._get_name()})")
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(module.register_forward_hook(leave, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def has(values: Any) -> set[str]:
    """Which of NaN and infinity there are among the tensors of floating type."""
    with torch._C.DisableTorchFunction():
        found: set[str] = set()
        for value in tensors(values):
            if not bool(torch.isfinite(value).all()):
                found |= {"NaN"} if bool(torch.isnan(value).any()) else set()
                found |= {"infinity"} if bool(torch.isinf(value).any()) else set()
        return found
