"""Folding of batch norms into the linear layers beside them: what is planned, and what is reported."""
