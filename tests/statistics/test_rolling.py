"""Statistics of sliding windows: each that of its own rows, whatever came before."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exact_cases import DTYPES, hostile
from gammabeta import DataError, KindError, Moments, rolling
from gammabeta.kernels import rolling as rolling_kernel
from gammabeta.kernels import thread_pool

VALUES = st.floats(width=64) | st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float)


def check(x: np.ndarray, window: int, step: int = 1, ddof: float = 0, nan: Any = "omit") -> None:
    """Each window's statistics are those of `Moments.of` of its rows."""
    found = rolling(x, window, step, ddof=ddof, nan=nan)
    starts = range(0, len(x) - window + 1, step)
    assert found.mean.shape == (len(starts), *x.shape[1:])
    for j, start in enumerate(starts):
        own = Moments.of(x[start : start + window], nan=nan)
        np.testing.assert_array_equal(found.count[j], own.count)
        np.testing.assert_array_equal(found.mean[j], own.mean)
        np.testing.assert_array_equal(found.var[j], own.with_ddof(ddof).var)
        np.testing.assert_array_equal(found.std[j], own.with_ddof(ddof).std)


@given(
    st.lists(VALUES, min_size=1, max_size=25),
    st.integers(1, 25),
    st.integers(1, 5),
    st.sampled_from([0, 1, 0.3]),
    st.sampled_from(["omit", "propagate"]),
)
def test_any_series(values: list[float], window: int, step: int, ddof: float, rule: Any) -> None:
    check(np.array(values), min(window, len(values)), step, ddof, rule)


@pytest.mark.parametrize("name", list(hostile(1)))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_hostile_series(name: str, dtype: type) -> None:
    with np.errstate(over="ignore"):
        x = hostile(300, seed=1)[name].astype(dtype)
    check(x, 17)
    check(x, 40, 55, ddof=1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type(dtype: Any) -> None:
    rng = np.random.default_rng(2)
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        x = rng.integers(info.min, info.max, (40, 2), dtype, endpoint=True)
    else:
        x = (rng.standard_normal((40, 2)) * 3).astype(dtype)
    check(x, 7)


def test_blocks_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(3).standard_normal((700, 2, 2)).cumsum(axis=0)
    x[100, 0, 1], x[300, 1, 1] = np.nan, np.inf
    whole = rolling(x, 30)
    monkeypatch.setattr(rolling_kernel, "BLOCK", 11)
    with thread_pool.limit(2):
        cut = rolling(x, 30)
    for name in ("count", "mean", "var", "std"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name))
    check(x, 30, 3)


def test_nothing_drifts_after_a_million_steps() -> None:
    # a spike of 1e8, then small numbers: the last window is its own, to the bit
    rng = np.random.default_rng(4)
    x = 1e-3 * rng.standard_normal(1_000_000)
    x[50] = 1e8
    found = rolling(x, 100, ddof=1)
    for j in (50, 51, 500_000, len(x) - 100):
        own = Moments.of(x[j : j + 100])
        assert (found.mean[j], found.std[j]) == (own.mean, own.with_ddof(1).std)
    assert found.std[51:].min() > 0.5e-3 and found.std[51:].max() < 2e-3


def test_an_infinity_is_forgotten() -> None:
    x = np.array([1.0, np.inf, 2.0, -np.inf, 3.0, 5.0, np.nan, 1.0])
    found = rolling(x, 2)
    np.testing.assert_array_equal(found.mean, [np.inf, np.inf, -np.inf, -np.inf, 4.0, 5.0, 1.0])
    np.testing.assert_array_equal(found.count, [2, 2, 2, 2, 2, 1, 1])
    assert np.isnan(rolling(x, 4).mean[0])
    np.testing.assert_array_equal(rolling(x, 2, nan="propagate").mean[-2:], [np.nan, np.nan])


def test_layout_does_not_matter() -> None:
    x = np.random.default_rng(6).standard_normal((50, 3))
    expected = rolling(x, 9).std
    locked = x.copy()
    locked.flags.writeable = False
    for other in (np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], x.astype(">f8"), locked):
        np.testing.assert_array_equal(rolling(other, 9).std, expected)
    assert rolling(x[:, :0], 9).mean.shape == (42, 0)


def test_what_is_wrong_is_said() -> None:
    x = np.array([1.0, np.nan, 3.0])
    with pytest.raises(DataError, match="window must be a positive integer, got 0"):
        rolling(x, 0)
    with pytest.raises(DataError, match=r"step must be a positive integer, got 1\.5"):
        rolling(x, 2, 1.5)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="window must be no longer than the series' 3 rows, got 4"):
        rolling(x, 4)
    with pytest.raises(DataError, match="ddof must be a finite number, got nan"):
        rolling(x, 2, ddof=np.nan)
    with pytest.raises(DataError, match=r"no NaN with nan='raise', got 1, the first in row 1"):
        rolling(x, 2, nan="raise")
    with pytest.raises(DataError, match="nan must be one of omit"):
        rolling(x, 2, nan="drop")  # type: ignore[arg-type]
    with pytest.raises(KindError, match="real numbers"):
        rolling(x + 0j, 2)


def test_what_changes_while_it_is_summed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.ones(100)
    looked = rolling_kernel.one_column.span

    def look_and_change(column: np.ndarray) -> tuple[int, int]:
        found = looked(column)
        x[50] = 1e300
        return found

    monkeypatch.setattr(rolling_kernel.one_column, "span", look_and_change)
    with pytest.raises(ValueError, match="the data changed while it was summed"):
        rolling(x, 10)
