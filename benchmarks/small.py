"""What a call costs beside its arithmetic: statistics, maps and scalers of small arrays.

python benchmarks/small.py          # verifies, prints the table and writes RESULTS.md
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from results import least, machine, table, write
from sklearn import preprocessing as sk

import gammabeta as gb
from gammabeta.kernels import binding

RUNS, CALLS = 200, 20


def several(call: Callable[[], object]) -> None:
    for _ in range(CALLS):
        call()


def plain_update(state: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """A running normalization in a few lines of NumPy: Chan's merge of mean and variance, in float64."""
    mean, var, count = state
    batch_mean, batch_var, n = x.mean(axis=0), x.var(axis=0), x.shape[0]
    total = count + n
    delta = batch_mean - mean
    m2 = var * count + batch_var * n + delta**2 * count * n / total
    state[:] = [mean + delta * n / total, m2 / total, total]
    return (x - state[0]) / np.sqrt(state[1] + 1e-8)


def main() -> None:
    rng = np.random.default_rng(0)
    x, one, seen = rng.normal(5, 2, (200, 30)), rng.normal(5, 2, (1, 30)), rng.normal(1, 1, (16, 17))
    m = gb.Moments.of(x)
    standard = gb.Affine.standard(m)
    np.testing.assert_allclose(standard(x), (x - x.mean(axis=0)) / x.std(axis=0), rtol=1e-12, atol=1e-12)
    state, total = [np.zeros(17), np.ones(17), np.array(1e-4)], [gb.Moments.of(seen)]

    def update() -> np.ndarray:
        total[0] = total[0] + gb.Moments.of(seen)
        return gb.Affine.standard(total[0])(seen)

    ours, theirs = gb.StandardScaler().fit(x), sk.StandardScaler().fit(x)
    cases: list[tuple[str, Callable[[], object], Callable[[], object] | None]] = [
        ("`Moments.of`, 200 × 30", lambda: gb.Moments.of(x), None),
        ("`Moments + Moments`, 30 features", lambda: m + m, None),
        ("`Affine.standard`, 30 features, statistics known", lambda: gb.Affine.standard(m), None),
        ("an `Affine` of 200 × 30", lambda: standard(x), None),
        ("update and normalize 16 × 17; by NumPy", update, lambda: plain_update(state, seen)),
        (
            "`StandardScaler.fit`, 200 × 30; scikit-learn",
            lambda: gb.StandardScaler().fit(x),
            lambda: sk.StandardScaler().fit(x),
        ),
        (
            "`StandardScaler.transform`, 1 × 30; scikit-learn",
            lambda: ours.transform(one),
            lambda: theirs.transform(one),
        ),
    ]
    rows = []
    for name, call, peer in cases:
        times = least(RUNS, *(partial(several, f) for f in (call, peer) if f))
        micros = [1e3 * t / CALLS for t in times]
        beside = [f"{micros[1]:.0f}", f"{micros[1] / micros[0]:.1f}×"] if peer else ["–", "–"]
        rows.append([name, f"{micros[0]:.1f}", *beside])
    note = f"The least of {RUNS} times {CALLS} calls; processor level {binding.LEVEL}."
    head = ["", "µs", "the peer's, µs", "over the peer"]
    write("Small arrays", f"{machine('gammabeta', 'numpy', 'scikit-learn')} {note}\n\n{table(head, rows)}")


if __name__ == "__main__":
    main()
