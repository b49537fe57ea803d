"""Networks of `keras.applications`: the quick ones on torch, which compiles nothing, and all on every backend."""

import re
from pathlib import Path

import pytest
from test_keras_layer import run

FILE = str(Path(__file__).parents[1] / "support" / "keras_models.py")


ALL = "long or not long"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "which"),
    [("torch", "not long"), *(pytest.param(b, ALL, marks=pytest.mark.long) for b in ("tensorflow", "jax", "torch"))],
)
def test_networks_that_others_wrote(framework, backend, which):
    framework(backend), framework("keras")
    result = run(backend, "-m", which, FILE)
    assert result.returncode == 0, f"on {backend}:\n{result.stdout[-20_000:]}\n{result.stderr[-5_000:]}"
    summary = result.stdout.strip().splitlines()[-1]
    assert re.fullmatch(r"\d+ passed(, \d+ deselected)? in .*", summary), f"nothing may be left out: {summary}"
