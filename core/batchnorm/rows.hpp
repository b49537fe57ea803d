// Norms of rows: x (rows, size), each row by statistics of its own, as layer, group, instance and RMS norm have them.
// γ and β vary along a row: from element to element, or by stretches of it, the channels.
//
// A row is read once for its statistics, but its first 32 values twice, and once to be mapped, then mostly from the cache.
// The mean of these 32 is the center of the first block; where the block's own lies far from it, the block is read again,
// from there: Σ(x − center)² must not be many times Σ(x − mean)², or its digits would be lost. Operations a value: of the sums a conversion, −, + and a fused ·+; of the map two conversions, − and two fused
// ·+; of the gradients' sums and map 15 in all, with dγ and dβ.
#pragma once

#include "channels_first.hpp"

namespace gammabeta::GB_LEVEL {

constexpr int64_t PROBE = 32;      // values
constexpr double MOST_APART = 4;  // (mean − center)² / variance: so much more than Σ(x − mean)² is added up

// The statistics of a row; without a center (CENTRED false) the mean is 0, and Σx² stands for Σ(x − mean)². each: 1 / size.
template <class T, bool CENTRED>
GB_INLINE Statistics moments_of_row(const T *x, int64_t size, double each) {
    constexpr int64_t BLOCK = Sums<T>::BLOCK;
    Statistics s;
    double sum, squares;
    const auto add = [&](int64_t at, int64_t length, Mapped<T> center) GB_HOT {
        Sums<T> sums;
        sums.template add<false>(x + at, nullptr, length, center);
        sums.take(sum, squares);
    };
    if constexpr (!CENTRED) {
        for (int64_t at = 0; at < size; at += BLOCK) {
            add(at, least(BLOCK, size - at), 0);
            s.squares += squares;
        }
        return s;
    }
    const int64_t probe = least(size, PROBE), first = least(size, BLOCK);
    const double share = size == first ? each : 1.0 / static_cast<double>(first);
    add(0, probe, 0);
    Mapped<T> center = center_of<T>(probe == PROBE ? sum * (1.0 / PROBE) : sum * each);
    add(0, first, center);
    if (sum * (sum * share) * (1 + MOST_APART) > squares * MOST_APART) {
        center = center_of<T>(static_cast<double>(center) + sum * share);
        add(0, first, center);
    }
    const double wide = static_cast<double>(center), apart = sum * share, within = squares - sum * apart;
    s.high = wide + apart;
    s.low = (wide - s.high) + apart;
    s.squares = within < 0.0 ? 0.0 : within;
    for (int64_t at = first; at < size; at += BLOCK) {
        const int64_t length = least(BLOCK, size - at);
        center = center_of<T>(s.high);
        add(at, length, center);
        join(Weights(at, length), static_cast<double>(center), sum, squares, s.high, s.low, s.squares);
    }
    return s;
}

// x̂ = (x − center) · scale + shift of a row.
template <class T>
struct Standard {
    Mapped<T> center, scale, shift;
    GB_INLINE Standard(double mean, double rest, double inverse) {
        const Parameters<T> p(mean, rest, inverse, 0);
        center = p.center, scale = p.scale, shift = p.shift;
    }
    GB_INLINE Lanes<T> of(Lanes<T> x) const {
        return multiply_add_lanes(x - all<Lanes<T>>(center), all<Lanes<T>>(scale), all<Lanes<T>>(shift));
    }
};

// Vectors of a row: whole(i) of those that x fills, some(i, how many) of what is left. Arrays of parameters are padded.
template <class T, class Whole, class Some>
GB_INLINE void for_vectors(int64_t size, Whole &&whole, Some &&some) {
    constexpr int64_t W = WIDE<T>;
    int64_t i = 0;
    for (; i + 4 * W <= size; i += 4 * W) unroll<4>([&](auto k) GB_HOT { whole(i + k * W); });
    for (; i + W <= size; i += W) whole(i);
    if (i < size) some(i, size - i);
}

// y = γ · x̂ + β, element by element.
template <class T>
GB_INLINE void map_elements(const T *x, T *y, int64_t size, const Standard<T> &normal, const Mapped<T> *gamma, const Mapped<T> *beta) {
    const auto mapped = [&](Lanes<T> v, int64_t i) GB_HOT {
        return multiply_add_lanes(normal.of(v), raw<Lanes<T>>(gamma + i), raw<Lanes<T>>(beta + i));
    };
    for_vectors<T>(
        size, [&](int64_t i) GB_HOT { store(y + i, mapped(load(x + i), i)); },
        [&](int64_t i, int64_t left) GB_HOT { store_some(y + i, mapped(load_some(x + i, left), i), left); });
}

// Σγ·dy and Σγ·dy·(x − center) of a row, element by element.
template <class T>
GB_INLINE void products_of_elements(const T *x, const T *dy, int64_t size, Mapped<T> center, const Mapped<T> *gamma, double &total,
                                    double &product) {
    total = product = 0;
    for (int64_t at = 0; at < size; at += Sums<T>::BLOCK) {
        const int64_t length = least(Sums<T>::BLOCK, size - at);
        Sums<T> sums;
        sums.template add<true>(
            x + at, length, center,
            [&](int64_t i) GB_HOT { return load(dy + at + i) * raw<Lanes<T>>(gamma + at + i); },
            [&] { return load_some(dy + at, length) * up_to_lane<T>(raw<Lanes<T>>(gamma + at), length); });
        double a, b;
        sums.take(a, b);
        total += a, product += b;
    }
}

// dx = scale · (γ·dy + a + b·x̂) of a row; with SUMS, dγ += dy·x̂ and dβ += dy.
template <class T, bool SUMS>
GB_INLINE void slope_elements(const T *x, const T *dy, T *dx, int64_t size, const Standard<T> &normal, const Mapped<T> *gamma,
                              Mapped<T> a, Mapped<T> b, Mapped<T> *GB_RESTRICT dgamma, Mapped<T> *GB_RESTRICT dbeta) {
    using V = Lanes<T>;
    const auto one = [&](V v, V slope, int64_t i, auto &&kept) GB_HOT {
        const V hat = normal.of(v);
        if constexpr (SUMS) {
            put(dgamma + i, raw<V>(dgamma + i) + kept(slope * hat));
            put(dbeta + i, raw<V>(dbeta + i) + kept(slope));
        }
        return multiply_add_lanes(raw<V>(gamma + i), slope, multiply_add_lanes(all<V>(b), hat, all<V>(a))) * all<V>(normal.scale);
    };
    for_vectors<T>(
        size, [&](int64_t i) GB_HOT { store(dx + i, one(load(x + i), load(dy + i), i, [](V v) GB_HOT { return v; })); },
        [&](int64_t i, int64_t left) GB_HOT {
            const auto kept = [&](V v) GB_HOT { return up_to_lane<T>(v, left); };
            store_some(dx + i, one(load_some(x + i, left), load_some(dy + i, left), i, kept), left);
        });
}

// Σdy and Σdy · (x − mean) of a stretch.
template <class T>
GB_INLINE void products_of_stretch(const T *x, const T *dy, int64_t size, double mean, double rest, double &total, double &product) {
    const auto center = static_cast<Mapped<T>>(mean);
    total = product = 0;
    for (int64_t at = 0; at < size; at += Sums<T>::BLOCK) {
        Sums<T> sums;
        sums.template add<true>(x + at, dy + at, least(Sums<T>::BLOCK, size - at), center);
        double a, b;
        sums.take(a, b);
        total += a, product += b;
    }
    product -= ((mean - static_cast<double>(center)) + rest) * total;
}

}  // namespace gammabeta::GB_LEVEL
