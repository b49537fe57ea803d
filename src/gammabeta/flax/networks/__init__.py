"""The verbs on trained networks, for Flax."""
