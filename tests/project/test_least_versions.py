"""What pyproject.toml allows works: the least version of all it asks for, beside the newest of what those ask for.

Only so does one find that a version is too old for its own newest dependencies. There is no pandas, and no framework.
"""

import json
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]

# The extras that are not tried here, and why.
LEFT_OUT = {
    "dask": "its frames ask for pandas",
    "spark": "it asks for pandas, and Java",
    "xarray": "it asks for pandas",
    "docs": "it makes the site",
    "test": "it has the newest of everything, with which all other tests run",
    "torch": "gigabytes; the other tests run with the least",
    "keras": "its backend is the user's choice",
    "flax": "it brings JAX",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="the tests run outside a checkout"),
]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def tried() -> list[str]:
    return sorted(project()["optional-dependencies"].keys() - LEFT_OUT.keys())


def run(*command: str | Path, timeout: int = 600) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment of the least versions."""
    if find_spec("uv") is None:
        pytest.fail("uv is not installed: pip install '.[test]'")
    place = tmp_path_factory.mktemp("least") / "venv"
    found = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    uv = (sys.executable, "-m", "uv")
    run(*uv, "venv", "--quiet", "--python", sys.executable, place)
    wanted = f"{ROOT}[{','.join(tried())}]"
    run(*uv, "pip", "install", "--quiet", "--python", found, "--resolution", "lowest-direct", wanted)
    return found


def installed(python: Path) -> dict[str, str]:
    """The version of each distribution."""
    told = run(sys.executable, "-m", "uv", "pip", "list", "--quiet", "--format", "json", "--python", python)
    return {one["name"]: one["version"] for one in json.loads(told)}


def test_each_least_version_can_be_installed(python):
    """Else pyproject.toml names a version that no one can have on the least Python that it allows."""
    least = project()["requires-python"].removeprefix(">=")
    if f"{sys.version_info.major}.{sys.version_info.minor}" != least:
        pytest.skip(f"some of the least versions have no wheel for a Python newer than {least}")
    told = project()["dependencies"] + [each for extra in tried() for each in project()["optional-dependencies"][extra]]
    lowest: dict[str, list] = {}
    for requirement in map(Requirement, told):
        bounds = [bound.version for bound in requirement.specifier if bound.operator == ">="]
        assert len(bounds) == 1, f"{requirement} has no least version"
        lowest.setdefault(requirement.name.replace("_", "-").lower(), []).append(bounds[0])
    there = installed(python)
    from packaging.version import Version

    expected = {name: max(map(Version, bounds)) for name, bounds in lowest.items()}
    assert {name: Version(there[name]) for name in expected} == expected


def test_nothing_brings_pandas_or_a_framework(python):
    assert not {"pandas", "polars", "torch", "tensorflow", "jax"} & installed(python).keys()


def test_the_main_verbs_run(python, tmp_path):
    told = run(python, "-I", "-W", "ignore::DeprecationWarning", ROOT / "tests/support/least_versions.py", tmp_path)
    assert told.strip().endswith("all verbs ran")


def test_every_extra_is_tried_or_has_a_reason():
    assert LEFT_OUT.keys() <= project()["optional-dependencies"].keys()
