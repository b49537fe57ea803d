"""Means over positions, with which a map of each channel commutes: average pooling, and `x.mean` over all positions."""

from typing import Any, NamedTuple

from torch import fx, nn

_ADAPTIVE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
_FIXED = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_FUNCTIONS = {
    **{f"adaptive_avg_pool{n}d": (n, True) for n in (1, 2, 3)},
    **{f"avg_pool{n}d": (n, False) for n in (1, 2, 3)},
}


class Average(NamedTuple):
    """A mean over the positions of (n, c, …), whose weights add up to 1 everywhere."""

    rank: int
    """How many axes x must have for that: with others, channels or samples would be averaged."""
    flat: bool
    """Whether (n, c) is left."""


def of_module(module: Any) -> Average | None:
    """The average that a module is; None if it is none, or counts zeros that it has padded with."""
    if module._forward_hooks or module._forward_pre_hooks:
        return None
    if type(module) in _ADAPTIVE:
        return Average(3 + _ADAPTIVE.index(type(module)), flat=False)
    if type(module) in _FIXED and _sums_to_one(
        module.padding, module.count_include_pad, getattr(module, "divisor_override", None)
    ):
        return Average(3 + _FIXED.index(type(module)), flat=False)
    return None


def of_function(name: str, node: fx.Node) -> Average | None:
    """The average that a call of a function or a method is, or None."""
    if name in _FUNCTIONS:
        positions, adaptive = _FUNCTIONS[name]
        padding, counted, divisor = (
            _argument(node, place, named, value)
            for place, named, value in (
                (3, "padding", 0),
                (5, "count_include_pad", True),
                (6, "divisor_override", None),
            )
        )
        return Average(2 + positions, flat=False) if adaptive or _sums_to_one(padding, counted, divisor) else None
    if name != "mean" or len(node.args) > 3 or not node.kwargs.keys() <= {"dim", "keepdim", "input"}:
        return None
    over, keeps = _argument(node, 1, "dim", None), _argument(node, 2, "keepdim", False)
    over = over if isinstance(over, tuple | list) else (over,)
    rank = 2 + len(over)
    if not all(isinstance(i, int) for i in over) or not isinstance(keeps, bool):
        return None
    whole = sorted(i % rank for i in over) == list(range(2, rank))
    return Average(rank, flat=not keeps) if whole else None


def _sums_to_one(padding: Any, counted: Any, divisor: Any) -> bool:
    """Whether each output of average pooling is divided by the number of values in it."""
    paddings = padding if isinstance(padding, tuple | list) else (padding,)
    return divisor is None and (counted is False or all(type(n) is int and n == 0 for n in paddings))


def _argument(node: fx.Node, place: int, name: str, default: Any) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)
