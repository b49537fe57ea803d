"""Dispatch over kinds of arrays and data frames, and the operations that differ between them."""
