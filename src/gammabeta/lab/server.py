"""The lab's page, served on this machine and for it alone."""

import os
import socket
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from gammabeta.errors import DataError, GammabetaError
from gammabeta.kernels import threads

PAGE = Path(__file__).with_name("app.py")
HOST = "127.0.0.1"
NEEDS = ("marimo", "altair")
THREADS = 3  # for the browser, and for a page and the training in it


def opened(port: int) -> socket.socket:
    """A socket that listens on this machine alone; port 0 takes any that is free.

    Raises:
        GammabetaError: the extra `lab` is not installed, or no thread can be started.
        DataError: the port is in use, or cannot be had.
    """
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise GammabetaError(f"the lab needs {' and '.join(missing)}: pip install 'gammabeta[lab]'")
    if threads.free(THREADS) < THREADS:
        raise GammabetaError(
            "the lab needs threads, one for each open page, and this system starts none; allow this process more "
            "(ulimit -u, or its container's limit)"
        )
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise DataError(
            f"the lab needs a free port, {port} cannot be had ({reason}); name another with --port, or --port 0 for any"
        ) from None


def address(listening: socket.socket) -> str:
    """Where the page is."""
    return f"http://{HOST}:{listening.getsockname()[1]}"


def serve(listening: socket.socket) -> None:
    """Serve the page until Ctrl-C or a termination signal, and end the process.

    Requests for another host's name are refused, so that no other page in the browser can reach this one by a name of
    its own. marimo's telemetry and its search for updates belong to its own command, which is not used.
    """
    import marimo
    import uvicorn
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    page = marimo.create_asgi_app(quiet=True, include_code=True).with_app(path="", root=str(PAGE)).build()
    guarded = TrustedHostMiddleware(page, allowed_hosts=[HOST, "localhost"])
    server = uvicorn.Server(uvicorn.Config(guarded, log_level="warning", timeout_graceful_shutdown=1))
    with suppress(KeyboardInterrupt, SystemExit):  # uvicorn closes everything, then raises the signal anew
        server.run(sockets=[listening])
    # The sessions of a mounted marimo app are threads that never end, and Python would wait for them.
    os._exit(0)
