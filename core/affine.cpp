// y = (x − center) · scale + shift in float64, rounded once to y's type, over rows, runs or vectors of values; how many
// values are infinite is counted on the way.
//
// Bytes: x is read once, y written once. Operations a value: one each of −, ·, +, two conversions, and one maximum of
// integers, by which infinities are noticed. Nothing is fused: the bits are the same at every level. x and y may be the
// same memory: values are read before they are written. Parameters are float64; those of a narrow table are laid side
// by side on the stack, 12 kB, so that a loop is over many lanes.
#include "edge.hpp"
#include "half.hpp"

namespace gammabeta::GB_LEVEL {
namespace {

constexpr int64_t WIDTH = 512;  // values at a time: with their parameters they stay in the L1 cache
constexpr int64_t AHEAD = 2;    // rows fetched ahead: a row of 4,096 values then maps twice as fast
constexpr int64_t HEIGHT = 8;   // rows under the same parameters, where a row is longer than that

template <class T>
constexpr bool IS_FLOAT = !std::is_integral_v<T>;

template <class T>
using Word = std::conditional_t<sizeof(T) == 2, uint16_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>;

// The bits of infinity: those of an exponent of ones.
template <class T>
constexpr Word<T> INFINITE = std::is_same_v<T, float16>   ? static_cast<Word<T>>(0x7C00)
                             : std::is_same_v<T, bfloat16> ? static_cast<Word<T>>(0x7F80)
                             : sizeof(T) == 4              ? static_cast<Word<T>>(0x7F800000)
                                                           : static_cast<Word<T>>(0x7FF0000000000000);

template <class T>
GB_INLINE Word<T> magnitude(T x) {
    return as<Word<T>>(x) & static_cast<Word<T>>(static_cast<Word<T>>(-1) >> 1);
}

// How many floats are infinite. Integers have a maximum that becomes vector instructions; only where it reaches
// infinity, or NaN beyond it, are they counted.
template <class T>
[[gnu::noinline]] int64_t infinite(const T *x, int64_t size) {
    if constexpr (IS_FLOAT<T>) {
        Word<T> top = 0;
        for (int64_t j = 0; j < size; j++) top = magnitude(x[j]) > top ? magnitude(x[j]) : top;
        int64_t count = 0;
        if (top >= INFINITE<T>)
            for (int64_t j = 0; j < size; j++) count += magnitude(x[j]) == INFINITE<T>;
        return count;
    }
    return 0;
}

// The loops below are functions of their own, called for WIDTH values: pairs of types then share them.
template <class X>
[[gnu::noinline]] void widen(const X *GB_RESTRICT x, double *GB_RESTRICT y, int64_t size) {
    for (int64_t j = 0; j < size; j++) y[j] = wide(x[j]);
}

template <class Y>
[[gnu::noinline]] void narrow_all(const double *GB_RESTRICT x, Y *GB_RESTRICT y, int64_t size) {
    for (int64_t j = 0; j < size; j++) narrow(x[j], y[j]);
}

template <class X, class Y>
[[gnu::noinline]] void map_lanes(const X *x, Y *y, int64_t size, const double *c, const double *s, const double *t) {
GB_INDEPENDENT
    for (int64_t j = 0; j < size; j++) y[j] = static_cast<Y>((static_cast<double>(x[j]) - c[j]) * s[j] + t[j]);
}

template <class X, class Y>
[[gnu::noinline]] void map_run(const X *x, Y *y, int64_t size, double c, double s, double t) {
GB_INDEPENDENT
    for (int64_t j = 0; j < size; j++) y[j] = static_cast<Y>((static_cast<double>(x[j]) - c) * s + t);
}

template <class T>
constexpr bool IS_WIDE = std::is_same_v<T, float> || std::is_same_v<T, double>;

// `mapped` of x and y where both are float32 or float64, else of float64 in `room`, (WIDTH,), on the way.
template <class X, class Y, class Mapped>
GB_INLINE void staged(const X *x, Y *y, int64_t size, double *room, Mapped &&mapped) {
    if constexpr (!IS_WIDE<X>) {
        widen(x, room, size);
        staged(room, y, size, room, mapped);
    } else if constexpr (!IS_WIDE<Y>) {
        mapped(x, room);
        narrow_all(room, y, size);
    } else {
        mapped(x, y);
    }
}

template <class T>
GB_INLINE void prefetch_row(const T *x, int64_t size) {
    for (int64_t j = 0; j < size; j += LINE / static_cast<int64_t>(sizeof(T))) prefetch(x + j);
}

struct Parameters {
    const double *center, *scale, *shift;
    int64_t lanes;
};

template <class X, class Y>
int64_t map_rows(const X *x, Y *y, int64_t first, int64_t last, const Parameters &p) {
    int64_t count = 0;
    double room[WIDTH];
    for (int64_t top = first; top < last; top += p.lanes * HEIGHT) {
        const int64_t bottom = least(top + p.lanes * HEIGHT, last);
        for (int64_t at = 0; at < p.lanes; at += WIDTH) {
            for (int64_t from = top + at; from < bottom; from += p.lanes) {
                const int64_t size = least(least(WIDTH, p.lanes - at), bottom - from);
                prefetch_row(x + from + AHEAD * p.lanes, size);
                prefetch_row(y + from + AHEAD * p.lanes, size);
                count += infinite(x + from, size);
                staged(x + from, y + from, size, room, [&](const auto *source, auto *target) {
                    map_lanes(source, target, size, p.center + at, p.scale + at, p.shift + at);
                });
            }
        }
    }
    return count;
}

[[gnu::noinline]] void repeat(const View<const double> x, int64_t several, double *out) {
    for (int64_t i = 0; i < several; i++)
        for (int64_t j = 0; j < x.size; j++) out[i * x.size + j] = x[j];
}

// Rows of lanes, each lane with its parameters, (lanes,): the values first … last, where a row begins at first; the last
// row may be cut short.
template <class X, class Y>
Result rows(View<const X> x, View<Y> y, int64_t first, int64_t last, View<const double> center, View<const double> scale,
            View<const double> shift) {
    const int64_t lanes = center.size;
    if (first < 0 || last < first || last > x.size || last > y.size || lanes < 1 || first % lanes != 0 ||
        scale.size != lanes || shift.size != lanes)
        return refuse("affine rows: x, y, their part and the parameters do not fit");
    const int64_t several = most(1, least(WIDTH / lanes, (last - first) / lanes));
    double c[WIDTH], s[WIDTH], t[WIDTH];
    Parameters p = {center.data, scale.data, shift.data, lanes};
    if (several > 1) {
        repeat(center, several, c);
        repeat(scale, several, s);
        repeat(shift, several, t);
        p = {c, s, t, several * lanes};
    }
    return done(map_rows(x.data, y.data, first, last, p));
}

// Runs first … last of `width` values each, run i with the parameters of feature i mod f.
template <class X, class Y>
Result runs(View<const X> x, View<Y> y, int64_t width, int64_t first, int64_t last, View<const double> center,
            View<const double> scale, View<const double> shift) {
    const int64_t features = center.size;
    if (width < 1 || first < 0 || last < first || last > x.size / width || last > y.size / width || features < 1 ||
        scale.size != features || shift.size != features)
        return refuse("affine runs: x, y, their part and the parameters do not fit");
    int64_t count = 0;
    double room[WIDTH];
    for (int64_t run = first; run < last; run++) {
        const int64_t feature = run % features;
        for (int64_t from = run * width; from < (run + 1) * width; from += WIDTH) {
            const int64_t size = least(WIDTH, (run + 1) * width - from);
            count += infinite(x.data + from, size);
            staged(x.data + from, y.data + from, size, room, [&](const auto *source, auto *target) {
                map_run(source, target, size, center[feature], scale[feature], shift[feature]);
            });
        }
    }
    return done(count);
}

// Vector i, of lengths[i] values, goes from x[froms[i]:] to y[tos[i]:]; counted is how many infinities arrive there.
template <class X, class Y>
Result vectors(View<const X> x, View<Y> y, View<const int64_t> froms, View<const int64_t> tos, View<const int64_t> lengths,
               View<const double> center, View<const double> scale, View<const double> shift) {
    const int64_t vectors = lengths.size;
    if (froms.size != vectors || tos.size != vectors || center.size != vectors || scale.size != vectors ||
        shift.size != vectors)
        return refuse("affine vectors: there must be as many parameters as vectors");
    for (int64_t i = 0; i < vectors; i++)
        if (lengths[i] < 0 || froms[i] < 0 || tos[i] < 0 || lengths[i] > x.size - froms[i] || lengths[i] > y.size - tos[i])
            return refuse("affine vectors: a vector must lie in the memory given");
    int64_t count = 0;
    for (int64_t i = 0; i < vectors; i++)
        for (int64_t at = 0; at < lengths[i]; at += WIDTH) {
            const int64_t size = least(WIDTH, lengths[i] - at);
            Y *const to = y.data + tos[i] + at;
            map_run(x.data + froms[i] + at, to, size, center[i], scale[i], shift[i]);
            count += infinite(to, size);
        }
    return done(count);
}

#define GB_MAPS(x, X, y, Y) entry<rows<X, Y>>("affine_rows_" x y), entry<runs<X, Y>>("affine_runs_" x y)
#define GB_TO_FLOATS(x, X) GB_MAPS(x, X, "f", float), GB_MAPS(x, X, "d", double)
#define GB_VECTORS(x, X, y, Y) entry<vectors<X, Y>>("affine_vectors_" x y)

// By NumPy's letters, bfloat16's being E; other pairs of types go by way of float64.
Entry all[] = {
    GB_TO_FLOATS("f", float),
    GB_TO_FLOATS("d", double),
    GB_TO_FLOATS("e", float16),
    GB_TO_FLOATS("E", bfloat16),
    GB_TO_FLOATS("b", int8_t),
    GB_TO_FLOATS("B", uint8_t),
    GB_TO_FLOATS("i", int32_t),
    GB_TO_FLOATS("l", int64_t),
    GB_MAPS("e", float16, "e", float16),
    GB_MAPS("d", double, "e", float16),
    GB_MAPS("E", bfloat16, "E", bfloat16),
    GB_MAPS("d", double, "E", bfloat16),
    GB_VECTORS("f", float, "f", float),
    GB_VECTORS("f", float, "d", double),
    GB_VECTORS("d", double, "f", float),
    GB_VECTORS("d", double, "d", double),
};

}  // namespace

Entries affine_entries() { return entries(all); }

}  // namespace gammabeta::GB_LEVEL
