"""The lab's page, served on this machine and for it alone."""

import os
import secrets
import socket
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from gammabeta.errors import DataError, GammabetaError
from gammabeta.kernels import thread_pool
from gammabeta.lab.free_memory import CollectOnClose
from gammabeta.lab.guard import Guard

PAGE = Path(__file__).with_name("app.py")
HOST = "127.0.0.1"
NEEDS = ("marimo", "altair")
KEPT = 30  # seconds that a closed page can be come back to, as after a reload; marimo's own are 120
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
    if thread_pool.free(THREADS) < THREADS:
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


def new_token() -> str:
    """What the page's address holds so that nobody guesses it: 256 bits at random, new at every start."""
    return secrets.token_urlsafe(32)


def address(listening: socket.socket, token: str, language: str = "en") -> str:
    """Where the page is; the token makes a path of its own, below which everything of the page lies."""
    asked = "" if language == "en" else f"?lang={language}"
    return f"http://{HOST}:{listening.getsockname()[1]}/{token}/{asked}"


def serve(listening: socket.socket, token: str) -> None:
    """Serve the page until Ctrl-C or a termination signal, and end the process.

    marimo's own token would be a cookie, which a browser sends to every port of this machine, and it lets any origin
    read what it sends and open a WebSocket; so `Guard` stands before it. marimo's telemetry and its search for updates
    belong to its own command, which is not used.
    """
    import marimo
    import uvicorn

    pages = marimo.create_asgi_app(quiet=True, include_code=True, session_ttl=KEPT)
    page = CollectOnClose(pages.with_app(path=f"/{token}", root=str(PAGE)).build(), KEPT)
    guarded = Guard(page, token, listening.getsockname()[1])
    config = uvicorn.Config(guarded, log_level="warning", timeout_graceful_shutdown=1, proxy_headers=False)
    with suppress(KeyboardInterrupt, SystemExit):  # uvicorn closes everything, then raises the signal anew
        uvicorn.Server(config).run(sockets=[listening])
    # The sessions of a mounted marimo app are threads that never end, and Python would wait for them.
    os._exit(0)
