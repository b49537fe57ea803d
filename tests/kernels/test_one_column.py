"""Vectors and channels, summed where they lie: equal to the sums of each as a table of its own."""

import threading
import time

import numpy as np
import pytest

from gammabeta import Affine, Extrema, Moments
from gammabeta.data.io.parallel import map_concurrently
from gammabeta.kernels import moments, thread_pool
from gammabeta.kernels.affine import apply_columns
from gammabeta.statistics.concat import of_columns

TILE = 32 * 64
LENGTHS = (0, 1, 63, 64, 65, TILE - 1, TILE, TILE + 1, 3 * TILE + 7)


def hostile(rng, n, dtype):
    """Numbers that one grid does not hold: far apart, subnormal, infinite, missing."""
    x = (rng.normal(1e6, 1, n)).astype(dtype)
    odd = np.array([0.0, -0.0, 1e30, 1e-30, np.finfo(dtype).tiny / 4, np.finfo(dtype).max, np.inf, -np.inf, np.nan])
    at = rng.random(n) < 0.01
    x[at] = rng.choice(odd, at.sum()).astype(dtype)
    return x


def same(columns):
    found, extrema = of_columns(columns)
    assert found.shape == extrema.shape == (len(columns),)
    for i, column in enumerate(columns):
        assert found[i] == Moments.of(column) and extrema[i] == Extrema.of(column)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_of_any_length(dtype):
    rng = np.random.default_rng(0)
    same([hostile(rng, n, dtype) for n in LENGTHS])


def test_columns_of_any_type_in_their_order():
    rng = np.random.default_rng(1)
    floats = [hostile(rng, 3000, kind) for kind in (np.float64, np.float32)]
    wide = np.array([2**63 - 1, -(2**63), 5])
    read_only = rng.normal(size=100)
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"x" + rng.normal(size=2500).tobytes(), np.float64, 2500, 1)
    strided, backwards = rng.normal(size=(5000, 2))[:, 1], rng.normal(size=5000)[::-1]
    small = np.arange(200, dtype=np.uint8), np.array([True, False]), np.ones(7, np.float16), np.arange(9, dtype=">i4")
    same([wide, *floats, read_only, small[0], unaligned, strided, *small[1:], backwards, np.empty(0)])


def test_channels_in_front_of_pixels():
    """(n, c, h, w) is read where it lies, whatever part of an array it is."""
    whole = hostile(np.random.default_rng(2), 4 * 6 * 50 * 70, np.float32).reshape(4, 6, 50, 70)
    views = (
        whole,
        whole[1:3],
        whole[:, 1:5],
        whole[:, :, :, 3:60],
        whole[::-1],
        whole[:, ::2],
        whole[..., ::2],
        whole[:1],
    )
    for x in views:
        table = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).reshape(-1, x.shape[1])
        assert Moments.of(x, axis=(0, 2, 3)) == Moments.of(table)
        assert Extrema.of(x, axis=(0, 2, 3)) == Extrema.of(table)
    packed = np.zeros((4, 3, 5000), np.dtype([("flag", np.uint8), ("value", np.float64)]))["value"]
    packed[:] = whole.reshape(-1)[:60000].reshape(4, 3, 5000)
    assert Moments.of(packed, axis=(0, 2)) == Moments.of(packed.copy().transpose(0, 2, 1).reshape(-1, 3))


@pytest.mark.parametrize("rows", [1, 3])
def test_carries_are_taken_in_time(monkeypatch, rows):
    """More numbers than may go into limbs at a time are cut: by runs, then within them."""
    x = hostile(np.random.default_rng(3), 5 * 2 * 1000, np.float64).reshape(5, 2, 1000)
    columns = [x.reshape(-1)[:n] for n in LENGTHS]
    together, apart = Moments.of(x, axis=(0, 2)), of_columns(columns)
    monkeypatch.setattr(moments, "ROWS", rows)
    assert Moments.of(x, axis=(0, 2)) == together and of_columns(columns) == apart


def test_threads_change_nothing():
    columns = [hostile(np.random.default_rng(i), 200_000, np.float32) for i in range(5)]
    with thread_pool.limit(1):
        alone = of_columns(columns)
    with thread_pool.limit(3):
        assert of_columns(columns) == alone


def test_work_abreast_raises_what_goes_wrong_and_stops():
    begun, ended = threading.Event(), threading.Event()

    def work(item, told):
        if item == "bad":
            assert begun.wait(10)
            raise ValueError(item)
        begun.set()
        try:
            while True:
                told(1)
                time.sleep(0.001)
        finally:
            ended.set()

    with thread_pool.limit(2), pytest.raises(ValueError, match="bad"):
        list(map_concurrently(work, ["endless", "bad"], [9, 1], 2, lambda done: None))
    assert ended.is_set()


def test_work_abreast_tells_how_far_it_is():
    told = []
    found = dict(map_concurrently(lambda item, tell: tell(item * 100) or item, [1, 2, 3], [1, 2, 3], 2, told.append))
    assert found == {1: 1, 2: 2, 3: 3} and told[-1] == 6 and told == sorted(told)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_lanes_of_a_vector_together_are_more_than_64_bits(dtype, sign):
    """As many rows as a lane takes, of the largest numbers of a grid: their sum and what squares leave, exactly."""
    n, value = 4095 * 64, np.nextafter(dtype(2), dtype(0)) * dtype(sign)
    found, _ = of_columns([np.full(n, value)])
    assert found.mean == value and found.var == 0
    mixed = np.where(np.arange(n) % 3 == 0, value, -value * dtype(0.75))
    assert of_columns([mixed])[0][0] == sum((Moments.of(part) for part in np.array_split(mixed, 999)), Moments.of([]))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int8, np.int64, np.uint64])
@pytest.mark.parametrize("rows", [0, 1, 700, 70_000])
def test_vectors_are_mapped_where_they_lie_as_each_alone(kind, rows):
    rng = np.random.default_rng(3)
    given = [(rng.normal(size=rows) * 100).astype(kind) for _ in range(5)]
    if np.dtype(kind).kind == "f" and rows > 1:
        given[1][rows // 2], given[2][0] = np.inf, np.nan
    elif rows and np.dtype(kind).kind in "iu":
        given[1][-1] = np.iinfo(kind).max
    given[3] = np.frombuffer(b"x" + given[3].tobytes(), kind, rows, 1)
    affine = Affine(rng.normal(size=5), np.array([1e-3, 2, 0.5, 7, np.finfo(np.float32).max]), rng.normal(size=5))
    floating = kind if np.dtype(kind).kind == "f" else np.float64
    images = [np.empty(rows, floating) for _ in given]
    infinite = apply_columns(given, images, (affine.center, affine.slope, affine.shift))
    with np.errstate(over="ignore"):
        for i, (vector, image) in enumerate(zip(given, images, strict=True)):
            np.testing.assert_array_equal(image, affine[i](vector))
    assert infinite == sum(np.isinf(image).sum() for image in images)
