"""One file for each format, and the registry that finds the one for a source."""
