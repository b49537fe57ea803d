"""Where a NaN or an infinity first arose: the first operation whose inputs were free of it and whose output is not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, resolve_name

from gammabeta.diagnosis import Origin
from gammabeta.torch import tracked
from gammabeta.torch.batches import tensors

Tensor = torch.Tensor


def in_weights(model: Any) -> tuple[Origin, ...]:
    """The first parameter or buffer that is not finite."""
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            what = "NaN" if bool(torch.isnan(value).any()) else "infinity"
            return (Origin(what, 0, f"the model's own {name}", ""),)
    return ()


def found(model: Any, run: Callable[[], Any], batch: int) -> tuple[Origin, ...]:
    """Run the model again, looking at each operation: where an infinity first arose, and where a NaN did."""
    trace = _Trace(batch)
    with tracked.evaluating(model), _modules(model, trace), trace:
        run()
    return tuple(trace.origins.values())


class _Trace(TorchFunctionMode):
    """Looks at what goes into each operation and what comes out."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.batch = batch
        self.origins: dict[str, Origin] = {}
        self.within: list[str] = ["the model"]

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        before = _has(tensors((args, kwargs)))  # an operation may write over its input
        result = func(*args, **kwargs)
        self._compare(before, result, resolve_name(func) or getattr(func, "__name__", str(func)))
        return result

    def given(self, name: str, given: Any) -> None:
        """A module is about to be called; the model's own inputs may have been bad from the start."""
        self.within.append(name or "the model")
        if len(self.within) == 2:
            for what in _has(tensors(given)):
                self.origins.setdefault(what, Origin(what, 0, f"the inputs of batch {self.batch}", ""))

    def gave(self, before: set[str], result: Any) -> None:
        """A module has been called, whose operations may be hidden from here."""
        self._compare(before, result, "its own code")
        self.within.pop()

    def _compare(self, before: set[str], result: Any, operation: str) -> None:
        for what in _has(tensors(result)) - before:
            self.origins.setdefault(what, Origin(what, self.batch, self.within[-1], operation))


@contextmanager
def _modules(model: Any, trace: _Trace) -> Iterator[None]:
    handles: list[Any] = []
    inputs: list[set[str]] = []

    def enter(name: str) -> Any:
        def hook(module: Any, given: Any, named: Any) -> None:
            trace.given(name, (given, named))
            inputs.append(_has(tensors((given, named))))

        return hook

    def leave(module: Any, given: Any, named: Any, result: Any) -> None:
        trace.gave(inputs.pop(), result)

    try:
        for name, module in model.named_modules():
            handles.append(
                module.register_forward_pre_hook(
                    enter(f"{name or 'the model'} ({module._get_name()})"), with_kwargs=True
                )
            )
            handles.append(module.register_forward_hook(leave, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _has(values: Iterator[Tensor]) -> set[str]:
    """Which of NaN and infinity there are."""
    with torch._C.DisableTorchFunction():
        found: set[str] = set()
        for value in values:
            if not bool(torch.isfinite(value).all()):
                found |= {"NaN"} if bool(torch.isnan(value).any()) else set()
                found |= {"infinity"} if bool(torch.isinf(value).any()) else set()
        return found
