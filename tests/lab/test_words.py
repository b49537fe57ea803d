"""The lab's words: each is there in both languages, and what the page asks for is there."""

import ast
import re
from pathlib import Path
from string import Formatter

import pytest

from gammabeta.cli import main
from gammabeta.errors import DataError
from gammabeta.lab import charts, datasets, digits, server, training_charts
from gammabeta.lab.words import LANGUAGES, TABLE, Text, Words

FILES = [server.PAGE, Path(charts.__file__), Path(training_charts.__file__)]
HANGUL = re.compile("[가-힣]")
# Words that the page puts together: `say(way)`, `say(live.state)`, `say(bend)`, `say(f"{name}, unit")`, …
PUT_TOGETHER = {
    *digits.WAYS,
    *("training", "stopped", "done", "sigmoid", "tanh", "relu", "exp", "nothing", "per position", "per channel"),
    *(
        "loss",
        "accuracy",
        "loss, unit",
        "accuracy, unit",
        "raw",
        "standardized",
        "min-max",
        "mean",
        "std",
        "min",
        "max",
    ),
    *("skewness", "kurtosis", "the curve", "the part in use", "its best straight line"),
    *("of the mini-batch", "running", "of all pictures"),
}
SAME = {"tanh", "relu", "exp", "γ = 1, β = 0"}  # no word of a language


def fields(text: str) -> set[str]:
    """The names that a text fills in."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def missing(table: dict[str, Text]) -> list[str]:
    """What is wrong with a table of words."""
    found = []
    for key, text in table.items():
        found += [f"{key!r} has no text in {name}" for name in LANGUAGES if not getattr(text, name).strip()]
        if not key.startswith(("chapter", "introduction")) and fields(text.en) != fields(text.ko):
            found.append(f"{key!r} fills in other names in one language than in the other")
        if key not in SAME and (HANGUL.search(text.en) or not HANGUL.search(text.ko)):
            found.append(f"{key!r} is in the wrong language")
    return found


def test_no_word_is_missing_in_either_language():
    assert missing(TABLE) == []
    assert [key for key, text in TABLE.items() if key.startswith("chapter") and text.en[:6] != text.ko[:6]] == []


def test_a_word_that_is_missing_is_found():
    assert missing({"x": Text("a word", "")}) == ["'x' has no text in ko", "'x' is in the wrong language"]
    assert missing({"x": Text("a {n}", "{m}개")}) == ["'x' fills in other names in one language than in the other"]
    assert missing({"x": Text("a word", "a word")}) == ["'x' is in the wrong language"]


def asked() -> set[str]:
    """The keys that the page and its pictures ask for."""
    found = set(PUT_TOGETHER)
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) == "say"
                and isinstance(node.args[0], ast.Constant)
            ):
                found.add(node.args[0].value)
    examples = datasets.examples()
    return found | set(examples) | {f"{name}, unit" for name in examples}


def test_all_that_the_page_asks_for_is_in_the_table_and_nothing_else():
    assert asked() == set(TABLE)


def test_nothing_on_the_page_is_said_without_the_table():
    """Of what a control, a number or a heading is named by, nothing is a sentence in the page's own code."""
    tree = ast.parse(server.PAGE.read_text(encoding="utf-8"))
    labels = [
        keyword.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "label" and isinstance(keyword.value, ast.Constant)
    ]
    assert set(labels) == {"language, 언어", "γ", "β"}


def test_another_language_is_refused(capsys):
    with pytest.raises(DataError, match="must be one of en, ko, got 'fr'"):
        Words("fr")
    assert main(["lab", "--no-browser", "--lang", "fr"]) == 2
    assert "'fr' is not one of" in capsys.readouterr().err
