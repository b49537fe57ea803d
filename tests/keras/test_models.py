"""Networks of `keras.applications`: the quick ones on torch, which compiles nothing, and all on every backend."""

import pytest

from keras_processes import check, inside


@pytest.mark.slow
@inside("keras_models.py", backends=("torch",))
def test_keras(framework, request, subtests, backend, file, name, options):
    framework(backend), framework("keras")
    check(request, subtests)


@pytest.mark.slow
@pytest.mark.long
@inside("keras_models.py", whole=True)
def test_keras_whole(framework, request, subtests, backend, file, name, options):
    framework(backend), framework("keras")
    check(request, subtests)
