"""The command `gammabeta`: scale files, keep their statistics, apply them to others, and go back."""

import gc
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from gammabeta.cli import terminal
from gammabeta.cli.interrupts import Interrupted
from gammabeta.errors import GammabetaError

# Modules make hundreds of thousands of objects, all of which stay: that a process looks through them again and again
# for garbage while they are imported, and once more when it ends, takes a third of a small command's time.
_YOUNG = 100_000
_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, or 2 after one line on stderr that says what is wrong.

    1 is for what no user can put right, an error of ours; with `--debug` an error's trace comes before its line. A
    termination signal unwinds like Ctrl-C does, so that no temporary file stays behind. Those that an impatient user
    sends after it are ignored: they would break that off.
    """
    if arguments is None:
        gc.set_threshold(_YOUNG)
        terminal.take_over()
    given, debug = _parted(sys.argv[1:] if arguments is None else arguments)
    before = {number: _on_signal(number, _ended) for number in _ENDING}
    try:
        return _run(given)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was changed", 130)
    except Interrupted as ended:
        return _fail(str(ended), ended.status)
    except terminal.Unread:
        return 141
    except Exception as error:
        return _fail(*_message_and_status(error), error if debug else None)
    finally:
        if arguments is None:  # this is the process, which has its own way to end
            gc.freeze()
        else:
            for number, handler in before.items():
                _on_signal(number, handler)


def _run(arguments: Sequence[str]) -> int:
    terminal.check()
    from gammabeta.cli.commands import app

    done = app(arguments or ["--help"], prog_name="gammabeta", standalone_mode=False)
    terminal.finish()
    if done == 130:  # Typer's word for Ctrl-C
        raise KeyboardInterrupt
    return done if isinstance(done, int) else 0


def _parted(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without `--debug`, and whether it was there: anywhere before `--`."""
    given = list(arguments)
    end = given.index("--") if "--" in given else len(given)
    options = [argument for argument in given[:end] if argument != "--debug"]
    return options + given[end:], len(options) < end


def _message_and_status(error: Exception) -> tuple[str, int]:
    """The message for an error, and the exit status."""
    if isinstance(error, GammabetaError):
        return str(error), 2
    if isinstance(error, OSError):
        return f"cannot go on: {error}", 2
    if isinstance(error, MemoryError):
        return "there is not enough memory", 2
    # Typer's own complaints about the arguments; its classes have moved between releases
    describe = getattr(error, "format_message", None)
    if describe is not None:
        return f"{describe()} See: {_path(error)} --help", 2
    return (
        f"this must not happen, and is an error in gammabeta: {type(error).__name__}: {error}; "
        "please report it with what --debug shows"
    ), 1


def _fail(message: str, status: int, error: Exception | None = None) -> int:
    terminal.complain(message, error)
    return status


def _path(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return str(context.command_path) if context is not None else "gammabeta"


def _ended(number: int, frame: FrameType | None) -> NoReturn:
    for other in _ENDING:
        signal.signal(other, signal.SIG_IGN)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _on_signal(number: int, handler: object) -> object:
    """Set a signal's handler; returns the old one. What a parent ignores (nohup, a shell's &) stays ignored."""
    try:
        before = signal.getsignal(number)
        return before if before is signal.SIG_IGN and handler is _ended else signal.signal(number, handler)  # type: ignore[arg-type]
    except ValueError:  # not the main thread
        return handler
