"""The layer for Flax."""
