// The kernels of the least and the greatest value of every feature, of a table and of runs (minmax.hpp); between which
// exponents numbers lie; and float16 made float32.
//
// Each reads x once and does a few operations of integers or comparisons a value.
#include "edge.hpp"
#include "exact/minmax.hpp"

namespace gammabeta::GB_LEVEL {
namespace {

// A table whose rows are as many lanes as low, high and missing have: widen these by its rows.
template <class T>
Result minmax_table(View<const T> x, View<T> low, View<T> high, View<CountOf<T>> missing) {
    const int64_t lanes = low.size, rows = lanes ? x.size / lanes : 0;
    if (lanes < 1 || high.size != lanes || missing.size != lanes || x.size % lanes != 0)
        return refuse("minmax: a table and its lanes do not fit");
    if (rows >> 31 != 0) return refuse("minmax: a table must have fewer than 2^31 rows of lanes");
    for (int64_t top = 0; top < rows; top += ROWS) {
        const int64_t bottom = least(top + ROWS, rows);
        for (int64_t lane = 0; lane < lanes; lane += LANES) {
            const int64_t width = least(LANES, lanes - lane);
            T *l = low.data + lane, *h = high.data + lane;
            CountOf<T> *m = missing.data + lane;
            int64_t row = top;
            for (; bottom - row >= DEPTH; row += DEPTH) {
                const T *at = x.data + row * lanes + lane;
                for (int64_t k = 0; k < DEPTH; k++)
                    for (int64_t j = 0; j < width; j += LINE / static_cast<int64_t>(sizeof(T)))
                        prefetch(at + (ROWS + k) * lanes + j);
                if (width == LANES)
                    extend<DEPTH>(at, lanes, LANES, l, h, m);
                else
                    extend<DEPTH>(at, lanes, width, l, h, m);
            }
            for (; row < bottom; row++) extend<1>(x.data + row * lanes + lane, lanes, width, l, h, m);
        }
    }
    return done();
}

template <class T>
Result minmax_runs(View<const T> x, View<const int64_t> starts, View<const int64_t> lengths, int64_t many, int64_t step,
                   int64_t first, int64_t last, View<T> low, View<T> high, View<int64_t> missing) {
    if (const char *reason = check_runs(x, starts, lengths, many, step, first, last)) return refuse(reason);
    if (low.size < last || high.size < last || missing.size < last) return refuse("runs: the range does not fit");
    extend_runs({x.data, starts.data, lengths.data, starts.size, many, step}, first, last, low.data, high.data, missing.data);
    return done();
}

// Widen fields[0] … fields[1] to the exponent fields of the numbers that are neither 0 nor infinite nor NaN: rows of
// `width` numbers, `stride` apart.
template <class T>
Result exponents(View<const T> x, int64_t first, int64_t stride, int64_t width, View<int64_t> fields) {
    if (fields.size != 2 || stride < 1 || first < 0 || width < 0 || width > stride - first || x.size % stride != 0)
        return refuse("exponents: rows and fields do not fit");
    WordOf<T> lows[LANES], highs[LANES];
    for (int64_t j = 0; j < LANES; j++) lows[j] = static_cast<WordOf<T>>(-1), highs[j] = 0;
    const auto widen = [&](const T *GB_RESTRICT at, int64_t count) {
GB_INDEPENDENT
        for (int64_t j = 0; j < count; j++) {
            const WordOf<T> word = as<WordOf<T>>(at[j]) & SIZE_BITS<T>, finite = word < INFINITE<T> ? word : 0;
            const WordOf<T> less = word - 1;
            lows[j] = less < lows[j] ? less : lows[j];
            highs[j] = finite > highs[j] ? finite : highs[j];
        }
    };
    for (int64_t row = 0; row < x.size; row += stride) {
        const T *at = x.data + row + first;
        int64_t j = 0;
        for (; width - j >= LANES; j += LANES) widen(at + j, LANES);
        widen(at + j, width - j);
    }
    WordOf<T> low = static_cast<WordOf<T>>(-1), high = 0;
    for (int64_t j = 0; j < LANES; j++) low = lows[j] < low ? lows[j] : low, high = highs[j] > high ? highs[j] : high;
    if (high == 0) return done();
    fields[0] = least(fields[0], static_cast<int64_t>((low + 1) >> Folds<T>::POINT));
    fields[1] = most(fields[1], static_cast<int64_t>(high >> Folds<T>::POINT));
    return done();
}

// By integers: subnormal numbers are shifted until they are normal, as floats would be.
Result widen(View<const float16> x, View<float> y) {
    if (x.size != y.size) return refuse("widen: x and y do not fit");
    for (int64_t i = 0; i < x.size; i++) {
        const uint32_t bits = x[i].bits, sign = (bits & 0x8000) << 16, size = bits & 0x7FFF;
        const uint32_t normal = (size << 13) + (size >= 0x7C00 ? (255 - 31) << 23 : (127 - 15) << 23);
        const float subnormal = static_cast<float>(static_cast<int32_t>(size)) * 0x1p-24f;
        y[i] = as<float>(sign | (size < 0x400 ? as<uint32_t>(subnormal) : normal));
    }
    return done();
}

Entry all[] = {
    entry<minmax_table<float>>("minmax_table_f"),
    entry<minmax_table<double>>("minmax_table_d"),
    entry<minmax_runs<float>>("minmax_runs_f"),
    entry<minmax_runs<double>>("minmax_runs_d"),
    entry<exponents<float>>("exponents_f"),
    entry<exponents<double>>("exponents_d"),
    entry<widen>("widen"),
};

}  // namespace

Entries minmax_entries() { return entries(all); }

}  // namespace gammabeta::GB_LEVEL
