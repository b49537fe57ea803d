"""Random arrays of every layout and kind of numbers, at every level of the machine: their sums are the integers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gammabeta import Moments
from gammabeta.kernels import binding, folds, layout, limbs, moments, wide_table

HERE = Path(__file__).resolve()


def numbers(rng, dtype, shape):
    """Numbers of one of many kinds, some of them replaced by odd ones."""
    info, kind = np.finfo(dtype), rng.integers(9)
    x = rng.standard_normal(shape)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if kind == 1:
            x = np.ldexp(x, rng.integers(info.minexp - info.nmant, info.maxexp, shape))
        elif kind == 2:
            x = np.ldexp(x, rng.integers(-30, 30, shape))
        elif kind == 3:
            x = np.ldexp(x, rng.integers(info.minexp - info.nmant, info.maxexp, shape[-1]))
        elif kind == 4:
            x = np.where(rng.random(shape) < 0.5, -1e16, 1e16) + x
        elif kind == 5:
            x = x.round()
        elif kind == 6:
            x = (2 - 2.0**-info.nmant) * np.ldexp(np.sign(x), rng.integers(-25, 3, shape))
        elif kind == 7:
            x = x * info.smallest_subnormal * 2.0 ** rng.integers(0, 60)
        elif kind == 8:
            x = np.ldexp(x, rng.integers(-2, 2) * 100) + rng.integers(-3, 3)
        x = x.astype(dtype)
    odd = np.array([0.0, -0.0, info.tiny, info.smallest_subnormal, info.max, -info.max, np.inf, -np.inf, np.nan], dtype)
    at = rng.random(shape) < rng.choice([0, 0, 0.001, 0.05, 0.5])
    x[at] = rng.choice(odd, int(at.sum()))
    return x


def truth(x):
    """Σx and Σx² of every column's finite numbers, as integers in units of 2^−1074 and its square; NaN, +inf, −inf."""
    found = []
    for column in x.T:
        finite = column[np.isfinite(column)].astype(np.float64)
        fractions, exponents = np.frexp(finite)
        whole = (fractions * 2.0**53).astype(np.int64).tolist()
        scaled = [
            n << e + 1021 if e >= -1021 else n >> -1021 - e for n, e in zip(whole, exponents.tolist(), strict=True)
        ]
        odd = np.isnan(column).sum(), (column == np.inf).sum(), (column == -np.inf).sum()
        found.append((sum(scaled), sum(n * n for n in scaled), *map(int, odd)))
    return found


def sums(x, axis):
    """The same, as the kernels have them."""
    _, total, squares, specials = moments.sums(x, axis, True)
    parts = []
    for part, unit in ((total, -1074), (squares, -2148)):
        integers, exponent = limbs.to_integers(part)
        shift = exponent - unit
        parts.append([n << shift if shift >= 0 else n >> -shift for n in integers])
        assert shift >= 0 or all(n % (1 << -shift) == 0 for n in integers)
        assert all(np.array_equal(a, b) for a, b in zip(limbs.canonical(*part), part, strict=True))
    return [tuple(map(int, each)) for each in zip(*parts, *specials, strict=True)]


def one(rng):
    """An array, summed as it lies, against integers."""
    dtype = (np.float32, np.float64)[rng.integers(2)]
    way = rng.integers(4)
    if way == 0:  # a table
        x = numbers(rng, dtype, (int(rng.integers(1, 120)), int(rng.integers(1, 9))))
        assert sums(x, 0) == truth(x)
    elif way == 1:  # a table of which few columns are looked at
        x = numbers(rng, dtype, (int(rng.integers(1, 80)), int(rng.integers(60, 200))))
        at = rng.integers(0, x.shape[1], 3)
        found = sums(x, 0)
        assert [found[i] for i in at] == truth(x[:, at])
    elif way == 2:  # channels
        x = numbers(rng, dtype, (int(rng.integers(1, 5)), int(rng.integers(1, 4)), int(rng.integers(30, 600))))
        assert sums(x, (0, 2)) == truth(x.transpose(0, 2, 1).reshape(-1, x.shape[1]))
    else:  # few rows, many columns
        x = numbers(rng, dtype, (int(rng.integers(1, 40)), int(rng.integers(64, 300))))
        _, total, squares, specials = wide_table.sums(x)
        whole = moments.sums(x, 0, True)
        assert total[0] == whole[1][0] and squares[0] == whole[2][0] and np.array_equal(specials, whole[3])
        assert np.array_equal(total[1], whole[1][1]) and np.array_equal(squares[1], whole[2][1])


def many(count, seed):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        one(rng)


def levels():
    """The levels that this machine runs."""
    code = "from gammabeta.kernels import binding; import json; print(json.dumps(binding._levels(binding._library())))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return [name for name, runs in json.loads(told).items() if runs]


@pytest.mark.parametrize("level", levels())
def test_random_arrays_are_integers(level):
    at_level(level, 150)


@pytest.mark.long
@pytest.mark.parametrize("level", levels())
def test_many_random_arrays_are_integers(level):
    at_level(level, 20_000)


def at_level(level, count):
    environment = {**os.environ, "GAMMABETA_LEVEL": level}
    told = subprocess.run(
        [sys.executable, str(HERE), str(count)], env=environment, capture_output=True, text=True, timeout=3000
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.split() == [level, str(count)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_table_of_very_many_columns_is_the_table_of_each(dtype):
    rng = np.random.default_rng(0)
    for rows in (1, 5, 33):
        x = rng.standard_normal((rows, 3000)).astype(dtype)
        x[:, 7], x[:, 64:130] = 0, -np.abs(x[:, 64:130])
        m = Moments.of(x)
        assert m == Moments.stack([Moments.of(x[:, i]) for i in range(3000)])
        x[0, 5], x[0, 2999] = np.inf, np.nan
        found = Moments.of(x)
        assert found[:5] == m[:5] and found.infinities.sum() == 1 and found.count[2999] == rows - 1
    assert Moments.of(np.zeros((4, 3000), dtype)).var.max() == 0
    ends = np.finfo(dtype)
    odd = np.tile(np.array([[ends.max, ends.smallest_subnormal, -ends.max, -1]], dtype).T, (3, 800))
    assert Moments.of(odd) == Moments.stack([Moments.of(odd[:, i]) for i in range(800)])


# What the kernels refuse at their edge: sizes, types, strides and numbers that do not fit.


def good():
    """A call of each kernel that takes sizes, by name, with arguments that fit."""
    x = np.ones((8, 6))
    out = np.zeros((70, 6), np.int64), np.zeros((138, 6), np.int64), np.zeros((3, 6), np.int64)
    touched = np.array([[70, 0], [138, 0]])
    three = np.zeros((206, 6), np.int64)
    room, place = folds.room(folds.FOLDS["d"].block), folds.room(folds.FOLDS["d"].workplace)
    at, long = np.arange(6) * 8, np.full(6, 8)
    runs = x, at, long, 1, 0, 0, 6
    ends = np.zeros(6), np.zeros(6), np.zeros(6, np.int64)
    ints = np.ones((8, 6), np.int64)
    spare = folds.room(wide_table._ROOM["d"])
    flat = np.zeros(6)
    return {
        "exact_table_d": (x, 6, 1, 0, 6, *out, touched, room),
        "exact_runs_d": (*runs, *out, touched, place),
        "exact_runs_and_range_d": (*runs, *ends, *out, touched, place),
        "exact_integers_l": (ints, *out, touched),
        "exact_weighted_d": (x, x, 0, *out[:2], three, out[2], np.array([[70, 0], [138, 0], [206, 0]])),
        "exact_wide_d": (
            x,
            6,
            0,
            6,
            -1,
            np.zeros((2, 6), np.int64),
            -1,
            np.zeros((2, 6), np.int64),
            out[2],
            touched,
            spare,
        ),
        "minmax_table_d": (x, *ends),
        "minmax_runs_d": (*runs, *ends),
        "exponents_d": (x, 0, 6, 6, np.array([2047, 0])),
        "finish": (np.full(6, 8), -34, out[0], -68, out[1], 0.0, 0, 6, np.zeros((3, 6)), np.zeros(6, bool)),
        "divisors": (flat, flat, flat, flat, flat, np.zeros(6)),
        "limbs_carry": (out[0], 6, np.array([0, 3]), 0, 6),
        "limbs_settle": (out[0], 6, np.array([0, 3]), 0, 6),
        "widen": (np.zeros(6, np.float16), np.zeros(6, np.float32)),
    }


NUMBERS = [-1, 0, 1, 2, 3, 5, 6, 7, 64, 10**6, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63), -(2**40)]


def spoilt(rng, argument):
    """Something else in the place of an argument."""
    if isinstance(argument, np.ndarray):
        way = rng.integers(7)
        flat = argument.reshape(-1)
        if way == 0:
            return flat[: rng.integers(0, flat.size + 1)].copy()
        if way == 1:
            return np.concatenate([flat, flat])
        if way == 2:
            return np.repeat(flat, 2)[::2]
        if way == 3:
            return argument.astype([np.float32, np.float64, np.int32, np.int64, np.uint8][rng.integers(5)])
        if way == 4 and argument.dtype == np.int64:
            return rng.choice(NUMBERS, argument.shape)
        if way == 5:
            return np.frombuffer(b"x" + argument.tobytes(), argument.dtype, flat.size, 1)
        return [None, argument.tolist(), flat[:0], argument.tobytes()][rng.integers(4)]
    return [int(rng.choice(NUMBERS)), 1.5, None, "1", 10**30, float("nan")][rng.integers(6)]


def test_good_calls_are_good():
    for name, arguments in good().items():
        binding.function(name)(*arguments)


def edge(count, seed):
    """Calls with a few spoilt arguments: an error, or something done to memory that was given for it."""
    rng = np.random.default_rng(seed)
    names, refused = list(good()), 0
    for _ in range(count):
        calls = good()
        name = names[rng.integers(len(names))]
        arguments = list(calls[name])
        for place in rng.integers(0, len(arguments), rng.integers(1, 3)):
            arguments[place] = spoilt(rng, arguments[place])
        if rng.random() < 0.05:
            arguments = arguments[:-1]
        try:
            binding.function(name)(*arguments)
        except (ValueError, TypeError, OverflowError, BufferError):
            refused += 1
    assert refused > count // 2


def test_what_does_not_fit_is_refused():
    edge(3_000, 0)


@pytest.mark.long
def test_much_that_does_not_fit_is_refused():
    edge(200_000, 1)


def test_numbers_of_the_core_are_those_of_python():
    single, double = folds.FOLDS["f"], folds.FOLDS["d"]
    assert single.lanes == double.lanes == layout.LANES and single.rows == double.rows == folds.ROWS


if __name__ == "__main__":
    many(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    sys.stdout.write(f"{binding.LEVEL} {sys.argv[1]}\n")
