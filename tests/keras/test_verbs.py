"""What is done to trained Keras models, on each backend in a process of its own."""

import re
from pathlib import Path

import pytest
from test_keras_layer import run

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_on_every_backend(framework, backend):
    framework(backend), framework("keras")
    result = run(backend, str(SUPPORT / "keras_verbs.py"))
    assert result.returncode == 0, f"on {backend}:\n{result.stdout[-20_000:]}\n{result.stderr[-5_000:]}"
    summary = result.stdout.strip().splitlines()[-1]
    assert re.fullmatch(r"\d+ passed in .*", summary), f"nothing may be left out: {summary}"
