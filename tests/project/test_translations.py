"""A page in Korean runs the same code as the page that it translates, and shows the same results."""

import ast
import re
from doctest import DocTestParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KOREAN = {
    ROOT / "README.ko.md": ROOT / "README.md",
    **{page: ROOT / "docs" / page.name for page in sorted((ROOT / "docs" / "ko").glob("*.md"))},
}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)

pytestmark = pytest.mark.skipif(
    not (ROOT / "README.ko.md").exists(), reason="the tests run outside a checkout: there is no README.ko.md"
)


def without_words(code: str) -> str:
    """Python code without comments and docstrings: those are translated."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.unparse(tree)


def steps(text: str) -> list[tuple[str, str]]:
    """The code of a page, and what each step gives. Of shell blocks, the commands."""
    found = []
    for language, block in BLOCK.findall(text):
        if language == "python" and ">>>" in block:
            found += [(without_words(step.source), step.want) for step in DocTestParser().get_examples(block)]
        elif language == "python":
            found.append((without_words(block), ""))
        elif language == "bash":
            found += [(line.partition(" # ")[0].strip(), "") for line in block.splitlines()]
    return found


@pytest.mark.parametrize(("korean", "english"), KOREAN.items(), ids=lambda page: page.name)
def test_the_code_is_the_same(korean, english):
    assert steps(korean.read_text(encoding="utf-8")) == steps(english.read_text(encoding="utf-8")) != []


@pytest.mark.parametrize(("korean", "english"), KOREAN.items(), ids=lambda page: page.name)
def test_no_section_and_no_figure_is_missing(korean, english):
    ours, theirs = (page.read_text(encoding="utf-8") for page in (korean, english))
    assert len(re.findall(r"^#+ ", ours, re.M)) == len(re.findall(r"^#+ ", theirs, re.M))
    assert tables(ours) == tables(theirs)


def tables(text: str) -> list[list[str]]:
    """The numbers in each row of a page's tables."""
    rows = re.findall(r"^\|.*\|$", text, re.M)
    return [re.findall(r"[−+]?\d[\d.]*", re.sub(r"\]\([^)]*\)", "]", row)) for row in rows]


def test_a_difference_is_found():
    page = "```python\n>>> 1 + 1  # a sum\n2\n\n```\n"
    assert steps(page) == steps(page.replace("a sum", "합"))
    assert steps(page) != steps(page.replace("1 + 1", "1 + 2")) and steps(page) != steps(page.replace("\n2\n", "\n3\n"))
    assert tables("| a | 0.1 |\n") != tables("| a | 0.2 |\n")
