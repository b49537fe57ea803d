"""Keras' own tests of its batch norm, from its installed wheel, with ours in the class' place, on this backend."""

import re
import unittest

import pytest
from keras.src import layers
from keras.src.layers.normalization import batch_normalization_test

from gammabeta.keras import BatchNormalization
from keras_backend import BACKEND, compile_quickly


def run(name):
    case = batch_normalization_test.BatchNormalizationTest(name)
    result = unittest.TestResult()
    case.run(result)
    return result


NAMES = unittest.TestLoader().getTestCaseNames(batch_normalization_test.BatchNormalizationTest)
AGAIN = re.compile(r"test_correctness([1-8]|1\d)|test_bachnorm_ignore_masked_values[1245]")
"""Other shapes and initializers of the same: all on torch, which compiles nothing, and long elsewhere."""


@pytest.fixture(autouse=True)
def _compiled_quickly():
    compile_quickly()
    yield
    compile_quickly(False)


def case(name):
    return pytest.param(name, marks=pytest.mark.long if BACKEND != "torch" and AGAIN.fullmatch(name) else ())


@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras' own, of its tests
@pytest.mark.parametrize("name", list(map(case, NAMES)))
def test_keras_own_tests(name, monkeypatch):
    monkeypatch.setattr(layers, "BatchNormalization", BatchNormalization)
    result = run(name)
    assert result.testsRun == 1 and not result.skipped
    for _, why in [*result.errors, *result.failures]:
        pytest.fail(why)


def test_keras_own_tests_are_all_there_and_can_fail(monkeypatch):
    assert len(NAMES) >= 33
    monkeypatch.setattr(layers, "BatchNormalization", layers.LayerNormalization)
    result = run("test_renorm_inference")
    assert result.errors or result.failures
