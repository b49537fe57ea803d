"""Batch norm on a GPU: the statistics, y, the sums of the gradients, and dx.

float32 values are computed with in float64, those of 16 bits in float32 (`WIDE`), and rounded once. No sum is of x² but
of (x − pivot)², the pivot being the mean of the first tile: where all squares are (x − pivot)², the first tile's own
spread and its distance to the others are part of the variance, and what a sum loses is small beside it. Each program
sums its tiles lane by lane; Chan, Golub and LeVeque's formula joins the programs' results, in order. There are no
atomic additions: the same bits come out each time.

Programs that read a tensor a second time go from its end to its beginning: what the first left in the L2 cache comes
first.
"""

import triton
import triton.language as tl

from gammabeta.kernels.triton import tiles


@triton.jit
def _values(x, row, feature, along, features, width, there, valid, MASKED: tl.constexpr, WIDE: tl.constexpr):
    """The values of a tile, 0 where none counts. What is `there` is loaded whole: a mask would part wide loads."""
    values = tl.load(x + (row * features + feature) * width + along, mask=there, other=0.0).to(WIDE)
    if MASKED:
        values = tl.where(valid, values, 0)
    return values


@triton.jit
def _valid(mask, row, feature, along, by_feature, features, width, there, MASKED: tl.constexpr):
    """Which values of a tile count. by_feature: whether the mask is (outer, features, width), or (outer, 1, width)."""
    if MASKED:
        at = tl.where(by_feature, row * features + feature, row) * width + along
        there = there & (tl.load(mask + at, mask=there, other=0) != 0)
    return there


@triton.jit
def _ratio(a, b):
    """a / b, 0 where b is 0."""
    return tl.where(b > 0, a / tl.where(b > 0, b, 1), 0)


@triton.jit
def _parameter(p, feature, known, otherwise, THERE: tl.constexpr):
    """A parameter of each feature, in float64."""
    if THERE:
        value = tl.load(p + feature, mask=known, other=otherwise).to(tl.float64)
    else:
        value = tl.full((1, 1), otherwise, tl.float64)
    return value


@triton.jit
def _constants(mean, spread, counts, gamma, feature, known, eps, GIVEN: tl.constexpr, SCALED: tl.constexpr):
    """The mean, 1/√(var + eps), γ and 1/n. `spread` is n·var, or var where the statistics are given."""
    center = tl.load(mean + feature, mask=known, other=0.0).to(tl.float64)
    var = tl.load(spread + feature, mask=known, other=1.0).to(tl.float64)
    share = tl.zeros((1, 1), tl.float64)
    if not GIVEN:
        share = _ratio(1.0, tl.load(counts + feature, mask=known, other=1.0))
        var = tl.where(share > 0, var * share, 0)
    return center, 1 / tl.sqrt(var + eps), _parameter(gamma, feature, known, 1.0, SCALED), share


@triton.jit
def _activated(p, ACTIVATION: tl.constexpr):
    if ACTIVATION == "relu":
        p = tl.where(p < 0, 0, p)
    if ACTIVATION == "silu":
        p = p / (1 + tl.exp(-p))
    return p


@triton.jit
def _gated(dy, p, ACTIVATION: tl.constexpr):
    """The gradient before the activation, from that behind it."""
    if ACTIVATION == "relu":
        dy = tl.where(p <= 0, 0, dy)
    if ACTIVATION == "silu":
        s = 1 / (1 + tl.exp(-p))
        dy = dy * s * (1 + p * (1 - s))
    return dy


@triton.jit
def _center(values, there, RUNS: tl.constexpr):
    """The mean of a tile's values, and how many there are, of each feature."""
    here = tiles.summed(there.to(tl.int32), RUNS)
    mean = _ratio(tiles.summed(values, RUNS).to(tl.float64), here.to(tl.float64))
    return mean.to(values.dtype).to(tl.float64), here  # as the lanes will subtract it


@triton.jit
def _sums(
    x, mask, by_feature, block, first, last, outer, features, width,
    MASKED: tl.constexpr, RUNS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Of some tiles' values of each feature the pivot, the count, Σ(x − pivot) and Σ(x − pivot)²."""
    feature, _ = tiles.per(block, features, RUNS, COLUMNS)
    total, squares = tl.zeros((ROWS, COLUMNS), WIDE), tl.zeros((ROWS, COLUMNS), WIDE)
    many = tl.zeros((ROWS, COLUMNS), tl.int32)
    pivot, seen = tl.zeros(feature.shape, tl.float64), tl.zeros(feature.shape, tl.int32)
    if not MASKED:
        row, one, along, there = tiles.place(first, block, outer, features, width, RUNS, ROWS, COLUMNS)
        pivot, seen = _center(_values(x, row, one, along, features, width, there, there, False, WIDE), there, RUNS)
    for tile in range(first, last):
        row, one, along, there = tiles.place(tile, block, outer, features, width, RUNS, ROWS, COLUMNS)
        valid = _valid(mask, row, one, along, by_feature, features, width, there, MASKED)
        values = _values(x, row, one, along, features, width, there, valid, MASKED, WIDE)
        if MASKED:  # the first tile in which a value counts sets the pivot
            center, here = _center(values, valid, RUNS)
            pivot = tl.where(seen > 0, pivot, center)
            seen += here
        apart = tl.where(valid, values - pivot.to(WIDE), 0)
        total += apart
        squares += apart * apart
        many += valid.to(tl.int32)
    n = tiles.summed(many.to(tl.int64), RUNS).to(tl.float64)
    return pivot, n, tiles.summed(total.to(tl.float64), RUNS), tiles.summed(squares.to(tl.float64), RUNS)


@triton.jit
def moments(
    x, mask, by_feature, out, outer, features, width,
    MASKED: tl.constexpr, RUNS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Of each part and feature the count, the mean and Σ(x − mean)². out: (3, parts, features), float64."""
    block, part, parts = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    first, last = tiles.share(tiles.count(outer, width, RUNS, ROWS, COLUMNS), part, parts)
    feature, known = tiles.per(block, features, RUNS, COLUMNS)
    pivot, n, offset, squares = _sums(
        x, mask, by_feature, block, first, last, outer, features, width, MASKED, RUNS, ROWS, COLUMNS, WIDE
    )
    if WIDE == tl.float32:
        if tl.max((squares == float("inf")).to(tl.int32)) > 0:  # squares beyond float32: once more, in float64
            pivot, n, offset, squares = _sums(
                x, mask, by_feature, block, first, last, outer, features, width, MASKED, RUNS, ROWS, COLUMNS, tl.float64
            )
    mean = _ratio(offset, n)
    spread = squares - offset * mean
    at, step = part * features + feature, parts.to(tl.int64) * features
    tl.store(out + at, n, mask=known)
    tl.store(out + step + at, pivot + mean, mask=known)
    tl.store(out + 2 * step + at, tl.where(spread < 0, 0, spread), mask=known)


@triton.jit
def join(partial, out, parts, features, BLOCK: tl.constexpr):
    """Count, mean and Σ(x − mean)² of all parts together. partial: (3, parts, features); out: (3, features)."""
    feature = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    known, long = feature < features, tl.zeros((1,), tl.int64)
    step = (long + parts) * features
    n, mean, spread = tl.zeros((BLOCK,), tl.float64), tl.zeros((BLOCK,), tl.float64), tl.zeros((BLOCK,), tl.float64)
    for part in range(parts):
        at = partial + (long + part) * features + feature
        more = tl.load(at, mask=known, other=0.0)
        apart = tl.load(at + step, mask=known, other=0.0) - mean
        weight = _ratio(more, n + more)
        mean = tl.where(more > 0, mean + apart * weight, mean)
        theirs = tl.load(at + 2 * step, mask=known, other=0.0) + apart * apart * n * weight
        spread = tl.where(more > 0, spread + theirs, spread)
        n += more
    tl.store(out + feature, n, mask=known)
    tl.store(out + features + feature, mean, mask=known)
    tl.store(out + 2 * features + feature, spread, mask=known)


@triton.jit
def apply(
    x, mask, by_feature, mean, spread, counts, gamma, beta, added, y, outer, features, width, eps: tl.constexpr,
    GIVEN: tl.constexpr, SCALED: tl.constexpr, SHIFTED: tl.constexpr, ADDED: tl.constexpr, ACTIVATION: tl.constexpr,
    MASKED: tl.constexpr, RUNS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """y = activation(γ · (x − mean) / √(var + eps) + β + added)."""
    parts = tl.num_programs(1)
    block, part = tl.num_programs(0) - 1 - tl.program_id(0), parts - 1 - tl.program_id(1)
    first, last = tiles.share(tiles.count(outer, width, RUNS, ROWS, COLUMNS), part, parts)
    feature, known = tiles.per(block, features, RUNS, COLUMNS)
    center, inverse, factor, _ = _constants(mean, spread, counts, gamma, feature, known, eps, GIVEN, SCALED)
    shift = _parameter(beta, feature, known, 0.0, SHIFTED)
    rest = center - center.to(WIDE).to(tl.float64)
    for back in range(first, last):
        tile = first + last - 1 - back
        row, one, along, there = tiles.place(tile, block, outer, features, width, RUNS, ROWS, COLUMNS)
        valid = _valid(mask, row, one, along, by_feature, features, width, there, MASKED)
        values = _values(x, row, one, along, features, width, there, valid, MASKED, WIDE)
        centred = (values - center.to(WIDE)) - rest.to(WIDE)
        p = tl.where(valid, centred * (factor * inverse).to(WIDE) + shift.to(WIDE), 0)
        if ADDED:
            p += _values(added, row, one, along, features, width, there, there, False, WIDE)
        at = (row * features + one) * width + along
        tl.store(y + at, _activated(p, ACTIVATION).to(y.dtype.element_ty), mask=there)


@triton.jit
def slopes(
    dy, x, mask, by_feature, mean, spread, counts, gamma, beta, added, out, outer, features, width, eps: tl.constexpr,
    GIVEN: tl.constexpr, SCALED: tl.constexpr, SHIFTED: tl.constexpr, ADDED: tl.constexpr, ACTIVATION: tl.constexpr,
    MASKED: tl.constexpr, RUNS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Of each part and feature Σg and Σg·x̂, g being dy before the activation. out: (2, parts, features), float64."""
    block, part, parts = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    first, last = tiles.share(tiles.count(outer, width, RUNS, ROWS, COLUMNS), part, parts)
    feature, known = tiles.per(block, features, RUNS, COLUMNS)
    center, inverse, factor, _ = _constants(mean, spread, counts, gamma, feature, known, eps, GIVEN, SCALED)
    shift = _parameter(beta, feature, known, 0.0, SHIFTED)
    rest = center - center.to(WIDE).to(tl.float64)
    total, product = tl.zeros((ROWS, COLUMNS), WIDE), tl.zeros((ROWS, COLUMNS), WIDE)
    for tile in range(first, last):
        row, one, along, there = tiles.place(tile, block, outer, features, width, RUNS, ROWS, COLUMNS)
        valid = _valid(mask, row, one, along, by_feature, features, width, there, MASKED)
        g = _values(dy, row, one, along, features, width, there, valid, MASKED, WIDE)
        values = _values(x, row, one, along, features, width, there, valid, MASKED, WIDE)
        normal = ((values - center.to(WIDE)) - rest.to(WIDE)) * inverse.to(WIDE)
        if ACTIVATION != "":
            p = normal * factor.to(WIDE) + shift.to(WIDE)
            if ADDED:
                p += _values(added, row, one, along, features, width, there, valid, MASKED, WIDE)
            g = _gated(g, p, ACTIVATION)
        total += tl.where(valid, g, 0)
        product += tl.where(valid, g * normal, 0)
    at, step = part * features + feature, parts.to(tl.int64) * features
    tl.store(out + at, tiles.summed(total.to(tl.float64), RUNS), mask=known)
    tl.store(out + step + at, tiles.summed(product.to(tl.float64), RUNS), mask=known)


@triton.jit
def slope(
    dy, x, mask, by_feature, mean, spread, counts, gamma, beta, added, sums, dx, dadded, outer, features, width,
    eps: tl.constexpr,
    GIVEN: tl.constexpr, SCALED: tl.constexpr, SHIFTED: tl.constexpr, ADDED: tl.constexpr, ACTIVATION: tl.constexpr,
    MASKED: tl.constexpr, RUNS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """dx = γ / √(var + eps) · (g − Σg/n − x̂ · Σg·x̂/n), without the means where the statistics were given.

    sums: (2, features), float64. dadded: g, the gradient of `added`, where there is an activation.
    """
    parts = tl.num_programs(1)
    block, part = tl.num_programs(0) - 1 - tl.program_id(0), parts - 1 - tl.program_id(1)
    first, last = tiles.share(tiles.count(outer, width, RUNS, ROWS, COLUMNS), part, parts)
    feature, known = tiles.per(block, features, RUNS, COLUMNS)
    center, inverse, factor, share = _constants(mean, spread, counts, gamma, feature, known, eps, GIVEN, SCALED)
    shift = _parameter(beta, feature, known, 0.0, SHIFTED)
    rest = center - center.to(WIDE).to(tl.float64)
    if not GIVEN:
        level = tl.load(sums + feature, mask=known, other=0.0) * share
        tilt = tl.load(sums + features + feature, mask=known, other=0.0) * share
    for back in range(first, last):
        tile = first + last - 1 - back
        row, one, along, there = tiles.place(tile, block, outer, features, width, RUNS, ROWS, COLUMNS)
        valid = _valid(mask, row, one, along, by_feature, features, width, there, MASKED)
        g = _values(dy, row, one, along, features, width, there, there, False, WIDE)
        values = _values(x, row, one, along, features, width, there, valid, MASKED, WIDE)
        normal = ((values - center.to(WIDE)) - rest.to(WIDE)) * inverse.to(WIDE)
        at = (row * features + one) * width + along
        if ACTIVATION != "":
            p = tl.where(valid, normal * factor.to(WIDE) + shift.to(WIDE), 0)
            if ADDED:
                p += _values(added, row, one, along, features, width, there, there, False, WIDE)
            g = _gated(g, p, ACTIVATION)
            if ADDED:
                tl.store(dadded + at, g.to(dadded.dtype.element_ty), mask=there)
        if not GIVEN:
            g = g - level.to(WIDE) - normal * tilt.to(WIDE)
        result = tl.where(valid, g * (factor * inverse).to(WIDE), 0)
        tl.store(dx + at, result.to(dx.dtype.element_ty), mask=there)
