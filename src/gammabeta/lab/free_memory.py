"""Garbage collection of the lab's sessions whose pages were closed."""

import asyncio
import gc

from gammabeta.lab.guard import App, Receive, Scope, Send

AFTER = (5, 60)  # seconds after a session's end: its thread first finishes the cell that it is at


class CollectOnClose:
    """An ASGI application that collects garbage after a WebSocket is closed.

    A marimo session ends some time after its page was closed, and is a web of references that point at each other.
    Python looks through what is as old as that only when the number of its objects has grown by a quarter, and a page's
    columns and pictures are few objects: a closed page kept up to 100 MB, one upon the other.

    Args:
        app: the application.
        session_ttl: how long a session is kept after its page was closed, in seconds.
    """

    def __init__(self, app: App, session_ttl: float) -> None:
        self._app, self._session_ttl = app, session_ttl

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and see to what is left of it."""
        try:
            await self._app(scope, receive, send)
        finally:
            if scope["type"] == "websocket":
                for wait in AFTER:
                    asyncio.get_running_loop().call_later(self._session_ttl + wait, gc.collect)
