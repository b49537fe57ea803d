"""The note's example: its formula, TensorFlow's and ours give the same numbers, and γ = 1, β = 0 is standardization
where the variance is much larger than ε."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FILE = Path(__file__).parents[2] / "examples" / "note.py"

pytestmark = pytest.mark.skipif(not FILE.exists(), reason="the tests run outside a checkout: there is no examples/")


@pytest.fixture(scope="module")
def note(framework) -> ModuleType:
    for name in ("torch", "tensorflow", "jax"):
        framework(name)
    specification = spec_from_file_location("note", FILE)
    module = module_from_spec(specification)
    sys.modules["note"] = module
    specification.loader.exec_module(module)
    return module


def test_the_data_are_the_notes(note):
    x = note.pictures()
    assert x.shape == (30, 32, 32, 1)
    assert x.dtype == np.float64


def test_every_way_agrees_with_every_other(note):
    x = note.pictures()[:10]
    ways = note.results(x)
    reference = ways["the note, NumPy"]
    for name, y in ways.items():
        assert y.shape == x.shape and y.dtype == np.float64
        apart = np.abs(y - reference)
        assert (apart <= note.tolerance(x, name.startswith("StandardScaler"))).all(), name


def test_the_tolerance_can_fail(note):
    """Another ε, the unbiased variance, or float32 would be seen."""
    x = note.pictures()[:10]
    reference, allowed = note.by_hand(x), note.tolerance(x)
    for other in (
        (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5),
        (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0, ddof=1) + 1e-8),
        note.by_hand(x.astype(np.float32)),
    ):
        assert (np.abs(other - reference) > allowed).mean() > 0.9


def test_it_prints_the_table(note, capsys):
    note.main()
    printed = capsys.readouterr().out
    assert "all 7 ways agree" in printed
    assert len(printed.splitlines()) == 10
