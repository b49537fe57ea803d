"""Keras' own tests of its batch norm, from its installed wheel, with ours in the class' place, on this backend."""

import unittest

import pytest
from keras.src import layers
from keras.src.layers.normalization import batch_normalization_test

from gammabeta.keras import BatchNormalization


def run(name):
    case = batch_normalization_test.BatchNormalizationTest(name)
    result = unittest.TestResult()
    case.run(result)
    return result


NAMES = unittest.TestLoader().getTestCaseNames(batch_normalization_test.BatchNormalizationTest)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras' own, of its tests
@pytest.mark.parametrize("name", NAMES)
def test_keras_own_tests(name, monkeypatch):
    monkeypatch.setattr(layers, "BatchNormalization", BatchNormalization)
    result = run(name)
    assert result.testsRun == 1 and not result.skipped
    for _, why in [*result.errors, *result.failures]:
        pytest.fail(why)


def test_keras_own_tests_are_all_there_and_can_fail(monkeypatch):
    assert len(NAMES) == 33
    monkeypatch.setattr(layers, "BatchNormalization", layers.LayerNormalization)
    result = run("test_renorm_inference")
    assert result.errors or result.failures
