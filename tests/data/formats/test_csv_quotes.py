"""CSV: a quote that nobody closes is refused with its line, and what is properly quoted goes on to be read."""

import csv
import io
import random

import numpy as np
import pyarrow as pa
import pytest

from gammabeta import data
from gammabeta.cli import main
from gammabeta.data.formats.csv_quotes import MARK, Quotes, UnclosedError
from gammabeta.errors import FileError

SUFFIXES = ["csv", "csv.gz", "csv.zst", "csv.bz2"]
ROWS = 3000


def put(path, text):
    with pa.output_stream(path) as stream:
        stream.write(text.encode())
    return path


def rows(middle, *, quoted=False, end="\n"):
    """A table of three columns, `middle` its row 1000."""
    words = [f'"word {i}"' if quoted else f"word {i}" for i in range(ROWS)]
    return end.join(["i,x,word", *(middle if i == 1000 else f"{i},5,{words[i]}" for i in range(ROWS)), ""])


UNCLOSED = {
    "no other quote follows": (rows('1000,5,"cut'), 1002),
    "quoted cells follow": (rows('1000,5,"cut', quoted=True), 1002),
    "another line end": (rows('1000,5,"cut', end="\r\n"), 1002),
    "in the first column": (rows('"1000,5,cut'), 1002),
    "in a number": (rows('1000,"5,cut', quoted=True), 1002),
    "an empty cell": (rows('1000,5,"'), 1002),
    "doubled at its end": (rows('1000,5,"cut""'), 1002),
    "text after the quote": (rows('1000,5,"cut" off'), 1002),
    "in the first row": ('i,x,word\n1,5,"cut\n' + "2,5,b\n" * 5, 2),
    "in the last row": (rows("1000,5,a") + '3000,5,"cut\n', 3002),
    "in the last row, without a line end": (rows("1000,5,a") + '3000,5,"cut', 3002),
    "the file ends with the quote": (rows("1000,5,a") + '3000,5,"', 3002),
    "in the header": ('i,x,"word\n' + "1,5,a\n" * 5, 1),
    "in the header, closed in a row": ('i,x,"word\n1,5,"a"\n' + '2,5,"b"\n' * 5, 1),
    "in a file of one column": ('x\n1\n"2\n3\n4\n', 3),
    "after a cell with line ends": ('i,x,word\n1,5,"a\nb\n\nc"\n2,5,"cut\n3,5,a\n', 6),
    "after a byte order mark": ('\ufeffi,x,word\n1,5,"cut\n2,5,b\n', 2),
    "after an inch": ('i,x,word\n1,5,5" pipe\n2,5,"cut\n3,5,6" pipe\n', 3),
    "a cell of many lines": (rows('1000,5,"cut\n\n""more""\n'), 1002),
}


@pytest.mark.parametrize("block", [64, 1 << 20])
@pytest.mark.parametrize("case", UNCLOSED)
def test_an_unclosed_quote_is_refused(tmp_path, monkeypatch, case, block):
    text, line = UNCLOSED[case]
    monkeypatch.setattr("gammabeta.data.formats.csv.BLOCK_BYTES", block)
    path = put(tmp_path / "in.csv", text)
    told = (
        rf"cannot be read as CSV: a cell that begins with a quote must end with one, the cell in line {line} does not; "
        "close the quote, or double it if it belongs to the text"
    )
    for use in (data.measure, lambda path: data.scale(path, tmp_path / "out.csv"), lambda path: list(data.scan(path))):
        with pytest.raises(FileError, match=told):
            use(path)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("case", ["no other quote follows", "quoted cells follow", "in the header", "an empty cell"])
def test_compressed(tmp_path, capsys, monkeypatch, suffix, case):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / f"in.{suffix}", UNCLOSED[case][0])
    for command in ("stats", "scale -o out.csv"):
        assert main([*command.split(), f"in.{suffix}"]) == 2
        told = capsys.readouterr().err
        assert f"the cell in line {UNCLOSED[case][1]} does not" in told
        assert len(told.splitlines()) == 1


def test_statistics_do_not_make_it_good(tmp_path):
    data.save(data.measure(put(tmp_path / "good.csv", rows("1000,5,a"))), tmp_path / "s.json")
    bad = put(tmp_path / "bad.csv", rows('1000,5,"cut'))
    with pytest.raises(FileError, match="the cell in line 1002 does not"):
        data.apply(tmp_path / "s.json", bad, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_folder_goes_on_without_it(tmp_path):
    (tmp_path / "in").mkdir()
    put(tmp_path / "in" / "a.csv", rows("1000,5,a"))
    put(tmp_path / "in" / "b.csv", rows('1000,5,"cut'))
    with pytest.raises(FileError, match="the cell in line 1002 does not"):
        data.measure(tmp_path / "in")
    assert set(data.scale(tmp_path / "in", tmp_path / "out", skip_bad=True).files.bad) == {"b.csv"}


def test_the_rest_is_not_taken_for_one_long_row(tmp_path, monkeypatch):
    """The quote is found before blocks grow to hold all that follows it."""
    monkeypatch.setattr("gammabeta.data.formats.csv.BLOCK_BYTES", 64)
    monkeypatch.setattr("gammabeta.data.formats.csv.LARGEST_BLOCK", 256)
    path = put(tmp_path / "in.csv", rows('1000,5,"cut'))
    with pytest.raises(FileError, match="the cell in line 1002 does not"):
        data.measure(path)
    long = put(tmp_path / "long.csv", "x,y\n1," + "a" * 5000 + "\n")
    monkeypatch.setattr("gammabeta.data.formats.csv.LARGEST_BLOCK", 1 << 11)
    with pytest.raises(FileError, match="a row must be of fewer than"):
        data.measure(long)


@pytest.mark.parametrize(
    "text", ['"' + "a" * 200_000, '"' + "a,b\n" * 50_000, '"' + "a" * 200_000 + '",b\n1,2\n', "a," * 9_000_000]
)
def test_a_header_without_an_end(tmp_path, text):
    with pytest.raises(FileError, match=r"the first line of .* must name the columns.*is each quote in .* closed\?"):
        data.measure(put(tmp_path / "in.csv", text))


GOOD = {
    "line ends": ['"a\nb"', '"\n"', '"\r\n\r\n"', '"1,2\n3,4"'],
    "doubled": ['"say ""hi"""', '""""', '""', '"""a"""', '"a""\n""b"'],
    "delimiters": ['","', '",\n,"', '"a,""b"",c"'],
    "inches": ['5" pipe', 'a"b"', 'a""', ' "a'],
    "blanks": ['"a" ', '"a"\t'],
}


@pytest.mark.parametrize("block", [16, 64, 1 << 20])
@pytest.mark.parametrize("last", ["\n", ""])
@pytest.mark.parametrize("case", GOOD)
def test_what_is_legal_goes_on_working(tmp_path, monkeypatch, case, block, last):
    monkeypatch.setattr("gammabeta.data.formats.csv.BLOCK_BYTES", block)
    cells = GOOD[case] * 40
    content = "x,word\n" + "\n".join(f"{i},{cell}" for i, cell in enumerate(cells)) + last
    path = put(tmp_path / "in.csv", content)
    found = [word for chunk in data.scan(path) for word in chunk.batch["word"].to_pylist()]
    assert found == [row[1] for row in csv.reader(io.StringIO(content, newline=""))][1:]
    assert data.measure(path).rows == len(cells)
    assert data.scale(path, tmp_path / "out.csv").rows == len(cells)


def reference(text, delimiter=","):
    """Where the first quoted cell begins that does not end as it must, sign by sign; None if there is none."""
    state, start, i = "begin", 0, 0
    while i < len(text):
        sign = text[i]
        if state == "quoted":
            if sign == '"' and text[i + 1 : i + 2] == '"':
                i += 1
            elif sign == '"':
                state = "closed"
        elif sign in delimiter + "\r\n":
            state = "begin"
        elif state == "begin" and sign == '"':
            state, start = "quoted", i
        elif state == "closed" and sign not in " \t":
            return start
        elif state == "begin":
            state = "plain"
        i += 1
    return start if state == "quoted" else None


def judged(text, delimiter, cuts):
    quotes = Quotes(delimiter)
    try:
        for part in np.split(np.frombuffer(text.encode(), np.uint8), cuts):
            quotes.take(part.tobytes())
        quotes.end()
    except UnclosedError as error:
        return error.offset
    return None


def test_random_text_cut_anywhere():
    pick = random.Random(0)
    kinds = set()
    for _ in range(20_000):
        delimiter = pick.choice(",;\t")
        signs = pick.choices(['"', '"a"', delimiter, "a", "\n", "\r\n", " ", '""'], k=pick.randint(0, 12))
        text = pick.choice(["", "\ufeff"]) + "".join(signs)
        expected = reference(text.removeprefix("\ufeff"), delimiter)
        if expected is not None and text.startswith("\ufeff"):
            expected += len(MARK)
        length = len(text.encode())
        cuts = sorted(pick.randint(0, length) for _ in range(pick.randint(0, 4)))
        assert judged(text, delimiter, cuts) == expected, (text, cuts)
        kinds.add(expected is None)
    assert kinds == {True, False}
