"""The fixtures themselves: a kind keeps the values, and what is lacking is a skip or a failure as it should be."""

import numpy as np
import pytest
from tests import conftest


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.bool_])
def test_a_kind_keeps_values_and_shape(array, dtype):
    x = np.arange(12).reshape(3, 4).astype(dtype)
    made = array(x)
    assert tuple(made.shape) == x.shape
    back = np.asarray(made)
    assert back.dtype.newbyteorder("=") == x.dtype
    np.testing.assert_array_equal(back, x)


def test_read_only_is_read_only():
    with pytest.raises(ValueError, match="read-only"):
        conftest.read_only(np.zeros(3))[0] = 1


def test_strided_is_not_contiguous():
    view = conftest.strided(np.ones((3, 4)))
    assert view.strides == (64, -16)


def test_what_is_lacking_is_skipped_locally(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no_such_framework cannot be imported"):
        conftest.framework("no_such_framework")
    with pytest.raises(pytest.skip.Exception, match="no-such-program is not installed"):
        conftest.program("no-such-program")


def test_what_is_lacking_fails_in_ci(monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no_such_framework cannot be imported"):
        conftest.framework("no_such_framework")
    with pytest.raises(pytest.fail.Exception, match="no-such-program is not installed"):
        conftest.program("no-such-program")


def test_what_is_there_is_found(framework, program):
    assert framework("math").pi > 3
    assert program("python3").endswith("python3")
