"""How long the lab's chapters take from a key on a slider until the page states the new number and has drawn it.

python benchmarks/lab.py            # prints the table and writes RESULTS.md; needs Chromium, from the system

A change in the page is seen by a MutationObserver in the browser; the clock is the browser's.
"""

import re
import shutil
import subprocess
import sys

import numpy as np
from playwright.sync_api import sync_playwright
from results import machine, table, write

SLIDERS = {
    "1. outlier": ("outlier", "used"),
    "2. first map": ("first map: times", "one-map"),
    "3. layers in the stack": ("layers in the stack", "collapsed"),
    "4. γ": ("γ", "r2-learned"),
    "5. pictures in a mini-batch": ("pictures in a mini-batch", "law"),
    "7. mean of the column": ("mean of the column", "error-gammabeta on NumPy"),
}
MOVES = 15
# From just before the key to the second frame after the page states another number; a chapter's numbers and pictures
# come into the page together.
WATCH = """key => new Promise(resolve => {
  const start = performance.now();
  const stated = () => document.querySelector(`[data-number='${key}']`)?.textContent;
  const before = stated();
  const watcher = new MutationObserver(() => {
    if (!stated() || stated() === before) return;
    watcher.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - start)));
  });
  watcher.observe(document.body, {subtree: true, childList: true, characterData: true});
})"""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def times(page, label: str, key: str) -> list[float]:
    """Milliseconds of each move: up and down, so that each changes the number."""
    slider = page.locator("marimo-slider").filter(has_text=label).get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowRight", delay=50)
    found = []
    for i in range(MOVES + 1):
        page.wait_for_timeout(400)
        watched = page.evaluate_handle(f"key => ({{done: ({WATCH})(key)}})", key)
        page.keyboard.press("ArrowRight" if i % 2 == 0 else "ArrowLeft")
        found.append(watched.evaluate("w => w.done"))
    return found[1:]  # the first loads what is loaded once


def main() -> None:
    code = "import sys; from gammabeta.cli import main; sys.exit(main(['lab', '--port', '0', '--no-browser']))"
    lab = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    address = re.search(r"http://\S+", lab.stdout.readline())[0]
    rows = []
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
            taken = np.array(times(page, label, key))
            rows.append([title, f"{np.median(taken):.0f}", f"{taken.max():.0f}"])
        browser.close()
    lab.terminate()
    lab.wait(timeout=60)
    text = (
        f"{machine('gammabeta', 'numpy', 'marimo', 'altair')} Milliseconds from a key on a slider until the page states"
        f" the new number, its pictures are in place and two frames have passed; {MOVES} moves; chapter 7 with all "
        "frameworks answering. Chapter 6 has no slider that computes: it trains."
    )
    write("The lab", f"{text}\n\n{table(['chapter and slider', 'median', 'longest'], rows)}")


if __name__ == "__main__":
    main()
