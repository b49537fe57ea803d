"""The site builds without a warning, names every page and every public name, and asks no other host for anything."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

import gammabeta

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

pytestmark = pytest.mark.skipif(
    not (ROOT / "mkdocs.yml").exists(), reason="the tests run outside a checkout: there is no mkdocs.yml"
)


def build(source: Path, place: Path) -> subprocess.CompletedProcess[str]:
    """`mkdocs build --strict`, which a warning ends."""
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # Material's word on MkDocs 2, printed at each start
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    return subprocess.run(
        command, cwd=source, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("site")
    result = build(ROOT, place)
    told = f"{result.stdout}\n{result.stderr}"
    assert result.returncode == 0 and "WARNING" not in told, told
    return place


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of what the site is made of, to be spoilt."""
    for name in ("docs", "src", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    for name in ("mkdocs.yml", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_every_page_is_there(site):
    for page in DOCS.rglob("*.md"):
        assert (site / page.relative_to(DOCS).with_suffix(".html")).exists(), page.name
    assert {path.name for path in site.rglob("*") if path.suffix in (".py", ".json", ".md")} == {"search_index.json"}


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ("[x](nowhere.md)", "nowhere.md"),
        ("[x](exact.md#nowhere)", "nowhere"),
        ("::: gammabeta.nothing", "gammabeta.nothing"),
    ],
)
def test_a_wrong_line_fails_the_build(checkout, line, warning):
    with (checkout / "docs" / "index.md").open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    result = build(checkout, checkout / "site")
    assert result.returncode != 0 and warning in result.stderr


def missing_from_nav(docs: Path, configuration: str) -> list[str]:
    """The pages under docs/ that nav does not name, as sentences."""
    nav = set(re.findall(r"([\w/-]+\.md)\b", configuration.partition("\nnav:")[2]))
    pages = sorted(page.relative_to(docs).as_posix() for page in docs.rglob("*.md"))
    return [f"docs/{page} is not in mkdocs.yml's nav: give it a line there" for page in pages if page not in nav]


def test_nav_names_every_page():
    missing = missing_from_nav(DOCS, (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert not missing, "\n".join(missing)


def test_a_page_that_nav_lacks_is_found(checkout):
    (checkout / "docs" / "unlisted.md").write_text("# Unlisted\n", encoding="utf-8")
    configuration = (checkout / "mkdocs.yml").read_text(encoding="utf-8")
    assert missing_from_nav(checkout / "docs", configuration) == [
        "docs/unlisted.md is not in mkdocs.yml's nav: give it a line there"
    ]


def public(module: str) -> list[str]:
    """The names that a module under src/gammabeta makes public, read and not imported: `__all__`, or its classes."""
    place = ROOT / "src" / "gammabeta" / module
    text = (place / "__init__.py" if place.is_dir() else place.with_suffix(".py")).read_text(encoding="utf-8")
    found = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            found.append(node.name)
    return found


def names() -> Iterator[str]:
    """Every public name, in full."""
    yield from (f"gammabeta.{name}" for name in gammabeta.__all__)
    for module in ("data", "flax", "keras", "numpy", "report", "torch"):
        yield from (f"gammabeta.{module}.{name}" for name in public(module))


def test_the_reference_has_every_public_name(site):
    pages = "".join(page.read_text(encoding="utf-8") for page in (site / "reference").glob("*.html"))
    there = set(re.findall(r'\bid="(gammabeta[\w.]*)"', pages))
    missing = [name for name in names() if name not in there]
    assert not missing, f"docs/reference/ lacks {missing}: give each a docstring, and a page there the line '::: NAME'"


def test_docstrings_are_read_as_they_are_meant(site):
    """Examples are code, not quotations or prose; each of `gamma, beta: …` has a line."""
    for page in (site / "reference").glob("*.html"):
        assert "<blockquote>" not in page.read_text(encoding="utf-8"), page.name
    page = (site / "reference" / "normalization.html").read_text(encoding="utf-8")
    assert '<span class="gp">&gt;&gt;&gt; </span>' in page
    assert all(f"<code>{name}</code>" in page for name in ("gamma", "beta", "mean", "var"))
    assert "<p>from gammabeta" not in (site / "reference" / "torch.html").read_text(encoding="utf-8")


def test_links_above_docs_lead_to_pages(site):
    assert 'href="results.html"' in (site / "batchnorm.html").read_text(encoding="utf-8")
    assert "plain sweep" in (site / "results.html").read_text(encoding="utf-8")


def test_public_names_are_read_right():
    assert {"BatchNorm", "Gradients"} == set(public("numpy"))
    assert {"BatchNorm", "convert", "revert"} <= set(public("torch"))


class Loads(HTMLParser):
    """What a page loads without being asked: everything with an address, but links to be followed."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag != "a" and values.get("rel") not in ("canonical", "prev", "next"):
            self.addresses += [v for k, v in attributes if k in ("src", "href", "srcset", "data", "poster") and v]
        self.addresses += re.findall(r"url\(([^)]+)\)", values.get("style") or "")


def elsewhere(page: str) -> list[str]:
    """The addresses on other hosts that a page loads."""
    loads = Loads()
    loads.feed(page)
    return [address for address in loads.addresses if re.match(r"['\"]?(https?:)?//", address.strip())]


def test_no_page_loads_anything_from_another_host(site):
    for page in site.rglob("*.html"):
        assert not elsewhere(page.read_text(encoding="utf-8")), page.name
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", sheet.read_text(encoding="utf-8")), (
            sheet.name
        )


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/x.css">',
        '<img src="http://badge.example/x.svg">',
        '<p style="background: url(https://x.example)">',
    ],
)
def test_an_address_elsewhere_is_found(tag):
    assert len(elsewhere(f'<a href="https://marimo.io">link</a>{tag}')) == 1


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(site) -> Iterator[str]:
    """Where the site is served, on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.browser
def test_the_site_asks_no_other_host_and_its_search_finds(site, address, program):
    """In Chromium: every page, then a search, whose index and worker are the site's own."""
    from playwright.sync_api import sync_playwright

    asked, wrong = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        for path in sorted(site.rglob("*.html")):
            page.goto(f"{address}/{path.relative_to(site).as_posix()}", wait_until="load")
        page.goto(f"{address}/index.html")
        page.locator("input.md-search__input").click()
        page.locator("input.md-search__input").press_sequentially("rounded once")
        found = page.locator("a.md-search-result__link").first
        found.wait_for()
        assert "exact" in page.locator("a.md-search-result__link").evaluate_all("a => a.map(x => x.href).join(' ')")
        browser.close()
    assert wrong == []
    assert {url.split("/")[2] for url in asked if url.startswith("http")} == {address.split("/")[2]}
