// y = (x − center) · scale + shift in float64, rounded once to y's type, over rows, runs or vectors of values; how many
// values are infinite is counted on the way.
//
// Bytes: x is read once, y written once. Operations a value: one each of −, ·, +, two conversions, and one maximum of
// integers, by which infinities are noticed. Nothing is fused: the bits are the same at every level.
#include "edge.hpp"

namespace gammabeta::GB_LEVEL {
namespace {

constexpr int64_t WIDTH = 512;  // values at a time: with their parameters they stay in the L1 cache
constexpr int64_t AHEAD = 2;    // rows fetched ahead: a row of 4,096 values then maps twice as fast
constexpr int64_t HEIGHT = 8;   // rows under the same parameters, where a row is longer than that

template <class T>
using Word = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;

// How many floats are infinite. Integers have a maximum that becomes vector instructions; only where it reaches
// infinity, or NaN beyond it, are they counted.
template <class T>
GB_INLINE int64_t infinite(const T *x, int64_t size) {
    constexpr Word<T> MAGNITUDE = static_cast<Word<T>>(-1) >> 1;
    const Word<T> infinity = as<Word<T>>(static_cast<T>(INFINITY));
    Word<T> top = 0;
    for (int64_t j = 0; j < size; j++) {
        const Word<T> word = as<Word<T>>(x[j]) & MAGNITUDE;
        top = word > top ? word : top;
    }
    int64_t count = 0;
    if (top >= infinity)
        for (int64_t j = 0; j < size; j++) count += (as<Word<T>>(x[j]) & MAGNITUDE) == infinity;
    return count;
}

// x and y may be the same: a value is read before it is written, and no value is read twice.
template <class X, class Y, class Center, class Scale, class Shift>
GB_INLINE void map(const X *x, Y *y, int64_t size, Center center, Scale scale, Shift shift) {
    GB_INDEPENDENT
    for (int64_t j = 0; j < size; j++) {
        y[j] = static_cast<Y>((static_cast<double>(x[j]) - center(j)) * scale(j) + shift(j));
    }
}

template <class X, class Y>
GB_INLINE void map_lanes(const X *x, Y *y, int64_t size, const double *c, const double *s, const double *t) {
    map(x, y, size, [=](int64_t j) { return c[j]; }, [=](int64_t j) { return s[j]; }, [=](int64_t j) { return t[j]; });
}

template <class X, class Y>
GB_INLINE void map_run(const X *x, Y *y, int64_t size, double c, double s, double t) {
    map(x, y, size, [=](int64_t) { return c; }, [=](int64_t) { return s; }, [=](int64_t) { return t; });
}

// Rows of lanes, each lane with its parameters, (lanes,); the last row may be cut short.
template <class X, class Y>
Result rows(View<const X> x, View<Y> y, int64_t first, int64_t last, View<const double> center, View<const double> scale,
            View<const double> shift) {
    const int64_t lanes = center.size;
    if (first < 0 || last < first || last > x.size || last > y.size || lanes < 1 || first % lanes != 0 ||
        scale.size != lanes || shift.size != lanes)
        return refuse("affine rows: x, y, their part and the parameters do not fit");
    int64_t count = 0;
    for (int64_t top = first; top < last; top += lanes * HEIGHT) {
        const int64_t bottom = least(top + lanes * HEIGHT, last);
        for (int64_t at = 0; at < lanes; at += WIDTH) {
            for (int64_t from = top + at; from < bottom; from += lanes) {
                const int64_t size = least(least(WIDTH, lanes - at), bottom - from);
                for (int64_t j = 0; j < size; j += LINE / static_cast<int64_t>(sizeof(X))) prefetch(x.data + from + AHEAD * lanes + j);
                for (int64_t j = 0; j < size; j += LINE / static_cast<int64_t>(sizeof(Y))) prefetch(y.data + from + AHEAD * lanes + j);
                count += infinite(x.data + from, size);
                map_lanes(x.data + from, y.data + from, size, center.data + at, scale.data + at, shift.data + at);
            }
        }
    }
    return done(count);
}

Entry all[] = {
    entry<rows<float, float>>("affine_rows_ff"),
    entry<rows<float, double>>("affine_rows_fd"),
    entry<rows<double, float>>("affine_rows_df"),
    entry<rows<double, double>>("affine_rows_dd"),
};

}  // namespace

Entries affine_entries() { return entries(all); }

}  // namespace gammabeta::GB_LEVEL
