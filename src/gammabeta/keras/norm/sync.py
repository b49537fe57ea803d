"""One batch over all replicas of a `tf.distribute` strategy: their sums are added up, and the gradients of these."""

from typing import Any

from gammabeta.norm.formula import Add


def over_replicas() -> Add | None:
    """What adds an array up over all replicas; None where this is the only one."""
    from tensorflow import distribute

    context = distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None

    def add(value: Any) -> Any:
        return context.all_reduce(distribute.ReduceOp.SUM, value)

    return add
