"""Every processor level of the core gives the same integers, and affine maps to the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gammabeta
from gammabeta.kernels import binding

HERE = [name for name, runs in binding._levels(binding._library()).items() if runs]


def found(level: str) -> dict[str, Any]:
    support = Path(__file__).parents[1] / "support"
    source = Path(gammabeta.__file__).parents[1]
    path = os.pathsep.join([str(source), str(support), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, binding.VARIABLE: level, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, str(support / "level_digests.py")], env=environment, capture_output=True, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def lowest() -> dict[str, Any]:
    return found(HERE[0])


@pytest.mark.slow
@pytest.mark.parametrize("level", HERE[1:] or HERE)
def test_levels_have_the_same_bits(lowest: dict[str, Any], level: str) -> None:
    assert lowest["level"] == HERE[0]
    other = found(level)
    assert other["level"] == level and len(other["bits"]) > 300
    assert {name for name, bits in other["bits"].items() if lowest["bits"][name] != bits} == set()
