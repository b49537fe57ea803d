"""The modules that serve a framework's arrays: the one table that names frameworks' folders from a lower room.

The folders lie above `backends`, so that their modules are imported by name, and when one of their framework's arrays
is there: the framework has been imported by then.
"""

from importlib import import_module
from types import ModuleType
from typing import Literal

Service = Literal["statistics", "cpu", "rows", "gpu", "tiling", "scalers"]

_MODULES: dict[tuple[str, Service], str] = {
    ("torch", "statistics"): "gammabeta.torch.cuda_statistics",
    ("torch", "cpu"): "gammabeta.torch.norm.autograd_cpu",
    ("torch", "rows"): "gammabeta.torch.norm.autograd_group",
    ("torch", "gpu"): "gammabeta.torch.norm.autograd_gpu",
    ("torch", "tiling"): "gammabeta.torch.norm.gpu_tiling",
    ("dask", "scalers"): "gammabeta.data.dask.arrays",
}


def module(framework: str, service: Service) -> ModuleType:
    """The module that serves arrays of a framework.

    service: "statistics", exact statistics and affine maps where the arrays lie, outside the host's memory; "cpu" and
    "gpu", batch norm by kernels with its gradients, of arrays in the host's memory and in a GPU's; "rows", layer, group
    and RMS norm so, in the host's; "tiling", which layouts the GPU's kernels reach; "scalers", the statistic that a
    scaler takes of a lazy array, and its lazy image.
    """
    return import_module(_MODULES[framework, service])
