"""Batch norm of contiguous tensors, small ones above all, in one call on the caller's thread, from addresses.

What counts for some thousands of values is what surrounds the arithmetic: an address is passed in 0.1 µs, an array that
Numba has to take apart in 0.4. `kind` and `as_` are empty arrays of the types of x and of the parameters; an address of
0 stands for none. x: (runs, features, width): `runs` does the work, or with a width of 1 loops along the features.
"""

from math import sqrt

import numpy as np
from numba import carray, int64, types
from numba.extending import intrinsic

from gammabeta.kernels import rows as table
from gammabeta.kernels import runs as long
from gammabeta.kernels.intrinsics import allocating, kernel
from gammabeta.kernels.storage import put, take, zeros

_INTEGERS = np.empty(0, np.int64)


@intrinsic
def _at(context, address, kind):
    """An address as a pointer to values of kind's type."""
    pointer = types.CPointer(kind.dtype)

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(int64, kind), generate


@kernel
def _add(x, at, total):
    for f in range(total.size):
        put(total, f, take(total, f) + take(x, at + f))


@kernel
def _add_squares(x, at, mean, total, squares):
    for f in range(mean.size):
        d = take(x, at + f) - take(mean, f)
        put(total, f, take(total, f) + d)
        put(squares, f, take(squares, f) + d * d)


@kernel
def _add_products(x, dy, at, mean, rest, total, product):
    for f in range(mean.size):
        slope = take(dy, at + f)
        put(total, f, take(total, f) + slope)
        put(product, f, take(product, f) + slope * ((take(x, at + f) - take(mean, f)) - take(rest, f)))


@kernel
def _map_row(x, y, at, mean, rest, scale, shift):
    for f in range(mean.size):
        put(y, at + f, ((take(x, at + f) - take(mean, f)) - take(rest, f)) * take(scale, f) + take(shift, f))


@kernel
def _slope_row(x, dy, dx, at, mean, rest, a, b, c):
    for f in range(mean.size):
        d = ((take(x, at + f) - take(mean, f)) - take(rest, f)) * take(b, f) + take(c, f)
        put(dx, at + f, take(dy, at + f) * take(a, f) + d)


@allocating
def _statistics(x, stats, runs, features):
    """mean, rest and var as the rows of stats, (3, features), with a width of 1."""
    stats[:] = 0.0
    mean, rest, var = stats[0], stats[1], stats[2]
    for run in range(runs):
        _add(x, run * features, mean)
    for f in range(features):
        mean[f] /= runs
    for run in range(runs):
        _add_squares(x, run * features, mean, rest, var)
    for f in range(features):
        rest[f] /= runs
        var[f] = var[f] / runs - rest[f] * rest[f]


@allocating
def _doubles(kind, address, features, otherwise):
    """Parameters as float64; as many of `otherwise` where there are none."""
    values = np.empty(features)
    place = carray(_at(address, kind), features if address else 0)
    for f in range(features):
        values[f] = take(place, f) if address else otherwise
    return values


@allocating
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
    most,
    weight,
    unbiased,
):
    """Write y and stats, and move the running statistics; but these not, and return False, where a var is not < most.

    stats: (3, features), mean, rest, var.
    """
    size = runs * features * width
    source, target = carray(_at(x, kind), size), carray(_at(y, kind), size)
    g, b = _doubles(as_, gamma, features, 1.0), _doubles(as_, beta, features, 0.0)
    if width > 1:
        mean, rest, var = stats[0], stats[1], stats[2]
        long.forward(source, None, target, features, width, runs, 0, features, g, b, eps, None, mean, rest, var)
    else:
        _statistics(source, stats, runs, features)
        mean, rest = stats[0], stats[1]
        for f in range(features):
            g[f] /= sqrt(stats[2, f] + eps)
        for run in range(runs):
            _map_row(source, target, run * features, mean, rest, g, b)
    for f in range(features):
        if not stats[2, f] < most:
            return False
    if running_mean:
        old_mean, old_var = carray(_at(running_mean, as_), features), carray(_at(running_var, as_), features)
        n = float(runs * width)
        factor = n / (n - 1) if unbiased else 1.0
        for f in range(features):
            mean_, var_ = take(old_mean, f), take(old_var, f)
            put(old_mean, f, mean_ + ((stats[0, f] + stats[1, f]) - mean_) * weight)
            put(old_var, f, var_ + (stats[2, f] * factor - var_) * weight)
        carray(_at(batches, _INTEGERS), 1)[0] += 1
    return True


@allocating
def evaluate(kind, as_, x, y, gamma, beta, running_mean, running_var, runs, features, width, eps):
    """Write y by the running statistics."""
    size = runs * features * width
    source, target = carray(_at(x, kind), size), carray(_at(y, kind), size)
    g, b = _doubles(as_, gamma, features, 1.0), _doubles(as_, beta, features, 0.0)
    mean, rest = _doubles(as_, running_mean, features, 0.0), np.zeros(features)
    var = carray(_at(running_var, as_), features)
    for f in range(features):
        g[f] *= 1 / np.sqrt(take(var, f) + eps)
    if width > 1:
        long.apply(source, None, target, features, width, 0, runs, mean, rest, g, b, None)
    else:
        center, scale, shift = zeros(source, features), zeros(source, features), zeros(source, features)
        for f in range(features):
            put(center, f, mean[f])
            put(scale, f, g[f])
            put(shift, f, long.less(b[f], mean[f] - take(center, f), g[f]))
        table.apply(source, None, target, features, 0, runs, center, scale, shift, None)


@allocating
def backward(kind, as_, x, dy, dx, gamma, dgamma, dbeta, stats, runs, features, width, eps):
    """Write dx, and where there is a place for them dγ and dβ. stats: as `forward` left them."""
    size = runs * features * width
    source, slope, target = carray(_at(x, kind), size), carray(_at(dy, kind), size), carray(_at(dx, kind), size)
    g, sums = _doubles(as_, gamma, features, 1.0), np.zeros((3, features))
    mean, rest, var = stats[0], stats[1], stats[2]
    total, product, scale = sums[0], sums[1], sums[2]
    if width > 1:
        long.backward(
            source, slope, target, features, width, runs, 0, features, g, eps, mean, rest, var, product, total
        )
    else:
        for run in range(runs):
            _add_products(source, slope, run * features, mean, rest, total, product)
        for f in range(features):
            product[f] *= 1 / sqrt(var[f] + eps)
    if dgamma:
        place = carray(_at(dgamma, as_), features)
        for f in range(features):
            put(place, f, product[f])
    if dbeta:
        place = carray(_at(dbeta, as_), features)
        for f in range(features):
            put(place, f, total[f])
    if width > 1:
        return
    for f in range(features):
        inverse = 1 / sqrt(var[f] + eps)
        a = inverse * g[f]
        product[f] *= -a * inverse / runs
        total[f] *= -a / runs
        scale[f] = a
    for run in range(runs):
        _slope_row(source, slope, target, run * features, mean, rest, scale, product, total)
