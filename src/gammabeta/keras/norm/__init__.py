"""The layer for Keras, and what its options need."""
