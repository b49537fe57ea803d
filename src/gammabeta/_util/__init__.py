"""Small things that know nothing of normalization."""
