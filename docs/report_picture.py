"""Draws report.png in Chromium: the top of the page that `gammabeta report` writes about the breast cancer table.

python docs/report_picture.py
"""

import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv
from playwright.sync_api import sync_playwright
from sklearn.datasets import load_breast_cancer

from gammabeta import report

PLACE = Path(__file__).with_name("report.png")


def main() -> None:
    found = load_breast_cancer()
    table = pa.table({str(name): found.data[:, i] for i, name in enumerate(found.feature_names)})
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        arrow_csv.write_csv(table, Path(folder) / "cancer.csv")
        report.write(Path(folder) / "cancer.csv", Path(folder) / "cancer.html")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_context(offline=True, viewport={"width": 1180, "height": 1090}).new_page()
        page.goto((Path(folder) / "cancer.html").as_uri())
        page.locator(".chart[data-drawn]").first.wait_for()
        page.screenshot(path=PLACE)
        browser.close()


if __name__ == "__main__":
    main()
