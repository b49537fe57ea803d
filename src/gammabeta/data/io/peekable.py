"""Iterables whose first item is known before the first pass."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from gammabeta.errors import DataError


def name_of(x: Any) -> str:
    """The name of an object in messages: that of its type."""
    return type(x).__name__


class PeekedIterable:
    """An iterable whose first item is known; the first pass starts with it, so that it is not produced twice.

    `single_pass`: it is an iterator, which ends for ever. What it raises says, in a note, at which item that was.

    Raises:
        DataError: it has no item.
    """

    def __init__(self, items: Iterable[Any], name: str | None = None) -> None:
        self.name = name or name_of(items)
        self._items, self._begun = items, iter(items)
        self.single_pass = self._begun is items
        try:
            with annotate_errors(self.name, 1):
                self.first = next(self._begun)
        except StopIteration:
            raise DataError(f"at least one chunk is needed, {self.name!r} gives none") from None

    def __iter__(self) -> Iterator[Any]:
        """A pass over all items."""
        begun = self._begun
        if begun is not None:
            self._begun = None  # type: ignore[assignment]
            return self._watched(chain([self.first], begun))
        if self.single_pass:
            raise DataError(single_pass_error(self.name))
        return self._watched(iter(self._items))

    def _watched(self, items: Iterator[Any]) -> Iterator[Any]:
        number = 0
        while True:
            number += 1
            with annotate_errors(self.name, number):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item


class annotate_errors:  # noqa: N801
    """A context that adds a note to errors: which chunk of the iterable was asked for."""

    def __init__(self, name: str, number: int) -> None:
        self._note = f"raised by {name!r} when gammabeta asked it for chunk {number}"

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, StopIteration):
            error.add_note(self._note)


def single_pass_error(name: str) -> str:
    """The message that an iterator is needed a second time."""
    return (
        f"what is read twice must be there twice, {name!r} can be read once: it can be measured, but not scaled by its "
        "own statistics; make a table or a file of it, or scale by statistics that are known: gammabeta.data.apply"
    )
