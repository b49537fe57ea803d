"""The pictures of the lab in `docs/lab/`, a chapter each: 1280 pixels wide, and one as a telephone shows it."""

import re
import subprocess
import sys
from typing import Any

from pictures.common import DOCS, browser

FOLDER = DOCS / "lab"
CHAPTERS = ("rescale", "shape", "straight", "gamma-beta", "mini-batch", "learning", "frameworks")
COMMAND = "import sys; from gammabeta.cli import main; sys.exit(main(['lab', '--port', '0', '--no-browser']))"
PATIENCE = 120_000  # milliseconds


def turn(page: Any) -> None:
    """Set what is worth seeing: an outlier, a bend between two maps, γ and β, a trained network, all frameworks."""
    for label, key, times in (("outlier", "ArrowRight", 4), ("γ", "ArrowRight", 15), ("β", "ArrowLeft", 15)):
        page.locator("marimo-slider").filter(has_text=label).get_by_role("slider").focus()
        for _ in range(times):
            page.keyboard.press(key)
    page.get_by_role("radio", name="tanh").first.click()
    page.get_by_role("button", name="Train, from the start").click()
    page.get_by_text(re.compile("^done: step")).wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="Load the installed").click()
    page.locator("[data-number='error-torch']").wait_for(timeout=PATIENCE)


def shoot(page: Any, width: int, names: dict[int, str]) -> None:
    """Chapters, by number from 0, from their heading to the next."""
    page.set_viewport_size({"width": width, "height": 9000})
    page.wait_for_timeout(3000)
    tops = [heading.bounding_box()["y"] - 14 for heading in page.locator("h2").all()]
    last = page.locator(".lab-numbers").last.bounding_box()
    tops.append(last["y"] + last["height"] + 14)
    for i, name in names.items():
        clip = {"x": 0, "y": tops[i], "width": width, "height": tops[i + 1] - tops[i]}
        page.screenshot(path=FOLDER / f"{name}.png", clip=clip)


def draw() -> None:
    FOLDER.mkdir(exist_ok=True)
    lab = subprocess.Popen([sys.executable, "-c", COMMAND], stdout=subprocess.PIPE, text=True)
    address = re.search(r"http://\S+", lab.stdout.readline())[0]
    try:
        with browser() as chromium:
            page = chromium.new_page(viewport={"width": 1280, "height": 900})
            page.goto(address)
            page.locator("[data-number='loaded']").wait_for(timeout=PATIENCE)
            turn(page)
            shoot(page, 1280, dict(enumerate(CHAPTERS)))
            shoot(page, 390, {3: "telephone"})
    finally:
        lab.terminate()
        lab.wait(timeout=60)
