"""Checks of torch models, which modules a trace enters, and how a model is called and copied."""

import copy
from collections.abc import Mapping
from itertools import chain
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy

from gammabeta.errors import DataError, KindError
from gammabeta.torch.networks import linear

Module = nn.Module

_WRAPPERS = ("DataParallel", "DistributedDataParallel", "OptimizedModule", "ScriptModule", "TopLevelTracedModule")


def check(model: Any) -> None:
    """Raise unless `model` is a module that is neither lazy, compiled, scripted nor spread over devices."""
    if not isinstance(model, Module):
        raise KindError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if {kind.__name__ for kind in type(model).__mro__} & {*_WRAPPERS}:
        raise KindError(
            f"model must be the module itself, got {type(model).__name__}: give what it was made of, such as "
            f"model.module or model._orig_mod, and wrap or compile the result"
        )
    lazy = [name for name, t in chain(model.named_parameters(), model.named_buffers()) if is_lazy(t)]
    if lazy:
        raise DataError(f"lazy layers must have seen a batch, and these have not: {', '.join(lazy[:5])}")


def check_values(model: Module) -> None:
    """Raise if a parameter or buffer lies on the meta device."""
    empty = [name for name, t in chain(model.named_parameters(), model.named_buffers()) if t.is_meta]
    if empty:
        raise DataError(
            f"model must have its values in memory, and these are on the meta device: {', '.join(empty[:5])}: load its "
            f"weights first"
        )


def is_norm(layer: Module) -> bool:
    """Whether a module is a batch norm of any library: it has, or could have, a running mean and variance."""
    held = layer._buffers.keys() >= {"running_mean", "running_var"}
    return isinstance(layer, _BatchNorm) or (held and not isinstance(layer, _InstanceNorm))


def leaf(module: Module) -> bool:
    """Whether a trace records a module as one call: a norm, torch's own modules and this library's."""
    if is_norm(module) or linear.kind(module) in linear.KINDS:
        return True
    home = type(module).__module__
    own = home.startswith(("torch.nn", "torch.ao.nn", "gammabeta.torch"))
    return own and not isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)


def called(model: Module, example: Any) -> Any:
    """model(example): a tuple or list is its arguments, a mapping its keyword arguments."""
    args, kwargs = arguments(example)
    return model(*args, **kwargs)


def arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """An example as positional and keyword arguments."""
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example), {}) if isinstance(example, tuple | list) else ((example,), {})


def skeleton(model: Module) -> Module:
    """A copy in evaluation mode for trial runs: what they move, such as counters and observers, is not the model's."""
    # A tensor that was computed cannot be copied with its history.
    computed = (t for t in chain(model.parameters(), model.buffers()) if not t.is_leaf)
    held = {id(t): t.detach().clone() for t in computed}
    try:
        return copy.deepcopy(model, held).eval()
    except (RuntimeError, TypeError, ValueError) as error:
        first = str(error).partition("\n")[0]
        raise DataError(
            f"model must be one that copy.deepcopy can copy, and it is not: {first}. Where that is for the "
            f"weight_norm or spectral_norm of old, torch.nn.utils.remove_weight_norm and remove_spectral_norm help"
        ) from None
