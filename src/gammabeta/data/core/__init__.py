"""Columns, chunks and the statistics of a file: what every format and every pass speaks."""
