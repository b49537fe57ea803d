"""A batch in parts that are normalized apart (Hoffer, Hubara and Soudry 2017), whether or not its size is known yet.

Of n samples there are n // ghost parts, the first n % parts of them longer by one: two groups of parts of one length,
each an array of its own, (parts, samples, …).
"""

from typing import Any

from keras import ops

from gammabeta.backends.array_ops import ArrayOps
from gammabeta.norm.functional import Normalized


def split(space: ArrayOps, x: Any, ghost: int) -> list[Any]:
    """x as arrays (parts, samples, …)."""
    n, *others = space.lengths(x)
    parts = max(n // ghost, 1) if isinstance(n, int) else ops.maximum(n // ghost, 1)
    size, longer = n // parts, n % parts
    cut = longer * (size + 1)
    groups = (x[:cut], longer, size + 1), (x[cut:], parts - longer, size)
    return [
        space.xp.reshape(group, [many, samples, *others])
        for group, many, samples in groups
        if not (isinstance(many, int) and many == 0)
    ]


def joined(space: ArrayOps, groups: list[Any]) -> Any:
    """What `split` took apart."""
    return ops.concatenate([space.xp.reshape(x, [-1, *space.lengths(x)[2:]]) for x in groups], axis=0)


def statistics(space: ArrayOps, seen: list[Normalized]) -> Normalized:
    """Those of all parts, mean, variance and count each (parts, features…)."""
    counts = [space.array(group.count, group.mean, group.mean.dtype) * ops.ones_like(group.mean) for group in seen]
    means, variances = [group.mean for group in seen], [group.var for group in seen]
    return Normalized(None, *(ops.concatenate(values, axis=0) for values in (means, variances, counts)))


def divided(space: ArrayOps, values: tuple[Any, ...], seen: list[Normalized]) -> list[tuple[Any, ...]]:
    """Values (parts, features…) for each group of parts."""
    first = space.lengths(seen[0].mean)[0]
    return [tuple(value[:first] for value in values), tuple(value[first:] for value in values)][: len(seen)]
