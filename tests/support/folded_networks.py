"""Networks to fold, and the check that folding changes no output."""

import copy

import torch
from torch import nn

from gammabeta.torch import fold


class Own(nn.Module):
    """Layers by name, and a forward pass given as a function of (self, x)."""

    def __init__(self, way, **layers):
        super().__init__()
        self.way = way
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.way(self, x)


def largest(model, x):
    """The largest absolute value within the model's leaves, and the largest number of products in a sum."""
    most, terms = [], 1
    hooks = [
        layer.register_forward_hook(lambda _, args, y: most.append(y.abs().max().item()))
        for layer in model.modules()
        if not list(layer.children())
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    for layer in model.modules():
        weight = getattr(layer, "weight", None)
        if weight is not None and weight.ndim > 1:
            terms = max(terms, weight.numel() // min(weight.shape[:2]))
    return max(most), terms


def unchanged(model, *inputs, example=True):
    """Fold a float64 copy, and check that no output changed; the report of the model itself."""
    wide, wides = copy.deepcopy(model).double(), [x.double() if x.is_floating_point() else x for x in inputs]
    folded, _ = fold(wide)
    with torch.no_grad():
        got, want = folded(*wides), wide(*wides)
        most, terms = largest(wide, wides[0])
    layers = 1 + sum(1 for layer in wide.modules() if not list(layer.children()))
    # A layer's sum of `terms` products is right to terms · 2⁻⁵³ of its terms, which are below 8 · `most` here, weights
    # being below 8; a later layer passes that on at most `terms` · 8 times over for each, which random signs do not: 8
    # for each of the layers is allowed.
    assert (got - want).abs().max() <= layers * 8 * terms * 2.0**-53 * 8 * most
    return fold(model, example=inputs if example else None)[1]


def paths(report):
    return [(f.norm, f.into, f.order) for f in report.folded]


def why(report):
    """The reason of the one norm that was skipped."""
    (skipped,) = report.skipped
    return skipped.why
