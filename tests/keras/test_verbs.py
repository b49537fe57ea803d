"""What is done to trained Keras models, on each backend in a process of its own."""

import pytest

from keras_processes import check, inside


@pytest.mark.slow
@inside("keras_verbs.py")
def test_keras(framework, request, subtests, backend, file, name, options):
    framework(backend), framework("keras")
    check(request, subtests)


@pytest.mark.slow
@pytest.mark.long
@inside("keras_verbs.py", whole=True)
def test_keras_whole(framework, request, subtests, backend, file, name, options):
    framework(backend), framework("keras")
    check(request, subtests)
