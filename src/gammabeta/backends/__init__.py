"""What kind of array or frame a value is, and the operations that differ between kinds: the one dispatch."""
