"""Kinds of arrays, and the way to NumPy and back."""

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from gammabeta.backends import arrays

TYPES = ["float16", "float32", "float64", "int32", "int64", "uint8", "bool", ml_dtypes.bfloat16]
VALUES = np.arange(12).reshape(3, 4)


def layouts(x):
    return [x.copy(), np.asfortranarray(x), x[:, ::-1], x.T, x[::2], x[:0]]


def test_no_framework_is_imported_to_find_out():
    code = (
        "import sys, numpy; from gammabeta.backends import arrays; arrays.kind(numpy.ones(2)); arrays.kind([1]);"
        "print([m for m in ('torch', 'tensorflow', 'jax', 'cupy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_kinds(array):
    x = array(np.arange(3.0))
    assert arrays.kind(x) == ("numpy" if array.is_numpy else array.name)
    assert arrays.is_tensor(x) is not array.is_numpy


@pytest.mark.parametrize("x", [[1.0], 3.0, None, "text", {"a": 1}, range(3)])
def test_what_is_no_array_stays_itself(x):
    assert arrays.kind(x) == "other"
    assert arrays.to_numpy(x) is x
    result = np.ones(2)
    assert arrays.like(x, result) is result


def test_there_and_back(array):
    values = np.array([[1.5, -2.0], [0.0, 3.25]])
    x = array(values)
    host = arrays.to_numpy(x)
    assert isinstance(host, np.ndarray)
    np.testing.assert_array_equal(host, values)
    back = arrays.like(x, values.copy())
    assert type(back) is (np.ndarray if array.is_numpy else type(x))


@pytest.mark.parametrize("name", ["torch", "tensorflow", "jax"])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_type_and_layout_comes_back(framework, name, dtype):
    framework(name)
    make = {"torch": "ones", "tensorflow": "ones", "jax": "ones"}[name]
    module = framework("jax.numpy") if name == "jax" else framework(name)
    like = getattr(module, make)(2)
    for result in layouts(VALUES.astype(dtype)):
        given = result.copy() if result.flags.owndata else result
        back = arrays.like(like, given)
        assert arrays.kind(back) == name
        host = arrays.to_numpy(back)
        narrowed = name == "jax" and result.dtype.itemsize == 8  # JAX's own rule without jax_enable_x64
        assert host.dtype == result.dtype or narrowed
        np.testing.assert_array_equal(host.astype(np.float64), result.astype(np.float64))


def test_host_memory_is_not_copied(framework):
    torch = framework("torch")
    x = torch.ones(3)
    arrays.to_numpy(x)[0] = 5
    assert x[0] == 5
    result = np.zeros(3)
    back = arrays.like(x, result)
    result[1] = 7
    assert back[1] == 7
    bits = torch.ones(3, dtype=torch.bfloat16)
    arrays.to_numpy(bits)[0] = 3
    assert bits[0] == 3


@pytest.mark.parametrize("name", ["tensorflow", "jax"])
def test_immutable_arrays_give_read_only_views(framework, name):
    module = framework(name)
    x = module.constant([1.0, 2.0]) if name == "tensorflow" else module.numpy.asarray([1.0, 2.0])
    first, second = arrays.to_numpy(x), arrays.to_numpy(x)
    assert np.shares_memory(first, second)
    assert not first.flags.writeable


def test_unaligned_results_are_safe_in_tensorflow(framework):
    # TensorFlow's kernels abort the process on shared memory that is not aligned to 64 bytes
    tensorflow = framework("tensorflow")
    for offset in range(0, 64, 8):
        result = np.zeros(1000 * 8 + 64, np.uint8)[offset : offset + 8000].view(np.float64)
        result[:] = 1
        x = arrays.like(tensorflow.ones(1), result)
        assert float(tensorflow.reduce_sum(x + x)) == 2000


def test_a_variable_of_tensorflow(framework):
    x = framework("tensorflow").Variable([1.0, 2.0])
    assert arrays.kind(x) == "tensorflow"
    np.testing.assert_array_equal(arrays.to_numpy(x), [1, 2])


def test_a_gradient_is_not_lost_in_silence(framework):
    x = framework("torch").ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="requires grad"):
        arrays.to_numpy(x)


def test_a_module_half_imported_is_passed_over(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", type(sys)("cupy"))
    assert arrays.kind([1]) == "other"


def test_cupy_goes_through_the_device(monkeypatch):
    """Without a GPU: an array that has what `to_numpy` and `like` ask CuPy for."""

    class Device:
        entered = 0

        def __enter__(self):
            Device.entered += 1

        def __exit__(self, *error):
            return False

    class Stub:
        device = Device()

        def get(self):
            return np.ones(2)

    module = type(sys)("cupy")
    module.ndarray, module.asarray = Stub, lambda result: ("on device", result)
    monkeypatch.setitem(sys.modules, "cupy", module)
    assert arrays.kind(Stub()) == "cupy"
    np.testing.assert_array_equal(arrays.to_numpy(Stub()), [1, 1])
    assert arrays.like(Stub(), np.zeros(1))[0] == "on device"
    assert Device.entered == 1
