"""CSV: types that show late, words kept to the letter, and files that are not what they should be."""

import gzip

import numpy as np
import pytest

from gammabeta import data
from gammabeta.data.formats import csv_text
from gammabeta.data.formats.csv import CsvSource
from gammabeta.errors import DataError, FileError, KindError


@pytest.fixture(name="put")
def _put(tmp_path):
    def put(content, name="in.csv", encoding="utf-8"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return tmp_path / name

    return put


@pytest.fixture(name="small_blocks")
def _small_blocks(monkeypatch):
    monkeypatch.setattr("gammabeta.data.formats.csv.BLOCK_BYTES", 64)


def columns(path):
    data.measure(path)
    source = CsvSource(path)
    source.learn()
    return {column.name: column.type for column in source.columns}


LATE = {
    "integer then number": (["1"] * 200 + ["2.5"], "float64"),
    "number then missing": (["1.5"] * 200 + ["NA"], "float64"),
    "missing then number": ([""] * 200 + ["2.5"], "float64"),
    "missing then words": ([""] * 200 + ["x"], "string"),
    "integer then words": (["1"] * 200 + ["x"], "string"),
    "number then words": (["1.5"] * 200 + ["x"], "string"),
    "integer beyond 64 bits": (["1"] * 200 + ["10000000000000000000000"], "float64"),
    "integer throughout": (["1"] * 200, "int64"),
    "spaces around": (["1"] * 200 + [" 2 "], "int64"),
    "missing throughout": ([""] * 200, "null"),
}


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("case", LATE)
def test_the_whole_file_says_what_a_column_is(put, case, tmp_path):
    cells, kind = LATE[case]
    path = put("x,y\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells)))
    assert columns(path) == {"x": kind, "y": "int64"}
    expected = [float(cell) for cell in cells if cell.strip() not in ("", "NA")] if kind.endswith("64") else None
    found = data.measure(path)
    assert found.names == (("x", "y") if expected else ("y",))
    if expected:
        assert found.moments.count[0] == len(expected)
        assert found.moments.mean[0] == pytest.approx(sum(expected) / len(expected), rel=1e-15)
    done = data.scale(path, tmp_path / "out.csv")
    assert done.rows == len(cells)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == len(cells) + 1


@pytest.mark.usefixtures("small_blocks")
def test_apply_to_a_file_whose_column_turns_late(put, tmp_path):
    fitted = data.measure(put("x\n1\n3\n"))
    later = put("x\n" + "1\n" * 200 + "2.5\n", "later.csv")
    data.apply(fitted, later, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().split()[1:] == ["-1"] * 200 + ["0.5"]
    words = put("x\n" + "1\n" * 200 + "old\n", "words.csv")
    with pytest.raises(KindError, match=r"column 'x' must be of numbers as it was \(int64\), in .* it is string"):
        data.apply(fitted, words, tmp_path / "out2.csv")
    assert not (tmp_path / "out2.csv").exists()


def test_a_column_without_values_has_nothing_to_scale(put, tmp_path):
    fitted = data.measure(put("x,y\n1,2\n3,4\n"))
    data.apply(fitted, put("x,y\n,2\nNA,4\n", "new.csv"), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "x,y\n,-1\nNA,1\n"


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("part", [",", ";", "\t", "|"])
def test_words_are_kept_to_the_letter(put, tmp_path, end, part):
    header = part.join(["id", "x", "when", '"a ""quoted"" name"'])
    rows = [
        ["007a", "1", "2020-01-01T00:00:00Z", f'"one{part}two"'],
        [" b ", "", "NA", '"two\nlines"'],
        ["true", "n/a", "1.50 EUR", '"say ""hi"""'],
        ["", "3", "0x1F", "ä€😀"],
    ] * 30
    content = end.join([header, *(part.join(row) for row in rows), ""])
    source = put(content.encode())
    done = data.scale(source, tmp_path / "out.csv")
    expected = content.encode()
    scaled = {"1": "-1", "3": "1"}
    lines = [header, *(part.join([row[0], scaled.get(row[1], row[1]), *row[2:]]) for row in rows), ""]
    expected = end.join(lines).encode()
    assert (tmp_path / "out.csv").read_bytes() == expected
    assert done.rows == len(rows)


def test_a_byte_order_mark_stays(put, tmp_path):
    data.scale(put(b"\xef\xbb\xbfx,y\n1,a\n3,b\n"), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == b"\xef\xbb\xbfx,y\n-1,a\n1,b\n"
    assert data.measure(tmp_path / "out.csv").names == ("x",)


def test_columns_left_out_keep_their_digits(put, tmp_path):
    data.scale(put("id,x\n1.10,1\n0012,3\n"), tmp_path / "out.csv", exclude=["id"])
    assert (tmp_path / "out.csv").read_text() == "id,x\n1.10,-1\n0012,1\n"


def test_a_single_column_may_have_empty_lines(put, tmp_path):
    data.scale(put("x\n1\n\n3\n"), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "x\n-1\n\n1\n"


def test_numbers_read_back_the_same(put, tmp_path):
    x = np.random.default_rng(2).normal(size=100) * 10.0 ** np.arange(-50, 50)
    source = put("x\n" + "".join(f"{float(value)!r}\n" for value in x))
    assert data.moments(source) == data.moments(source)
    data.scale(source, tmp_path / "out.csv", stats=tmp_path / "s.json")
    found = np.array([float(cell) for cell in (tmp_path / "out.csv").read_text().split()[1:]])
    np.testing.assert_array_equal(found, data.load(tmp_path / "s.json").affine()(x[:, None])[:, 0])


def test_lines_longer_than_a_block(put, tmp_path, monkeypatch):
    monkeypatch.setattr("gammabeta.data.formats.csv.BLOCK_BYTES", 256)
    source = put("x,s\n1,a\n2," + "long" * 5000 + "\n3,b\n")
    data.scale(source, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().count("long") == 5000
    assert sum(chunk.rows for chunk in data.scan(source)) == 3


BAD = {
    "a,b\n1,2\n3\n4,5\n": (FileError, r"cannot be read as CSV: CSV parse error: Row #3: Expected 2 columns, got 1: 3"),
    "a,b\n1,2\n3,4,5\n": (FileError, r"Row #3: Expected 2 columns, got 3: 3,4,5"),
    "a,a\n1,2\n": (DataError, "column names must differ, but 'a' comes twice"),
    "\n1,2\n": (FileError, "the first line of .* must name the columns, it is empty"),
    "a,b\nx,y\n": (DataError, "at least one numeric column is needed, .* has none to scale \\(a: string, b: string\\)"),
    "a,b\n": (DataError, "at least one numeric column"),
    "a\n1\ninf\n": (DataError, "column 'a' of .* holds inf in row 2"),
    "a\n1,5\n2,5\n": (FileError, "Expected 1 columns, got 2"),
}


@pytest.mark.parametrize("content", BAD)
def test_bad_files(put, tmp_path, content):
    kind, message = BAD[content]
    source = put(content)
    for act in (data.measure, lambda f: data.scale(f, tmp_path / "out.csv"), data.preview):
        with pytest.raises(kind, match=message) as caught:
            act(source)
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.usefixtures("small_blocks")
def test_a_ragged_line_far_down_is_named(put):
    with pytest.raises(FileError, match="Row #302: Expected 2 columns, got 1"):
        data.measure(put("a,b\n" + "1,2\n" * 300 + "3\n"))


def test_other_encodings_are_refused(put):
    for content in ("a,b\n1,caf\u00e9\n", "caf\u00e9,b\n1,2\n"):
        with pytest.raises(FileError, match=r"must be in UTF-8, some text is not; convert it \(iconv"):
            data.measure(put(content, encoding="latin-1"))


def test_compressed_files_that_are_cut(put):
    whole = gzip.compress(b"a,b\n" + b"1,2\n" * 100_000)
    for content in (whole[: len(whole) // 2], b"not gzip at all"):
        with pytest.raises(FileError, match="cannot be read as CSV"):
            data.measure(put(content, "in.csv.gz"))


def test_gzip_of_several_members(put):
    found = data.measure(put(gzip.compress(b"a\n1\n") + gzip.compress(b"3\n"), "in.csv.gz"))
    assert found.moments.mean.tolist() == [2.0]


def test_a_file_without_header_is_noticed(put):
    assert CsvSource(put("5.1,3.5\n4.9,3.0\n")).looks_headless
    assert not CsvSource(put("0,1\n4.9,3.0\n")).looks_headless


@pytest.mark.parametrize("kind", csv_text.KINDS)
def test_cells_of_no_kind_but_words(kind):
    import pyarrow as pa

    cells = pa.array(["1", "x"])
    assert (csv_text.CellFormat().parsed(cells, kind) is None) == (kind != "words")
    assert csv_text.CellFormat().widened(cells, kind) == "words"


def test_a_value_that_becomes_nan_is_written_so(put, tmp_path):
    data.scale(put("a,b\n1,10\n2,NA\n4,30\n"), tmp_path / "out.csv", recipe=data.Recipe("standard", ddof=3))
    assert (tmp_path / "out.csv").read_text() == "a,b\nnan,nan\nnan,NA\nnan,nan\n"
