"""The lab in a real browser: every chapter draws, its numbers are the library's, and nothing asks another host."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import pytest
from scipy.stats import linregress, skew

import gammabeta as gb
from gammabeta.lab import batch_noise, datasets, digits, peers
from gammabeta.lab.charts import plain
from gammabeta.lab.widgets import line, text
from lab_serving import FLAGS, serving

SECONDS = 60_000  # of patience, in milliseconds: a first start compiles the kernels
PICTURES = 3 + 1 + 2 + 2 + 2 + 0 + 1  # by chapter, before anything is pressed
OF_TRAINING = 7

pytestmark = pytest.mark.slow


@dataclass
class Lab:
    """The page in a browser, and what it did there."""

    address: str
    page: Any
    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def number(self, key: str) -> Any:
        """The place of a number that the page states."""
        return self.page.locator(f"[data-number='{key}']")

    def shows(self, key: str, value: str) -> None:
        """Wait until the page states this value."""
        expect(self.number(key)).to_have_text(value, timeout=SECONDS)

    def press(self, label: str, key: str, times: int = 1) -> None:
        """Move a slider from the keyboard."""
        self.page.locator("marimo-slider").filter(has_text=label).get_by_role("slider").focus()
        for _ in range(times):
            self.page.keyboard.press(key)


def expect(locator: Any) -> Any:
    from playwright.sync_api import expect as of_playwright

    return of_playwright(locator)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving() as (found, _):
        yield found


@pytest.fixture(scope="module")
def lab(address, program, framework) -> Iterator[Lab]:
    with framework("playwright.sync_api").sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        opened = Lab(address, page)
        page.on("console", lambda m: opened.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: opened.errors.append(str(error)))
        here = (address, address.replace("http", "ws", 1), "data:", "blob:")
        page.on("request", lambda r: None if r.url.startswith(here) else opened.elsewhere.append(r.url))
        page.on("websocket", lambda s: None if s.url.startswith(here) else opened.elsewhere.append(s.url))
        page.goto(address)
        expect(opened.number("loaded")).to_be_visible(timeout=SECONDS)
        yield opened
        browser.close()


@pytest.fixture(autouse=True)
def _nothing_goes_wrong(lab) -> Iterator[None]:
    yield
    assert lab.errors == []
    assert lab.elsewhere == []
    expect(lab.page.locator(".marimo-error, [data-testid='cell-error']")).to_have_count(0)


def cells() -> np.ndarray:
    return next(iter(datasets.examples().values())).values


def test_every_chapter_draws(lab):
    headings = lab.page.locator("h2")
    expect(headings).to_have_count(7)
    assert [h.inner_text()[:2] for h in headings.all()] == [f"{i}." for i in range(1, 8)]
    places = lab.page.locator(".lab-pictures > div").count()
    assert places in (PICTURES, PICTURES + OF_TRAINING)  # the latter where another test has trained
    expect(lab.page.locator(".lab-pictures canvas, .lab-pictures svg.marks")).to_have_count(places)


def test_the_shape_is_the_same_and_an_outlier_crushes_min_max(lab):
    rows = lab.number("scaled").locator("tbody tr")
    expect(rows).to_have_count(3)
    assert {row.locator("td").nth(4).inner_text() for row in rows.all()} == {f"{skew(cells()):.12f}"}
    lab.shows("used", "100.0%")
    before = drawn(lab, 0)
    lab.press("outlier", "ArrowRight")
    x, m = cells(), gb.Moments.of(cells())
    scaled = gb.MinMaxScaler().fit_transform(np.append(x, float(m.mean + 5 * m.std))[:, None])[:-1]
    lab.shows("used", f"{scaled.max() - scaled.min():.1%}")
    lab.press("outlier", "End")
    scaled = gb.MinMaxScaler().fit_transform(np.append(x, float(m.mean + 100 * m.std))[:, None])[:-1]
    lab.shows("used", f"{scaled.max() - scaled.min():.1%}")
    assert drawn(lab, 0) != before
    lab.press("outlier", "Home")


def drawn(lab: Lab, picture: int) -> bytes:
    """A picture's pixels."""
    lab.page.wait_for_timeout(300)  # Vega draws in the next frames
    return lab.page.locator(".lab-pictures > div").nth(picture).screenshot()


def test_affine_maps_stay_straight_and_a_bend_does_not(lab):
    first, second = gb.Affine(0.0, 0.5, 1.0), gb.Affine(0.0, 2.5, -1.0)
    lab.shows("one-map", line(first.then(second)))
    lab.shows("straight", "1")
    lab.press("first map: times", "ArrowRight")
    lab.shows("one-map", line(gb.Affine(0.0, 0.6, 1.0).then(second)))
    lab.page.get_by_role("radio", name="exp").click()
    expect(lab.number("straight")).not_to_have_text("1")
    lab.page.get_by_role("radio", name="nothing").click()
    lab.shows("straight", "1")


def test_the_part_in_use_and_the_collapsed_stack(lab):
    z = gb.StandardScaler().fit_transform(cells()[:, None])[:, 0]
    lab.shows("r2", f"{linregress(z, digits.sigmoid(z)).rvalue ** 2:.5f}")
    rng = np.random.default_rng(5)
    layers = [gb.Affine(0.0, rng.uniform(1.2, 2.5), rng.normal()) for _ in range(7)]
    lab.press("layers in the stack", "ArrowRight")
    lab.shows("collapsed", line(reduce(gb.Affine.then, layers)))
    x = bent = np.linspace(-3, 3, 121)
    for layer in layers:
        bent = digits.sigmoid(layer(bent))
    lab.shows("spread-with", text(float(gb.Moments.of(bent).std)))
    lab.shows("spread-without", text(float(gb.Moments.of(reduce(gb.Affine.then, layers)(x)).std)))


def test_gamma_and_beta(lab):
    lab.shows("difference", "0")
    before = drawn(lab, 7)
    lab.press("γ", "ArrowRight", 10)
    z = gb.StandardScaler().fit_transform(cells()[:, None])[:, 0]
    lab.shows("difference", text(float(np.abs(2 * z - z).max())))
    lab.shows("r2-learned", f"{linregress(2 * z, digits.sigmoid(2 * z)).rvalue ** 2:.5f}")
    assert drawn(lab, 7) != before


def test_the_mini_batch_jitters_as_it_must(lab):
    lab.shows("law", text(float(batch_noise.law(False).mean[3])))
    lab.shows("jitter", text(float(batch_noise.measured(False).mean[3])))
    lab.press("pictures in a mini-batch", "ArrowRight", 2)
    lab.shows("law", text(float(batch_noise.law(False).mean[5])))
    found = batch_noise.follow(False, 64, 0.9)
    lab.shows("gap", text(float(np.abs(found.in_training - found.in_evaluation).max())))
    lab.page.get_by_role("radio", name=re.compile("per channel")).click()
    lab.shows("law", text(float(batch_noise.law(True).mean[5])))


def test_training_starts_stops_and_starts_anew(lab):
    train = lab.page.get_by_role("button", name="Train, from the start")
    stop = lab.page.get_by_role("button", name="Stop")
    state = lab.page.locator(".lab-progress span")
    lab.press("steps of 60", "End")
    train.click()
    expect(state).to_have_text(re.compile("^training: step [1-9]"), timeout=SECONDS)
    stop.click()
    expect(state).to_have_text(re.compile("^stopped: step"), timeout=SECONDS)
    at = state.inner_text()
    lab.page.wait_for_timeout(1500)
    assert state.inner_text() == at
    lab.press("steps of 60", "Home")
    train.click()
    expect(state).to_have_text("done: step 100 of 100", timeout=SECONDS)
    trainer = digits.Trainer(5, "sigmoid", "batch norm", 0.3, 0)
    for _ in range(100):
        trainer.step()
    lab.shows("held-out-batch norm", f"{trainer.held_out():.1%}")
    expect(lab.page.locator(".lab-pictures > div")).to_have_count(PICTURES + OF_TRAINING)


def test_the_frameworks_disagree_and_ours_do_not(lab, framework):
    """Ours to the digit, on NumPy; torch's sums depend on how many threads share them, tenfold on two cores."""
    torch = framework("torch")
    lab.page.get_by_role("button", name="Load the installed").click()
    expect(lab.number("error-torch")).to_be_visible(timeout=SECONDS)
    for mean, key in ((2010, None), (8000, "ArrowRight")):
        if key:
            lab.press("mean of the column", key)
        x = peers.column(mean, 3)
        lab.shows("error-gammabeta on NumPy", plain(peers.error(gb.batch_norm(x), x)))
        theirs = peers.error(torch.nn.BatchNorm1d(1, eps=peers.EPS)(torch.from_numpy(x)).detach().numpy(), x)
        assert theirs / 30 < float(lab.number("error-torch").inner_text().replace("−", "-")) < theirs * 30
    # Every layer is installed with the extra `test`.
    found = {key.get_attribute("data-number") for key in lab.page.locator("[data-number^='error-']").all()}
    assert found == {f"error-{name}" for name in peers.NEEDS}


def test_a_narrow_screen_needs_no_scrolling_sideways(lab):
    lab.page.set_viewport_size({"width": 390, "height": 800})
    wide = (
        "[...document.querySelectorAll('.lab-pictures, .lab-controls, .lab-numbers')].filter(e => e.scrollWidth > 390)"
    )
    assert lab.page.evaluate(f"{wide}.length") == 0
    lab.page.set_viewport_size({"width": 1280, "height": 900})


def test_the_page_in_korean_and_back(lab):
    page = lab.page.context.browser.new_page()  # a session of its own, as below
    page.goto(f"{lab.address}?lang=ko")
    headings = page.locator("h2")
    expect(headings.first).to_have_text("1. 스케일을 조정하는 두 가지 방법", timeout=SECONDS)
    expect(page.get_by_role("button", name="처음부터 학습하기")).to_be_visible(timeout=SECONDS)
    page.get_by_role("radio", name="English").click()
    expect(headings.first).to_have_text("1. Two ways to rescale", timeout=SECONDS)
    page.get_by_role("radio", name="한국어").click()
    expect(headings.last).to_have_text("7. 같은 숫자가 나오는가?", timeout=SECONDS)
    page.close()


def test_a_file_of_ones_own(lab, tmp_path):
    words, numbers = tmp_path / "words.csv", tmp_path / "numbers.csv"
    words.write_text("a\nx\n")
    numbers.write_text("a,<b>b</b>\nx,1\ny,2\nz,6\n")
    page = lab.page.context.browser.new_page()  # a session of its own: what the file changes, other tests do not see
    page.goto(lab.address)
    upload = page.locator("input[type=file]")
    upload.set_input_files(words, timeout=SECONDS)
    expect(page.get_by_text("at least one numeric column is needed")).to_be_visible(timeout=SECONDS)
    upload.set_input_files(numbers)
    mean = page.locator("[data-number=scaled] tbody tr").first.locator("td").first
    expect(mean).to_have_text("3", timeout=SECONDS)
    page.close()
