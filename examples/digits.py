"""What batch norm does to training: deep networks on handwritten digits, in NumPy with hand-written backpropagation.

    python examples/digits.py

scikit-learn's digits: 1797 real 8×8 pictures, of which 450 are held out. The network is dense layers of 64 units, each
followed by a sigmoid or a ReLU; between the two comes nothing, or batch norm, or batch norm whose γ and β stay 1 and 0.
Each is trained at several learning rates over several seeds, and shown at the rate that is best for it on the training
data. Compare Ioffe and Szegedy (2015), figure 1 and table 1.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # matrices of 60×64: a second thread only costs

import argparse
import time
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from sklearn.datasets import load_digits

import gammabeta as gb
from gammabeta.numpy import BatchNorm

WIDTH, BATCH, CLASSES = 64, 60, 10
WAYS = ("none", "batch norm", "γ = 1, β = 0")
CONVENTION = gb.TORCH


@dataclass
class Dense:
    """y = x·w + b. x: (n, in), w: (in, out)."""

    w: np.ndarray
    b: np.ndarray
    x: np.ndarray = field(default_factory=lambda: np.empty(0))

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return x @ self.w + self.b

    def backward(self, dy: np.ndarray, rate: float) -> np.ndarray:
        dx = dy @ self.w.T
        self.w -= rate * (self.x.T @ dy)
        self.b -= rate * dy.sum(axis=0)
        return dx


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -50, 50)))


class Network:
    """Dense layers, each with its norm, if any, and its bend; the last gives the logits."""

    def __init__(self, depth: int, bend: str, way: str, rng: np.random.Generator) -> None:
        sizes = [64, *[WIDTH] * depth, CLASSES]
        # Glorot's scale for the sigmoid, He's for ReLU.
        gain = 2.0 if bend == "relu" else 1.0
        self.dense = [Dense(rng.normal(0, np.sqrt(gain / a), (a, b)), np.zeros(b)) for a, b in pairwise(sizes)]
        self.norms = [BatchNorm(WIDTH, convention=CONVENTION) if way != "none" else None for _ in range(depth)]
        self.bend, self.learns = bend, way == "batch norm"
        self.bent: list[np.ndarray] = []

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        self.bent = []
        for dense, norm in zip(self.dense, self.norms, strict=False):
            x = dense.forward(x)
            if norm is not None:
                x = norm.forward(x, training)
            x = sigmoid(x) if self.bend == "sigmoid" else np.maximum(x, 0)
            self.bent.append(x)
        return self.dense[-1].forward(x)

    def backward(self, slope: np.ndarray, rate: float) -> None:
        slope = self.dense[-1].backward(slope, rate)
        for dense, norm, y in zip(self.dense[-2::-1], self.norms[::-1], self.bent[::-1], strict=True):
            slope = slope * (y * (1 - y) if self.bend == "sigmoid" else y > 0)
            if norm is not None:
                slope, dgamma, dbeta = norm.backward(slope)
                if self.learns:
                    norm.gamma = norm.gamma - rate * dgamma
                    norm.beta = norm.beta - rate * dbeta
            slope = dense.backward(slope, rate)

    def accuracy(self, x: np.ndarray, labels: np.ndarray) -> float:
        return float((self.forward(x, training=False).argmax(axis=1) == labels).mean())


def softmax_slope(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The gradient of the mean cross-entropy."""
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(labels)), labels] -= 1
    return p / len(labels)


@dataclass
class Run:
    """A training: held-out accuracy along the way, and both accuracies at its end."""

    held_out: list[tuple[int, float]]
    train: float
    test: float

    def steps_to(self, accuracy: float) -> float:
        return next((float(step) for step, reached in self.held_out if reached >= accuracy), np.inf)


def split(seed: int) -> tuple[np.ndarray, ...]:
    """Pictures from 0 to 1 and labels: 1347 to train on, 450 held out."""
    x, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    x, labels = x[order] / 16, labels[order]
    return x[450:], labels[450:], x[:450], labels[:450]


def train(depth: int, bend: str, way: str, rate: float, steps: int, seed: int) -> Run:
    """Stochastic gradient descent over shuffled batches."""
    rng = np.random.default_rng(1000 + seed)
    x, labels, held_x, held_labels = split(seed)
    network = Network(depth, bend, way, rng)
    held, order = [], np.empty(0, np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(1, steps + 1):
            if len(order) < BATCH:
                order = rng.permutation(len(x))
            batch, order = order[:BATCH], order[BATCH:]
            logits = network.forward(x[batch], training=True)
            if not np.isfinite(logits).all():
                break
            network.backward(softmax_slope(logits, labels[batch]), rate)
            if step % 20 == 0:
                held.append((step, network.accuracy(held_x, held_labels)))
        return Run(held, network.accuracy(x, labels), network.accuracy(held_x, held_labels))


def main() -> None:
    """Print a table for each depth and bend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    start, goal = time.perf_counter(), 0.9
    print(f"{arguments.steps} steps of {BATCH} pictures, {arguments.seeds} seeds: mean (least to greatest)\n")
    print(f"{'network':22}{'norm':14}{'rate':>6}{'held out':>20}{'train':>8}{'gap':>8}{f'steps to {goal:.0%}':>16}")
    for depth, bend in ((2, "sigmoid"), (8, "sigmoid"), (16, "relu")):
        for way in WAYS:
            runs = {
                rate: [train(depth, bend, way, rate, arguments.steps, seed) for seed in range(arguments.seeds)]
                for rate in (0.1, 0.3, 1.0)
            }
            # The rate is chosen by what the training data say, so that the held-out ones stay held out.
            rate = max(runs, key=lambda r: np.mean([run.train for run in runs[r]]))
            test, seen = (np.array([getattr(run, name) for run in runs[rate]]) for name in ("test", "train"))
            median = np.median([run.steps_to(goal) for run in runs[rate]])
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
