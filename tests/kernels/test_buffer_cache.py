"""Memory of large results: never shared by two that live, kept for the next when they are gone, within a bound."""

import gc
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest

from gammabeta.kernels import buffer_cache

LARGE = buffer_cache.LEAST // 4  # float32 values


@pytest.fixture(autouse=True)
def _nothing_kept():
    buffer_cache._cached.clear()
    yield
    buffer_cache._cached.clear()


def address(x):
    return x.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
def test_it_is_an_empty_array(dtype):
    for size in (0, 5, LARGE * 2):
        x = buffer_cache.empty(size, dtype)
        assert x.shape == (size,) and x.dtype == dtype and x.flags.c_contiguous and x.flags.writeable


def test_two_that_live_share_nothing():
    arrays = [buffer_cache.empty(LARGE, np.float32) for _ in range(3)]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


def test_what_is_gone_is_used_again():
    x = buffer_cache.empty(LARGE * 5 // 4, np.float32)
    place = address(x)
    part = x.reshape(2, -1).T[3:]
    del x
    assert not buffer_cache._cached  # a view still shows it
    del part
    assert len(buffer_cache._cached) == 1
    assert address(buffer_cache.empty(LARGE, np.float32)) == place
    assert address(buffer_cache.empty(LARGE * 4, np.uint8)) == place
    assert address(buffer_cache.empty(LARGE * 8, np.uint8)) != place


def test_a_tensor_holds_it(framework):
    torch = framework("torch")
    tensor = torch.from_numpy(buffer_cache.empty(LARGE, np.float32))[2:]
    gc.collect()
    assert not buffer_cache._cached
    del tensor
    assert len(buffer_cache._cached) == 1


def test_what_is_kept_is_bounded():
    arrays = [buffer_cache.empty(LARGE, np.float32) for _ in range(buffer_cache.MOST // buffer_cache.LEAST + 3)]
    arrays.clear()
    assert sum(one.size for one in buffer_cache._cached) == buffer_cache.MOST
    buffer_cache.empty(buffer_cache.MOST + 1, np.uint8)
    assert sum(one.size for one in buffer_cache._cached) <= buffer_cache.MOST


def test_small_memory_is_the_systems():
    buffer_cache.empty(LARGE - 1, np.float32)
    assert not buffer_cache._cached


def test_many_threads():
    def work(value):
        for _ in range(20):
            x = buffer_cache.empty(LARGE, np.float32)
            x[::4096] = value
            assert (x[::4096] == value).all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
