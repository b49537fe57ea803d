"""How fast: plain functions of arrays, no classes."""
