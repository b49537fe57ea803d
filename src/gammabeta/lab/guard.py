"""Who may ask the lab for anything: its own page, whose address holds a token that no other page knows."""

from collections.abc import Awaitable, Callable, MutableMapping
from secrets import compare_digest
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

HOSTS = ("127.0.0.1", "localhost")
READING = ("GET", "HEAD")

# Nobody frames the page, nobody loads a part of it, and its address goes nowhere.
_HEADERS = (
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"same-origin"),
)
_NOT_OURS = "the lab answers to its own page alone: open the whole address that `gammabeta lab` printed\n"


class Guard:
    """An ASGI application before which a request proves that the lab's own page sends it.

    What must hold of every HTTP request and every WebSocket: the path starts with the token, which makes it
    unguessable; `Host` is this machine's name with this port, so that no page under another name reaches it (DNS
    rebinding); `Origin` is the page's own. A browser leaves `Origin` out of nothing but what reads. No header lets
    another origin read an answer, whatever the application behind sends.
    """

    def __init__(self, app: App, token: str, port: int) -> None:
        self._app, self._token = app, token.encode()
        self._hosts = {f"{host}:{port}".encode() for host in HOSTS}
        if port == 80:
            self._hosts |= {host.encode() for host in HOSTS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        kind = scope["type"]
        if kind == "lifespan" or self._is_ours(scope):
            await self._app(scope, receive, _sealed(send))
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _refuse(send)

    def _is_ours(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"host"]
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        token = "".join(scope["path"].split("/")[1:2]).encode(errors="replace")
        if len(given) != 1 or given[0] not in self._hosts or not compare_digest(token, self._token):
            return False
        if not origins:
            return scope["type"] == "http" and scope["method"] in READING
        return origins == [b"http://" + given[0]]


def _sealed(send: Send) -> Send:
    """What sends answers that no other origin may read."""

    async def sealed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(k, v) for k, v in message.get("headers", ()) if not k.lower().startswith(b"access-control-")]
            message = {**message, "headers": [*headers, *_HEADERS]}
        await send(message)

    return sealed


async def _refuse(send: Send) -> None:
    text = _NOT_OURS.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode()), *_HEADERS]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": text})
