"""`gammabeta.keras.Normalization` on each backend, each in a process of its own."""

import pytest

from keras_processes import check, inside


@pytest.mark.slow
@inside("keras_normalization.py")
def test_normalization(framework, request, subtests, backend, file, name, options):
    framework(backend), framework("keras")
    check(request, subtests)
