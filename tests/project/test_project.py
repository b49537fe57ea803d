"""What holds for the project as a whole: lint, types, import contracts, light imports, and the public names."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import gammabeta

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").exists(), reason="the tests run outside a checkout: there is no pyproject.toml"
)


def run(*command: str | Path, cwd: Path = ROOT, source: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A Python tool's run, with `source` first on its path."""
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    if source is not None:
        environment["PYTHONPATH"] = str(source)
    tool, *arguments = command
    place = Path(sys.executable).with_name(str(tool))
    program = str(place) if place.exists() else shutil.which(str(tool))
    if program is None:
        pytest.fail(f"{tool} is not installed: pip install '.[test]'")
    return subprocess.run(
        [program, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )


def passes(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


def test_format():
    passes(run("ruff", "format", "--check", "--diff", "."))


def test_lint():
    passes(run("ruff", "check", "."))


@pytest.mark.slow
def test_types():
    passes(run("mypy"))


def contracts(source: Path) -> subprocess.CompletedProcess[str]:
    """The import contracts over the package in `source`."""
    return run("lint-imports", "--config", ROOT / "pyproject.toml", "--no-cache", cwd=source, source=source)


def test_import_contracts():
    passes(contracts(ROOT / "src"))


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("kernels", "from gammabeta.statistics import Moments", "lower floors"),
        ("errors", "def late():\n    import gammabeta.axes", "lower floors"),
        ("statistics", "import gammabeta.affine", "lower floors"),
        ("unplaced", "", "lower floors"),
        ("axes", "import torch", "No framework"),
        ("scalers", "def late():\n    from jax import numpy", "No framework"),
        ("data", "import dask.array", "No framework"),
        ("statistics", "import sklearn.base", "scikit-learn is for"),
        ("statistics", "import ctypes", "The compiled core is bound"),
        ("scalers", "import pyarrow", "Arrow is for"),
        ("data", "from rich import print", "The terminal is for"),
        ("affine", "def late():\n    import altair", "Charts are for seeing"),
        ("cli", "import jinja2", "Charts are for seeing"),
    ],
    ids=lambda value: value.split("\n")[-1].strip().replace(" ", "-"),
)
def test_a_broken_contract_is_found(tmp_path, module, line, contract):
    source = tmp_path / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    place = source / "gammabeta" / module
    with (place / "__init__.py" if place.is_dir() else place.with_suffix(".py")).open("a") as file:
        file.write(f"\n{line}\n")
    result = contracts(source)
    assert result.returncode == 1, result.stdout + result.stderr
    broken = [text for text in result.stdout.splitlines() if " BROKEN" in text]
    others = [text for text in broken if contract not in text]
    assert len(broken) - len(others) == 1, result.stdout
    assert all("No cycle" in text for text in others), result.stdout  # an import from a higher room may close one


def python(code: str) -> str:
    """What a new interpreter prints."""
    result = run(Path(sys.executable).name, "-W", "error", "-c", code, cwd=ROOT / "tests")
    passes(result)
    return result.stdout.strip()


LIGHT = """
import sys
import gammabeta
heavy = "torch tensorflow keras jax flax sklearn scipy pyarrow pandas polars narwhals typer rich"
heavy = f"{heavy} altair jinja2 vl_convert marimo".split()
print(*[name for name in heavy if name in sys.modules])
"""


def test_the_import_loads_nothing_heavy():
    assert python(LIGHT) == ""


def test_the_light_import_test_can_fail():
    assert python(LIGHT.replace("import gammabeta", "import narwhals")) == "narwhals"


@pytest.mark.parametrize("framework", ["torch", "tensorflow", "jax"])
def test_every_name_loads_no_framework(framework):
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed: it could not be loaded")
    names = "import sys, gammabeta; [getattr(gammabeta, name) for name in gammabeta.__all__]; "
    assert python(f"{names}print({framework!r} in sys.modules)") == "False"


def test_torch_loads_no_compiler():
    """`torch._dynamo` takes half a second, and with Triton, which it loads, ends a process that has TensorFlow."""
    if find_spec("torch") is None:
        pytest.skip("torch is not installed")
    heavy = "torch._dynamo triton sympy sklearn pandas"
    assert python(f"import sys, gammabeta.torch; print([n for n in {heavy!r}.split() if n in sys.modules])") == "[]"


@pytest.mark.parametrize("first", ["tensorflow", "gammabeta.torch"])
def test_torch_and_tensorflow_in_any_order(first):
    if find_spec("torch") is None or find_spec("tensorflow") is None:
        pytest.skip("torch or tensorflow is not installed")
    program = f"import {first}, tensorflow, gammabeta.torch, torch; gammabeta.torch.BatchNorm(1)(torch.ones(2, 1))"
    assert python(f"{program}; print('both')") == "both"


def test_every_public_name_is_there():
    for name in gammabeta.__all__:
        assert getattr(gammabeta, name) is getattr(gammabeta, name)
    assert set(gammabeta.__all__) <= set(dir(gammabeta))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'gammabeta' has no attribute 'nothing'"):
        gammabeta.nothing  # noqa: B018


def documented() -> set[str]:
    """The names that README and docs use, as `gb.name`."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    return {name for page in pages for name in re.findall(r"\bgb\.(\w+)", page.read_text(encoding="utf-8"))}


def test_the_documents_use_each_public_name_and_no_other():
    assert documented() == set(gammabeta.__all__) - {"__version__"}


def test_contributing_names_files_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = text[text.index("## The rooms") : text.index("## The compiled core")]
    names = set(re.findall(r"`([\w/]+\.(?:py|hpp)|core/\w+/)`", rooms))
    frameworks = {f"{framework}/networks/fold.py" for framework in ("torch", "keras", "flax")}
    assert len(names) > 15
    for name in names - {"networks/fold.py"} | frameworks:
        assert (ROOT / name).exists() or (ROOT / "src" / "gammabeta" / name).exists(), name


def test_the_version_is_in_the_changelog():
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert headings[0] in ("Unreleased", gammabeta.__version__)
    assert gammabeta.__version__ in headings
