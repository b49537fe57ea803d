"""The path at which pickles of whole models name `BatchNorm`; the layer itself is in `gammabeta.flax.norm.layer`."""

from gammabeta.flax.norm.layer import BatchNorm

__all__ = ["BatchNorm"]
