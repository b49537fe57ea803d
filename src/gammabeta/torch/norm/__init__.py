"""The layer for PyTorch, and its ways to the kernels."""
