"""pandas' nullable and Arrow columns, many at once: the numbers that column by column gives."""

import numpy as np
import pandas as pd
import pytest

import gammabeta as gb
from gammabeta.backends import nullable

RANDOM = np.random.default_rng(2)
TYPES = ["Int8", "Int64", "UInt64", "Float32", "Float64", "boolean", "int32[pyarrow]", "int64[pyarrow]"]
TYPES += ["halffloat[pyarrow]", "float[pyarrow]", "double[pyarrow]", "bool[pyarrow]"]


def frame_of(dtype, nulls):
    frame = pd.DataFrame(RANDOM.integers(0, 2 if "bool" in dtype else 90, (7, 3)), columns=list("abc")).astype(dtype)
    if nulls:
        frame.iloc[2, 0] = frame.iloc[3, 0] = frame.iloc[6, 2] = None
    return frame


@pytest.mark.parametrize("nulls", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_all_types(dtype, nulls):
    frame = frame_of(dtype, nulls)
    plain = np.array(
        [[np.nan if value is pd.NA else float(value) for value in row] for row in frame.astype(object).to_numpy()]
    )
    mixed = frame.assign(d=plain[:, 0] * 2).iloc[:, [1, 3, 0, 2]]
    for scaler in (gb.StandardScaler, gb.MinMaxScaler):
        expected = scaler().fit(plain[:, [1, 0, 0, 2]] * [1, 2, 1, 1])
        fitted = scaler().fit(mixed)
        statistic = expected._statistic
        assert getattr(fitted, statistic) == getattr(expected, statistic)
        image = fitted.transform(mixed)
        np.testing.assert_array_equal(image, expected.transform(plain[:, [1, 0, 0, 2]] * [1, 2, 1, 1]))
        same = scaler().set_output(transform="same").fit(mixed).transform(mixed)
        assert [str(t) for t in same.dtypes][1] == "float64"
        np.testing.assert_array_equal(same.isna().to_numpy(), np.isnan(image))


@pytest.mark.parametrize("dtype", ["Int64", "UInt64", "int64[pyarrow]"])
def test_integers_that_no_float_holds(dtype):
    big = 2**53 + 1
    frame = pd.DataFrame({"a": [1, big, None], "b": [5, 6, 7]}, dtype=dtype)
    columns = list(nullable.arrays(frame))
    kind = nullable.number_type(frame.dtypes["a"])
    assert nullable.floats(columns[:1], kind) is None
    np.testing.assert_array_equal(nullable.floats(columns[1:], kind), [[5.0], [6.0], [7.0]])
    moments = gb.StandardScaler().fit(frame).moments_
    assert moments[0] == gb.Moments.of(np.array([1, big]))
    assert moments[1] == gb.Moments.of(np.array([5, 6, 7]))


def test_types_that_are_none_of_numbers():
    for dtype in ("string", "category", "datetime64[ns]", "float64", "string[pyarrow]", "timestamp[ns][pyarrow]"):
        assert nullable.number_type(pd.Series([], dtype=dtype).dtype) is None
