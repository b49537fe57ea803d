"""The verbs on trained networks, for PyTorch."""
