"""What the core's kernels of batch norm refuse: anything whose sizes, types or places do not fit, and never a crash."""

import numpy as np
import pytest

from gammabeta.kernels import batchnorm_blocks, batchnorm_contiguous, binding

BLOCK = binding.by_type("batchnorm", "eHfd")
DTYPES = {"e": np.float16, "H": np.uint16, "f": np.float32, "d": np.float64}
SHAPE = (3, 4, 20)
SIZE = 240


def arguments(letter="f", operation=batchnorm_blocks.FORWARD):
    """What a kernel takes, by name, in order."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 99, SIZE).astype(DTYPES[letter])
    gradient = operation in (batchnorm_blocks.BACKWARD, batchnorm_blocks.PRODUCTS)
    maps = operation != batchnorm_blocks.PRODUCTS
    return {
        "operation": operation,
        "threads": 1,
        "x": x,
        "other": x.copy() if gradient else None,
        "y": np.empty_like(x) if maps else None,
        "runs": SHAPE[0],
        "features": SHAPE[1],
        "width": SHAPE[2],
        "gamma": np.ones(4) if maps else None,
        "beta": np.zeros(4) if maps and not gradient else None,
        "eps": 1e-5,
        "relu": 0,
        "statistics": np.ones((3, 4)),
        "sums": np.empty((2, 4)) if gradient else None,
        "space": np.empty(batchnorm_blocks.scratch(1, *SHAPE)),
        "tickets": np.zeros(4, np.int64),
    }


WRONG = {
    "operation": (-1, 4, 2**40),
    "threads": (0, -1, 2**40),
    "x": (np.empty(239, np.float32), np.empty(SIZE), np.empty(2 * SIZE, np.float32)[::2], None, 3),
    "other": (np.empty(239, np.float32), np.empty(SIZE, np.int32)),
    "y": (np.empty(241, np.float32), np.empty(SIZE, np.float64), np.zeros(1, np.float32), None),
    "runs": (0, -3, 2, 2**62, 1.5),
    "features": (0, -4, 5, 2**62),
    "width": (0, -20, 21, 2**62),
    "gamma": (np.ones(3), np.ones(4, np.float32), None),
    "beta": (np.ones(5), None),
    "eps": ("small",),
    "statistics": (np.ones((3, 3)), np.ones((3, 4), np.float32), np.ones((3, 8))[:, ::2], None),
    "space": (np.empty(0), None),
    "tickets": (np.zeros(3, np.int64), np.zeros(4, np.int32)),
}


@pytest.mark.parametrize("letter", BLOCK)
@pytest.mark.parametrize(
    "operation",
    [batchnorm_blocks.FORWARD, batchnorm_blocks.BACKWARD, batchnorm_blocks.APPLY, batchnorm_blocks.PRODUCTS],
)
def test_what_fits_is_taken(letter, operation):
    assert BLOCK[letter](*arguments(letter, operation).values()) == 0


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(name):
    for wrong in WRONG[name]:
        with pytest.raises((ValueError, TypeError, OverflowError, BufferError)):
            BLOCK["f"](*(arguments() | {name: wrong}).values())


def test_a_result_over_its_input_is_refused():
    given = arguments()
    with pytest.raises(ValueError, match="lies over"):
        BLOCK["f"](*(given | {"y": given["x"]}).values())


def test_a_read_only_result_is_refused_and_a_read_only_input_is_not():
    given = arguments()
    given["x"].flags.writeable = False
    assert BLOCK["f"](*given.values()) == 0
    given["y"].flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        BLOCK["f"](*given.values())


def fuzz(times):
    """Random arguments, each right or wrong: an error, or a result of finite time."""
    rng = np.random.default_rng(0)
    taken = 0
    for _ in range(times):
        letter = str(rng.choice(list(BLOCK)))
        given = arguments(letter, int(rng.integers(0, 4)))
        for name in rng.choice(list(WRONG), rng.integers(0, 3), replace=False):
            given[name] = WRONG[name][rng.integers(len(WRONG[name]))]
        try:
            BLOCK[letter](*given.values())
            taken += 1
        except (ValueError, TypeError, OverflowError, BufferError):
            pass
    return taken


def test_random_arguments():
    assert 300 < fuzz(2000) < 1700


@pytest.mark.long
def test_many_random_arguments():
    assert fuzz(500_000) > 0


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
def test_bits_of_a_relu_fit_their_values(dtype):
    letter = {2: "h", 4: "i", 8: "l"}[np.dtype(dtype).itemsize]
    signs, gate = binding.by_type("relu_signs", letter)[letter], binding.by_type("relu_gate", letter)[letter]
    y, bits = np.arange(130, dtype=dtype), np.zeros(3, np.uint64)
    assert signs(y, bits, 0, 3) == 0
    assert [int(b) for b in bits] == [2**64 - 2, 2**64 - 1, 3]
    for first, last, words in (
        (0, 4, bits),
        (-1, 2, bits),
        (2, 1, bits),
        (0, 2, bits[:2]),
        (0, 3, bits.view(np.int64)[:2]),
    ):
        with pytest.raises((ValueError, TypeError)):
            signs(y, words, first, last)
        with pytest.raises((ValueError, TypeError)):
            gate(y, words, y.copy(), first, last)
    with pytest.raises(ValueError, match="relu"):
        gate(y, bits, y[:129].copy(), 0, 3)


@pytest.mark.parametrize(("place", "wrong"), [(0, 9), (1, -1), (2, 0), (3, 0), (4, -4), (5, 2**62)])
def test_a_contiguous_call_looks_at_its_numbers(place, wrong):
    x, stats = np.ones(SIZE, np.float32), np.empty((3, 4))
    form = [batchnorm_contiguous.KINDS["float32"], batchnorm_contiguous.KINDS["float32"], 1, *SHAPE]
    addresses = [x.ctypes.data, np.empty_like(x).ctypes.data, 0, 0, 0, 0, 0]
    room = batchnorm_contiguous.room(1, *SHAPE)
    form[place] = wrong
    with pytest.raises(ValueError, match="contiguous"):
        batchnorm_contiguous.forward(room, *form, *addresses, stats, 1e-5, 1e30, 0.1, 1)


def test_a_contiguous_call_looks_at_its_room():
    x, y, stats = np.ones(SIZE, np.float32), np.empty(SIZE, np.float32), np.empty((3, 4))
    form = [batchnorm_contiguous.KINDS["float32"], batchnorm_contiguous.KINDS["float32"], 1, *SHAPE]
    addresses = [x.ctypes.data, y.ctypes.data, 0, 0, 0, 0, 0]
    room = batchnorm_contiguous.room(1, *SHAPE)
    assert batchnorm_contiguous.forward(room, *form, *addresses, stats, 1e-5, 1e30, 0.1, 1) == 1
    for few in (room[:-1], room[:0]):
        with pytest.raises(ValueError, match="too little"):
            batchnorm_contiguous.forward(few, *form, *addresses, stats, 1e-5, 1e30, 0.1, 1)
    with pytest.raises(ValueError, match="address is missing"):
        batchnorm_contiguous.forward(room, *form, 0, *addresses[1:], stats, 1e-5, 1e30, 0.1, 1)
    for call in (batchnorm_contiguous.run, batchnorm_contiguous.settle):
        with pytest.raises(ValueError, match="too little"):
            call(np.zeros(3))
        with pytest.raises(ValueError, match="too little"):
            call(np.zeros(1000))
