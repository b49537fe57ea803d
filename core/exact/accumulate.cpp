// The kernels of exact sums of x and x²: of tables, whose columns are lanes, and of features that lie in runs; of 64-bit
// integers and of weighted numbers, number by number. What they leave are limbs (add_scalar.hpp).
//
// x is read once; a table's 64 columns have 7 KB of state each time, which Python hands in. Numbers that go one by one take
// 10 ns, weighted ones 20.
#include "edge.hpp"
#include "exact/limbs.hpp"
#include "exact/minmax.hpp"
#include "exact/runs.hpp"

namespace gammabeta::GB_LEVEL {
namespace {

// The limbs that Python hands in, if they are of the full heights; touched: first and last-plus-one row of each, (2, 2).
bool sink(View<int64_t> sums, View<int64_t> squares, View<int64_t> specials, View<int64_t> touched, Sink &to) {
    const int64_t lanes = specials.size / 3;
    if (specials.size % 3 != 0 || touched.size != 4 || !are_limbs(sums.size, SUM_HEIGHT, lanes) ||
        !are_limbs(squares.size, SQUARES_HEIGHT, lanes))
        return false;
    for (int64_t i = 0; i < 2; i++) {
        const int64_t height = i ? SQUARES_HEIGHT : SUM_HEIGHT;
        if (touched[2 * i] < 0 || touched[2 * i] > height || touched[2 * i + 1] < 0 || touched[2 * i + 1] >= height)
            return false;
    }
    to = {{sums.data, lanes, SUM_BASE, touched.data}, {squares.data, lanes, SQUARES_BASE, touched.data + 2}, specials.data};
    return true;
}

template <class T>
T *scratch(View<uint8_t> room) {
    const bool fits = room.size >= static_cast<int64_t>(sizeof(T)) && reinterpret_cast<uintptr_t>(room.data) % alignof(T) == 0;
    return fits ? reinterpret_cast<T *>(room.data) : nullptr;
}

constexpr const char *SINK = "exact sums: limbs, specials and touched do not fit";
constexpr const char *ROOM = "exact sums: the room to work in is too small or not aligned to 64 bytes";

// x: rows of `columns` numbers, of which `several` lie side by side, so that a row of lanes is several · columns long. Add
// the lanes from `first` on, `width` of them, lane i being of feature i mod features, and bring the limbs into canonical form.
template <class T>
Result table(View<const T> x, int64_t columns, int64_t several, int64_t first, int64_t width, View<int64_t> sums,
             View<int64_t> squares, View<int64_t> specials, View<int64_t> touched, View<uint8_t> room) {
    Sink to;
    if (!sink(sums, squares, specials, touched, to)) return refuse(SINK);
    int64_t lanes;
    if (columns < 1 || several < 1 || __builtin_mul_overflow(columns, several, &lanes) || x.size % columns != 0 || first < 0 ||
        width < 1 || width > lanes || first > lanes - width || (several > 1 && width != lanes))
        return refuse("exact sums: the columns and the lanes of a table do not fit");
    const int64_t blocks = (width + LANES - 1) / LANES, all = x.size / columns, rows = all / several;
    Block<T> *state = scratch<Block<T>>(room);
    if (state == nullptr || room.size / static_cast<int64_t>(sizeof(Block<T>)) < blocks) return refuse(ROOM);
    alignas(LINE) T tile[TILE];
    const auto features = [&](int64_t block) { return Features{block * LANES, to.sums.lanes}; };
    for (int64_t block = 0; block < blocks; block++) state[block].clear();
    // Memory is asked for 2 KB ahead, and no less than the next rows of a fold: farther has been slower.
    const int64_t ahead = most(DEPTH, (2048 / static_cast<int64_t>(sizeof(T))) / lanes / DEPTH * DEPTH) * lanes;
    for (int64_t row = 0; row < rows; row += ROWS)
        for (int64_t block = 0; block < blocks;) {
            const T *at = x.data + row * lanes + first + block * LANES;
            const Place<T> place = {at, lanes, DEPTH * lanes, least(ROWS, rows - row), ahead};
            const int64_t whole = place.rows % DEPTH == 0 ? least(ABREAST, width / LANES - block) : 0;
            if (whole > 0) {
                add_tiles(state + block, whole, place, tile, features(block), to);
                block += whole;
            } else {
                add_tile(state[block], place, least(LANES, width - block * LANES), tile, features(block), to);
                block++;
            }
        }
    const int64_t left = (all - rows * several) * columns;  // lanes of a last row that is not full
    for (int64_t block = 0; block * LANES < left; block++) {
        const Place<T> place = {x.data + rows * lanes + block * LANES, lanes, DEPTH * lanes, 1, 0};
        add_tile(state[block], place, least(LANES, left - block * LANES), tile, features(block), to);
    }
    for (int64_t block = 0; block < blocks; block++) flush(state[block], features(block), to);
    settle(to.sums);
    settle(to.squares);
    return done();
}

template <class T>
Result runs(View<const T> x, View<const int64_t> starts, View<const int64_t> lengths, int64_t many, int64_t step, int64_t first,
            int64_t last, View<int64_t> sums, View<int64_t> squares, View<int64_t> specials, View<int64_t> touched,
            View<uint8_t> room) {
    Sink to;
    if (!sink(sums, squares, specials, touched, to) || starts.size > to.sums.lanes) return refuse(SINK);
    if (const char *reason = check_runs(x, starts, lengths, many, step, first, last)) return refuse(reason);
    Workplace<T> *place = scratch<Workplace<T>>(room);
    if (place == nullptr || !is_k<T>(place->own.k)) return refuse(ROOM);
    add_runs({x.data, starts.data, lengths.data, starts.size, many, step}, first, last, *place, to);
    return done();
}

// The same, and the range of each feature before its sums: the second sweep finds the feature in the cache.
template <class T>
Result runs_and_range(View<const T> x, View<const int64_t> starts, View<const int64_t> lengths, int64_t many, int64_t step,
                      int64_t first, int64_t last, View<T> low, View<T> high, View<int64_t> missing, View<int64_t> sums,
                      View<int64_t> squares, View<int64_t> specials, View<int64_t> touched, View<uint8_t> room) {
    Sink to;
    if (!sink(sums, squares, specials, touched, to) || starts.size > to.sums.lanes) return refuse(SINK);
    if (const char *reason = check_runs(x, starts, lengths, many, step, first, last)) return refuse(reason);
    if (low.size < last || high.size < last || missing.size < last) return refuse("runs: the range does not fit");
    Workplace<T> *place = scratch<Workplace<T>>(room);
    if (place == nullptr || !is_k<T>(place->own.k)) return refuse(ROOM);
    const Runs<T> given = {x.data, starts.data, lengths.data, starts.size, many, step};
    for (int64_t i = first; i < last; i++) {
        extend_runs(given, i, i + 1, low.data, high.data, missing.data);
        add_runs(given, i, i + 1, *place, to);
    }
    return done();
}

template <class T>
Result integers(View<const T> x, View<int64_t> sums, View<int64_t> squares, View<int64_t> specials, View<int64_t> touched) {
    Sink to;
    if (!sink(sums, squares, specials, touched, to)) return refuse(SINK);
    const int64_t lanes = to.sums.lanes;
    if (x.size % lanes != 0) return refuse("exact sums: the columns of a table do not fit");
    for (int64_t row = 0; row < x.size; row += lanes)
        for (int64_t j = 0; j < lanes; j++) {
            const Split v = split(x[row + j]);
            add_shifted(to.sums, j, v.value, v.exponent, v.negative);
            add_square(to.squares, j, v.value, v.exponent);
        }
    settle(to.sums);
    settle(to.squares);
    return done();
}

// Add w, w·x and w·x². weights: finite, ≥ 0; where one is 0, x counts for nothing; omit: whether the weight of a NaN is
// left out. touched: (3, 2), of the weights' limbs first.
template <class T>
Result weighted(View<const T> x, View<const double> weights, int64_t omit, View<int64_t> counts, View<int64_t> sums,
                View<int64_t> squares, View<int64_t> specials, View<int64_t> touched) {
    const int64_t lanes = specials.size / 3;
    if (specials.size % 3 != 0 || touched.size != 6 || !are_limbs(counts.size, SUM_HEIGHT, lanes) ||
        !are_limbs(sums.size, SQUARES_HEIGHT, lanes) || !are_limbs(squares.size, CUBES_HEIGHT, lanes))
        return refuse(SINK);
    if (x.size % lanes != 0 || x.size != weights.size) return refuse("exact sums: a table and its weights do not fit");
    for (int64_t i = 0; i < weights.size; i++)
        if (!(weights[i] >= 0 && weights[i] < INFINITY)) return refuse("exact sums: weights must be finite and not negative");
    constexpr int64_t HEIGHTS[] = {SUM_HEIGHT, SQUARES_HEIGHT, CUBES_HEIGHT};
    for (int64_t i = 0; i < 6; i++)
        if (touched[i] < 0 || touched[i] > HEIGHTS[i / 2] - i % 2) return refuse(SINK);
    const Weighted to = {{counts.data, lanes, SUM_BASE, touched.data},
                         {sums.data, lanes, SQUARES_BASE, touched.data + 2},
                         {squares.data, lanes, CUBES_BASE, touched.data + 4},
                         specials.data};
    for (int64_t row = 0; row < x.size; row += lanes)
        for (int64_t j = 0; j < lanes; j++) add_weighted(to, j, x[row + j], weights[row + j], omit != 0);
    for (const Limbs &limbs : {to.counts, to.sums, to.squares}) settle(limbs);
    return done();
}

template <bool Canonical>
Result ordered(View<int64_t> digits, int64_t lanes, View<int64_t> touched, int64_t start, int64_t stop) {
    if (lanes < 1 || digits.size % lanes != 0 || touched.size != 2 || start < 0 || stop < start || stop > lanes ||
        touched[0] < 0 || touched[1] >= digits.size / lanes || (Canonical && (start != 0 || stop != lanes)))
        return refuse("limbs: their rows and columns do not fit");
    const Limbs limbs = {digits.data, lanes, 0, touched.data};
    if constexpr (Canonical)
        settle(limbs);
    else
        carry(limbs, start, stop);
    return done();
}

// What Python must know, and what docs/exact.md says of the folds: kernels/folds.py has their names.
template <class T>
Result fold_constant(int64_t index) {
    using F = Folds<T>;
    constexpr int64_t FEW[] = {F::SPREAD, F::LEAST, F::MOST, F::PARTS, F::SQUARES, ROWS, DEPTH, FULL, LANES,
                               sizeof(Block<T>), sizeof(Workplace<T>)};
    constexpr int64_t COUNT = sizeof FEW / sizeof FEW[0];
    if (index < 0 || index >= COUNT + F::PARTS) return refuse("folds: no such number");
    return done(index < COUNT ? FEW[index] : F::UNITS[index - COUNT]);
}

Entry all[] = {
    entry<table<float>>("exact_table_f"),
    entry<table<double>>("exact_table_d"),
    entry<runs<float>>("exact_runs_f"),
    entry<runs<double>>("exact_runs_d"),
    entry<runs_and_range<float>>("exact_runs_and_range_f"),
    entry<runs_and_range<double>>("exact_runs_and_range_d"),
    entry<integers<int64_t>>("exact_integers_l"),
    entry<integers<uint64_t>>("exact_integers_L"),
    entry<weighted<double>>("exact_weighted_d"),
    entry<weighted<int64_t>>("exact_weighted_l"),
    entry<weighted<uint64_t>>("exact_weighted_L"),
    entry<ordered<false>>("limbs_carry"),
    entry<ordered<true>>("limbs_settle"),
    entry<fold_constant<float>>("exact_constant_f"),
    entry<fold_constant<double>>("exact_constant_d"),
};

}  // namespace

Entries exact_entries() { return entries(all); }

}  // namespace gammabeta::GB_LEVEL
