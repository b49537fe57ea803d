"""The pictures of README and docs, each drawn by a file of its own from what was run or measured."""
