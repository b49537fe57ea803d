"""A report's page in Chromium, opened from its file with the network off."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from gammabeta import data, report
from report_tables import HOSTILE, cancer, hostile, written

pytestmark = [pytest.mark.slow, pytest.mark.browser]

ALONE = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
ALONE += ["--disable-sync", "--no-first-run"]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(name="browser", scope="module")
def _browser(program) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=ALONE)
        yield browser
        browser.close()


class Tab:
    """A page, and what it complained of and asked for."""

    def __init__(self, browser: Browser, place, **options) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.context = browser.new_context(offline=True, **{"viewport": DESK, **options})
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(place.as_uri())

    def open_all(self) -> None:
        """Open every column that is closed."""
        self.page.evaluate("document.querySelectorAll('.title[aria-expanded=false]').forEach((title) => title.click())")

    def draw_all(self) -> int:
        """Scroll to every chart; how many were drawn."""
        charts = self.page.locator(".chart")
        for i in range(charts.count()):
            charts.nth(i).scroll_into_view_if_needed()
            expect(charts.nth(i)).to_have_attribute("data-drawn", "true")
        return charts.count()

    def names(self) -> list[str]:
        return self.page.locator(".row .title bdi").all_text_contents()

    def close(self) -> None:
        """A tab that was not silent, or asked for anything but its own file, is a failure."""
        hacked = self.page.evaluate("window.hacked")
        self.context.close()
        assert hacked is None
        assert self.complaints == []
        assert len(self.requests) == 1 and self.requests[0].startswith("file:")


@pytest.fixture(name="tab")
def _tab(browser) -> Iterator:
    opened: list[Tab] = []

    def tab(place, **options) -> Tab:
        opened.append(Tab(browser, place, **options))
        return opened[-1]

    yield tab
    for one in opened:
        one.close()


def bars(page: Page) -> list[float]:
    """The heights of the first chart's bars, in pixels."""
    paths = page.locator(".chart").first.locator(".mark-rect path").all()
    return [path.bounding_box()["height"] for path in paths]


def test_the_page_shows_the_librarys_numbers(tmp_path, tab):
    page = tab(written(tmp_path, cancer())).page
    page.locator(".title", has_text="mean radius").click()
    detail = page.locator(".row:has-text('mean radius') + .open")
    moments = data.moments(cancer())
    told = detail.locator("dd").all_text_contents()
    assert told[:2] == [repr(float(moments.mean[0])), repr(float(moments.std[0]))]
    heads = detail.locator(".values thead th").all_text_contents()
    assert heads == ["", "raw", "standardized", "min-max"]
    assert detail.locator(".values tbody tr").first.locator("td").all_text_contents() == ["6.981", "−2.03", "0"]


def test_every_axis_is_named_and_the_bars_are_the_counts(tmp_path, tab):
    opened = tab(written(tmp_path, cancer().select(["mean radius"])))
    assert opened.draw_all() == 1
    chart = opened.page.locator(".chart").first
    for title in ("values per bar", "raw values, in the column’s own unit", "standardized: (x − mean) / std"):
        assert chart.get_by_text(title, exact=True).count() == 1
    counts = report.describe(tmp_path / "t.parquet")["columns"][0]["histogram"]["counts"]
    heights = np.array(bars(opened.page))
    # a bar is drawn to a pixel or so, and a box around it a pixel more
    np.testing.assert_allclose(heights / heights.max(), np.array(counts) / max(counts), atol=3 / heights.max())


def test_search_filter_and_sort(tmp_path, tab):
    page = tab(written(tmp_path, cancer())).page
    shown = page.locator(".row .title bdi")
    page.get_by_label("Search").fill("RADIUS")
    assert sorted(shown.all_text_contents()) == ["mean radius", "radius error", "worst radius"]
    assert page.locator("#shown").text_content() == "3 of 30 columns"
    page.get_by_label("Search").fill("nothing like it")
    assert shown.count() == 0
    page.get_by_label("Search").fill("")
    page.get_by_label("Sort by").select_option("mean")
    told = report.describe(tmp_path / "t.parquet")["columns"]
    by_mean = [column["name"] for column in sorted(told, key=lambda column: -column["mean"])]
    assert shown.all_text_contents() == by_mean
    assert page.locator("th[aria-sort]").text_content() == "Mean"
    page.locator("#head").get_by_role("button", name="Mean").click()
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    assert shown.all_text_contents() == by_mean[::-1]
    page.get_by_role("button", name="Heavy tails").click()
    heavy = {column["name"] for column in told if any(f["kind"] == "tails" for f in column["findings"])}
    assert set(shown.all_text_contents()) == heavy != set()
    page.get_by_label("Show").select_option("")
    assert shown.count() == 30


def test_the_keyboard_is_enough(tmp_path, tab):
    page = tab(written(tmp_path, cancer())).page
    title = page.locator(".row .title").nth(3)
    title.focus()
    assert title.get_attribute("aria-expanded") == "false"
    page.keyboard.press("Enter")
    assert title.get_attribute("aria-expanded") == "true"
    detail = page.locator(f"#{title.get_attribute('aria-controls')}")
    detail.locator(".chart[data-drawn]").wait_for()
    page.keyboard.press("Space")
    assert detail.count() == 0
    page.locator("button.name").first.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.className") == "title"
    assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hostile_names_do_not_run_and_fit(tmp_path, tab, viewport, scheme):
    opened = tab(written(tmp_path, hostile()), viewport=viewport, color_scheme=scheme)
    opened.open_all()
    assert opened.draw_all() == 18  # all but the empty column
    assert HOSTILE[0] in opened.names()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    light = opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert light is (scheme == "light")


def test_no_other_script_could_run(tmp_path, browser):
    """The policy is tried out: without it the first line would set the variable."""
    opened = Tab(browser, written(tmp_path, cancer()))
    opened.page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'hacked = 1'}))")
    opened.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"hacked = 2\">')")
    opened.page.wait_for_timeout(200)
    assert opened.page.evaluate("window.hacked") is None
    assert any("Content Security Policy" in text for text in opened.complaints)
    opened.context.close()


def test_labels_do_not_overlap(tmp_path, tab):
    rng = np.random.default_rng(0)
    wild = {"epoch": 1.7e9 + rng.random(500), "small": rng.normal(size=500) * 1e-9, "altitude": 8e3 + rng.random(500)}
    for viewport in (DESK, PHONE):
        opened = tab(written(tmp_path, pa.table(wild)), viewport=viewport)
        opened.open_all()
        assert opened.draw_all() == 3
        for axis in opened.page.locator(".chart .role-axis-label").all():
            boxes = [
                label.bounding_box() for label in axis.locator("text").all() if label.get_attribute("opacity") != "0"
            ]
            assert len(boxes) > 1 or not axis.locator("text").count()
            level = sorted(boxes, key=lambda box: box["x"])
            for left, right in pairwise(level):
                apart = left["x"] + left["width"] <= right["x"] + 0.5
                assert apart or abs(left["y"] - right["y"]) >= left["height"] - 4, (left, right)


def test_drift_is_drawn_and_sorted(tmp_path, tab):
    x = np.random.default_rng(0).normal(10, 2, 2000)
    first = pa.table({"same": x, "far": x, "near": x, HOSTILE[1]: x})
    later = pa.table({"same": x, "far": x + 9, "near": x + 1, HOSTILE[0]: x})
    opened = tab(written(tmp_path, first, later))
    assert opened.names() == ["far", "near", "same"]
    assert opened.draw_all() == 2
    text = opened.page.locator("main").text_content()
    assert f"Only in the first file:\n{HOSTILE[1]}" in text and f"Only in the second file:\n{HOSTILE[0]}" in text
    assert "t.parquet → t-2.parquet" in opened.page.locator("h1").text_content()
    assert opened.page.locator(".chart .mark-line path").count() == 2


def test_a_thousand_columns_stay_usable(tmp_path, tab):
    rng = np.random.default_rng(0)
    columns = {f"column {i}": rng.normal(size=50) + 1e6 * (i % 97 == 96) for i in range(1000)}
    opened = tab(written(tmp_path, pa.table(columns)))
    page = opened.page
    assert page.locator(".row").count() == 100
    assert opened.names()[:2] == ["column 96", "column 193"]
    assert page.locator("tr.open").count() == 10  # the remarkable ones
    page.get_by_role("button", name="Show 100 more of 900").click()
    assert page.locator(".row").count() == 200
    taken = page.evaluate(
        """() => { const search = document.getElementById("search"), start = performance.now();
        search.value = "column 77"; search.dispatchEvent(new Event("input"));
        return [performance.now() - start, document.querySelectorAll(".row").length]; }"""
    )
    assert taken[1] == 11
    assert taken[0] < 500  # milliseconds, in which a search still feels like typing; some 10 are needed
