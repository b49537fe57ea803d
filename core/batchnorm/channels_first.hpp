// Batch norm of runs: x (runs, features, width), a feature's values lying in `runs` stretches of `width`, as the
// channels of (n, c, h, w) do. The values of a feature are counted through its runs, from 0 to runs · width.
//
// Bytes: the sums read x once, but its first 512 values twice; the map reads x and writes y. Operations a value: of the
// sums a conversion, −, + and a fused ·+; of the map two conversions, − and a fused ·+.
#pragma once

#include "statistics.hpp"

namespace gammabeta::GB_LEVEL {

constexpr int64_t FIRST = 512;    // values of the first block
constexpr int64_t SEVERAL = 256;  // runs of a block at most: where runs are short, a lane adds a value of each
constexpr int64_t AHEAD_OF_RUN = 4096;  // bytes of the next run fetched ahead, before the processor foresees the others

// Sums of stretches. A lane adds at most 256 values in a block, of 16-bit floats in float32, before float64 takes over.
template <class T>
struct Sums {
    static constexpr int64_t W = WIDE<T>, LANES = sizeof(T) == 2 ? 64 : 32, MANY = LANES / W, BLOCK = 256 * LANES;
    Lanes<T> first[MANY] = {}, second[MANY] = {};

    // PRODUCTS: dy and dy · d, else d and d².
    template <bool PRODUCTS, int64_t K>
    GB_INLINE void add(Lanes<T> d, Lanes<T> dy) {
        const Lanes<T> v = PRODUCTS ? dy : d;
        first[K] += v;
        second[K] = multiply_add_lanes(v, d, second[K]);
    }

    // slope(i): dy of the vector at i; rest(): of fewer values than a vector has.
    template <bool PRODUCTS, class Slope, class Rest>
    GB_INLINE void add(const T *x, int64_t size, Mapped<T> center, Slope &&slope, Rest &&rest) {
        const Lanes<T> c = all<Lanes<T>>(center);
        int64_t i = 0;
        for (; i + LANES <= size; i += LANES)
            unroll<MANY>([&](auto k) GB_HOT { add<PRODUCTS, k>(load(x + i + k * W) - c, slope(i + k * W)); });
        unroll<MANY - 1>([&](auto k) GB_HOT {
            if (i + W <= size) {
                add<PRODUCTS, k>(load(x + i) - c, slope(i));
                i += W;
            }
        });
        if (i == size) return;
        if (size >= W) {  // the last vector again, without the lanes that are done
            const int64_t at = size - W;
            add<PRODUCTS, MANY - 1>(from_lane<T>(load(x + at) - c, i - at), from_lane<T>(slope(at), i - at));
        } else {
            add<PRODUCTS, 0>(up_to_lane<T>(load_some(x, size) - c, size), rest());
        }
    }

    template <bool PRODUCTS>
    GB_INLINE void add(const T *x, const T *dy, int64_t size, Mapped<T> center) {
        add<PRODUCTS>(x, size, center, [&](int64_t i) GB_HOT { return PRODUCTS ? load(dy + i) : Lanes<T>{}; },
                      [&] { return PRODUCTS ? load_some(dy, size) : Lanes<T>{}; });
    }

    // The two sums.
    GB_INLINE void take(double &a, double &b) const {
        const auto total = [](const Lanes<T>(&v)[MANY]) {
            auto s = widened<T>(v[0]);
            for (int64_t k = 1; k < MANY; k++) s += widened<T>(v[k]);
            return sum_of(s);
        };
        a = total(first);
        b = total(second);
    }
};

// Where the values of a feature lie.
struct Place {
    int64_t features, width, feature;
    GB_INLINE int64_t of(int64_t value) const { return (value / width * features + feature) * width + value % width; }
};

// body(at, size, end) for each piece in one run of the values first to last.
template <class Body>
GB_INLINE void for_pieces(const Place &place, int64_t first, int64_t last, Body &&body) {
    for (int64_t value = first; value < last;) {
        const int64_t size = least(place.width - value % place.width, last - value);
        body(place.of(value), size);
        value += size;
    }
}

// Where a block of at most `most` values ends that begins at a value: whole runs, or a part of one.
GB_INLINE int64_t block_end(const Place &place, int64_t value, int64_t last, int64_t most_values) {
    const int64_t offset = value % place.width, left = place.width - offset;
    if (offset == 0 && place.width <= most_values)
        return least(last, value + least(most_values / place.width, SEVERAL) * place.width);
    return least(last, value + least(left, most_values));
}

template <class T, bool PRODUCTS>
GB_INLINE void add_block(const T *x, const T *dy, const Place &place, int64_t value, int64_t end, Mapped<T> center,
                         double &a, double &b) {
    Sums<T> sums;
    for_pieces(place, value, end, [&](int64_t at, int64_t size) GB_HOT {
        const int64_t next = at + place.features * place.width, bytes = sizeof(T);
        for (int64_t j = 0; j < least(size, AHEAD_OF_RUN / bytes); j += LINE / bytes) {
            prefetch(x + next + j);
            if constexpr (PRODUCTS) prefetch(dy + next + j);
        }
        sums.template add<PRODUCTS>(x + at, PRODUCTS ? dy + at : nullptr, size, center);
    });
    sums.take(a, b);
}

struct Statistics {
    double high = 0, low = 0, squares = 0;  // mean = high + low; Σ(x − mean)²
};

// The statistics of the values first to last of a feature.
template <class T>
Statistics moments_of_runs(const T *x, const Place &place, int64_t first, int64_t last) {
    Statistics s;
    double sum, squares;
    for (int64_t value = first; value < last;) {
        const int64_t count = value - first;
        const int64_t end = block_end(place, value, last, least(Sums<T>::BLOCK, most(FIRST, count)));
        if (count == 0) {
            add_block<T, false>(x, nullptr, place, value, end, 0, sum, squares);
            s.high = sum / static_cast<double>(end - value);
        }
        const Mapped<T> center = center_of<T>(s.high);
        add_block<T, false>(x, nullptr, place, value, end, center, sum, squares);
        join(Weights(count, end - value), center, sum, squares, s.high, s.low, s.squares);
        value = end;
    }
    return s;
}

// Σdy and Σdy · (x − mean) of the values first to last of a feature.
template <class T>
void products_of_runs(const T *x, const T *dy, const Place &place, int64_t first, int64_t last, double mean, double rest,
                      double &total, double &product) {
    const auto center = static_cast<Mapped<T>>(mean);
    total = product = 0;
    for (int64_t value = first; value < last;) {
        const int64_t end = block_end(place, value, last, Sums<T>::BLOCK);
        double a, b;
        add_block<T, true>(x, dy, place, value, end, center, a, b);
        total += a;
        product += b;
        value = end;
    }
    product -= ((mean - static_cast<double>(center)) + rest) * total;
}

template <class T, int64_t THEN>
GB_INLINE void map_stretch(const T *x, const T *other, T *y, int64_t size, const Parameters<T> &p, Mapped<T> factor) {
    constexpr int64_t W = WIDE<T>;
    constexpr bool OTHER = THEN & (ADD | SLOPE);
    const auto c = all<Lanes<T>>(p.center), s = all<Lanes<T>>(p.scale), t = all<Lanes<T>>(p.shift), f = all<Lanes<T>>(factor);
    const auto one = [&](int64_t i) GB_HOT {
        store(y + i, mapped<T, THEN>(load(x + i), OTHER ? load(other + i) : Lanes<T>{}, c, s, t, f));
    };
    int64_t i = 0;
    for (; i + 4 * W <= size; i += 4 * W) unroll<4>([&](auto k) GB_HOT { one(i + k * W); });
    for (; i + W <= size; i += W) one(i);
    if (i == size) return;
    if (size >= W) return one(size - W);  // some values again
    const Lanes<T> o = OTHER ? load_some(other, size) : Lanes<T>{};
    store_some(y, mapped<T, THEN>(load_some(x, size), o, c, s, t, f), size);
}

// y of the values first to last of a feature, the last runs first: what the sums read last is still in the cache.
template <class T, int64_t THEN>
void map_runs(const T *x, const T *other, T *y, const Place &place, int64_t first, int64_t last, const Parameters<T> &p,
              Mapped<T> factor) {
    constexpr bool OTHER = THEN & (ADD | SLOPE);
    for (int64_t end = last; end > first;) {
        const int64_t begin = most(first, (end - 1) / place.width * place.width), at = place.of(begin);
        map_stretch<T, THEN>(x + at, OTHER ? other + at : nullptr, y + at, end - begin, p, factor);
        end = begin;
    }
}

}  // namespace gammabeta::GB_LEVEL
