"""The path at which pickles of whole models name `BatchNorm`; the layer itself is in `gammabeta.torch.norm.layer`."""

from gammabeta.torch.norm.layer import BatchNorm

__all__ = ["BatchNorm"]
