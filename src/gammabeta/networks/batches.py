"""How batches reach a model of any framework: checks, progress reports, and the batch's number in errors."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from gammabeta.backends import arrays
from gammabeta.errors import DataError, KindError

Call = Callable[[Any, Any], Any]
Mask = Callable[[Any], Any]
Progress = Callable[[int, int], None]


class BatchFeed(NamedTuple):
    """The batches of a pass, how the model is called with one, its mask, and who hears of progress."""

    batches: Iterable[Any]
    call: Call
    mask: Mask | None
    progress: Progress


def no_progress(done: int, size: int) -> None:
    """The default `Progress`: does nothing."""


def numbered(batches: Iterable[Any], progress: Progress) -> Iterator[tuple[int, Any]]:
    """Yield (number, batch) from 1, and call progress(number, size) after each; size is 0 if it is not known."""
    size = _size(batches)
    for number, batch in enumerate(batches, 1):
        yield number, batch
        progress(number, size)


def _size(batches: Any) -> int:
    try:
        return len(batches) if isinstance(batches, Sized) else 0
    except TypeError:  # a tf.data.Dataset of unknown length
        return 0


@contextmanager
def in_batch(number: int) -> Iterator[None]:
    """Add the batch's number as a note to an error raised within the block."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in batch {number}; the model is as it was before")
        raise


def iterable(batches: Any, again: str = "") -> None:
    """Raise unless `batches` is an iterable of batches; with `again`, the reason, one that can be iterated twice."""
    if arrays.kind(batches) != "other" or isinstance(batches, Mapping | str) or not isinstance(batches, Iterable):
        raise KindError(
            f"batches must be a list of batches, a loader or another iterable, got {type(batches).__name__}: one batch "
            f"alone is [batch]"
        )
    if again and iter(batches) is batches:
        raise DataError(
            f"{again} goes through the batches more than once, and {type(batches).__name__} can be gone through only "
            f"once: give a list, a loader or another iterable that starts anew"
        )


def some(count: int) -> None:
    """Raise if there was no batch."""
    if not count:
        raise DataError("batches must give at least one batch, got none: is the loader empty, or a generator used up?")


def first(batch: Any) -> Any:
    """A batch without labels: the first element of a tuple or a list; a dataclass as a dict."""
    if isinstance(batch, tuple | list) and batch:
        batch = batch[0]
    if is_dataclass(batch) and not isinstance(batch, type):
        return {field.name: getattr(batch, field.name) for field in fields(batch)}
    return batch


def array(batch: Any) -> None:
    """Raise unless `batch` is an array."""
    if arrays.kind(batch) == "other":
        raise KindError(
            f"a batch must be an array, a tuple that begins with one, a mapping or a dataclass, got "
            f"{type(batch).__name__}: say how the model takes it with call=lambda model, batch: …"
        )


def named(batch: Mapping[str, Any], takes: Iterable[str]) -> dict[str, Any]:
    """The entries of a batch whose names the model takes. DataError if there is none."""
    names = list(takes)
    chosen = {name: value for name, value in batch.items() if name in names}
    if not chosen:
        raise DataError(
            f"a batch must have an entry that the model names, which are {names}, got {list(batch)}: say how the "
            f"model takes it with call=lambda model, batch: …"
        )
    return chosen
