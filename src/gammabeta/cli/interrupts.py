"""The message when resumable work is interrupted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Interrupted(Exception):  # noqa: N818
    """Ctrl-C or a termination signal came; the text says how to go on, `status` is that of the process."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@contextmanager
def resumable(state: Callable[[], str]) -> Iterator[None]:
    """Turn what a signal raises in a `with` block into `Interrupted`, with what `state` then says of the work."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(state(), 130) from None
    except SystemExit as ended:
        raise Interrupted(state(), int(ended.code or 0)) from None
