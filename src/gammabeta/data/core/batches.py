"""Small batches of rows gathered into larger ones: a call costs as much as 100,000 values."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import pyarrow as pa

from gammabeta.data.core.source import Chunk, TableChunk

T = TypeVar("T")


def groups(items: Iterable[T], size: Callable[[T], int], min_size: int) -> Iterator[list[T]]:
    """Consecutive items in lists whose sizes add up to `min_size` or more; the last list may be smaller.

    >>> list(groups(["a", "bb", "c"], len, 3))
    [['a', 'bb'], ['c']]
    """
    held: list[T] = []
    total = 0
    for item in items:
        held.append(item)
        total += size(item)
        if total >= min_size:
            yield held
            held, total = [], 0
    if held:
        yield held


def concatenated(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Record batches of one schema, one at least, as one: itself if it is the only one, a copy if there are several."""
    if len(batches) == 1:
        return batches[0]
    whole = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return whole[0] if whole else batches[0]  # of no rows Arrow makes no batch


def gathered(chunks: Iterable[Chunk], min_rows: int) -> Iterator[TableChunk]:
    """Consecutive chunks as fewer, of `min_rows` rows or more but for the last."""
    for parts in groups(chunks, lambda chunk: chunk.rows, min_rows):
        yield TableChunk(concatenated([part.batch for part in parts]), parts[0].start, parts[-1].done)
