"""What is known of the functions that may follow a layer: their names, and where they are flat."""

from math import inf

FLAT = {
    "relu": (0.0, inf),
    "relu6": (0.0, 6.0),
    "sigmoid": (-5.99, 5.99),  # beyond it the slope is below 1 % of the steepest
    "tanh": (-2.99, 2.99),  # likewise
    "hardtanh": (-1.0, 1.0),
    "hardsigmoid": (-3.0, 3.0),
}
"""Between which inputs an activation is not flat."""

_BENT = {"leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "hardswish", "prelu", "softmax"}
_ALSO = {
    "hard_tanh": "hardtanh",
    "hard_sigmoid": "hardsigmoid",
    "hard_silu": "hardswish",
    "hard_swish": "hardswish",
    "swish": "silu",
    "logistic": "sigmoid",
}


def named(function: str) -> str:
    """An activation's name by that of a framework's function; "" if it is none.

    >>> named("relu_"), named("hard_tanh"), named("add")
    ('relu', 'hardtanh', '')
    """
    name = function.strip("_")
    name = _ALSO.get(name, name)
    return name if name in FLAT or name in _BENT else ""
