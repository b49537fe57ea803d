"""Batch norm of small contiguous tensors in one call on the caller's thread, from addresses.

What counts for some thousands of values is what surrounds the arithmetic: an address is passed in 0.1 µs, an array that
Numba has to take apart in 0.4. `kind` and `as_` are empty arrays of the types of x and of the parameters; an address of
0 stands for none. x: (runs, features, width). With a width of 1 the inner loop runs along the features.
"""

from math import isfinite, sqrt

import numpy as np
from numba import carray, int64, njit, types
from numba.extending import intrinsic

from gammabeta.kernels.storage import put, take

_INTEGERS = np.empty(0, np.int64)


@intrinsic
def _at(context, address, kind):
    """An address as a pointer to values of kind's type."""
    pointer = types.CPointer(kind.dtype)

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(int64, kind), generate


@njit(nogil=True, cache=True)
def _add(x, at, total):
    for f in range(total.size):
        put(total, f, take(total, f) + take(x, at + f))


@njit(nogil=True, cache=True)
def _add_squares(x, at, mean, total, squares):
    for f in range(mean.size):
        d = take(x, at + f) - take(mean, f)
        put(total, f, take(total, f) + d)
        put(squares, f, take(squares, f) + d * d)


@njit(nogil=True, cache=True)
def _add_products(x, dy, at, mean, rest, total, product):
    for f in range(mean.size):
        slope = take(dy, at + f)
        put(total, f, take(total, f) + slope)
        put(product, f, take(product, f) + slope * ((take(x, at + f) - take(mean, f)) - take(rest, f)))


@njit(nogil=True, cache=True)
def _map_row(x, y, at, mean, rest, scale, shift):
    for f in range(mean.size):
        put(y, at + f, ((take(x, at + f) - take(mean, f)) - take(rest, f)) * take(scale, f) + take(shift, f))


@njit(nogil=True, cache=True)
def _slope_row(x, dy, dx, at, mean, rest, a, b, c):
    for f in range(mean.size):
        d = ((take(x, at + f) - take(mean, f)) - take(rest, f)) * take(b, f) + take(c, f)
        put(dx, at + f, take(dy, at + f) * take(a, f) + d)


@njit(nogil=True, cache=True)
def _statistics(x, stats, runs, features, width):
    """mean, rest and var as the rows of stats, (3, features); whether all are finite."""
    n = float(runs * width)
    stats[:] = 0.0
    for run in range(runs if width == 1 else 0):
        _add(x, run * features, stats[0])
    for run in range(runs if width > 1 else 0):
        for f in range(features):
            at, total = (run * features + f) * width, 0.0
            for j in range(width):
                total += take(x, at + j)
            stats[0, f] += total
    for f in range(features):
        stats[0, f] /= n
    for run in range(runs if width == 1 else 0):
        _add_squares(x, run * features, stats[0], stats[1], stats[2])
    for run in range(runs if width > 1 else 0):
        for f in range(features):
            at, mean, total, squares = (run * features + f) * width, stats[0, f], 0.0, 0.0
            for j in range(width):
                d = take(x, at + j) - mean
                total += d
                squares += d * d
            stats[1, f] += total
            stats[2, f] += squares
    finite = True
    for f in range(features):
        stats[1, f] /= n
        stats[2, f] = stats[2, f] / n - stats[1, f] * stats[1, f]
        finite = finite and isfinite(stats[2, f])
    return finite


@njit(nogil=True, cache=True)
def _map(x, y, gamma, beta, mean, rest, inverse, runs, features, width):
    scales, shifts = np.empty(features), np.empty(features)
    for f in range(features):
        scales[f] = inverse[f] * take(gamma, f) if gamma.size else inverse[f]
        shifts[f] = take(beta, f) if beta.size else 0.0
    for run in range(runs if width == 1 else 0):
        _map_row(x, y, run * features, mean, rest, scales, shifts)
    for run in range(runs if width > 1 else 0):
        for f in range(features):
            at, m, r, scale, shift = (run * features + f) * width, mean[f], rest[f], scales[f], shifts[f]
            for j in range(at, at + width):
                put(y, j, ((take(x, j) - m) - r) * scale + shift)


@njit(nogil=True, cache=True)
def forward(
    kind,
    as_,
    x,
    y,
    gamma,
    beta,
    running_mean,
    running_var,
    batches,
    stats,
    runs,
    features,
    width,
    eps,
    weight,
    unbiased,
):
    """Write y and stats, and move the running statistics; or do nothing and return False: something is not finite.

    stats: (4, features), mean, rest, var and 1 / √(var + eps).
    """
    size = runs * features * width
    source, target = carray(_at(x, kind), size), carray(_at(y, kind), size)
    if not _statistics(source, stats[:3], runs, features, width):
        return False
    for f in range(features):
        stats[3, f] = 1 / sqrt(stats[2, f] + eps)
    g, b = carray(_at(gamma, as_), features if gamma else 0), carray(_at(beta, as_), features if beta else 0)
    _map(source, target, g, b, stats[0], stats[1], stats[3], runs, features, width)
    if running_mean:
        old_mean, old_var = carray(_at(running_mean, as_), features), carray(_at(running_var, as_), features)
        n = float(runs * width)
        factor = n / (n - 1) if unbiased else 1.0
        for f in range(features):
            mean, var = take(old_mean, f), take(old_var, f)
            put(old_mean, f, mean + ((stats[0, f] + stats[1, f]) - mean) * weight)
            put(old_var, f, var + (stats[2, f] * factor - var) * weight)
        carray(_at(batches, _INTEGERS), 1)[0] += 1
    return True


@njit(nogil=True, cache=True)
def evaluate(kind, as_, x, y, gamma, beta, running_mean, running_var, runs, features, width, eps):
    """Write y by the running statistics."""
    size = runs * features * width
    source, target = carray(_at(x, kind), size), carray(_at(y, kind), size)
    g, b = carray(_at(gamma, as_), features if gamma else 0), carray(_at(beta, as_), features if beta else 0)
    mean, var = carray(_at(running_mean, as_), features), carray(_at(running_var, as_), features)
    stats = np.zeros((3, features))
    for f in range(features):
        stats[0, f] = take(mean, f)
        stats[2, f] = 1 / np.sqrt(take(var, f) + eps)
    _map(source, target, g, b, stats[0], stats[1], stats[2], runs, features, width)


@njit(nogil=True, cache=True)
def backward(kind, as_, x, dy, dx, gamma, dgamma, dbeta, stats, runs, features, width):
    """Write dx, and where there is a place for them dγ and dβ. stats: as `forward` left them."""
    size = runs * features * width
    source, slope, target = carray(_at(x, kind), size), carray(_at(dy, kind), size), carray(_at(dx, kind), size)
    g = carray(_at(gamma, as_), features if gamma else 0)
    sums, n = np.zeros((3, features)), float(runs * width)
    for run in range(runs if width == 1 else 0):
        _add_products(source, slope, run * features, stats[0], stats[1], sums[0], sums[1])
    for run in range(runs if width > 1 else 0):
        for f in range(features):
            at, m, r, total, product = (run * features + f) * width, stats[0, f], stats[1, f], 0.0, 0.0
            for j in range(at, at + width):
                s = take(slope, j)
                total += s
                product += s * ((take(source, j) - m) - r)
            sums[0, f] += total
            sums[1, f] += product
    if dgamma:
        place = carray(_at(dgamma, as_), features)
        for f in range(features):
            put(place, f, sums[1, f] * stats[3, f])
    if dbeta:
        place = carray(_at(dbeta, as_), features)
        for f in range(features):
            put(place, f, sums[0, f])
    for f in range(features):
        a = stats[3, f] * (take(g, f) if g.size else 1.0)
        sums[1, f] = -a * stats[3, f] * stats[3, f] * sums[1, f] / n
        sums[0, f] = -a * sums[0, f] / n
        sums[2, f] = a
    for run in range(runs if width == 1 else 0):
        _slope_row(source, slope, target, run * features, stats[0], stats[1], sums[2], sums[1], sums[0])
    for run in range(runs if width > 1 else 0):
        for f in range(features):
            at, m, r, a, b, c = (
                (run * features + f) * width,
                stats[0, f],
                stats[1, f],
                sums[2, f],
                sums[1, f],
                sums[0, f],
            )
            for j in range(at, at + width):
                put(target, j, take(slope, j) * a + (((take(source, j) - m) - r) * b + c))
