// The least and the greatest value of features, and how many are NaN: comparisons with NaN are false.
//
// x is read once; two comparisons and a count a value.
#pragma once

#include "exact/runs.hpp"

namespace gammabeta::GB_LEVEL {

template <class T>
using CountOf = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;  // as wide as the values: so it is vector code

// What is known of 64 lanes.
template <class T>
struct alignas(LINE) Range {
    T low[LANES], high[LANES];
    CountOf<T> missing[LANES];

    GB_INLINE void clear() {
        for (int64_t j = 0; j < LANES; j++) low[j] = INFINITY, high[j] = -INFINITY, missing[j] = 0;
    }
};

// Widen it by N rows, `stride` apart, of `width` lanes.
template <int64_t N, class T>
GB_INLINE void extend(const T *GB_RESTRICT x, int64_t stride, int64_t width, T *GB_RESTRICT low, T *GB_RESTRICT high,
                      CountOf<T> *GB_RESTRICT missing) {
GB_INDEPENDENT
    for (int64_t j = 0; j < width; j++) {
        T least = low[j], most = high[j];
        CountOf<T> none = missing[j];
        unroll<N>([&](auto k) {
            const T v = x[k * stride + j];
            least = v < least ? v : least;
            most = v > most ? v : most;
            none += v != v;
        });
        low[j] = least, high[j] = most, missing[j] = none;
    }
}

// Of features first to last, in runs.
template <class T>
GB_INLINE void extend_runs(const Runs<T> &runs, int64_t first, int64_t last, T *low, T *high, int64_t *missing) {
    for (int64_t feature = first; feature < last; feature++) {
        Range<T> range;
        range.clear();
        int64_t none = 0, counted = 0;
        for (int64_t run = 0; run < runs.many; run++) {
            const T *x = runs.x + runs.starts[feature] + run * runs.step;
            const int64_t length = runs.lengths[feature];
            int64_t at = 0;
            for (; length - at >= GROUP; at += GROUP) extend<DEPTH>(x + at, LANES, LANES, range.low, range.high, range.missing);
            for (; at < length; at += LANES)
                extend<1>(x + at, LANES, least(LANES, length - at), range.low, range.high, range.missing);
            counted += length;
            if (counted >> 35 == 0) continue;  // a count of 32 bits is not nearly full
            for (int64_t j = 0; j < LANES; j++) none += range.missing[j], range.missing[j] = 0;
            counted = 0;
        }
        for (int64_t j = 0; j < LANES; j++) {
            low[feature] = range.low[j] < low[feature] ? range.low[j] : low[feature];
            high[feature] = range.high[j] > high[feature] ? range.high[j] : high[feature];
            none += range.missing[j];
        }
        missing[feature] += none;
    }
}

}  // namespace gammabeta::GB_LEVEL
