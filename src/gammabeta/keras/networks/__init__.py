"""The verbs on trained networks, for Keras."""
