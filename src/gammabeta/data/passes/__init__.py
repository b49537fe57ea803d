"""The passes over one source of any format: measure, transform, group by, preview."""
