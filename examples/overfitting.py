"""Does batch norm prevent overfitting? The gap between training and test accuracy, with it and without it, measured.

    python examples/overfitting.py

Three real tables that scikit-learn ships: digits, breast cancer and wine. Of each, few rows are trained on, so that a
network can learn them by heart, and the others are the test. The columns are standardized by the training rows. The
network has two layers of 64 ReLUs; each of the two ways is trained at two learning rates and shown at the rate with
the least training loss. Both ways of a seed share the split, the first weights and the order of the batches, so that
the last column is a mean of paired differences, with its standard error.

The second table shows what batch norm does buy: the steps until the training accuracy is 95 %, at each learning rate,
for a shallow and a deep network on digits.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small matrices: a second thread only costs

import argparse
import time
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from gammabeta import StandardScaler
from gammabeta.lab.digits import Network, cross_entropy

TABLES = {"digits": (load_digits, 300), "breast cancer": (load_breast_cancer, 100), "wine": (load_wine, 60)}
WAYS = ("none", "batch norm")
RATES = (0.1, 0.3)
BATCHES = (10, 50)
DEEP = ((2, "relu"), (8, "sigmoid"))
GOAL, FAST = 0.95, (0.1, 0.3, 1.0, 3.0)


class Run(NamedTuple):
    """The end of a training: the training loss, both accuracies, and the step at which GOAL was reached."""

    loss: float
    train: float
    test: float
    reached: float


def split(table: str, seed: int) -> tuple[np.ndarray, ...]:
    """Training rows and labels, test rows and labels; standardized by the training rows."""
    load, rows = TABLES[table]
    x, labels = load(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    train, test = order[:rows], order[rows:]
    scaler = StandardScaler().fit(x[train])
    return scaler.transform(x[train]), labels[train], scaler.transform(x[test]), labels[test]


def train(
    table: str,
    network: tuple[int, str],
    way: str,
    rate: float,
    batch: int,
    steps: int,
    seed: int,
    to_goal: bool = False,
) -> Run:
    """A training; it ends early where the logits are no longer finite and, `to_goal`, once GOAL is reached."""
    x, labels, held, held_labels = split(table, seed)
    rng, reached = np.random.default_rng(1000 + seed), np.inf
    net = Network(*network, way, rng, features=x.shape[1], classes=int(labels.max()) + 1)
    order = np.empty(0, np.int64)
    for step in range(1, steps + 1):
        if len(order) < batch:
            order = rng.permutation(len(x))
        rows, order = order[:batch], order[batch:]
        with np.errstate(over="ignore", invalid="ignore"):
            logits = net.forward(x[rows], training=True)
            if not np.isfinite(logits).all():
                break
            net.backward(cross_entropy(logits, labels[rows])[1], rate)
        if to_goal and step % 10 == 0 and net.accuracy(x, labels) >= GOAL:
            reached = step
            break
    with np.errstate(all="ignore"):
        loss = cross_entropy(net.forward(x, training=False), labels)[0]
    return Run(loss if np.isfinite(loss) else np.inf, net.accuracy(x, labels), net.accuracy(held, held_labels), reached)


def best(table: str, way: str, batch: int, steps: int, seeds: int) -> list[Run]:
    """The runs at the learning rate with the least training loss."""
    runs = [[train(table, (2, "relu"), way, rate, batch, steps, s) for s in range(seeds)] for rate in RATES]
    return min(runs, key=lambda found: np.mean([run.loss for run in found]))


def gaps(steps: int, seeds: int) -> None:
    """Print the gaps between training and test accuracy."""
    print(f"{steps} steps, {seeds} seeds; gap = training accuracy − test accuracy, in percentage points\n")
    print(f"{'table':16}{'batch':>6}{'':4}{'norm':12}{'train':>8}{'test':>8}{'gap':>7}{'gap with − without':>22}")
    for table in TABLES:
        for batch in BATCHES:
            before = np.zeros(seeds)
            for way in WAYS:
                runs = np.array([run[1:3] for run in best(table, way, batch, steps, seeds)]) * 100
                gap = runs[:, 0] - runs[:, 1]
                apart = gap - before
                paired = "" if way == "none" else f"{apart.mean():+.1f} ± {apart.std(ddof=1) / seeds**0.5:.1f}"
                means = runs.mean(axis=0)
                print(f"{table:16}{batch:6}{'':4}{way:12}{means[0]:8.1f}{means[1]:8.1f}{gap.mean():7.1f}{paired:>22}")
                before = gap


def speeds(steps: int, seeds: int) -> None:
    """Print the median steps to GOAL at each learning rate."""
    print(f"\ndigits, batches of 50: median steps to {GOAL:.0%} training accuracy, of {steps}, by learning rate\n")
    print(f"{'network':22}{'norm':12}{''.join(f'{rate:>8}' for rate in FAST)}")
    for depth, activation in DEEP:
        for way in WAYS:
            medians = [
                np.median(
                    [train("digits", (depth, activation), way, r, 50, steps, s, True).reached for s in range(seeds)]
                )
                for r in FAST
            ]
            shown = "".join(f"{m:8.0f}" if np.isfinite(m) else f"{'never':>8}" for m in medians)
            print(f"{f'{depth} layers, {activation}':22}{way:12}{shown}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    start = time.perf_counter()
    gaps(arguments.steps, arguments.seeds)
    speeds(arguments.steps, min(arguments.seeds, 5))
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
