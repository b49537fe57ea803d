"""`.npy` and `.npz` files that claim what they are not: one clear error, at once, whatever they say of themselves."""

import io
import struct
import zipfile
from collections import namedtuple

import numpy as np
import pytest

from gammabeta import data
from gammabeta.cli import main
from gammabeta.data.formats.registry import open_source
from gammabeta.errors import DataError, FileError


def npy(header, body=b"", version=(1, 0)):
    """The bytes of a .npy file with any header."""
    text = header.encode("latin-1") + b"\n"
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text + body


def described(shape, descr="<f8", fortran=False):
    return f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


HEADERS = {
    "unclosed": ("{'descr': '<f8', 'fortran_order': False, 'shape': (3,", "its header: "),
    "an unclosed string": ("{'descr': '<f8", "its header: "),
    "nothing": ("", "its header: "),
    "another thing": ("[1, 2]", "its header: "),
    "deep nesting": (described("(" * 3000 + "1" + ")" * 3000), "its header: "),
    "deeper signs": (described("(" + "-" * 9000 + "1,)"), "its header: "),
    "longer than NumPy reads": (described((3,)) + " " * 20_000, "its header: "),
    "code": (described("(__import__('os').system('false'),)"), "its header: "),
    "a negative size": (described((3, -2)), "at most 64 sizes, none negative, it is (3, -2)"),
    "a negative first size": (described((-5,)), "at most 64 sizes, none negative, it is (-5,)"),
    "two negative sizes": (described((-5, -3)), "at most 64 sizes, none negative, it is (-5, -3)"),
    "a truth for a size": (described((True, 3)), "at most 64 sizes, none negative, it is (True, 3)"),
    "70 axes": (described((1,) * 70), "at most 64 sizes, none negative, it is (1, 1, 1, "),
    "more than there is": (described((10**12,)), "it should have 800000000"),
    "beyond all bounds": (described((2**62, 2**62)), "it should have 17"),
    "a NUL": (described((3,)) + "\0", "its header: "),
    "no type": (described((3,), "<zz"), "its header: "),
    "a type of types": (described((3,), [("a", "<f8"), ("a", "<f8")]), "its header: "),
}


@pytest.mark.parametrize(("header", "message"), HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_a_header_that_is_none(tmp_path, monkeypatch, capsys, header, message, version):
    monkeypatch.chdir(tmp_path)
    content = npy(header, bytes(24), version)
    (tmp_path / "x.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", content, zipfile.ZIP_DEFLATED)
    for name in ("x.npy", "x.npz"):
        assert main(["stats", name]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"gammabeta: '{name}' cannot be read as NumPy's .npy: ")
        assert message in told and told.count("\n") == 1 and len(told) < 400


def test_a_version_that_is_unknown(tmp_path):
    (tmp_path / "x.npy").write_bytes(npy(described((3,)), bytes(24), (9, 7)))
    with pytest.raises(FileError, match=r"versions 1.0, 2.0 and 3.0 of the format are known, it is of \(9, 7\)"):
        data.measure(tmp_path / "x.npy")


def test_features_that_nothing_stands_behind_are_refused_at_once(tmp_path, capsys):
    (tmp_path / "x.npy").write_bytes(npy(described((0, 20_000_000))))
    assert main(["stats", str(tmp_path / "x.npy")]) == 2
    assert "at most 65,536 features can be measured where there are no values" in capsys.readouterr().err
    (tmp_path / "x.npy").write_bytes(npy(described((0, 65_536))))
    assert len(open_source(tmp_path / "x.npy").names) == 65_536


def test_features_are_counted_where_they_are_kept(tmp_path):
    """More than a million can be read, if most of their axes are reduced."""
    shape = (1, 3, 700, 700)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", npy(described(shape, "|i1"), bytes(3 * 700 * 700)), zipfile.ZIP_DEFLATED)
    with pytest.raises(
        DataError, match=r"at most 1,048,576 features can be measured, one for each .* has 1,470,000; red"
    ):
        data.measure(tmp_path / "x.npz")
    assert data.moments(data.npz(tmp_path / "x.npz", "x"), axis=(0, 2, 3)).count.tolist() == [490_000.0] * 3


def test_the_columns_of_several_arrays_are_counted_together(tmp_path):
    np.savez(tmp_path / "x.npz", **{str(i): np.zeros((0, 40_000)) for i in range(2)})
    with pytest.raises(DataError, match=r"at most 65,536 columns can be measured, the arrays of .* have 80,000"):
        data.measure(tmp_path / "x.npz")


def test_rows_without_values_take_no_time(tmp_path):
    (tmp_path / "x.npy").write_bytes(npy(described((10**15, 0))))
    with pytest.raises(DataError, match="at least one numeric column is needed"):
        data.measure(tmp_path / "x.npy")
    assert data.moments(tmp_path / "x.npy", axis=(0, 1)).count == 0


def patched(content, of, to):
    assert of in content
    return content.replace(of, to)


def archived(method, name="x.npy", content=None):
    """A zip file with one array, a name and bytes for another: (the file's bytes, where its central entry begins)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        saved = io.BytesIO()
        np.save(saved, np.arange(6.0).reshape(3, 2))
        archive.writestr(name, content or saved.getvalue(), method)
    return bytearray(buffer.getvalue()), buffer.getvalue().index(b"PK\1\2")


def lzma(found, entry):
    return archived(zipfile.ZIP_LZMA)[0]


def bzip2(found, entry):
    return archived(zipfile.ZIP_BZIP2)[0]


def unknown_method(found, entry):
    found[entry + 10] = 99
    return found


def no_text(found, entry):
    found[entry + 8 : entry + 10] = struct.pack("<H", 0x800)  # a name in UTF-8
    return found.replace(b"x.npy", b"\xff.npy")


def encrypted(found, entry):
    found[entry + 8] |= 1
    return found


def two_sizes(found, entry):
    found[entry + 24 : entry + 28] = struct.pack("<I", 10_000)
    return found


def beyond_the_end(found, entry):
    found[entry + 20 : entry + 28] = struct.pack("<II", 10_000, 10_000)
    return found


def elsewhere(found, entry):
    found[entry + 42 : entry + 46] = struct.pack("<I", 7)
    return found


def after_all(found, entry):
    found[entry + 42 : entry + 46] = struct.pack("<I", 2**31)
    return found


def cut(found, entry):
    return found[: len(found) // 2]


def no_zip(found, entry):
    return b"PK\3\4" + bytes(100)


BROKEN = {
    lzma: "stored or deflated, as NumPy saves them, 'x.npy' is packed by LZMA",
    bzip2: "stored or deflated, as NumPy saves them, 'x.npy' is packed by bzip2",
    unknown_method: "'x.npy' is packed by method 99",
    no_text: "the name of a member must be in UTF-8, it is not",
    encrypted: "'x.npy' must not be encrypted",
    two_sizes: "'x.npy' must be as long as it is stored, it says 10000 bytes and has 176",
    beyond_the_end: "'x.npy' goes on beyond the end of the file",
    elsewhere: "'x.npy' is not where the archive says",
    after_all: "'x.npy' is not where the archive says",
    cut: "File is not a zip file",
    no_zip: "File is not a zip file",
}


@pytest.mark.parametrize(("broken", "message"), BROKEN.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_an_archive_that_is_none(tmp_path, monkeypatch, capsys, broken, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.npz").write_bytes(broken(*archived(zipfile.ZIP_STORED)))
    for arguments in (["stats", "x.npz"], ["scale", "x.npz", "-o", "y.npy"]):
        assert main(arguments) == 2
        told = capsys.readouterr().err
        assert told.startswith("gammabeta: 'x.npz' cannot be read as NumPy's .npz: ") and message in told
        assert told.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_damage_in_what_is_compressed(tmp_path):
    found, _ = archived(zipfile.ZIP_DEFLATED, content=npy(described((4000,)), np.arange(4000.0).tobytes()))
    middle = len(found) // 2
    found[middle : middle + 60] = bytes(60)
    (tmp_path / "x.npz").write_bytes(found)
    with pytest.raises(FileError, match=r"x.npz' cannot be read as NumPy's .npz: 'x.npy': "):
        data.measure(tmp_path / "x.npz")


def test_two_arrays_of_one_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", npy(described((1,)), bytes(8)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("x.npy", npy(described((1,)), bytes(8)))
    with pytest.raises(FileError, match=r"its arrays must differ in name, 'x.npy' comes twice"):
        data.measure(tmp_path / "x.npz")


def test_what_is_unpacked_must_have_room(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "x.npz", x=np.asfortranarray(np.arange(6.0).reshape(3, 2)))
    assert data.moments(tmp_path / "x.npz").mean.tolist() == [2.0, 3.0]
    room = namedtuple("room", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: room(100))
    with pytest.raises(
        FileError, match=r"there must be room for its 176 bytes in .*, there are 100; save it in C order"
    ):
        data.measure(tmp_path / "x.npz")


def test_many_arrays_are_found_in_one_look(tmp_path):
    """Each array by its own reading of the whole directory took minutes for tens of thousands."""
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for i in range(3000):
            archive.writestr(f"{i}.npy", npy(described((0,))))
    reads = 0

    class Counted(zipfile.ZipFile):
        def __init__(self, *given, **named):
            nonlocal reads
            reads += 1
            super().__init__(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gammabeta.data.formats.zip_member.zipfile.ZipFile", Counted)
        assert len(open_source(tmp_path / "x.npz").schema) == 3000
    assert reads == 1


MODEL = """
import torch
def made(): return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
"""


@pytest.mark.parametrize("content", [*HEADERS, *(broken.__name__ for broken in BROKEN), "words", "swapped"])
def test_diagnose_of_broken_arrays(tmp_path, monkeypatch, capsys, framework, content):
    framework("torch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "of_hostile_arrays.py").write_text(MODEL)
    if content in HEADERS:
        (tmp_path / "x.npz").write_bytes(archived(0, content=npy(HEADERS[content][0], bytes(24)))[0])
    elif content == "words":
        np.savez(tmp_path / "x.npz", x=np.array(["a", "b"]))
    elif content == "swapped":
        np.savez(tmp_path / "x.npz", x=np.arange(6, dtype=">f4").reshape(3, 2))
    else:
        broken = {broken.__name__: broken for broken in BROKEN}[content]
        (tmp_path / "x.npz").write_bytes(broken(*archived(zipfile.ZIP_STORED)))
    status = main(["diagnose", "of_hostile_arrays:made", "--data", "x.npz"])
    told = capsys.readouterr().err
    assert status in (0, 2) and told.count("\n") == (status == 2)
    assert status == 0 or told.startswith(("gammabeta: 'x.npz' ", "gammabeta: of_hostile_arrays:made failed on x.npz"))


def test_weights_that_are_none(tmp_path, framework, capsys, monkeypatch):
    torch = framework("torch")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "of_hostile_weights.py").write_text(MODEL)
    np.save(tmp_path / "x.npy", np.zeros((4, 2), "f4"))
    for weights in ([1, 2], {"a": 1}, {1: torch.zeros(2)}):
        torch.save(weights, tmp_path / "w.pt")
        given = ["diagnose", "of_hostile_weights:made", "--data", str(tmp_path / "x.npy")]
        assert main([*given, "--weights", str(tmp_path / "w.pt")]) == 2
        assert "does not hold the weights of" in capsys.readouterr().err
