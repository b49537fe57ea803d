"""How values show themselves: small tables with their numbers, escaped and capped; charts where they are asked for."""

import sys
from html.parser import HTMLParser

import numpy as np
import pytest

import gammabeta as gb
from gammabeta._util import html
from gammabeta.errors import DataError


class Cells(HTMLParser):
    """A table's rows of cells, as a parser of HTML finds them; every tag must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


X = np.array([[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]])


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        (
            gb.Moments.of(X),
            [["feature", "count", "mean", "std"], ["0", "3", "3", "2.16025"], ["1", "3", "30", "21.6025"]],
        ),
        (gb.Extrema.of(X), [["feature", "count", "min", "max"], ["0", "3", "1", "6"], ["1", "3", "10", "60"]]),
        (gb.Affine([1.0], [0.5], [-0.25]), [["feature", "center", "slope", "shift"], ["0", "1", "0.5", "-0.25"]]),
        (gb.Moments.of(X[:, 0]), [["", "count", "mean", "std"], ["", "3", "3", "2.16025"]]),
        (
            gb.numpy.BatchNorm(1),
            [["feature", "gamma", "beta", "running mean", "running var"], ["0", "1", "0", "0", "1"]],
        ),
        (gb.Moments.of(np.empty((0, 1))), [["feature", "count", "mean", "std"], ["0", "0", "nan", "nan"]]),
        (gb.Moments.of(np.empty((2, 0))), [["feature", "count", "mean", "std"]]),
    ],
    ids=["moments", "extrema", "affine", "one feature", "batch norm", "no rows", "no features"],
)
def test_a_value_shows_its_numbers(value, rows):
    assert Cells(value._repr_html_()).rows == rows


def test_many_features_are_capped():
    shown = gb.Moments.of(np.zeros((2, 3, 1000, 1000)))._repr_html_()
    rows = Cells(shown).rows
    assert len(rows) == 1 + html.SHOWN
    assert rows[-1][0] == "0, 0, 9"
    assert "2,999,990 more features" in shown
    assert len(shown) < 2000


def test_words_are_escaped():
    shown = html.table("<b>", ["<script>"], [["a & b", "</td>"]], "<i>")
    assert "<script>" not in shown and "<i>" not in shown
    assert Cells(shown).rows == [["<script>"], ["a & b", "</td>"]]


def test_scalers_show_themselves_as_scikit_learns_do():
    """Its own table of a fitted estimator has their attributes; `moments_` and `affine_` show themselves."""
    shown = gb.StandardScaler().fit(X)._repr_html_()
    assert "StandardScaler" in shown


def test_moments_are_drawn():
    chart = gb.Moments.of(X).plot().to_dict()
    values = chart["data"]["values"]  # both layers'
    assert [(row["feature"], row["mean"]) for row in values] == [("0", 3.0), ("1", 30.0)]
    assert values[1]["high"] - values[1]["mean"] == pytest.approx(gb.Moments.of(X).std[1])
    assert chart["layer"][0]["encoding"]["x"]["title"] == "mean ± standard deviation"


def test_affine_maps_are_drawn_as_lines():
    affine = gb.Affine.standard(gb.Moments.of(X))
    chart = affine.plot().to_dict()
    values = chart["layer"][0]["data"]["values"]
    assert len(values) == 4
    for row in values:
        at = int(row["feature"])
        assert row["y"] == pytest.approx((row["x"] - affine.center[at]) * affine.slope[at])
        assert abs(row["y"]) == pytest.approx(3)


@pytest.mark.parametrize(
    "value", [gb.Moments.of(np.full((2, 3), np.inf)), gb.Affine([np.nan, 1.0], 0.0), gb.Moments.of(np.empty((0, 2)))]
)
def test_what_has_no_number_is_not_drawn(value):
    text = str(value.plot().to_dict())
    assert "nan" not in text and "inf" not in text


def test_a_chart_of_many_features_is_capped():
    moments = gb.Moments.of(np.zeros((2, 1000)))
    assert "the first 50 of 1,000" in str(moments.plot().to_dict())


def test_charts_can_be_saved_without_a_browser(tmp_path):
    gb.Moments.of(X).plot().save(tmp_path / "m.svg")
    assert "mean ± standard deviation" in (tmp_path / "m.svg").read_text("utf-8")


@pytest.mark.parametrize("value", [gb.Moments.of(X), gb.Affine([1.0], [2.0])], ids=["moments", "affine"])
def test_without_altair(monkeypatch, value):
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(DataError, match=r"missing: pip install 'gammabeta\[report\]'"):
        value.plot()
