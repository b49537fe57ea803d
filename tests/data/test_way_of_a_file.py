"""The way of a file through `data.scale`: which modules it enters, in order, and what it asks once."""

import sys
import threading
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gammabeta
from gammabeta import data

ROOT = Path(gammabeta.__file__).parent

# CONTRIBUTING draws the same way.
WAY = [
    "data/api.py",  # one file, or many?
    "data/formats/registry.py",  # open
    "data/passes/scale.py",
    "data/passes/measure.py",
    "affine.py",
    "data/passes/transform.py",
    "ParquetSink",
]
ONCE = ["is_data_set", "open_source", "measured", "affine", "write", "ParquetSink.__init__", "ParquetSink.close"]


def entered(act):
    """The calls into gammabeta while `act` runs, in order and on every thread: each a file and a qualified name."""
    calls = []

    def note(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT):
            calls.append((path.relative_to(ROOT).as_posix(), frame.f_code.co_qualname))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return calls


@pytest.fixture(name="source")
def _source(tmp_path):
    pq.write_table(pa.table({"x": [1.0, 2.0, 3.0], "word": ["a", "b", "c"]}), tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def test_a_file_that_is_scaled_goes_from_room_to_room(source, tmp_path):
    calls = entered(lambda: data.scale(source, tmp_path / "out.parquet"))
    places = [name.partition(".")[0] if "ParquetSink" in name else path for path, name in calls]
    assert list(dict.fromkeys(place for place in places if place in WAY)) == WAY
    names = Counter(name.removeprefix("Statistics.") for _, name in calls)
    assert {name: names[name] for name in ONCE} == dict.fromkeys(ONCE, 1)


def test_the_rooms_of_data_sets_are_not_entered_but_to_ask(source, tmp_path):
    calls = entered(lambda: data.scale(source, tmp_path / "out.parquet"))
    assert {path for path, _ in calls if path.startswith("data/dataset/")} == {"data/dataset/discovery.py"}


def test_contributing_draws_this_way():
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text("utf-8")
    text = text[text.index("## The way of a file") :]
    at = [text.index(f"`{place}`") for place in WAY]
    assert at == sorted(at)
