"""README and docs tell the truth: every Python block runs, every command runs, and the picture is the library's."""

import os
import re
import subprocess
import sys
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, DocTestParser
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from gammabeta.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.ko.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
LANGUAGES = ("python", "bash", "", "diff", "text", "json", "sql", "toml", "yaml")  # the first two run
INSTALL = ("pip install . && gammabeta scale --example", "pip install '.[test]' && pytest")

pytestmark = pytest.mark.skipif(not PAGES[0].exists(), reason="the tests run outside a checkout: there is no README.md")

EXAMPLES = Sybil([PythonCodeBlockParser(doctest_optionflags=ELLIPSIS | NORMALIZE_WHITESPACE)])


def pages(language: str) -> list[Path]:
    """The pages that have a block in that language."""
    return [page for page in PAGES if language in dict(BLOCK.findall(page.read_text(encoding="utf-8")))]


def fences(text: str) -> list[str]:
    """What stands behind the opening fences, wherever they are: a language, if all is well."""
    return [line.strip().lstrip("`~") for line in re.findall(r"^[ >*-]*(?:```|~~~).*$", text, re.M)][::2]


def unseen(text: str) -> list[str]:
    """What would look like a block that runs, and would not be run."""
    strange = [f"a block of {fence!r}" for fence in fences(text) if fence not in LANGUAGES]
    blocks = BLOCK.findall(text)
    if len(blocks) != len(fences(text)):
        strange.append(f"{len(fences(text)) - len(blocks)} blocks that do not start at the line's beginning")
    strange += [
        "a session in a block that is not python's" for kind, code in blocks if kind != "python" and ">>>" in code
    ]
    strange += [f"a line with {word!r}" for word in ("doctest: +SKIP", "<!-- skip", "<!--- skip") if word in text]
    return strange


def steps(page: Path) -> int:
    """How many examples a page's Python blocks have: each `>>>`, or the whole block."""
    codes = [code for language, code in BLOCK.findall(page.read_text(encoding="utf-8")) if language == "python"]
    return sum(len(DocTestParser().get_examples(code)) or 1 for code in codes)


def run_python(page: Path) -> int:
    """Run a page's Python blocks in turn; how many there were."""
    examples = list(EXAMPLES.parse(page).examples())
    for example in examples:
        example.evaluate()
    return len(examples)


def named(page: Path) -> str:
    """A page's name in the tests: its path."""
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", pages("python"), ids=named)
def test_every_python_block_runs(page, tmp_path, monkeypatch, request):
    if "SparkSession" in page.read_text(encoding="utf-8"):
        request.getfixturevalue("spark")
    make_tables(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run_python(page) == steps(page) > 0


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_block_slips_through(page):
    found = unseen(page.read_text(encoding="utf-8"))
    name = page.relative_to(ROOT)
    assert not found, f"{name} has {'; '.join(found)}: start a block at the left, with ``` and one of {LANGUAGES}"


@pytest.mark.parametrize(
    "text",
    [
        "```py\n>>> 1\n1\n```\n",
        "```python title='x'\n1\n```\n",
        "- a list\n\n    ```python\n    1\n    ```\n",
        "~~~python\n1\n~~~\n",
        "```\n>>> 1\n1\n```\n",
        "```python\n>>> 1 + 1  # doctest: +SKIP\n3\n```\n",
    ],
)
def test_a_block_that_would_slip_through_is_found(text):
    assert unseen(text)
    assert not unseen("```python\n>>> 1\n1\n```\n\n```bash\ngammabeta\n```\n")


def test_a_wrong_block_is_found(tmp_path):
    page = tmp_path / "wrong.md"
    page.write_text("```python\n>>> 1 + 1\n3\n\n```\n", encoding="utf-8")
    with pytest.raises(Exception, match="Expected"):
        run_python(page)


def commands(page: Path) -> list[str]:
    """The lines of a page's shell blocks that call this library's command."""
    blocks = (text for language, text in BLOCK.findall(page.read_text(encoding="utf-8")) if language == "bash")
    lines = (line.partition(" # ")[0].strip() for text in blocks for line in text.splitlines())
    return [line for line in lines if line.startswith("gammabeta ")]


def make_tables(folder: Path) -> None:
    """What the pages read: cells.csv and more.csv, of three measured columns and a name; events, in Parquet."""
    for name in ("cells", "events"):
        assert main(["example", name, "-o", str(folder)]) == 0


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command's run, with this interpreter's programs first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in pages("bash") if commands(page)], ids=named)
def test_every_command_runs(page, tmp_path):
    make_tables(tmp_path)
    for command in commands(page):
        result = shell(command, tmp_path)
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"


@pytest.mark.slow
def test_the_front_door_opens(tmp_path):
    """The two commands are there word for word; what they run once installed runs. `.ci/run` does the installing."""
    text = PAGES[0].read_text(encoding="utf-8")
    assert all(f"\n{command}\n" in text for command in INSTALL)
    assert "pip\" install --quiet '.[test]'" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    result = shell("gammabeta scale --example", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "mean radius" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_link_leads_somewhere():
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        prose = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
        for link in re.findall(r"\]\(([^)#]+)", prose):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


def picture() -> ModuleType:
    path = sys.path.copy()
    sys.path.insert(0, str(ROOT / "docs"))
    module = import_module("pictures.same_shape")
    sys.path[:] = path
    return module


def test_the_picture_is_what_its_script_draws():
    drawn = picture()
    assert drawn.svg() == drawn.PLACE.read_text(encoding="utf-8")


def test_the_picture_shows_the_same_shape():
    import gammabeta as gb

    drawn = picture()
    x = drawn.column()
    raw = drawn.counts(x)
    np.testing.assert_array_equal(drawn.counts(gb.Affine.standard(gb.Moments.of(x))(x)), raw)
    np.testing.assert_array_equal(drawn.counts(gb.Affine.minmax(gb.Extrema.of(x))(x)), raw)


def test_the_proof_is_of_the_kernels_numbers():
    """What docs/exact.md says of binades, units, tiles and exponents is what the compiled core has."""
    from gammabeta.kernels import moments
    from gammabeta.kernels.folds import FOLDS

    page = (ROOT / "docs" / "exact.md").read_text(encoding="utf-8")
    proof = " ".join(page.replace("\\|", "|").split())
    single, double = FOLDS["f"], FOLDS["d"]
    a, r, s = (-unit for unit in single.units)
    assert f"| float32 | 2^(K−{single.spread}) | 2^(K−{s}) | 2^(2K−{r}) |" in proof
    assert f"For float32 they are integers up to 2⁵¹ in units of 2^(K−{s})" in proof and single.spread + 23 == s
    first, rest, low, last, x, left = (-unit for unit in double.units)
    assert a == first and f"multiples of 2^(2K−{a}). What is left at each step is at most 2^(2K−{a + 1})" in proof
    squares = f"2^(2K−{rest}), since h ≥ 2^(2K−{2 * double.spread})"
    assert f"| float64 | 2^(K−{double.spread}) | 2^(K−{left}) | {squares} |" in proof
    assert (left, rest, last) == (double.spread + 52, 2 * double.spread + 52, 2 * double.spread + 104)
    assert f"in units of 2^(K−{x}); what that leaves is at most 2^(K−{x + 1}) each" in proof
    assert f"in units of 2^(2K−{low}), which holds 2^(2K−{low - 51})" in proof and f"multiple of 2^(2K−{last})" in proof
    assert f"|x| ≥ 2^(K−{double.spread}) for every x but zeros (2^(K−{single.spread}) for float32" in proof
    assert f"{single.lanes} lanes side by side" in proof and f"{single.rows} rows at a time" in proof
    assert f"{single.full:,} tiles are at most 2⁶²" in proof and single.full == double.full == 2**10
    assert moments.ROWS == 2**20 and "2²⁰ rows of 64 lanes" in proof
    assert (
        f"−{-double.min_exponent} ≤ K ≤ {double.max_exponent}" in proof
        and f"−{-single.min_exponent} ≤ K ≤ {single.max_exponent}" in proof
    )
    assert 2 * double.min_exponent - last == -1010 and "at least 2⁻¹⁰¹⁰" in proof
    assert 2 * double.max_exponent + 1 == 1001 and "a ends below 2¹⁰⁰¹" in proof
