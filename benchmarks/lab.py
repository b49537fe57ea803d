"""How long the lab's chapters take from a key on a slider until the page states the new number and has drawn it.

python benchmarks/lab.py            # prints the table and writes RESULTS.md; needs Chromium, from the system

The browser is asked in every frame; its answer's way is part of the figure.
"""

import re
import shutil
import subprocess
import sys
from time import perf_counter

import numpy as np
from playwright.sync_api import Page, sync_playwright
from results import machine, table, write

SLIDERS = {
    "1. outlier": ("outlier", "used"),
    "2. first map": ("first map: times", "one-map"),
    "3. layers in the stack": ("layers in the stack", "collapsed"),
    "4. γ": ("γ", "r2-learned"),
    "5. pictures in a mini-batch": ("pictures in a mini-batch", "law"),
    "7. mean of the column": ("mean of the column", "error-torch"),
}
MOVES = 15
# Looked at in every frame; a chapter's numbers and pictures come into the page together.
CHANGED = """([key, before]) => {
  const stated = document.querySelector(`[data-number='${key}']`)?.textContent;
  return stated && stated !== before;
}"""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def times(page: Page, label: str, key: str) -> list[float]:
    """Milliseconds of each move: up and down, so that each changes the number."""
    slider = page.locator("marimo-slider").filter(has_text=label).get_by_role("slider")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    found = []
    for i in range(MOVES):
        page.wait_for_timeout(500)
        before = page.locator(f"[data-number='{key}']").text_content()
        start = perf_counter()
        page.keyboard.press("ArrowLeft" if i % 2 == 0 else "ArrowRight")
        page.wait_for_function(CHANGED, arg=[key, before], timeout=10_000)
        found.append(1000 * (perf_counter() - start))
    return found


def main() -> None:
    code = "import sys; from gammabeta.cli import main; sys.exit(main(['lab', '--port', '0', '--no-browser']))"
    lab = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    address = re.search(r"http://\S+", lab.stdout.readline())[0]
    rows = []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(address)
            page.locator("[data-number='loaded']").wait_for(timeout=120_000)
            page.wait_for_timeout(3000)
            for title, (label, key) in SLIDERS.items():
                if key.startswith("error"):
                    page.get_by_role("button", name="Load the installed").click()
                    page.locator("[data-number='error-torch']").wait_for(timeout=120_000)
                print(title, flush=True)
                taken = np.array(times(page, label, key))
                rows.append([title, f"{np.median(taken):.0f}", f"{taken.max():.0f}"])
            browser.close()
    finally:
        lab.terminate()
        lab.wait(timeout=60)
    text = (
        f"{machine('gammabeta', 'numpy', 'marimo', 'altair')} Milliseconds from a key on a slider until the page states"
        f" the new number, its pictures are in place; {MOVES} moves; chapter 7 with all "
        "frameworks answering. Chapter 6 has no slider that computes: it trains."
    )
    write("The lab", f"{text}\n\n{table(['chapter and slider', 'median', 'longest'], rows)}")


if __name__ == "__main__":
    main()
