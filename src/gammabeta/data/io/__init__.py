"""Paths, threads and locks: nothing here knows a format."""
