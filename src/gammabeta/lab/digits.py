"""Deep networks on handwritten digits, in NumPy with hand-written backpropagation: dense layers, batch norm, a bend.

scikit-learn's digits: 1797 real 8×8 pictures, of which 450 are held out. The lab's chapter "Learning γ and β" trains
them live, `examples/digits.py` over several seeds.
"""

from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.conventions import TORCH
from gammabeta.numpy import BatchNorm

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

WIDTH, BATCH, CLASSES = 64, 60, 10
HELD_OUT = 450
WAYS = ("none", "batch norm", "γ = 1, β = 0")


@dataclass
class Dense:
    """y = x·w + b. x: (n, in), w: (in, out)."""

    w: Floats
    b: Floats
    x: Floats = field(default_factory=lambda: np.empty(0))

    def forward(self, x: Floats) -> Floats:
        self.x = x
        return x @ self.w + self.b

    def backward(self, dy: Floats, rate: float) -> Floats:
        dx = dy @ self.w.T
        self.w -= rate * (self.x.T @ dy)
        self.b -= rate * dy.sum(axis=0)
        return dx


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + e^−x)."""
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -50, 50))))


class Network:
    """Dense layers, each with its norm, if any, and its bend; the last gives the logits.

    Args:
        depth: how many layers have a bend.
        bend: "sigmoid" or "relu".
        way: one of `WAYS`: without a norm, with batch norm, or with one whose γ and β stay 1 and 0.
        rng: where the weights come from.
        features, classes: the numbers of inputs and of logits.

    Attributes:
        bent: what each bend gave in the last `forward`, (n, WIDTH) each.
    """

    def __init__(
        self, depth: int, bend: str, way: str, rng: np.random.Generator, features: int = 64, classes: int = CLASSES
    ) -> None:
        sizes = [features, *[WIDTH] * depth, classes]
        # Glorot's scale for the sigmoid, He's for ReLU.
        gain = 2.0 if bend == "relu" else 1.0
        self.dense = [Dense(rng.normal(0, np.sqrt(gain / a), (a, b)), np.zeros(b)) for a, b in pairwise(sizes)]
        self.norms = [BatchNorm(WIDTH, convention=TORCH) if way != "none" else None for _ in range(depth)]
        self.bend, self.learns = bend, way == "batch norm"
        self.bent: list[Floats] = []

    def forward(self, x: Floats, training: bool) -> Floats:
        self.bent = []
        for dense, norm in zip(self.dense, self.norms, strict=False):
            x = dense.forward(x)
            if norm is not None:
                x = norm.forward(x, training)
            x = sigmoid(x) if self.bend == "sigmoid" else np.maximum(x, 0)
            self.bent.append(x)
        return self.dense[-1].forward(x)

    def backward(self, slope: Floats, rate: float) -> None:
        slope = self.dense[-1].backward(slope, rate)
        for dense, norm, y in zip(self.dense[-2::-1], self.norms[::-1], self.bent[::-1], strict=True):
            slope = slope * (y * (1 - y) if self.bend == "sigmoid" else y > 0)
            if norm is not None:
                slope, dgamma, dbeta = norm.backward(slope)
                if self.learns:
                    norm.gamma = norm.gamma - rate * dgamma
                    norm.beta = norm.beta - rate * dbeta
            slope = dense.backward(slope, rate)

    def accuracy(self, x: Floats, labels: Labels) -> float:
        """The share that is right, in evaluation."""
        with np.errstate(over="ignore", invalid="ignore"):
            return float((self.forward(x, training=False).argmax(axis=1) == labels).mean())


def cross_entropy(logits: Floats, labels: Labels) -> tuple[float, Floats]:
    """The mean cross-entropy, and its gradient."""
    picked = np.arange(len(labels)), labels
    below = logits - logits.max(axis=1, keepdims=True)
    p = np.exp(below)
    total = p.sum(axis=1, keepdims=True)
    loss = float((np.log(total[:, 0]) - below[picked]).mean())
    p /= total
    p[picked] -= 1
    return loss, p / len(labels)


@cache
def pictures() -> tuple[Floats, Labels]:
    """All pictures, (1797, 64), from 0 to 1, and their labels."""
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    return found.data / 16, found.target


def split(seed: int) -> tuple[Any, ...]:
    """Pictures and labels, shuffled: 1347 to train on, 450 held out."""
    x, labels = pictures()
    order = np.random.default_rng(seed).permutation(len(x))
    x, labels = x[order], labels[order]
    return x[HELD_OUT:], labels[HELD_OUT:], x[:HELD_OUT], labels[:HELD_OUT]


class Trainer:
    """Stochastic gradient descent over shuffled batches, a step at a time.

    Args:
        depth, bend, way: the network's.
        rate: the learning rate.
        seed: what is held out, the first weights, and the order of the batches.
    """

    def __init__(self, depth: int, bend: str, way: str, rate: float, seed: int) -> None:
        self.rate, self._rng = rate, np.random.default_rng(1000 + seed)
        self.x, self.labels, self.held_x, self.held_labels = split(seed)
        self.network = Network(depth, bend, way, self._rng)
        self._order = np.empty(0, np.int64)

    def step(self) -> float:
        """The loss of the next batch, before what it teaches; NaN, and nothing is learned, where it is not finite."""
        if len(self._order) < BATCH:
            self._order = self._rng.permutation(len(self.x))
        batch, self._order = self._order[:BATCH], self._order[BATCH:]
        with np.errstate(over="ignore", invalid="ignore"):
            logits = self.network.forward(self.x[batch], training=True)
            if not np.isfinite(logits).all():
                return np.nan
            loss, slope = cross_entropy(logits, self.labels[batch])
            self.network.backward(slope, self.rate)
        return loss

    def held_out(self) -> float:
        """The accuracy on the pictures that were held out."""
        return self.network.accuracy(self.held_x, self.held_labels)
