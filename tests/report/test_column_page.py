"""The page of a report: what is in it, what cannot get into it, and how it behaves in a browser without a network."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import altair
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gammabeta import report
from gammabeta.cli import main
from gammabeta.errors import DataError, FileError
from gammabeta.report import column_chart, column_page, vega_bundle
from report_tables import HOSTILE, cancer, hostile, written


class Scripts(HTMLParser):
    """The scripts of a page, as a browser's parser parts them from the rest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self._in = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "script":
            self.found.append((dict(attrs), ""))
            self._in = True

    def handle_data(self, data):
        if self._in:
            attributes, text = self.found[-1]
            self.found[-1] = attributes, text + data

    def handle_endtag(self, tag):
        self._in = self._in and tag != "script"


def test_the_numbers_can_be_read_back(tmp_path):
    place = written(tmp_path, cancer())
    scripts = Scripts(place.read_text("utf-8")).found
    assert [attributes.get("id") for attributes, _ in scripts] == ["data", "spec", None, None]
    told = json.loads(scripts[0][1])
    assert told == report.describe(tmp_path / "t.parquet")
    assert len(told["columns"]) == 30
    assert told["others"] == [{"name": "diagnosis", "type": "string", "reason": "not numeric"}]


def test_the_page_is_one_file_of_about_a_megabyte(tmp_path):
    text = written(tmp_path, cancer()).read_text("utf-8")
    assert len(text.encode()) < 1_100_000
    outside = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert not re.search(r"(src|href)\s*=|@import|url\(", outside)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_name_opens_no_tag_and_ends_no_script(name):
    text = column_page.embedded({"name": name})
    assert json.loads(text) == {"name": name}
    assert not set(text) & set("<>&\u2028\u2029")


def test_hostile_names_leave_the_page_as_it_is(tmp_path):
    text = written(tmp_path, hostile()).read_text("utf-8")
    scripts = Scripts(text).found
    assert len(scripts) == 4
    names = [column["name"] for column in json.loads(scripts[0][1])["columns"]]
    assert names[: len(HOSTILE)] == HOSTILE
    for mark in ("<img", "<svg onload", "<b>words"):
        assert mark not in re.sub(r"<script>.*?</script>", "", text, flags=re.S)


def test_scripts_end_where_they_should():
    script = vega_bundle.bundle()
    assert "</script" not in script and "<!--" not in script and "\r" not in script
    assert "vegaEmbed" in script


def test_the_script_is_kept_and_a_damaged_one_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(vega_bundle, "folder", lambda: tmp_path / "new")
    made = []
    monkeypatch.setattr(vega_bundle, "_made", lambda: made.append(1) or "script();")
    assert [vega_bundle.bundle(), vega_bundle.bundle()] == ["script();"] * 2
    assert len(made) == 1
    (kept,) = (tmp_path / "new").iterdir()
    kept.write_text(kept.read_text("utf-8").replace("script();", "other();"), "utf-8")
    assert vega_bundle.bundle() == "script();"
    assert len(made) == 2


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(vega_bundle, "folder", lambda: tmp_path / "file" / "under")
    monkeypatch.setattr(vega_bundle, "_made", lambda: "script();")
    assert vega_bundle.bundle() == "script();"


@pytest.mark.parametrize(
    ("system", "variable", "end"),
    [
        ("linux", "XDG_CACHE_HOME", "gammabeta"),
        ("win32", "LOCALAPPDATA", "gammabeta"),
        ("darwin", "", "Caches/gammabeta"),
    ],
)
def test_where_the_script_is_kept(monkeypatch, tmp_path, system, variable, end):
    monkeypatch.undo()
    monkeypatch.setattr("sys.platform", system)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
        assert vega_bundle.folder().parent == tmp_path
    assert vega_bundle.folder().as_posix().endswith(end)


@pytest.mark.parametrize("made", [column_chart.histogram, column_chart.two_histograms])
def test_the_chart_is_one_that_altair_knows(made):
    specification = made()
    assert altair.SCHEMA_URL.startswith(column_chart.SCHEMA.removesuffix(".json"))
    assert altair.LayerChart.from_dict(specification, validate=True).to_dict()["height"] == specification["height"]


def test_a_wrong_chart_is_found():
    specification = column_chart.histogram()
    specification["layer"][0]["layer"][0]["mark"] = {"type": "no such mark"}
    with pytest.raises(Exception, match="no such mark"):
        altair.LayerChart.from_dict(specification, validate=True)


def test_without_the_extra(tmp_path, monkeypatch, capsys):
    pq.write_table(cancer(), tmp_path / "t.parquet")
    monkeypatch.setattr(report, "find_spec", lambda name: None if name == "vl_convert" else object())
    out = tmp_path / "r.html"
    assert main(["report", str(tmp_path / "t.parquet"), "-o", str(out)]) == 2
    told = capsys.readouterr().err
    assert told == "gammabeta: a report is made with vl-convert-python: pip install 'gammabeta[report]'\n"
    assert not out.exists()


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pq.write_table(hostile(), "t.parquet")
    assert main(["report", "t.parquet"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "t.parquet: 19 columns → report.html"
    assert "infinities: infinite" in told
    assert main(["report", "t.parquet", "t.parquet", "-o", "drift.html", "--columns", "di*,row", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {column["name"] for column in found["columns"]} == {"dice", "row"}
    assert (found["kind"], found["output"]) == ("drift", "drift.html")
    assert {place.name for place in tmp_path.iterdir()} == {"t.parquet", "report.html", "drift.html"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no.csv"], "cannot read 'no.csv': no such file"),
        (["t.csv", "-o", "t.csv"], "a report's name must end in .html, got 't.csv'"),
        (["t.csv", "-o", "no/r.html"], "there is no folder"),
        (["t.csv", "--columns", "b"], "there is no column 'b' in 't.csv'; it has 'a', 'w'"),
        (["t.csv", "--columns", "w"], "columns to scale must be of numbers, 'w' in 't.csv' is not numeric"),
        (["words.csv"], "at least one numeric column is needed, 'words.csv' has none"),
        (["empty.csv"], "'empty.csv' is empty: it has 0 bytes"),
        (["none.parquet"], "at least one row is needed to report on, 'none.parquet' has none"),
        (["t.csv", "none.parquet"], "at least one row is needed to report on, 'none.parquet' has none"),
        (["t.csv", "other.csv"], "must have a numeric column in common, 't.csv' and 'other.csv' have none"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("a,w\n1,x\n2,y\n")
    Path("other.csv").write_text("b\n1\n2\n")
    Path("words.csv").write_text("w\nx\n")
    Path("empty.csv").write_text("")
    pq.write_table(pa.table({"a": pa.array([], pa.float64())}), "none.parquet")
    before = {place.name for place in tmp_path.iterdir()}
    assert main(["report", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and said in told
    assert {place.name for place in tmp_path.iterdir()} == before


def test_what_is_interrupted_leaves_the_old_page(tmp_path, monkeypatch):
    place = written(tmp_path, cancer())
    before = place.read_bytes()

    def stop(document):
        raise KeyboardInterrupt

    monkeypatch.setattr(column_page, "rendered", stop)
    with pytest.raises(KeyboardInterrupt):
        report.write(tmp_path / "t.parquet", place)
    assert place.read_bytes() == before
    assert {found.name for found in tmp_path.iterdir()} == {"t.parquet", "t.html"}


def test_errors_are_the_librarys(tmp_path):
    with pytest.raises(FileError, match=r"must end in \.html"):
        report.write(cancer(), tmp_path / "r.txt")
    with pytest.raises(DataError, match="no column 'x'"):
        report.write(cancer(), tmp_path / "r.html", columns=["x"])


def test_a_column_that_turns_out_to_be_words(tmp_path):
    lines = ["a,b", *("1,2" for _ in range(400_000)), "x,3", ""]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    told = report.describe(tmp_path / "t.csv")
    assert [column["name"] for column in told["columns"]] == ["b"]
    assert told["others"] == [{"name": "a", "type": "string", "reason": "not numeric"}]


def test_a_files_name_need_not_be_text(tmp_path):
    source = tmp_path / "t\udcff.npy"
    with source.open("wb") as file:
        np.save(file, np.arange(6.0).reshape(3, 2))
    report.write(source, tmp_path / "r.html")
    assert "t?.npy" in (tmp_path / "r.html").read_text("utf-8")
