"""`StandardScaler` and `MinMaxScaler` beside scikit-learn's, and beside a plain read and copy of the same bytes.

pytest -n 0 -p no:randomly benchmarks/bench_scalers.py  # verifies, times, prints the table and writes RESULTS.md
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from results import gaussian, machine, table, write
from sklearn import preprocessing as sk

import gammabeta as gb

SHAPES = [(10_000_000, 8), (1_000_000, 100), (20_000, 4096), (20, 300_000), (5, 1_000_000), (200, 30)]
WORK = ["StandardScaler.fit", "MinMaxScaler.fit", "transform", "fit_transform", "transform in place"]
PARTIES = ["plain", "scikit-learn", "gammabeta"]
_POOL = ThreadPoolExecutor(2)
_TIMES: dict[tuple[str, tuple[int, int], str], dict[str, float]] = {}


@lru_cache(maxsize=1)
def data(shape: tuple[int, int], dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """The input, and as much memory to write to, touched."""
    x = gaussian(*shape, dtype)
    return x, np.zeros_like(x)


def halves(work: Callable[..., Any], *arrays: np.ndarray) -> None:
    """A plain sweep on two threads: what memory allows."""
    middle = len(arrays[0]) // 2
    futures = [_POOL.submit(work, *(a[part] for a in arrays)) for part in (slice(None, middle), slice(middle, None))]
    for future in futures:
        future.result()


def plain(work: str, x: np.ndarray, spare: np.ndarray) -> Callable[[], Any]:
    """The same bytes, read or copied and nothing else."""
    if work.endswith(".fit"):
        return lambda: halves(np.max, x.reshape(-1))
    if work == "transform in place":
        return lambda: halves(np.copyto, spare, x)
    return lambda: halves(np.copyto, np.empty_like(x), x)


def scaler(party: str, work: str, x: np.ndarray, spare: np.ndarray) -> Callable[[], Any]:
    module = sk if party == "scikit-learn" else gb
    if work.endswith(".fit"):
        return lambda: getattr(module, work.split(".")[0])().fit(x)
    if work == "fit_transform":
        return lambda: module.StandardScaler().fit_transform(x)
    if work == "transform":
        fitted = module.StandardScaler().fit(x)
        return lambda: fitted.transform(x)
    np.copyto(spare, x)
    in_place = module.StandardScaler(copy=False).fit(spare)
    return lambda: in_place.transform(spare)


@lru_cache
def verified(shape: tuple[int, int], dtype: str) -> bool:
    """Before anything is timed: the same numbers as scikit-learn's, to what its own rounding allows."""
    part = data(shape, dtype)[0][:2_000]
    ours, theirs = (module.StandardScaler().fit(part) for module in (gb, sk))
    tolerance = 1e-6 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(ours.mean_, theirs.mean_, rtol=tolerance)
    np.testing.assert_allclose(ours.var_, theirs.var_, rtol=tolerance)
    np.testing.assert_allclose(ours.transform(part), theirs.transform(part), atol=1e3 * tolerance)
    widths = (module.MinMaxScaler().fit(part).data_range_ for module in (gb, sk))
    np.testing.assert_allclose(*widths, rtol=tolerance)
    return True


@pytest.mark.parametrize("party", PARTIES)
@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s[0]:.0e}x{s[1]}")
def test_time(benchmark: Any, shape: tuple[int, int], dtype: str, work: str, party: str) -> None:
    x, spare = data(shape, dtype)
    assert verified(shape, dtype)
    call = plain(work, x, spare) if party == "plain" else scaler(party, work, x, spare)
    small = x.size < 100_000
    benchmark.group = f"{work} {shape} {dtype}"
    # what works in place starts every round from the data
    setup = (lambda: np.copyto(spare, x)) if work == "transform in place" else None
    rounds, iterations = (200, 1 if setup else 5) if small else (7, 1)
    benchmark.pedantic(call, setup=setup, rounds=rounds, iterations=iterations, warmup_rounds=2)
    _TIMES.setdefault((work, shape, dtype), {})[party] = benchmark.stats.stats.min


def test_write_the_table() -> None:
    """Runs last: the file's order is the order of the tests."""
    rows = []
    for (work, (n, c), dtype), times in _TIMES.items():
        ours, theirs, bytes_only = times["gammabeta"], times["scikit-learn"], times["plain"]
        figures = [f"{1e3 * t:.3g}" for t in (ours, theirs, bytes_only)]
        rows.append([f"{work} {n:,} × {c:,} {dtype}", *figures, f"{theirs / ours:.1f}×", f"{bytes_only / ours:.0%}"])
    head = ["", "gammabeta ms", "scikit-learn ms", "plain sweep ms", "over scikit-learn", "of the sweep's speed"]
    note = (
        "The least of 7 runs (of 200 for the smallest shape). A plain sweep is `np.max` of the bytes for `fit`, a copy "
        "into a new array for `transform` and `fit_transform`, one into memory at hand for `transform` in place, all "
        "on two threads.\n\n"
    )
    write("Scalers", f"{machine('gammabeta', 'numpy', 'scikit-learn')} {note}{table(head, sorted(rows))}")
