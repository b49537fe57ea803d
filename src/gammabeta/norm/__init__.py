"""The formula of normalization and what a layer keeps, in no framework's terms."""
