"""CSV as people write it: missing words, sentinels, signs, comments, encodings, archives; and the way back."""

import bz2
import gzip
import io
import json
import lzma
import zipfile

import numpy as np
import pytest

from gammabeta import data
from gammabeta.cli import main
from gammabeta.data import ReadOptions
from gammabeta.errors import DataError, FileError, KindError, StateError


@pytest.fixture(name="put")
def _put(tmp_path):
    def put(content, name="in.csv", encoding="utf-8"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return tmp_path / name

    return put


def zipped(**members):
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return found.getvalue()


WORDS = ["NA", "N/A", "null", "None", "<NA>", "-", "?", ".", "\\N", "NaT", "#DIV/0!", "", " NA ", "none", "#N/A", "nan"]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("rows", [1, 2000])
def test_words_that_always_stand_for_no_value(put, word, rows):
    found = data.measure(put("x,y\n" + f"1,5\n{word},6\n4.5,7\n" * rows))
    assert found.names == ("x", "y") and found.left_out == ()
    assert found.moments.mean.tolist() == [2.75, 6] and found.moments.count.tolist() == [2 * rows, 3 * rows]


OPTIONS = {
    "a word": ("x,y\n1,2\nmissing,4\n3,6\n", {"missing": "missing"}, [2, 4], [2, 3]),
    "several words": ("x,y\n1,2\nmissing,none given\n3,6\n", {"missing": ["missing", "none given"]}, [2, 4], [2, 2]),
    "a sentinel": ("x,y\n1,2\n-9999,4\n-9999.0,6\n-9.999e3,8\n3,-9999\n", {"missing": "-9999"}, [2, 5], [2, 4]),
    "a sentinel of integers": ("x,y\n1,2\n-9999,4\n3,-9999\n", {"missing": -9999}, [2, 3], [2, 2]),
    "a fraction as sentinel": ("x,y\n1.5,2\n-99.9,4\n2.5,6\n", {"missing": [-99.9]}, [2, 4], [2, 3]),
    "a sentinel alone": ("x,y\n-1.0,2\n-1.0,4\n", {"missing": "-1"}, [np.nan, 3], [0, 2]),
    "a delimiter": ("x~y\n1~2\n3~4\n", {"delimiter": "~"}, [2, 3], [2, 2]),
    "a delimiter that is not the most frequent": ("x,1;y,1\n1;2\n", {"delimiter": ";"}, [1, 2], [1, 1]),
    "a decimal comma": ("x;y\n1,5;2\n2,5;4,0\n", {"decimal": ","}, [2, 3], [2, 2]),
    "quoted decimal commas": ('x,y\n"1,5",2\n"2,5",4\n', {"decimal": ",", "delimiter": ","}, [2, 3], [2, 2]),
    "thousands": ('x,y\n"1,234,567.5",2\n"0,001.5",4\n', {"thousands": ","}, [617284.5, 3], [2, 2]),
    "integers in thousands": ('x;y\n"1,000";2\n3,000;4\n', {"thousands": ",", "delimiter": ";"}, [2000, 3], [2, 2]),
    "lakhs": ("x;y\n12,34,567;2\n", {"thousands": ",", "delimiter": ";"}, [1234567, 2], [1, 1]),
    "points and commas": ("x;y\n1.234,5;2\n-1.234,5e0;4\n", {"thousands": ".", "decimal": ","}, [0, 3], [2, 2]),
    "spaces in thousands": ("x;y\n1 000;2\n3 000;4\n", {"thousands": " "}, [2000, 3], [2, 2]),
    "apostrophes": ("x;y\n1'000;2\n3'000;4\n", {"thousands": "'"}, [2000, 3], [2, 2]),
    "comments": ("# made by us\nx,y\n1,2\n# a, b, c\n  # more\n3,4\n#end", {"comment": "#"}, [2, 3], [2, 2]),
    "long comments": ("x,y\n// made\n1,2\n3,4\n", {"comment": "//"}, [2, 3], [2, 2]),
    "rows to skip": ('a title\n"with a quote\n\nx,y\n1,2\n3,4\n', {"skip_rows": 3}, [2, 3], [2, 2]),
    "no header": ("1,2\n3,4\n", {"header": False}, [2, 3], [2, 2]),
    "no header, but a title": ("title\n1,2\n3,4\n", {"header": False, "skip_rows": 1}, [2, 3], [2, 2]),
    "no header, but comments": ("#c\n1,2\n3,4\n", {"header": False, "comment": "#"}, [2, 3], [2, 2]),
    "carriage returns": ("#c\rx,y\r1,2\r3,4\r", {"comment": "#"}, [2, 3], [2, 2]),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options(put, case):
    content, options, mean, count = OPTIONS[case]
    found = data.measure(put(content), read=ReadOptions(**options))
    np.testing.assert_array_equal(found.moments.mean, mean)
    assert found.moments.count.tolist() == count
    assert found.left_out == ()
    assert data.Statistics.from_json(found.to_json()).read == found.read == ReadOptions(**options)
    assert data.moments(put(content), read=ReadOptions(**options)) == found.moments


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("1,2,3", {"thousands": ","}),
        ("1234,567", {"thousands": ","}),
        ("1,23", {"thousands": ","}),
        ("1.5", {"decimal": ","}),
        ("1.234.5", {"thousands": ".", "decimal": ","}),
        ("1,5,5", {"decimal": ","}),
        ("--1", {}),
    ],
)
def test_cells_that_are_no_numbers_so_written(put, cell, options):
    found = data.measure(put(f"x;y\n1;2\n{cell};3\n"), read=ReadOptions(delimiter=";", **options))
    assert found.names == ("y",)
    assert found.left_out == (data.Column("x", "string", f"not numeric: {cell!r} in row 2"),)


ENCODED = {
    "utf-16": None,
    "utf-16-le": "utf-16-le",
    "latin-1": "latin-1",
    "cp1252": "cp1252",
    "shift_jis": "shift_jis",
    "utf-8-sig": None,
    "utf-8": "utf-8",
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_encodings_there_and_back(put, tmp_path, encoding):
    word = "日本" if encoding == "shift_jis" else "café"
    content = "x\tname\r\n" + f'1\t{word}\r\n3\t"a\t{word}"\r\n' * 3000
    options = ReadOptions(encoding=ENCODED[encoding]) if ENCODED[encoding] else None
    source = put(content, encoding=encoding)
    data.scale(source, tmp_path / "out.csv", read=options, stats=tmp_path / "s.json")
    expected = content.replace("\n1\t", "\n-1\t").replace("\n3\t", "\n1\t")
    assert (tmp_path / "out.csv").read_bytes() == expected.encode(encoding)
    data.invert(tmp_path / "s.json", tmp_path / "out.csv", tmp_path / "back.csv")
    assert (tmp_path / "back.csv").read_bytes() == source.read_bytes()


def test_text_that_is_in_no_such_encoding(put):
    with pytest.raises(FileError, match="must be in utf-16, some text is not; name its encoding"):
        data.measure(put(b"\xff\xfex\x00\n\x001\x00\n\x00\x00\xd8"))
    with pytest.raises(FileError, match="must be in ascii, some text is not"):
        data.measure(put("x\n1\né\n"), read=ReadOptions(encoding="ascii"))


PACKED = {
    "gzip": ("in.csv", gzip.compress),
    "bzip2": ("in.csv", bz2.compress),
    "xz": ("in.csv", lzma.compress),
    "zip": ("in.csv", lambda content: zipped(in__csv=content)),
    ".xz": ("in.csv.xz", lzma.compress),
    ".zip": ("in.csv.zip", lambda content: zipped(folder__csv=content)),
}


@pytest.mark.parametrize("case", PACKED)
def test_compression_is_known_by_the_first_bytes(put, tmp_path, case):
    name, pack = PACKED[case]
    content = "x,y\n" + "1,a\n3,b\n" * 5_000
    source = put(pack(content.encode()), name)
    assert data.measure(source).moments.mean.tolist() == [2]
    data.scale(source, tmp_path / f"out{''.join(source.suffixes)}")
    assert data.measure(tmp_path / f"out{''.join(source.suffixes)}").moments.std.tolist() == [1]
    data.scale(source, tmp_path / "plain.csv")
    assert (tmp_path / "plain.csv").read_text() == content.replace("1,", "-1,").replace("3,", "1,")


@pytest.mark.parametrize("suffix", [".xz", ".zip"])
def test_archives_that_are_damaged(put, suffix):
    whole = PACKED[suffix][1](np.random.default_rng(1).bytes(4000).hex().encode())
    for content in (whole[: len(whole) // 2], b"no archive at all", whole[:50] + bytes(50) + whole[100:]):
        with pytest.raises(FileError, match="cannot be read as CSV"):
            data.measure(put(content, f"in.csv{suffix}"))


def test_a_zip_of_several_files(put):
    with pytest.raises(FileError, match=r"must hold one file, .* holds 2: 'a.csv', 'b.csv'; unpack it"):
        data.measure(put(zipped(a__csv="x\n1\n", b__csv="x\n1\n"), "in.csv.zip"))


def test_a_name_that_says_nothing(put, tmp_path):
    source = put("x\ty\n1\ta\n3\tb\n", "in.txt")
    with pytest.raises(FileError, match="a data file's name must end in"):
        data.measure(source)
    assert data.measure(source, read=ReadOptions(format="csv")).moments.mean.tolist() == [2]
    data.scale(source, tmp_path / "out.txt", read=ReadOptions(format="csv"), stats=tmp_path / "s.json")
    assert (tmp_path / "out.txt").read_text() == "x\ty\n-1\ta\n1\tb\n"
    data.invert(tmp_path / "s.json", tmp_path / "out.txt", tmp_path / "back.txt")
    assert (tmp_path / "back.txt").read_text() == source.read_text()
    np.save(tmp_path / "array.npy", np.array([[1.0], [3.0]]))
    (tmp_path / "array.npy").rename(tmp_path / "array.dat")
    assert data.measure(tmp_path / "array.dat", read=ReadOptions(format="npy")).moments.mean.tolist() == [2]


def test_all_of_it_comes_back(put, tmp_path):
    content = (
        "Station; 7\n# units: °C\nt;rain;name\n1,5;-9999;a\n" + '2,5;1.234,5;"b;c"\n-9999;4;n/a\n' * 3 + "# the end\n"
    )
    options = ReadOptions(
        decimal=",", thousands=".", missing="-9999", comment="#", skip_rows=1, encoding="latin-1", delimiter=";"
    )
    source = put(content, encoding="latin-1")
    done = data.scale(source, tmp_path / "out.csv", read=options, stats=tmp_path / "s.json")
    assert done.statistics.moments.count.tolist() == [4, 6]
    data.invert(tmp_path / "s.json", tmp_path / "out.csv", tmp_path / "back.csv")
    expected = content.replace("1.234", "1234").replace("# the end\n", "")
    assert (tmp_path / "back.csv").read_text("latin-1") == expected
    data.apply(tmp_path / "s.json", source, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "out.csv").read_bytes()
    assert (
        data.gather([tmp_path / "s.json", source]).moments
        == data.load(tmp_path / "s.json").moments + done.statistics.moments
    )


def test_a_decimal_comma_between_commas(put, tmp_path):
    source = put('x,y\n"1,5",a\n2,b\n"2,5",c\n')
    data.scale(source, tmp_path / "out.csv", read=ReadOptions(decimal=","), stats=tmp_path / "s.json")
    assert (tmp_path / "out.csv").read_text().splitlines()[2] == "0,b"
    data.invert(tmp_path / "s.json", tmp_path / "out.csv", tmp_path / "back.csv")
    assert (tmp_path / "back.csv").read_text() == source.read_text()


def test_kept_options_do_not_hinder_other_formats(put, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = data.measure(put("x\n1\n3\n-9\n"), read=ReadOptions(missing="-9"))
    pq.write_table(pa.table({"x": [1.0, 3.0]}), tmp_path / "a.parquet")
    data.apply(found, tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert pq.read_table(tmp_path / "b.parquet")["x"].to_pylist() == [-1, 1]
    with pytest.raises(KindError, match=r"missing, skip_rows go with CSV files, .*a.parquet' is none; leave them out"):
        data.measure(tmp_path / "a.parquet", read=ReadOptions(missing="-9", skip_rows=1))


def test_delimiters_that_excel_leaves_at_the_end(put, tmp_path):
    found = data.measure(put("a,b,,\n1,2,,\n3,4,,\n"))
    assert found.names == ("a", "b") and found.moments.mean.tolist() == [2, 3]
    assert [column.skip_reason for column in found.left_out] == ["empty", "empty"]
    data.scale(put("a,b,,\n1,2,,\n3,4,,\n"), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "a,b,,\n-1,-1,,\n1,1,,\n"
    source = put('a,b\n1,2\n"3",4,,\n5,6,\n')
    assert data.measure(source).moments.mean.tolist() == [3, 4]
    data.scale(source, tmp_path / "out.csv", columns=["b"])
    assert [line.split(",")[0] for line in (tmp_path / "out.csv").read_text().split()] == ["a", "1", "3", "5"]
    with pytest.raises(FileError, match="line 3 must have 2 cells as the header has, it has 3"):
        data.measure(put("a,b\n1,2,\n1,2,3\n"))
    with pytest.raises(FileError, match="Expected 2 columns, got 3: 1,2,3"):
        data.measure(put("a,b\n1,2,3\n1,2,\n"))


def test_a_quote_in_a_comment_or_a_comment_in_a_quote(put):
    content = "x,y\n# it's 5\" wide\n" + '1,"a\n# no comment\n"\n3,b\n' * 1000
    chunks = list(data.scan(put(content), read=ReadOptions(comment="#")))
    assert sum(chunk.rows for chunk in chunks) == 2000
    assert chunks[0].batch["y"][0].as_py() == "a\n# no comment\n"


@pytest.mark.parametrize("options", [{"comment": "#"}, {"skip_rows": 1}, {"encoding": "latin-1"}, {"header": False}])
def test_errors_name_the_place(put, monkeypatch, options):
    monkeypatch.setattr("gammabeta.data.formats.csv.BLOCK_BYTES", 64)
    top = "title\n" if "skip_rows" in options else ""
    head = "" if "header" in options else "a,b\n"
    read = ReadOptions(**options)
    with pytest.raises(FileError, match=f"Row #{301 + bool(head)}: Expected 2 columns, got 1: 3"):
        data.measure(put(top + head + "1,2\n" * 300 + "3\n"), read=read)
    with pytest.raises(FileError, match=rf"the cell in line {301 + bool(top) + bool(head)}( \(.*\))? does not"):
        data.measure(put(top + head + "1,2\n" * 300 + '3,"a\n'), read=read)
    with pytest.raises(DataError, match="holds inf in row 301"):
        data.measure(put(top + head + "1,2\n" * 300 + "3,inf\n"), read=read)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"format": "xls"}, "format must be one of csv, parquet, arrow, npy, npz, got 'xls'"),
        ({"missing": [None]}, r"missing must be words or numbers, got \[None\]"),
        ({"delimiter": ",,"}, "delimiter must be one character"),
        ({"delimiter": "é"}, "delimiter must be an ASCII character"),
        ({"delimiter": '"'}, "delimiter must be one character, no digit, quote or line end"),
        ({"decimal": ";"}, "decimal must be a point or a comma"),
        ({"thousands": "."}, "must be different signs"),
        ({"thousands": "5"}, "thousands must be one character"),
        ({"comment": ""}, "comment must be the text"),
        ({"skip_rows": -1}, "skip_rows must be a number of lines"),
        ({"skip_rows": True}, "skip_rows must be a number of lines"),
        ({"header": "a"}, "header must be True or False"),
        ({"encoding": "klingon"}, "encoding must be one that Python knows, such as latin-1, got 'klingon'"),
        ({"encoding": "rot13"}, "encoding must be one that Python knows"),
    ],
)
def test_options_that_are_none(options, told):
    with pytest.raises(DataError, match=told):
        ReadOptions(**options)


def test_hostile_documents(put):
    document = json.loads(data.measure(put("x\n1\n")).to_json())
    for read in ([], {"unknown": 1}, {"decimal": 3}, {"missing": "x"}, {"missing": [1]}, {"skip_rows": "1"}, None):
        with pytest.raises(StateError, match="read must hold options of reading"):
            data.Statistics.from_json(json.dumps(document | {"read": read}))


def test_a_folder_keeps_how_it_is_read(tmp_path, put):
    (tmp_path / "in").mkdir()
    for name, cell in {"a": "1", "b": "3"}.items():
        put(f"x\n{cell},0\n-9\n", f"in/{name}.dat")
    plain = ReadOptions(format="csv", decimal=",", delimiter=";")
    read = ReadOptions(format="csv", decimal=",", delimiter=";", missing="-9")
    first = data.update(tmp_path / "s.json", tmp_path / "in", read=plain)
    assert first.statistics.moments.mean.tolist() == [-3.5]
    found = data.update(tmp_path / "s.json", tmp_path / "in", read=read)
    assert found.statistics.moments.mean.tolist() == [2] and len(found.read) == 2
    again = data.update(tmp_path / "s.json", tmp_path / "in", read=read)
    assert again.unchanged == 2 and again.statistics == found.statistics == data.measure(tmp_path / "in", read=read)
    data.apply(tmp_path / "s.json", tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "a.dat").read_text() == "x\n-1\n-9\n"
    data.scale(tmp_path / "in", tmp_path / "other", read=read)
    assert (tmp_path / "other" / "b.dat").read_text() == "x\n1\n-9\n"


LEFT_OUT = {
    "one cell in many numbers": (
        "".join("err\n" if i == 150_000 else f"{i}\n" for i in range(300_000)),
        "'err' in row 150,001",
    ),
    "text from the first": ("a\n1\n", "'a' in row 1"),
    "after missing ones": ("NA\n\nx\n1\n", "'x' in row 3"),
    "a long cell": ("y" * 100 + "\n", repr("y" * 40 + "…") + " in row 1"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_is_left_out_is_named_with_its_first_cell(put, capsys, case):
    cells, told = LEFT_OUT[case]
    source = put("n,x\n" + "".join(f"1,{cell}\n" for cell in cells.splitlines()))
    assert data.measure(source).left_out == (data.Column("x", "string", f"not numeric: {told}"),)
    assert main(["stats", str(source)]) == 0
    assert f"left out: x (string, {told})" in " ".join(capsys.readouterr().out.split())
    assert main(["stats", str(source), "--json"]) == 0
    left_out = json.loads(capsys.readouterr().out)["left_out"]
    assert left_out == [{"name": "x", "type": "string", "reason": f"not numeric: {told}"}]


def test_a_folder_names_what_it_leaves_out(tmp_path, capsys):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in "ab":
        pq.write_table(pa.table({"x": [1.0], "y": [2], "v": [[1.0, 2.0]], "s": ["a"]}), tmp_path / f"{name}.parquet")
    found = data.measure(tmp_path, exclude=["y"])
    expected = [
        ("y", "int64", "not selected"),
        ("v", "list<element: double>", "lists, pooled with --flatten"),
        ("s", "string", "not numeric"),
    ]
    assert [tuple(column) for column in found.left_out] == expected
    for arguments in (
        [str(tmp_path)],
        [str(tmp_path), "-o", str(tmp_path / "s.json")],
        [str(tmp_path), "-o", str(tmp_path / "s.json")],
    ):
        assert main(["stats", *arguments, "--exclude", "y"]) == 0
        told = capsys.readouterr().out
        assert (
            "left out: v (list<element: double>, lists, pooled with --flatten), s (string)" in told
            and "not selected: 1 column" in told
        )
        assert main(["stats", *arguments, "--exclude", "y", "--json"]) == 0
        assert [entry["name"] for entry in json.loads(capsys.readouterr().out)["left_out"]] == ["y", "v", "s"]


def test_the_command_line(put, tmp_path, capsys):
    source = put("title\nt|x\n1,5|-9999\n2,5|4\n", "in.txt")
    options = ["--format", "csv", "--decimal", ",", "--missing", "-9999", "--skip-rows", "1"]
    assert (
        main(["scale", str(source), "-o", str(tmp_path / "out.csv"), "--stats", str(tmp_path / "s.json"), *options])
        == 0
    )
    assert (tmp_path / "out.csv").read_text() == "title\nt|x\n-1|-9999\n1|0\n"
    assert main(["invert", str(tmp_path / "s.json"), str(tmp_path / "out.csv"), "-o", str(tmp_path / "back.csv")]) == 0
    assert (tmp_path / "back.csv").read_text() == source.read_text()
    assert main(["stats", str(put("1\t2\n3\t4\n", "n.csv")), "--no-header", "--delimiter", "tab"]) == 0
    capsys.readouterr()
    assert main(["stats", str(source), "--thousands", "ab"]) == 2
    assert "--thousands must be one character, no digit, quote or line end, got 'ab'" in capsys.readouterr().err


@pytest.mark.parametrize("rows", [1, 3, 1000, 1100])
def test_wide_files_are_as_narrow_ones(put, rows):
    rng = np.random.default_rng(rows)
    kinds = [
        lambda: "",
        lambda: str(rng.integers(99)),
        lambda: repr(rng.normal()),
        lambda: "NA",
        lambda: "w",
        lambda: rng.choice(["1", "2.5", "NA"]),
        lambda: rng.choice(["1", "w"]),
        lambda: " 7 ",
    ]
    made = [kinds[i] for i in (*rng.integers(0, 8, 40 if rows < 1000 else 12), *[2] * 40)][: 370 if rows < 1000 else 20]
    table = [[cell() for cell in made] for _ in range(rows)]
    wide = put("\n".join([",".join(f"c{i}" for i in range(len(made))), *map(",".join, table), ""]))
    found = data.measure(wide)
    for i in range(len(made)):
        cells = [row[i] for row in table]
        narrow = put("n,x\n" + "".join(f"0,{cell}\n" for cell in cells), "narrow.csv")
        alone = data.measure(narrow)
        name = f"c{i}"
        assert (name in found.names) == ("x" in alone.names)
        if name in found.names:
            one = found.select([name])
            assert one.columns[0].type == alone.columns[1].type and one.moments == alone.select(["x"]).moments
