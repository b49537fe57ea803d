"""Decimals count as the nearest float64, whatever their width, their scale and the file that they are in."""

from decimal import Decimal, localcontext
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gammabeta as gb
from gammabeta import data
from gammabeta.data.core import arrow_numpy

KINDS = [
    pa.decimal128(9, 2),
    pa.decimal128(15, 15),
    pa.decimal128(18, 4),
    pa.decimal128(38, 2),
    pa.decimal128(38, 30),
    pa.decimal128(12, 0),
    pa.decimal128(10, -5),
    pa.decimal256(76, 40),
    pa.decimal256(20, 3),
]
if hasattr(pa, "decimal64"):  # since PyArrow 18
    KINDS += [pa.decimal32(7, 2), pa.decimal64(16, 15), pa.decimal64(18, 1)]


def values_of(kind: pa.DataType, rows: int = 400) -> list[Decimal | None]:
    """Of 1 to as many digits as there are, some missing, the extremes first."""
    random, most = Random(0), 10**kind.precision - 1
    digits = [
        most,
        -most,
        0,
        *(random.randint(-most, most) // 10 ** random.randrange(kind.precision) for _ in range(rows)),
    ]
    with localcontext() as context:
        context.prec = 100
        return [None if i % 7 == 3 else Decimal(n).scaleb(-kind.scale) for i, n in enumerate(digits)]


def column_of(kind: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    values = values_of(kind)
    column = pa.array([None if v is None else f"{v:f}" for v in values], pa.string()).cast(kind)
    # Python's float of a Decimal is the nearest one
    return column, np.array([np.nan if v is None else float(v) for v in values])


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_decimal_is_the_nearest_float64(kind):
    column, nearest = column_of(kind)
    np.testing.assert_array_equal(arrow_numpy.filled(column), nearest, strict=True)
    np.testing.assert_array_equal(arrow_numpy.filled(column[5:50]), nearest[5:50])
    np.testing.assert_array_equal(arrow_numpy.present(column), nearest[~np.isnan(nearest)])
    assert arrow_numpy.filled(column[:0]).shape == (0,)
    assert np.isnan(arrow_numpy.filled(pa.nulls(3, kind))).all()


def test_arrow_itself_is_beside_it():
    """If this fails, Arrow rounds once, and `decimals` may give way to its cast."""
    column, nearest = column_of(pa.decimal128(9, 2))
    assert (np.asarray(column.drop_null().cast(pa.float64())) != nearest[~np.isnan(nearest)]).any()


@pytest.mark.parametrize("kind", [pa.decimal128(9, 2), pa.decimal128(15, 15), pa.decimal128(38, 30)], ids=str)
@pytest.mark.parametrize("footers", [True, False])
def test_statistics_of_decimals_are_those_of_their_nearest_float64(tmp_path, kind, footers):
    column, nearest = column_of(kind)
    pq.write_table(pa.table({"x": column}), tmp_path / "x.parquet", row_group_size=50)
    assert data.moments(tmp_path / "x.parquet") == gb.Moments.of(nearest[:, None])
    found = data.extrema(tmp_path / "x.parquet", footers=footers)
    assert found.min == np.nanmin(nearest) and found.max == np.nanmax(nearest)
