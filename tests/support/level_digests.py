"""What `test_levels` runs in a process at each level: a digest of every result's bits, by name, as JSON."""

import hashlib
import json
import sys
from typing import Any

import ml_dtypes
import numpy as np

from exact_cases import hostile
from gammabeta import Affine, Extrema, Moments, rolling
from gammabeta.kernels import binding, factorize, histogram

DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.int8, np.uint8, np.int32, np.int64, np.bool_]


def digest(*arrays: Any) -> str:
    found = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        found.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()


def columns(n: int) -> dict[str, np.ndarray]:
    """Hostile columns, in float64 and float32, and one of 64-bit integers."""
    with np.errstate(over="ignore"):
        found = {f"{name} {t}": x.astype(t) for name, x in hostile(n, seed=8).items() for t in ("float64", "float32")}
    rng = np.random.default_rng(9)
    return {**found, "integers": rng.integers(-(2**63), 2**63 - 1, n), "unsigned": rng.integers(0, 2**64, n, np.uint64)}


def exact(n: int = 3001) -> dict[str, str]:
    """The integers of sums: alone, in several columns, weighted, by group and over windows."""
    rng, found = np.random.default_rng(10), {}
    labels, many = rng.integers(0, 7, n), rng.integers(0, 5000, n)
    weights = rng.exponential(size=n) * (rng.random(n) < 0.9)
    for name, x in columns(n).items():
        table = x[: n // 3 * 3].reshape(-1, 3)
        m = Moments.of(x)
        found[f"moments of {name}"] = m.to_json()
        found[f"rounded {name}"] = digest(m.mean, m.var, m.std)
        found[f"table of {name}"] = Moments.of(table).to_json()
        found[f"rows of {name}"] = Moments.of(table, axis=1).to_json()
        found[f"sums of {name}"] = (Moments.of(x[:1000]) + Moments.of(x[500:]) - Moments.of(x[100:900])).to_json()
        found[f"extrema of {name}"] = Extrema.of(table).to_json()
        found[f"weighted {name}"] = Moments.of(x, weights=weights).to_json()
        for size, codes in (7, labels), (5000, many):
            found[f"{size} groups of {name}"] = Moments.of(x, groups=codes).to_json()
            found[f"weighted {size} groups of {name}"] = Moments.of(x, groups=codes, weights=weights).to_json()
            found[f"extrema of {size} groups of {name}"] = Extrema.of(x, groups=codes).to_json()
        windows = rolling(x, 50, 7, ddof=1)
        found[f"windows of {name}"] = digest(windows.count, windows.mean, windows.var, windows.std)
    return {name: digest(np.frombuffer(text.encode(), np.uint8)) for name, text in found.items()}


def affine() -> dict[str, str]:
    """The bits of affine maps: every pair of types, rows, runs and other layouts."""
    rng, found = np.random.default_rng(11), {}
    a = Affine(rng.standard_normal(37), rng.standard_normal(37) * 1e3, rng.standard_normal(37))
    numbers = rng.standard_normal((90, 37)) * 10.0 ** rng.integers(-8, 5, (90, 37))
    for source in DTYPES:
        with np.errstate(invalid="ignore", over="ignore"):
            x = numbers.astype(source)
        for target in DTYPES[:4]:
            y = np.empty(x.shape, target)
            infinite = a._image(x, y)[1]
            turned = a(np.ascontiguousarray(x.T), np.empty(x.T.shape, target), axis=1)
            strided = a(x[::2], np.empty((180, 37), target)[1::4])
            name = f"{np.dtype(source).name} to {np.dtype(target).name}"
            # a NaN has many bit patterns, and which comes out of an operation on two is the processor's choice
            found[name] = digest(*(np.where(np.isnan(v), 0, v) for v in (y, turned, strided)), infinite)
    every = np.arange(2**16, dtype=np.uint16)
    for target in np.float16, ml_dtypes.bfloat16:
        image = Affine(0.1, 0.7, 1e-6)(every.view(target))
        found[f"every {np.dtype(target).name}"] = digest(np.where(np.isnan(image), 0, image))
    return found


def others() -> dict[str, str]:
    """Histograms, sketches and numbered keys."""
    rng = np.random.default_rng(12)
    x, seen = rng.standard_normal((6000, 2)), histogram.nothing(2)
    x[5], x[6, 0] = np.nan, np.inf
    fields = (np.full(2, v) for v in (-4.0, 4.0, 480.0, 0.0, 1.0, -3.0, 3.0, x[0, 0], 1.0))
    histogram.look(x, [0, 1], histogram.view(*fields), seen)
    registers = np.zeros(histogram.REGISTERS, np.uint8)
    histogram.distinct(x[:, 1] + 0.0, registers)
    keys = rng.integers(-(2**62), 2**62, 20_000)[rng.integers(0, 20_000, 50_000)]
    return {"histograms": digest(*seen), "registers": digest(registers), "keys": digest(*factorize.numbered(keys))}


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"level": binding.LEVEL, "bits": {**exact(), **affine(), **others()}}))
