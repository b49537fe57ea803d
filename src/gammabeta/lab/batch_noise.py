"""How much the statistics of mini-batches of digits scatter: their means and variances, and the running mean."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import gammabeta as gb
from gammabeta.conventions import TORCH
from gammabeta.lab import digits
from gammabeta.numpy import BatchNorm

Floats = NDArray[np.float64]

SIZES = np.array([2, 4, 8, 16, 32, 64, 128, 256, 512])
REPEATS = 200
PIXEL = 20  # the fifth of the third row: ink in some digits, none in others


class Spread(NamedTuple):
    """The standard deviation of a statistic from batch to batch, for each of `SIZES`."""

    mean: Floats
    variance: Floats


class Followed(NamedTuple):
    """A layer's way through mini-batches: of each its mean, and the layer's running mean; the last one normalized."""

    means: Floats
    running: Floats
    in_training: Floats
    in_evaluation: Floats


def ink(per_channel: bool) -> NDArray[np.float32]:
    """All pictures' ink, from 0 to 16: of one pixel (1797, 1), or of all (1797, 64)."""
    x = (digits.pictures()[0] * 16).astype(np.float32)
    return x if per_channel else x[:, PIXEL : PIXEL + 1]


def measured(per_channel: bool) -> Spread:
    """The scatter of means and variances, measured in 200 random batches of each size."""
    x, rng = ink(per_channel), np.random.default_rng(0)
    found = []
    for n in SIZES:
        batches = x[rng.integers(0, len(x), (n, REPEATS))]
        each = gb.Moments.of(batches, axis=(0, 2))
        found.append([float(gb.Moments.of(values).std) for values in (each.mean, each.var)])
    return Spread(*np.array(found).T)


def law(per_channel: bool) -> Spread:
    """The scatter that the law 1/√n predicts, for the mean and for the mean square distance from the mean of all."""
    x = ink(per_channel)
    everything = gb.Moments.of(x, axis=(0, 1))
    of_each = gb.Moments.of(x, axis=1).mean, gb.Moments.of((x - everything.mean) ** 2, axis=1).mean
    return Spread(*(float(gb.Moments.of(values).std) / np.sqrt(SIZES) for values in of_each))


def follow(per_channel: bool, n: int, decay: float, batches: int = 60) -> Followed:
    """A batch-norm layer's way through mini-batches of n pictures."""
    x, rng = ink(per_channel), np.random.default_rng(1)
    layer = BatchNorm(1, axis=(0, 2), convention=TORCH.replace(decay=decay))
    means, running = [], []
    for _ in range(batches):
        batch: Any = x[rng.integers(0, len(x), n)][:, None, :]
        in_training = layer.forward(batch, training=True)
        means.append(float(gb.Moments.of(batch, axis=(0, 1, 2)).mean))
        running.append(float(layer.running_mean[0]))
    in_evaluation = layer.forward(batch, training=False)
    return Followed(np.array(means), np.array(running), in_training, in_evaluation)
