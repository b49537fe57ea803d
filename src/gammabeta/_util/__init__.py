"""Helpers that know nothing of normalization: immutable values, HTML tables, charts."""
