"""Who gets into the lab, what of a file does, and what a closed page leaves: in a real browser, and before it."""

import asyncio
import gc
import secrets
import time
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from gammabeta.errors import FileError
from gammabeta.lab import datasets
from gammabeta.lab.free_memory import AFTER, CollectOnClose
from gammabeta.lab.guard import Guard
from lab_serving import FLAGS, serving

TOKEN = "t" * 43
SECONDS = 60_000
EVIL = "attacker.test"


# The guard by itself


def asked(
    path: str = f"/{TOKEN}/",
    *,
    kind: str = "http",
    method: str = "GET",
    port: int = 2718,
    headers: list[tuple[bytes, bytes]],
) -> tuple[bool, list[dict[str, Any]]]:
    """Whether the application behind the guard was reached, and all that was sent."""
    reached, sent = [], []

    async def app(scope, receive, send):
        reached.append(scope)
        headers = [(b"Access-Control-Allow-Origin", b"*"), (b"x-kept", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "path": path, "method": method, "headers": headers}
    step(Guard(app, TOKEN, port)(scope, None, send))
    return bool(reached), sent


def step(of_nothing_to_wait_for: Coroutine[None, None, None]) -> None:
    """Run it to its end; Playwright has the loop of this thread."""
    with suppress(StopIteration):
        of_nothing_to_wait_for.send(None)


HOST = (b"host", b"127.0.0.1:2718")
OWN = (b"origin", b"http://127.0.0.1:2718")


def test_the_lab_s_own_page_is_answered():
    for headers in ([HOST], [HOST, OWN], [(b"host", b"localhost:2718"), (b"origin", b"http://localhost:2718")]):
        assert asked(headers=headers)[0]
    assert asked(f"/{TOKEN}/ws", kind="websocket", headers=[HOST, OWN])[0]
    assert asked(f"/{TOKEN}", method="POST", headers=[HOST, OWN])[0]
    assert asked(port=80, headers=[(b"host", b"localhost"), (b"origin", b"http://localhost")])[0]


@pytest.mark.parametrize("path", ["", "/", "//", "/ws", f"/{TOKEN[1:]}/", f"/{TOKEN}t/", f"/x/{TOKEN}/", "/\udcff/é/"])
def test_without_the_token_nothing_is_answered(path):
    refused(path, headers=[HOST, OWN])


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [b""],
        [b"127.0.0.1"],
        [b"127.0.0.1:2719"],
        [b"127.0.0.1:2718", b"127.0.0.1:2718"],
        [b"attacker.test:2718"],
        [b"127.0.0.1.attacker.test:2718"],
        [b"0.0.0.0:2718"],
        [b"[::1]:2718"],
        [b"x@127.0.0.1:2718"],
    ],
)
def test_another_host_s_name_is_refused(hosts):
    for origins in ([], [(b"origin", b"http://" + host) for host in hosts[:1]]):
        refused(headers=[*((b"host", host) for host in hosts), *origins])


@pytest.mark.parametrize(
    "origin",
    [b"null", b"", b"http://127.0.0.1:2719", b"https://127.0.0.1:2718", b"http://localhost:2718", b"http://a.test"],
)
def test_another_origin_is_refused(origin):
    for method in ("GET", "POST", "OPTIONS"):
        refused(method=method, headers=[HOST, (b"origin", origin)])
    refused(headers=[HOST, OWN, (b"origin", origin)])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_what_changes_something_says_where_it_comes_from(method):
    refused(method=method, headers=[HOST])


def refused(path: str = f"/{TOKEN}/", **given: Any) -> None:
    """Refused over HTTP, with a word on what to do, and as a WebSocket."""
    reached, sent = asked(path, **given)
    assert not reached
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 403
    assert (
        sent[1]["body"]
        == b"the lab answers to its own page alone: open the whole address that `gammabeta lab` printed\n"
    )
    assert asked(path, **{**given, "kind": "websocket"}) == (False, [{"type": "websocket.close", "code": 1008}])


def test_no_other_origin_may_read_frame_or_embed_an_answer():
    _, (start,) = asked(headers=[HOST])
    assert dict(start["headers"]) == {
        b"x-kept": b"1",
        b"content-security-policy": b"frame-ancestors 'none'",
        b"cross-origin-resource-policy": b"same-origin",
        b"referrer-policy": b"same-origin",
    }


# In a browser


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving() as (found, _):
        yield found


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> Iterator[int]:
    """The port of a server of other pages on this machine."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "index.html").write_text("<!doctype html><title>another page</title>")
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=folder)) as server:
        Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def browser(program, framework) -> Iterator[Any]:
    rules = f"--host-resolver-rules=MAP {EVIL} 127.0.0.1"
    with framework("playwright.sync_api").sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program("chromium"), args=[*FLAGS, rules])
        yield opened
        opened.close()


TRIES = """async ([address, post]) => {
  const found = {};
  const read = async (name, path, options) => {
    try { const r = await fetch(address + path, options); found[name] = `${r.type} ${await r.text()}`; }
    catch (error) { found[name] = "nothing"; }
  };
  await read("page", "", {});
  await read("opaque", "", {mode: "no-cors"});
  await read("health", "health", {credentials: "include"});
  await read("post", post, {method: "POST", body: "{}", headers: {"Content-Type": "application/json"}});
  await read("sent", post, {method: "POST", body: "{}", mode: "no-cors"});
  found.socket = await new Promise(done => {
    const socket = new WebSocket(address.replace("http", "ws") + "ws?session_id=s_other1");
    socket.onopen = () => done("open");
    socket.onerror = () => done("nothing");
  });
  const script = document.createElement("script");
  found.script = await new Promise(done => {
    script.onload = () => done("loaded"); script.onerror = () => done("nothing");
    script.src = address + "ws"; document.head.append(script);
  });
  return found;
}"""


@pytest.mark.slow
@pytest.mark.parametrize("knows", [True, False], ids=["with the token", "without the token"])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", EVIL])
def test_another_page_reads_opens_and_posts_nothing(address, foreign, browser, name, knows):
    """Neither from another port nor from another name, even if it knew the token."""
    parts = urlsplit(address)
    target = address if knows else f"http://{parts.netloc}/"
    page = browser.new_page()
    seen: dict[str, set[int]] = {}
    page.on("response", lambda r: seen.setdefault(r.request.method, set()).add(r.status) if target in r.url else None)
    page.goto(f"http://{name}:{foreign}/")
    found = page.evaluate(TRIES, [target, "api/kernel/set_ui_element_value"])
    opaque = found.pop("opaque")
    assert opaque in ("opaque ", "nothing")  # that there is something, and not a byte of it
    sent = found.pop("sent")
    assert sent in ("opaque ", "nothing")
    assert set(found.values()) == {"nothing"}
    assert seen.get("POST", {403}) == {403}  # refused, and not only hidden from who asked
    frame = page.evaluate_handle(
        "address => new Promise(done => { const f = document.createElement('iframe'); f.onload = () => done(f);"
        " f.src = address; document.body.append(f); })",
        target,
    )
    assert "marimo" not in frame.as_element().content_frame().content()
    page.close()


@pytest.mark.slow
def test_under_another_name_the_lab_does_not_answer(address, browser):
    """As after DNS rebinding: the name of the attacker's page has become this machine's address."""
    page = browser.new_page()
    parts = urlsplit(address)
    for host, status in ((EVIL, 403), ("localhost", 200), ("127.0.0.1", 200)):
        assert page.goto(f"http://{host}:{parts.port}{parts.path}").status == status
    assert page.goto(f"http://127.0.0.1:{parts.port}/").status == 403
    assert "open the whole address" in page.content()
    page.close()


# Files


@pytest.mark.parametrize(
    "name", ["x.zarr", "x.zarr.zip", "x.zip", ".zarray", "..", ".", "", "a/../..", "x", "folder/", ".csv"]
)
def test_no_zarr_and_no_folder_gets_in(name, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.tempfile, "TemporaryDirectory", None)  # refused before anything is written
    for act in (partial(datasets.names, name, b"x"), partial(datasets.read, name, b"x", "x")):
        with pytest.raises(FileError, match=r"a data file's name must end in \.csv"):
            act()


def test_of_a_file_s_name_the_extension_alone_is_used(tmp_path):
    for name in (
        "a.csv",
        "/etc/a.csv",
        "../a.csv",
        "x.zarr/a.csv",
        "x.zarr.csv",
        "\0.csv",
        f"{'a' * 300}.csv",
        "a.\udcff.csv",
    ):
        assert datasets.names(name, b"v\n1\n2\n") == ["v"]
        assert datasets.read(name, b"v\n1\n2\n", "v").values.tolist() == [1, 2]
    with pytest.raises(FileError, match=r"^'mine\.parquet' cannot be read as Parquet"):
        datasets.names("mine.parquet", b"nothing of the kind")


# Memory


def test_what_a_closed_page_leaves_is_collected(monkeypatch):
    collected = []

    class Loop:
        def call_later(self, after, act):
            collected.append((after, act))

    monkeypatch.setattr(asyncio, "get_running_loop", Loop)

    async def app(scope, receive, send):
        if scope["path"] == "/broken":
            raise ConnectionError

    for kind, path in (("http", "/"), ("websocket", "/"), ("websocket", "/broken")):
        with suppress(ConnectionError):
            step(CollectOnClose(app, 30)({"type": kind, "path": path}, None, None))
    assert collected == [(30 + wait, gc.collect) for wait in AFTER] * 2


# In the lab's process: how many kernels, which hold all that a page made, there are, once a second.
COUNTING = """
import gc, pathlib, threading, time
from gammabeta.lab import free_memory, server
server.KEPT, free_memory.AFTER = 1, (2, 10, 30, 60)
def count():
    while time.sleep(1) is None:
        kernels = sum(1 for thing in gc.get_objects() if type(thing).__name__ == "Kernel")
        pathlib.Path({place!r}).write_text(str(kernels))
threading.Thread(target=count, daemon=True).start()
"""


@pytest.mark.slow
def test_a_closed_page_is_given_back(browser, tmp_path):
    place = tmp_path / "kernels"
    with serving(COUNTING.format(place=str(place))) as (address, _):
        page = browser.new_page()
        page.goto(address)
        page.locator("h2").first.wait_for(timeout=SECONDS)
        counted(place, "1")
        page.close()
        counted(place, "0")


def counted(place: Path, kernels: str) -> None:
    """Wait until there are so many."""
    end = time.monotonic() + 100
    while not place.exists() or place.read_text() != kernels:
        assert time.monotonic() < end
        time.sleep(0.5)


def test_every_start_has_a_token_of_its_own():
    from gammabeta.lab import server

    found = {server.new_token() for _ in range(100)}
    assert len(found) == 100
    assert {len(token) for token in found} == {len(secrets.token_urlsafe(32))}
