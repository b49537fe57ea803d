"""What reaches the terminal: nothing that steers it, no sign that it cannot show, and one line where it is closed."""

import json
import os
import re
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pytest

import gammabeta
from gammabeta.cli import diagnose, main, terminal

EVIL = "a\x1b[2J\x9b31m\x07\r\x1b]0;own\x1b\\\u202egnp.\u2066\u200b\u2028"
COMMAND = "import sys; from gammabeta.cli import main; sys.exit(main())"


def unseen(text):
    return [sign for sign in text.replace("\n", "") if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


@pytest.fixture(name="hostile")
def _hostile(tmp_path, monkeypatch):
    """A folder in which every name that can be hostile is."""
    monkeypatch.chdir(tmp_path)
    table = pa.table({EVIL: [1.0, 2.0, 3.0], "words " + EVIL: [EVIL, "b", EVIL], "n " + EVIL: [1, 2, 3]})
    feather.write_feather(table, f"{EVIL}.feather")
    feather.write_feather(table.drop_columns([EVIL]), "other.feather")
    Path("set").mkdir()
    for i in range(2):
        feather.write_feather(table, f"set/{i}{EVIL}.feather")
    Path(f"set/{EVIL}.txt").touch()
    Path("bad").mkdir()
    feather.write_feather(table, "bad/good.feather")
    Path(f"bad/{EVIL}.feather").write_bytes(b"ARROW1\x1b[2J")
    np.savez("two.npz", **{EVIL: np.arange(6.0).reshape(3, 2), "b": np.arange(3)})
    Path(f"{EVIL}.csv").write_text(f'"{EVIL}",b\n1,2\n')
    Path("headless.csv").write_text("1.5,2.5\n1,2\n")
    assert main(["stats", f"{EVIL}.feather", "-o", f"s{EVIL}.json"]) == 0
    lone = json.loads(Path(f"s{EVIL}.json").read_text())
    lone["columns"][0]["name"] = "\udcff\ud800"
    Path("lone.json").write_text(json.dumps(lone))
    return tmp_path


FEATHER, STATS = f"{EVIL}.feather", f"s{EVIL}.json"
SURFACES = {
    "statistics": ["stats", FEATHER],
    "statistics of several": ["stats", FEATHER, FEATHER],
    "statistics kept": ["stats", FEATHER, "-o", f"t{EVIL}.json"],
    "statistics of a stats file": ["stats", STATS],
    "statistics of a folder": ["stats", "set", "-o", f"u{EVIL}.json"],
    "statistics by group": ["stats", FEATHER, "--by", f'"words {EVIL}"'],
    "groups kept": ["stats", FEATHER, "--by", f'"words {EVIL}"', "-o", f"g{EVIL}.json"],
    "members": ["stats", "two.npz"],
    "a preview": ["scale", FEATHER],
    "a preview of CSV": ["scale", f"{EVIL}.csv"],
    "scaled": ["scale", FEATHER, "-o", f"o{EVIL}.feather", "--stats", f"v{EVIL}.json"],
    "a folder scaled": ["scale", "set", "-o", f"o{EVIL}"],
    "a bad file left out": ["scale", "bad", "-o", f"p{EVIL}", "--skip-bad"],
    "a bad file left out of statistics": ["stats", "bad", "-o", "bad.json", "--skip-bad"],
    "applied": ["apply", STATS, FEATHER, "-o", "o.feather"],
    "taken back": ["invert", STATS, FEATHER, "-o", "o.feather"],
    "a page": ["report", FEATHER, "-o", f"r{EVIL}.html"],
    "a page of two": ["report", FEATHER, "other.feather"],
    "json": ["stats", FEATHER, "--json"],
    "json of groups": ["stats", FEATHER, "--by", f'"words {EVIL}"', "--json"],
    "json of a preview": ["scale", FEATHER, "--json"],
    "json of a page": ["report", FEATHER, "--json"],
}
REFUSED = {
    "no such file": ["stats", f"none{EVIL}.csv"],
    "no such column": ["stats", FEATHER, "--columns", f"z{EVIL}"],
    "no such command": [f"scael{EVIL}"],
    "no such option": ["scale", f"--{EVIL}"],
    "no such choice": ["scale", FEATHER, "--method", EVIL],
    "no number": ["scale", FEATHER, "--ddof", EVIL],
    "too many": ["report", FEATHER, FEATHER, EVIL],
    "not to be read": ["stats", f"bad/{EVIL}.feather"],
    "no such folder": ["scale", FEATHER, "-o", f"{EVIL}/o.feather"],
    "other columns": ["apply", STATS, f"{EVIL}.csv", "-o", "o.csv"],
    "a lone surrogate": ["stats", "lone.json"],
    "json of a lone surrogate": ["stats", "lone.json", "--json"],
    "a lone surrogate applied": ["apply", "lone.json", FEATHER, "-o", "o.feather"],
    "a network": ["diagnose", EVIL, "--data", EVIL],
    "a module": ["diagnose", f"{EVIL}:{EVIL}", "--data", EVIL],
    "a name with bytes that are no text": ["stats", "\udcff\udc9b.csv"],
}


@pytest.mark.parametrize(
    ("arguments", "status"),
    [*((given, 0) for given in SURFACES.values()), *((given, 2) for given in REFUSED.values())],
    ids=[*SURFACES, *REFUSED],
)
def test_no_name_steers_the_terminal(hostile, capsys, arguments, status):
    capsys.readouterr()
    assert main(arguments) == status
    told = "".join(capsys.readouterr())
    assert told and not unseen(told)
    assert status == 0 or told.count("\n") == 1
    assert main([*arguments, "--debug"]) == status
    told = "".join(capsys.readouterr())
    assert not unseen(told) and ("Traceback" in told) == (status == 2)


def test_what_is_shown_of_a_diagnosis(capsys):
    class Found:
        layers, batches, model = (), 1, EVIL

        def table(self):
            return [(EVIL,) * 8]

        def sentences(self):
            return [EVIL]

    diagnose._show(Found(), Path(EVIL))
    told = capsys.readouterr().out
    assert not unseen(told) and told.count("\\x1b[2J") > 3


def test_the_check_finds_what_it_should():
    assert unseen("a\x1bb\u202e") == ["\x1b", "\u202e"]


def test_signs_with_a_shape_stay():
    text = "Größe 身長 ½ é 🙂 a\u00a0b\u3000c − \\x1b"
    assert terminal.visible(text) == text
    assert terminal.visible("a\tb\nc\x7f\x85\ufeff\U000e0041") == "a\\tb\\nc\\x7f\\x85\\ufeff\\U000e0041"


def test_one_place_writes():
    pattern = re.compile(r"\b(print|echo|secho|Console)\(|\bsys\.(__)?std(out|err)|input\(|confirm\(|prompt\(")
    source = Path(gammabeta.__file__).parent
    found = [
        path.name
        for path in sorted((source / "cli").glob("*.py"))
        if pattern.search(path.read_text("utf-8")) and path.name != "terminal.py"
    ]
    assert found == [] and pattern.search((source / "cli/terminal.py").read_text("utf-8"))


def run(arguments, *, cwd, shell="", environment=None, **options):
    """The command in a process of its own; shell: what a shell does with its streams."""
    command = ["sh", "-c", f'"$@" {shell}', "sh", sys.executable, "-c", COMMAND, *arguments]
    return subprocess.run(
        command, capture_output=True, timeout=120, cwd=cwd, env=os.environ | (environment or {}), **options
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16"])
def test_any_encoding_of_the_output(hostile, encoding):
    given = {"PYTHONIOENCODING": encoding, "COLUMNS": "140"}
    done = run(["scale", FEATHER], cwd=hostile, environment=given)
    assert (done.returncode, done.stderr) == (0, b"")
    told = done.stdout.decode(encoding)
    assert "3 rows" in told and not unseen(told)
    done = run(["stats", "ü−\u202e.csv"], cwd=hostile, environment=given)
    told = done.stderr.decode(encoding)
    assert done.returncode == 2 and told.startswith("gammabeta: cannot read ") and not unseen(told)


CLOSED = "gammabeta: the standard output must be open, it is closed; to throw away what is told: > /dev/null\n"


@pytest.mark.skipif(sys.platform == "win32", reason="streams are closed by a shell")
@pytest.mark.parametrize(
    ("shell", "status", "told", "works"),
    [
        (">&- <&-", 2, CLOSED, False),
        (">&- 2>&-", 2, "", False),
        ("2>&- <&-", 0, "", True),
        ("1</dev/null", 2, "gammabeta: cannot write to the standard output: Bad file descriptor\n", True),
    ],
)
def test_streams_that_are_closed(tmp_path, shell, status, told, works):
    (tmp_path / "x.csv").write_text("x\n1\n2\n")
    done = run(["scale", "x.csv", "-o", "y.csv"], cwd=tmp_path, shell=shell)
    assert (done.returncode, done.stderr.decode()) == (status, told)
    # where nothing can be told no work is done; and no output takes the place of a stream
    assert (tmp_path / "y.csv").exists() == works
    assert not works or (tmp_path / "y.csv").read_text() == "x\n-1\n1\n"


def test_an_output_that_is_closed_in_this_process(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["--version"]) == 2
    assert capsys.readouterr().err == CLOSED


@pytest.mark.parametrize("arguments", [["stats", "x.csv"], ["stats", "x.csv", "--json"]])
def test_a_reader_that_has_had_enough(tmp_path, arguments):
    (tmp_path / "x.csv").write_text(",".join(f"c{i}" for i in range(3000)) + "\n" + ",".join(["1"] * 3000) + "\n")
    shell = "; echo $? >&2; } | true"
    command = ["sh", "-c", f'{{ "$@" {shell}', "sh", sys.executable, "-c", COMMAND, *arguments]
    done = subprocess.run(command, capture_output=True, timeout=120, cwd=tmp_path)
    # a table is short, and may be gone before its reader is
    assert done.stderr == b"141\n" or (done.stderr == b"0\n" and "--json" not in arguments)


def test_a_full_disk_behind_the_output(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    (tmp_path / "x.csv").write_text("x\n1\n2\n")
    done = run(["stats", "x.csv"], cwd=tmp_path, shell=">/dev/full")
    assert (done.returncode, done.stderr.decode()) == (
        2,
        "gammabeta: cannot write to the standard output: No space left on device\n",
    )


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_error_of_ours_is_one_line_that_asks_for_a_report(monkeypatch, capsys, place):
    def broken(*given, **named):
        raise ZeroDivisionError(EVIL)

    monkeypatch.setattr("gammabeta.data.gather", broken)
    arguments = ["stats", "x.csv"]
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert told.startswith(
        "gammabeta: this must not happen, and is an error in gammabeta: ZeroDivisionError: a\\x1b[2J"
    )
    assert told.endswith("; please report it with what --debug shows\n") and told.count("\n") == 1
    arguments.insert(place, "--debug")
    assert main(arguments) == 1
    trace = capsys.readouterr().err
    assert trace.startswith("Traceback (most recent call last):") and trace.endswith(told) and "in broken" in trace
    assert not unseen(trace)


def test_debug_is_an_option_only_before_the_end_of_options(capsys):
    assert main(["stats", "--", "--debug"]) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told and "--debug" in told


def test_warnings_of_others_are_shown_as_they_are_but_for_their_signs(tmp_path):
    (tmp_path / "warns.py").write_text(f"import warnings\ndef made():\n    warnings.warn({EVIL!r})\n")
    done = run(["diagnose", "warns:made", "--data", "x.npy"], cwd=tmp_path)
    told = done.stderr.decode()
    assert "UserWarning: a\\x1b[2J" in told and not unseen(told)


def test_a_caller_keeps_its_own_warnings():
    before = warnings.showwarning
    assert main(["--version"]) == 0
    assert warnings.showwarning is before


def test_help_names_debug(capsys):
    assert main(["--help"]) == 0
    assert "--debug" in capsys.readouterr().out
