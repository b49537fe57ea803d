"""Batch norm of one note's data, five ways, side by side: its NumPy formula, TensorFlow's function, and gammabeta's.

    python examples/note.py

The note (seed 678, thirty 32×32 pictures, of which the first ten are normalized, ε = 1e-8) takes one statistic per
position: `axis=0`. With γ = 1 and β = 0 that is standardization, since the variances are much larger
than ε.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import numpy as np
import tensorflow as tf
import torch
from sklearn.preprocessing import StandardScaler

import gammabeta as gb

EPS = 1e-8


def pictures() -> np.ndarray:
    """The note's data: `test_data`, (30, 32, 32, 1)."""
    np.random.seed(678)  # noqa: NPY002  (the note's generator)
    test_data = np.zeros((30, 32, 32, 1))
    for i in range(30):
        noise, spread = np.random.randn(32, 32), np.random.randint(5)  # noqa: NPY002
        new_random_image = noise * spread + np.random.randint(60)  # noqa: NPY002
        test_data[i] = np.expand_dims(new_random_image, axis=2)
    return test_data


def by_hand(case3_data: np.ndarray) -> np.ndarray:
    """The note's own formulas in NumPy."""
    mini_batch_mean = case3_data.sum(axis=0) / len(case3_data)
    mini_batch_var = ((case3_data - mini_batch_mean) ** 2).sum(axis=0) / len(case3_data)
    return (case3_data - mini_batch_mean) / ((mini_batch_var + EPS) ** 0.5)


def by_tensorflow(case3_data: np.ndarray) -> np.ndarray:
    """The note's call of TensorFlow, in TensorFlow 2: without a session."""
    return tf.nn.batch_normalization(
        case3_data,
        mean=case3_data.mean(axis=0),
        variance=case3_data.var(axis=0),
        offset=0.0,
        scale=1.0,
        variance_epsilon=EPS,
    ).numpy()


def results(x: np.ndarray) -> dict[str, np.ndarray]:
    """The normalized batch, by way."""
    with jax.enable_x64(True):
        by_jax = np.asarray(gb.batch_norm(jax.numpy.asarray(x), eps=EPS))
    return {
        "the note, NumPy": by_hand(x),
        "tf.nn.batch_normalization": by_tensorflow(x),
        "gb.batch_norm, NumPy": gb.batch_norm(x, eps=EPS),
        "gb.batch_norm, TensorFlow": gb.batch_norm(tf.constant(x), eps=EPS).numpy(),
        "gb.batch_norm, torch": gb.batch_norm(torch.from_numpy(x), eps=EPS).numpy(),
        "gb.batch_norm, JAX": by_jax,
        "StandardScaler (γ = 1, β = 0)": StandardScaler().fit_transform(x.reshape(len(x), -1)).reshape(x.shape),
    }


def tolerance(x: np.ndarray, standardized: bool = False) -> np.ndarray:
    """How far two ways may be apart, for each value of y.

    A computed mean is off by at most n roundings of the largest |x|, which the difference x − mean inherits, beside its
    own rounding; the variance, of n such squares, by n + 4 roundings of its own size and by twice the mean's error; the
    root halves that, and root, quotient and eps add three. All of it for either of the two ways. StandardScaler has no
    ε, which changes y by a relative ε / (2 var).
    """
    u, n = 2.0**-53, len(x)
    mean, var = x.mean(axis=0), x.var(axis=0)
    std = np.sqrt(var + EPS)
    y = np.abs(x - mean) / std
    off = n * u * np.abs(x).max(axis=0) / std
    bound = 2 * (off + y * ((n + 4) / 2 * u + off + 3 * u))
    return bound + y * EPS / (2 * var) * (1 + 1e-6) if standardized else bound


def main() -> None:
    """Print the ways side by side."""
    x = pictures()[:10]
    ways = results(x)
    reference = ways["gb.batch_norm, NumPy"]
    print(f"{'':32}{'y[0, 0, 0]':>22}{'y[9, 31, 31]':>22}{'furthest':>11}{'allowed':>11}")
    for name, y in ways.items():
        apart, allowed = np.abs(y - reference), tolerance(x, name.startswith("StandardScaler"))
        assert (apart <= allowed).all(), name
        print(f"{name:32}{y[0, 0, 0, 0]:22.17f}{y[9, 31, 31, 0]:22.17f}{apart.max():11.1e}{allowed.max():11.1e}")
    print(f"\nof each position: mean within {np.abs(reference.mean(axis=0)).max():.0e} of 0, ", end="")
    print(f"variance within {np.abs(reference.var(axis=0) - 1).max():.0e} of 1; all {len(ways)} ways agree")


if __name__ == "__main__":
    main()
