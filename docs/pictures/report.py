"""`report.png`: the top of the page that `gammabeta report` writes about the breast cancer table."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv
from sklearn.datasets import load_breast_cancer

from gammabeta import report
from pictures.common import DOCS, browser

PLACE = DOCS / "report.png"


def draw() -> None:
    found = load_breast_cancer()
    table = pa.table({str(name): found.data[:, i] for i, name in enumerate(found.feature_names)})
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        arrow_csv.write_csv(table, Path(folder) / "cancer.csv")
        report.write(Path(folder) / "cancer.csv", Path(folder) / "cancer.html")
        page = chromium.new_context(offline=True, viewport={"width": 1180, "height": 1090}).new_page()
        page.goto((Path(folder) / "cancer.html").as_uri())
        page.locator(".chart[data-drawn]").first.wait_for()
        page.screenshot(path=PLACE)
