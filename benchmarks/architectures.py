"""What the verbs do with architectures that others wrote: a table of verb and architecture, in float64.

    pip install timm torchvision
    python benchmarks/architectures.py [timm or torchvision names …]

Each network has random weights and statistics unlike a new layer's. A verb's row says how many of the batch
norms it takes, the largest difference of the output, relative to the largest output, and why it leaves the others.
"""

import argparse
import copy
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gammabeta.torch import convert, fold, left_alone, revert
from gammabeta.torch.networks.modules import is_norm

TIMM = (
    *(
        "efficientnet_b0",
        "mobilenetv3_small_100",
        "resnet18",
        "resnext26ts",
        "regnetx_002",
        "regnety_002",
        "densenet121",
    ),
    *(
        "levit_128s",
        "mobilevit_xxs",
        "ghostnet_100",
        "hardcorenas_a",
        "mixnet_s",
        "repvgg_a0",
        "rexnet_100",
        "tinynet_e",
    ),
    *("fbnetc_100", "mnasnet_small", "selecsls42", "dla34", "hrnet_w18_small", "cs3darknet_s", "edgenext_xx_small"),
)
TORCHVISION = ("resnet18", "mobilenet_v2", "shufflenet_v2_x0_5", "googlenet", "mnasnet0_5", "vgg11_bn", "densenet121")


def made(name: str) -> nn.Module:
    """The network, in float64 and evaluation."""
    torch.manual_seed(0)
    library, _, kind = name.partition(":")
    if library == "timm":
        import timm

        model: nn.Module = timm.create_model(kind)
    else:
        import torchvision

        model = torchvision.models.get_model(kind, weights=None)
    with torch.no_grad():
        for layer in model.modules():
            if is_norm(layer) and layer.running_mean is not None:
                layer.running_mean.normal_(std=0.1)
                layer.running_var.uniform_(0.5, 1.5)
    return model.double().eval()


def folded(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """The folded network, and why norms stay."""
    result, report = fold(model)
    return result, [norm.why for norm in report.skipped]


def converted(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """The network with our layers, and why others stay."""
    return convert(model), list(left_alone(model).values())


def reverted(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """There and back."""
    return revert(convert(model)), list(left_alone(model).values())


VERBS: dict[str, Callable[[nn.Module], tuple[nn.Module, list[str]]]] = {
    "convert": converted,
    "revert": reverted,
    "fold": folded,
}


def row(name: str, verb: str) -> str:
    """One line of the table."""
    model = made(name)
    norms = sum(map(is_norm, model.modules()))
    x: Any = torch.randn(1, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = model(x)
        try:
            result, reasons = VERBS[verb](copy.deepcopy(model))
        except Exception as error:  # the table says what happened
            return f"{name:34} {verb:8} {type(error).__name__}: {str(error)[:160]}"
        off = ((result(x) - want).abs().max() / want.abs().max()).item()
    why = "; ".join(f"{many} × {reason[:100]}" for reason, many in Counter(reasons).most_common(3))
    return f"{name:34} {verb:8} {norms - len(reasons):4} of {norms:4}   {off:8.1e}   {why}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", help="such as timm:resnet18 or torchvision:vgg11_bn; all of the list if none"
    )
    names = parser.parse_args().names or [f"timm:{n}" for n in TIMM] + [f"torchvision:{n}" for n in TORCHVISION]
    for name in names:
        for verb in VERBS:
            print(row(name, verb), flush=True)


if __name__ == "__main__":
    sys.exit(main())
