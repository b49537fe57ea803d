"""Statistics by group, of sliding windows and of folds, beside polars, pandas and scikit-learn.

python benchmarks/groups.py                # verifies, times, prints the tables and writes RESULTS.md
python benchmarks/groups.py --small        # a tenth of the rows, and nothing is kept
"""

import argparse
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from results import gaussian, machine, table, write
from sklearn import preprocessing
from sklearn.model_selection import KFold

import gammabeta as gb

WINDOW = 100


def best(work: Callable[[], Any], rounds: int) -> float:
    """The least time of several, in seconds."""
    taken = []
    for _ in range(rounds):
        start = perf_counter()
        work()
        taken.append(perf_counter() - start)
    return min(taken)


def ours(x: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    g = gb.Moments.of(x, groups=labels)
    return g.labels, g.moments.mean, g.moments.with_ddof(1).std


def theirs(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.group_by("label").agg(pl.col("x").mean().alias("mean"), pl.col("x").std().alias("std"))


def by_group(rows: int) -> str:
    """Mean and deviation of each group, of labels in no order."""
    rng = np.random.default_rng(0)
    x, lines = rng.standard_normal(rows) * 3 + 7, []
    for groups in (1_000, rows // 100):
        labels = rng.integers(0, groups, rows)
        frame = pl.DataFrame({"label": labels, "x": x})
        names, mean, std = ours(x, labels)
        for at in rng.integers(0, groups, 5):
            own = gb.Moments.of(x[labels == names[at]])
            assert (mean[at], std[at]) == (own.mean, own.with_ddof(1).std)
        found = theirs(frame).sort("label")
        assert (found["label"].to_numpy() == names).all()
        error = np.nanmax(np.abs(found["std"].to_numpy() / std - 1))
        room = np.empty_like(x), np.empty_like(labels)
        copy = best(lambda: (np.copyto(room[0], x), np.copyto(room[1], labels)), 2)  # noqa: B023
        polars = best(lambda: theirs(frame), 2)  # noqa: B023
        mine = best(lambda: ours(x, labels), 2)  # noqa: B023
        times = [f"{t:.2f}" for t in (copy, polars, mine)]
        lines.append([f"{groups:,}", *times, f"{mine / polars:.2f}", f"{error:.0e}"])
    heads = ["groups", "a copy, s", "polars, s", "`Moments.of`, s", "over polars", "polars' std off by"]
    return (
        f"**By group**: mean and sample deviation of one float64 column of {rows:,} rows by int64 labels in no order."
        f"\n\n{table(heads, lines)}"
    )


def series(rows: int) -> dict[str, np.ndarray]:
    z, at = np.random.default_rng(1).standard_normal(rows), np.arange(rows)
    return {
        "N(0, 1)": z,
        "N(1e8, 1)": 1e8 + z,
        "a spike of 1e8, then N(0, 1e-3)": np.where(at == 50, 1e8, 1e-3 * z),
        "bursts of 1e7 in N(0, 1e-2)": np.where(at % 1000 == 0, 1e7, 1e-2) * z,
        "fading from 1 to 1e-17": z * np.exp(-40 * at / rows),
    }


def windows(rows: int) -> str:
    """Rolling mean and deviation: how far each is from the exact one at the worst window."""
    lines = []
    for name, x in series(rows).items():
        exact = gb.rolling(x, WINDOW, ddof=1)
        for at in np.random.default_rng(2).integers(0, len(exact.std), 20):
            own = gb.Moments.of(x[at : at + WINDOW])
            assert (exact.mean[at], exact.std[at]) == (own.mean, own.with_ddof(1).std)
        frame, column = pd.Series(x), pl.Series(x)
        peers = {
            "pandas": (lambda: frame.rolling(WINDOW).mean(), lambda: frame.rolling(WINDOW).std()),  # noqa: B023
            "polars": (lambda: column.rolling_mean(WINDOW), lambda: column.rolling_std(WINDOW)),  # noqa: B023
        }
        off, times = [], []
        for mean, std in peers.values():
            means, stds = (work().to_numpy()[WINDOW - 1 :] for work in (mean, std))
            off.append(f"{np.max(np.abs(means - exact.mean) / exact.std):.0e}")
            off.append(f"{np.max(np.abs(stds / exact.std - 1)):.0e}")
            times.append(f"{1e3 * best(lambda: (mean(), std()), 3):.0f}")  # noqa: B023
        mine = 1e3 * best(lambda: gb.rolling(x, WINDOW, ddof=1), 3)  # noqa: B023
        lines.append([name, *off, *times, f"{mine:.0f}"])
    heads = [
        "series",
        "pandas' mean",
        "its std",
        "polars' mean",
        "its std",
        "pandas, ms",
        "polars, ms",
        "`rolling`, ms",
    ]
    return (
        f"**Sliding windows** of {WINDOW} over {rows:,} rows: the largest error, of means in standard deviations, "
        f"of deviations relative; `rolling` has none, each of its values being the correctly rounded one.\n\n"
        f"{table(heads, lines)}"
    )


def folds(rows: int) -> str:
    """The scalers of ten folds."""
    x, cv = gaussian(rows, 20, "float64"), KFold(10)
    found = list(gb.fold_scalers(x, cv=cv))
    for train, _, scaler in found[:2]:
        honest = gb.StandardScaler().fit(x[train])
        assert scaler.moments_ == honest.moments_
        assert (scaler.scale_ == honest.scale_).all()

    def refit(scaler: Any) -> None:
        for train, _ in cv.split(x):
            scaler.fit(x[train])

    parties = {
        "scikit-learn, a fit for each fold": lambda: refit(preprocessing.StandardScaler()),
        "gammabeta, a fit for each fold": lambda: refit(gb.StandardScaler()),
        "`fold_scalers`": lambda: list(gb.fold_scalers(x, cv=cv)),
    }
    lines = [[name, f"{best(work, 2):.2f}"] for name, work in parties.items()]
    shown = table(["", "seconds"], lines)
    return f"**Folds**: the scalers of ten folds of {rows:,} rows and 20 float64 columns.\n\n{shown}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tenth of the rows; nothing is kept")
    small = parser.parse_args().small
    part = 10 if small else 1
    parts = [by_group(10**8 // part), windows(10**6 // part), folds(10**6 // part)]
    used = machine("numpy", "pandas", "polars", "scikit-learn")
    text = "\n\n".join([*parts, f"The best of two or three rounds. {used}"])
    print(text) if small else write("Groups, windows and folds", text)


if __name__ == "__main__":
    main()
