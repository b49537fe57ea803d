"""Batch norm over all replicas of a `tf.distribute` strategy: all-reduced sums and their gradients."""

from typing import Any

from gammabeta.norm.formula import Add


def over_replicas() -> Add | None:
    """A function that sums an array over all replicas; None if there is one replica."""
    from tensorflow import distribute

    context = distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None

    def add(value: Any) -> Any:
        return context.all_reduce(distribute.ReduceOp.SUM, value)

    return add
