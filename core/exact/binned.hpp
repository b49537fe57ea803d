// Exact sums of x and x² of a tile, 32 rows of 64 lanes: the folds.
//
// A lane has a K. Its squares are added to a, which begins as M = 2^(2K): t = a + x² rounded to a multiple of 2^(2K−52),
// and what the rounding left, x² + (a − t), is a float64 itself, which goes on to r. As long as a ends below 2^(2K+1), and
// |x| ≥ 2^(K−SPREAD) for every x ≠ 0, nothing at all is lost:
//
//   float32   a: x², exact in float64     r: what that left    s: x
//   float64   a: h = x·x rounded          r: what that left    s: x, as a: from 1.5·2^(K+4) on, in units of 2^(K−48)
//             d: l = x² − h, as s         e: what that left    t: what s left
//
// What a tile leaves is read as integers: v + 1.5·2^(52+g) has the bits of that constant plus v / 2^g. docs/exact.md proves
// that each is exact, and why they are added up in 64 bits for 1,024 tiles.
//
// Bytes: x is read once. Operations a value: float32 one conversion, 5 of floats, 3 of integers of 32 bits; float64 14 of
// floats, 3 of integers. The work arrays, 4 KB, stay in the L1 cache.
#pragma once

#include "exact/add_scalar.hpp"

namespace gammabeta::GB_LEVEL {

constexpr int64_t ROWS = 32;
constexpr int64_t DEPTH = 4;  // rows between loading a lane's sums and storing them
constexpr int64_t GROUP = DEPTH * LANES, TILE = ROWS * LANES;
constexpr int64_t FULL = 1024;  // tiles that a lane's integer sums hold

template <class T>
struct Folds;

template <>
struct Folds<float> {
    using Word = uint32_t;
    static constexpr int64_t SQUARES = 2, PARTS = 3, SPREAD = 25;
    static constexpr int64_t UNITS[] = {-52, -96, -48};  // of a, r, s: exponents, less 2K, 2K, K
    static constexpr int64_t LEAST = -101, MOST = 131;   // with K = −101 all float32 are multiples of a sum's unit
    static constexpr int POINT = 23, BIAS = 127;
};

template <>
struct Folds<double> {
    using Word = uint64_t;
    static constexpr int64_t SQUARES = 4, PARTS = 6, SPREAD = 23;
    static constexpr int64_t UNITS[] = {-52, -98, -103, -150, -48, -75};  // of a, r, d, e, s, t
    static constexpr int64_t LEAST = -430, MOST = 500;  // no unit is subnormal, no M beyond float64
    static constexpr int POINT = 52, BIAS = 1023;
};

template <class T>
using WordOf = typename Folds<T>::Word;
template <class T>
constexpr WordOf<T> SIZE_BITS = static_cast<WordOf<T>>(-1) >> 1;  // all but the sign
template <class T>
constexpr WordOf<T> INFINITE = WordOf<T>(2 * Folds<T>::BIAS + 1) << Folds<T>::POINT;

constexpr int64_t unit(bool is_square, int64_t relative, int64_t k) { return (is_square ? 2 * k : k) + relative; }

template <class T>
constexpr int64_t unit_of(int64_t part, int64_t k) {
    return unit(part < Folds<T>::SQUARES, Folds<T>::UNITS[part], k);
}

// The bits of 2^exponent, and of 1.5·2^(52 + exponent), which is M for integers of either sign in units of 2^exponent.
GB_INLINE uint64_t power_bits(int64_t exponent) { return static_cast<uint64_t>(1023 + exponent) << POINT; }
GB_INLINE uint64_t magic_bits(int64_t exponent) { return power_bits(POINT + exponent) | ONE << (POINT - 1); }

// Whether a part of a tile begins at its M rather than at 0: a is never negative, so that it begins at a power of two.
template <class T>
constexpr bool begins_at_magic(int64_t part) {
    return sizeof(T) == 8 && (part == 2 || part == 4);
}
template <class T>
GB_INLINE uint64_t constant_bits(int64_t part, int64_t k) {
    return part == 0 ? power_bits(2 * k) : magic_bits(unit_of<T>(part, k));
}

// What |x| ≠ 0 must not be below in a lane of K, as bits, less one.
template <class T>
GB_INLINE WordOf<T> floor_word(int64_t k) {
    using F = Folds<T>;
    if (sizeof(T) == 4 && k == F::LEAST) return 0;
    return (static_cast<WordOf<T>>(k - F::SPREAD + F::BIAS) << F::POINT) - 1;
}

// What a tile's lanes have been given: the parts in the order above, and the least |x| ≠ 0, less one, as bits.
template <class T>
struct alignas(LINE) Sweep {
    double parts[Folds<T>::PARTS][LANES];
    WordOf<T> least[LANES];
};

GB_INLINE void fold_rows(const float *GB_RESTRICT x, int64_t stride, Sweep<float> &w) {
    double *GB_RESTRICT pa = w.parts[0], *GB_RESTRICT pr = w.parts[1], *GB_RESTRICT ps = w.parts[2];
    uint32_t *GB_RESTRICT least = w.least;
    const float *row[DEPTH] = {x, x + stride, x + 2 * stride, x + 3 * stride};
GB_INDEPENDENT
    for (int64_t j = 0; j < LANES; j++) {
        double a = pa[j], r = pr[j], s = ps[j];
        uint32_t low = least[j];
        unroll<DEPTH>([&](auto k) {
            const float given = row[k][j];
            const uint32_t size = (as<uint32_t>(given) & SIZE_BITS<float>) - 1;
            low = size < low ? size : low;
            const double v = given;
            s += v;
            if constexpr (FUSED) {
                const double t = fused(v, v, a);
                r += fused(v, v, a - t);
                a = t;
            } else {
                const double h = v * v, t = a + h;
                r += h + (a - t);
                a = t;
            }
        });
        pa[j] = a, pr[j] = r, ps[j] = s;
        least[j] = low;
    }
}

GB_INLINE void fold_rows(const double *GB_RESTRICT x, int64_t stride, Sweep<double> &w) {
    double *GB_RESTRICT pa = w.parts[0], *GB_RESTRICT pr = w.parts[1], *GB_RESTRICT pd = w.parts[2];
    double *GB_RESTRICT pe = w.parts[3], *GB_RESTRICT ps = w.parts[4], *GB_RESTRICT pt = w.parts[5];
    uint64_t *GB_RESTRICT least = w.least;
    const double *row[DEPTH] = {x, x + stride, x + 2 * stride, x + 3 * stride};
GB_INDEPENDENT
    for (int64_t j = 0; j < LANES; j++) {
        double a = pa[j], r = pr[j], d = pd[j], e = pe[j], s = ps[j], rest = pt[j];
        uint64_t low = least[j];
        unroll<DEPTH>([&](auto k) {
            const double v = row[k][j];
            const uint64_t size = (as<uint64_t>(v) & MAGNITUDE) - 1;
            low = size < low ? size : low;
            double t = s + v;
            rest += v + (s - t);
            s = t;
            const double h = v * v;
            t = a + h;
            r += h + (a - t);
            a = t;
            const double l = square_rest(v, h);
            t = d + l;
            e += l + (d - t);
            d = t;
        });
        pa[j] = a, pr[j] = r, pd[j] = d, pe[j] = e, ps[j] = s, pt[j] = rest;
        least[j] = low;
    }
}

// Where a tile's values lie: `DEPTH` rows `stride` apart, from such a group to the next `jump`; the next tile lies `ahead`.
template <class T>
struct Place {
    const T *x;
    int64_t stride, jump, rows, ahead;
};

template <class T>
__attribute__((noinline)) void fold(const Place<T> &at, Sweep<T> &w) {
    for (int64_t group = 0; group * DEPTH < at.rows; group++) {
        const T *x = at.x + group * at.jump;
        for (int64_t row = 0; row < DEPTH; row++)
            for (int64_t j = 0; j < LANES; j += LINE / static_cast<int64_t>(sizeof(T)))
                prefetch(x + at.ahead + row * at.stride + j);
        fold_rows(x, at.stride, w);
    }
}

// What the lanes of a tile hold: per lane the greatest |x| and the least |x| ≠ 0 less one, as bits, and the K they need.
template <class T>
struct alignas(LINE) Extent {
    WordOf<T> high[LANES], low[LANES];
    int64_t needs[LANES];
};

constexpr double SURE = 1 - 0x1p-20;  // what Σ(x / 2^K)² must stay below

template <class T>
GB_INLINE int64_t exponent_of(WordOf<T> word) {  // ⌊log₂|x|⌋, of subnormals one that none has
    return static_cast<int64_t>(word >> Folds<T>::POINT) - Folds<T>::BIAS;
}

GB_INLINE double power(int64_t exponent) { return as<double>(power_bits(exponent)); }

// tile: rows of 64, finite, at most 32.
template <class T>
void measure(const T *GB_RESTRICT tile, int64_t rows, Extent<T> &out) {
    WordOf<T> high[LANES], low[LANES];
    double scale[LANES], total[LANES];
    for (int64_t j = 0; j < LANES; j++) high[j] = 0, low[j] = static_cast<WordOf<T>>(-1), total[j] = 0;
    for (int64_t row = 0; row < rows; row++)
GB_INDEPENDENT
        for (int64_t j = 0; j < LANES; j++) {
            const WordOf<T> word = as<WordOf<T>>(tile[row * LANES + j]) & SIZE_BITS<T>, less = word - 1;
            high[j] = word > high[j] ? word : high[j];
            low[j] = less < low[j] ? less : low[j];
        }
    for (int64_t j = 0; j < LANES; j++) {
        const int64_t m = exponent_of<T>(high[j]);
        scale[j] = power(-(m < -1000 ? -1000 : m > 1000 ? 1000 : m));
    }
    for (int64_t row = 0; row < rows; row++)
GB_INDEPENDENT
        for (int64_t j = 0; j < LANES; j++) {
            const double y = static_cast<double>(tile[row * LANES + j]) * scale[j];
            total[j] += y * y;
        }
    for (int64_t j = 0; j < LANES; j++) {  // Σ(x / 2^m)² is below 128
        const int64_t up = (total[j] >= SURE) + (total[j] >= 4 * SURE) + (total[j] >= 16 * SURE) + (total[j] >= 64 * SURE);
        out.needs[j] = most(exponent_of<T>(high[j]) + up, Folds<T>::LEAST);
        out.high[j] = high[j], out.low[j] = low[j];
    }
}

}  // namespace gammabeta::GB_LEVEL
