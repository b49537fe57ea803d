"""Data on which a careless sum goes wrong, and the types and axes over which statistics are tested."""

import ml_dtypes
import numpy as np

DTYPES = [np.float16, np.float32, np.float64, ml_dtypes.bfloat16, np.bool_] + [
    np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)
]
AXES = (0, 2, 3)


def hostile(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Columns that a careless sum gets wrong."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal(n)
    return {
        "standard": z,
        "far from zero": 1e4 + z,
        "farther": 1e8 + z,
        "constant": np.full(n, 0.1),
        "zeros": np.zeros(n),
        "negative zeros": np.full(n, -0.0),
        "huge": 1.7e308 * np.sign(z),
        "subnormal": 5e-324 * np.round(z * 100),
        "every exponent": np.ldexp(z, rng.integers(-1074, 1023, n)),
        "wide": np.exp(20 * z),
        "one large": np.where(np.arange(n) == n // 2, 1e300, z),
        "cancelling": np.where(np.arange(n) % 2, -1e16, 1e16) + z,
        "squares below the range": 1e-160 * z,
        "squares above the range": 1e160 * z,
        "integers": np.round(1000 * z),
    }


def batches(seed, count, shape, dtype, scale):
    """Arrays of alternating signs, some of whose numbers one grid does not hold with the others."""
    rng = np.random.default_rng(seed)
    odd = np.array([0.0, 1e30, -1e-30, np.finfo(dtype).tiny / 4, -np.finfo(dtype).max], dtype)
    for i in range(count):
        x = rng.normal((-1) ** i * scale, 1, shape).astype(dtype)
        at = rng.random(shape) < 0.001
        x[at] = rng.choice(odd, at.sum())
        yield x
