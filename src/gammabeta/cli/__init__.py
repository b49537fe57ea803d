"""The command `gammabeta`: scale files, keep their statistics, apply them to others, and go back."""

import errno
import gc
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from gammabeta.cli.interrupts import Interrupted
from gammabeta.errors import GammabetaError

# Modules make hundreds of thousands of objects, all of which stay: that a process looks through them again and again
# for garbage while they are imported, and once more when it ends, takes a third of a small command's time.
_YOUNG = 100_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, or 2 after one line on stderr that says what is wrong.

    A termination signal unwinds like Ctrl-C does, so that no temporary file stays behind. Those that an impatient user
    sends after it are ignored: they would break that off.
    """
    if arguments is None:
        gc.set_threshold(_YOUNG)
    from gammabeta.cli.commands import app

    given = list(sys.argv[1:] if arguments is None else arguments)
    before = {number: _on_signal(number, _ended) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        done = app(given or ["--help"], prog_name="gammabeta", standalone_mode=False)
        sys.stdout.flush()
        if done == 130:  # Typer's word for Ctrl-C
            raise KeyboardInterrupt
        return done if isinstance(done, int) else 0
    except GammabetaError as error:
        return _fail(str(error), 2)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was changed", 130)
    except Interrupted as ended:
        return _fail(str(ended), ended.status)
    except BrokenPipeError:
        # whoever read our output has had enough; keep Python from complaining when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _fail(f"cannot go on: {error}", 2)
    except MemoryError:
        return _fail("there is not enough memory", 2)
    except Exception as error:
        # Typer's own complaints about the arguments; its classes have moved between releases
        describe = getattr(error, "format_message", None)
        if describe is None:
            raise
        return _fail(f"{describe()} See: {_path(error)} --help", 2)
    finally:
        if arguments is None:  # this is the process, which has its own way to end
            gc.freeze()
        else:
            for number, handler in before.items():
                _on_signal(number, handler)


def _fail(message: str, status: int) -> int:
    print(f"gammabeta: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    return status


def _path(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return str(context.command_path) if context is not None else "gammabeta"


def _ended(number: int, frame: FrameType | None) -> NoReturn:
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _on_signal(number: int, handler: object) -> object:
    """Let a signal be handled so; returns how it was. What a parent has ignored (nohup, a shell's &) stays ignored."""
    try:
        before = signal.getsignal(number)
        return before if before is signal.SIG_IGN and handler is _ended else signal.signal(number, handler)  # type: ignore[arg-type]
    except ValueError:  # not the main thread
        return handler
