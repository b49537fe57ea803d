"""The compiled kernels bound to Python: arrays laid out for them, work split over threads, and plain references."""
