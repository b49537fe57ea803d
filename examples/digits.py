"""What batch norm does to training: deep networks on handwritten digits, in NumPy with hand-written backpropagation.

    python examples/digits.py

scikit-learn's digits: 1797 real 8×8 pictures, of which 450 are held out. The network is dense layers of 64 units, each
followed by a sigmoid or a ReLU; between the two comes nothing, or batch norm, or batch norm whose γ and β stay 1 and 0.
Each is trained at several learning rates over several seeds, and shown at the rate that is best for it on the training
data. The network is that of `gammabeta.lab.digits`, which `gammabeta lab` trains live. Compare Ioffe and Szegedy
(2015), figure 1 and table 1.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # matrices of 60×64: a second thread only costs

import argparse
import time
from dataclasses import dataclass

import numpy as np

from gammabeta.lab.digits import BATCH, WAYS, Trainer

RATES = (0.1, 0.3, 1.0)
NETWORKS = ((2, "sigmoid"), (8, "sigmoid"), (16, "relu"))


@dataclass
class Run:
    """A training: held-out accuracy along the way, and both accuracies at its end."""

    held_out: list[tuple[int, float]]
    train: float
    test: float

    def steps_to(self, accuracy: float) -> float:
        return next((float(step) for step, reached in self.held_out if reached >= accuracy), np.inf)


def train(depth: int, bend: str, way: str, rate: float, steps: int, seed: int) -> Run:
    """A training, looked at every 20 steps; it ends early where the logits are no longer finite."""
    trainer, held = Trainer(depth, bend, way, rate, seed), []
    for step in range(1, steps + 1):
        if np.isnan(trainer.step()):
            break
        if step % 20 == 0:
            held.append((step, trainer.held_out()))
    return Run(held, trainer.network.accuracy(trainer.x, trainer.labels), trainer.held_out())


def best(depth: int, bend: str, way: str, steps: int, seeds: int) -> tuple[float, list[Run]]:
    """The rate that is best by what the training data say, so that the held-out ones stay held out, and its runs."""
    runs = {rate: [train(depth, bend, way, rate, steps, seed) for seed in range(seeds)] for rate in RATES}
    rate = max(runs, key=lambda r: np.mean([run.train for run in runs[r]]))
    return rate, runs[rate]


def main() -> None:
    """Print a table for each depth and bend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    start, goal = time.perf_counter(), 0.9
    print(f"{arguments.steps} steps of {BATCH} pictures, {arguments.seeds} seeds: mean (least to greatest)\n")
    print(f"{'network':22}{'norm':14}{'rate':>6}{'held out':>20}{'train':>8}{'gap':>8}{f'steps to {goal:.0%}':>16}")
    for depth, bend in NETWORKS:
        for way in WAYS:
            rate, runs = best(depth, bend, way, arguments.steps, arguments.seeds)
            test, seen = (np.array([getattr(run, name) for run in runs]) for name in ("test", "train"))
            median = np.median([run.steps_to(goal) for run in runs])
            to_goal = f"{median:.0f}" if np.isfinite(median) else "never"
            spread = f"{test.mean():.1%} ({test.min():.1%}–{test.max():.1%})"
            print(
                f"{f'{depth} layers, {bend}':22}{way:14}{rate:6}{spread:>20}{seen.mean():8.1%}"
                f"{seen.mean() - test.mean():8.1%}{to_goal:>16}",
                flush=True,
            )
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
