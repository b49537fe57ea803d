"""No file of the package lies where it lay before the rooms were made, and nothing names one by its old path."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "gammabeta"

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").exists(), reason="the tests run outside a checkout: there is no pyproject.toml"
)

# The modules of each folder as they were called, "" being the package itself. `torch/layer.py` and `flax/layer.py` are
# not among them: pickles of whole models name these, and shims stand there.
OLD = {
    "": """
        adaptation arrays charts feeding folded folding formula frames functional fusing html immutable
        learned matching networks porting recalibration settling spaces states training
    """,
    "cli": "folder groups ledger networks report",
    "data": """
        abreast agree ahead archive array arrow batches buffers by chunked codec csv csv_rows dataset
        decimals entry features files first_pass folder footers grid journal ledger locks look looked manner
        npy npz parquet partition pictures quotes ranges record remote second_pass select several source
        sources spill state store streams tables text total unfinished vectors work write zarr_metadata
    """,
    "data/dask": "blocks partitions parts",
    "diagnosis": "__init__ activations arising findings layer looking result seen values",
    "flax": """
        adapt batches checks fold freeze functions graph linear port recalibrate sync tracked
    """,
    "flax/diagnose": "__init__ arising following loading step watch",
    "keras": """
        adapt batches checks fold freeze functions ghost graph layer linear masks port recalibrate renorm
        running sync tracked
    """,
    "keras/diagnose": "__init__ backend gradients loading step watch",
    "kernels": """
        bins blocks both columns exact finish gates groups hashing layerwise least memory parted plain
        singly small storage threads wide windows
    """,
    "kernels/triton": "exact",
    "lab": "columns gives_back jitter live page pictures training",
    "report": "bundle chart layers look page sample strip",
    "scalers": "folds linear maps seen",
    "statistics": "beside common labels packed possible running windows",
    "torch": """
        adapt batches chains checks convert exact fold freeze functions gpu layout linear modules norms
        passes port recalibrate remains running small steps sync team trace tracked
    """,
    "torch/diagnose": "__init__ arising loading step watch",
}

SEARCHED = ["src", "tests", "docs", "benchmarks", "examples", "tools", "core", ".ci"]
SUFFIXES = {".py", ".md", ".toml", ".yml", ".cpp", ".hpp", ".txt", ""}


def old_paths() -> list[str]:
    """The old paths under the package, as `data/look.py`."""
    return [f"{folder}/{name}.py".lstrip("/") for folder, names in OLD.items() for name in names.split()]


def is_name_now(path: str) -> bool:
    """Whether a module's old dotted name is that of a package, or of a public function, now."""
    place = PACKAGE / path.removesuffix(".py")
    public = (place.parent / "__init__.py").read_text(encoding="utf-8") if place.parent.exists() else ""
    return place.is_dir() or place.name == "__init__" or f'"{place.name}"' in public


def wanted() -> tuple[set[str], set[str], set[str]]:
    """What to look for: paths under the package, bare names that no file has now, and dotted names."""
    names_now = {file.name for file in PACKAGE.rglob("*.py")}
    paths = set(old_paths())
    bare = {path for path in paths if "/" not in path and path not in names_now}
    dotted = {f"gammabeta/{path.removesuffix('.py')}".replace("/", ".") for path in paths if not is_name_now(path)}
    return paths, bare, dotted


def texts() -> dict[Path, str]:
    """Every text of the project that may name a file."""
    files = [file for folder in SEARCHED for file in (ROOT / folder).rglob("*") if file.is_file()]
    files += [file for file in ROOT.iterdir() if file.is_file() and file.name != "CHANGELOG.md"]
    mine = Path(__file__).resolve()
    return {
        file: file.read_text(encoding="utf-8")
        for file in files
        if file.suffix in SUFFIXES and "__pycache__" not in file.parts and file.resolve() != mine
    }


def named(found: dict[Path, str]) -> list[str]:
    """Where old paths are named."""
    paths, bare, dotted = wanted()

    def is_old(word: str) -> bool:
        if not word.endswith(".py"):
            parts = word.split(".")
            return any(".".join(parts[:n]) in dotted for n in range(2, len(parts) + 1))
        under = word.removeprefix("src/").removeprefix("gammabeta/")
        return (under in paths) if "/" in word else word in bare

    words = re.compile(r"(?<![\w/.-])[\w/]+\.py\b|\bgammabeta(?:\.\w+)+")
    return [
        f"{file}:{number}: {word}"
        for file, text in found.items()
        for number, line in enumerate(text.splitlines(), 1)
        for word in words.findall(line)
        if is_old(word)
    ]


def test_no_file_lies_at_an_old_place():
    assert [path for path in old_paths() if (PACKAGE / path).exists()] == []


def test_no_old_path_is_named():
    assert named(texts()) == []


@pytest.mark.parametrize(
    "text",
    [
        "see data/look.py",
        "src/gammabeta/states.py",
        "`settling.py`",
        '"gammabeta.data.second_pass.scale"',
        "torch/tracked.py",
    ],
)
def test_an_old_path_is_found(text):
    assert len(named({Path("page.md"): text})) == 1


@pytest.mark.parametrize(
    "text", ["data/dataset/ledger.py", "gammabeta.torch.fold(model)", "gammabeta.data.dataset.update"]
)
def test_a_path_of_now_is_none(text):
    assert named({Path("page.md"): text}) == []
