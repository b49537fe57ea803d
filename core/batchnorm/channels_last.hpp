// Batch norm of tables: x (rows, lanes), each lane a column, as the channels of (n, h, w, c) and the positions of (n, …)
// are. Kernels take a part of a table: x at its first value, rows `stride` apart, `lanes` ≤ PANEL of each.
//
// The sums of a panel stay in the L1 cache, and rows are added one after the other: four rows at a time save three
// quarters of the sums' loads and stores, but are no pattern that processors foresee, and take up to four times as long.
// Bytes: the sums read x once, but its first 16 rows twice; the map reads x and writes y. Operations a value: of the sums
// a conversion, −, + and a fused ·+, three loads and two stores; of the map two conversions, − and a fused ·+.
#pragma once

#include "statistics.hpp"

namespace gammabeta::GB_LEVEL {

constexpr int64_t PANEL = 1024;                       // lanes: with a center and two sums each 24 kB
constexpr int64_t FEWEST_ROWS = 16, MOST_ROWS = 256;  // of a block
constexpr int64_t ROWS_AHEAD = 2;                     // fetched ahead, where a panel is not a whole row
constexpr int64_t TILE = 16;                          // rows that are mapped of a panel before the next one

template <class T>
struct PanelSums {
    alignas(64) Mapped<T> center[PANEL], first[PANEL], second[PANEL];
};

// Add a row's vector; PRODUCTS: dy and dy · d, else d and d².
template <class T, bool PRODUCTS>
GB_INLINE void add_vector(PanelSums<T> &sums, int64_t lane, Lanes<T> d, Lanes<T> dy) {
    const Lanes<T> v = PRODUCTS ? dy : d;
    put(sums.first + lane, raw<Lanes<T>>(sums.first + lane) + v);
    put(sums.second + lane, multiply_add_lanes(v, d, raw<Lanes<T>>(sums.second + lane)));
}

template <class T>
GB_INLINE void ask(const T *place, int64_t size) {
    for (int64_t j = 0; j < size; j += LINE / static_cast<int64_t>(sizeof(T))) prefetch(place + j);
}

template <class T, bool PRODUCTS>
GB_INLINE void add_row(PanelSums<T> &sums, const T *x, const T *dy, int64_t lanes) {
    constexpr int64_t W = WIDE<T>;
    const auto center = [&](int64_t lane) { return raw<Lanes<T>>(sums.center + lane); };
    int64_t lane = 0;
    for (; lane + W <= lanes; lane += W)
        add_vector<T, PRODUCTS>(sums, lane, load(x + lane) - center(lane), PRODUCTS ? load(dy + lane) : Lanes<T>{});
    if (lane == lanes) return;
    if (lanes >= W) {  // the last vector again, without the lanes that are done
        const int64_t at = lanes - W;
        add_vector<T, PRODUCTS>(sums, at, from_lane<T>(load(x + at) - center(at), lane - at),
                                PRODUCTS ? from_lane<T>(load(dy + at), lane - at) : Lanes<T>{});
    } else {
        add_vector<T, PRODUCTS>(sums, 0, up_to_lane<T>(load_some(x, lanes) - center(0), lanes),
                                PRODUCTS ? load_some(dy, lanes) : Lanes<T>{});
    }
}

// The sums of rows, which begin at 0.
template <class T, bool PRODUCTS>
GB_INLINE void add_table(PanelSums<T> &sums, const T *x, const T *dy, int64_t stride, int64_t rows, int64_t lanes) {
    std::memset(sums.first, 0, sizeof(sums.first) + sizeof(sums.second));
    for (int64_t row = 0; row < rows; row++) {
        const T *at = x + row * stride, *beside = PRODUCTS ? dy + row * stride : nullptr;
        if (lanes < stride) {
            ask(at + ROWS_AHEAD * stride, lanes);
            if constexpr (PRODUCTS) ask(beside + ROWS_AHEAD * stride, lanes);
        }
        add_row<T, PRODUCTS>(sums, at, beside, lanes);
    }
}

// The statistics of each lane: mean = high + low, squares = Σ(x − mean)².
template <class T>
void moments_of_table(const T *x, int64_t stride, int64_t rows, int64_t lanes, double *GB_RESTRICT high,
                      double *GB_RESTRICT low, double *GB_RESTRICT squares) {
    PanelSums<T> sums;
    std::memset(sums.center, 0, sizeof(sums.center));
    for (int64_t j = 0; j < lanes; j++) high[j] = low[j] = squares[j] = 0;
    for (int64_t row = 0; row < rows;) {
        const int64_t height = least(least(MOST_ROWS, most(FEWEST_ROWS, row)), rows - row);
        const T *block = x + row * stride;
        const Weights weights(row, height);
        if (row == 0) {
            add_table<T, false>(sums, block, nullptr, stride, height, lanes);
            for (int64_t j = 0; j < lanes; j++) high[j] = static_cast<double>(sums.first[j]) * weights.each;
        }
        for (int64_t j = 0; j < lanes; j++) sums.center[j] = center_of<T>(high[j]);
        add_table<T, false>(sums, block, nullptr, stride, height, lanes);
        for (int64_t j = 0; j < lanes; j++)
            join(weights, static_cast<double>(sums.center[j]), static_cast<double>(sums.first[j]),
                 static_cast<double>(sums.second[j]), high[j], low[j], squares[j]);
        row += height;
    }
}

// Σdy and Σdy · (x − mean) of each lane.
template <class T>
void products_of_table(const T *x, const T *dy, int64_t stride, int64_t rows, int64_t lanes, const double *mean,
                       const double *rest, double *GB_RESTRICT total, double *GB_RESTRICT product) {
    PanelSums<T> sums;
    std::memset(sums.center, 0, sizeof(sums.center));
    for (int64_t j = 0; j < lanes; j++) {
        sums.center[j] = static_cast<Mapped<T>>(mean[j]);
        total[j] = product[j] = 0;
    }
    for (int64_t row = 0; row < rows; row += MOST_ROWS) {
        add_table<T, true>(sums, x + row * stride, dy + row * stride, stride, least(MOST_ROWS, rows - row), lanes);
        for (int64_t j = 0; j < lanes; j++) {
            total[j] += static_cast<double>(sums.first[j]);
            product[j] += static_cast<double>(sums.second[j]);
        }
    }
    for (int64_t j = 0; j < lanes; j++)
        product[j] -= ((mean[j] - static_cast<double>(sums.center[j])) + rest[j]) * total[j];
}

// The parameters of lanes: `Parameters`, and `factor`.
template <class T>
struct LaneParameters {
    Mapped<T> *center, *scale, *shift, *factor;

    GB_INLINE LaneParameters from(int64_t lane) const { return {center + lane, scale + lane, shift + lane, factor + lane}; }
};

template <class T, int64_t THEN>
GB_INLINE void map_row(const T *x, const T *other, T *y, int64_t lanes, const LaneParameters<T> &p) {
    constexpr int64_t W = WIDE<T>;
    constexpr bool OTHER = THEN & (ADD | SLOPE);
    const auto of = [](const Mapped<T> *place) GB_HOT { return raw<Lanes<T>>(place); };
    const auto one = [&](int64_t i) GB_HOT {
        store(y + i, mapped<T, THEN>(load(x + i), OTHER ? load(other + i) : Lanes<T>{}, of(p.center + i), of(p.scale + i),
                                     of(p.shift + i), THEN & SLOPE ? of(p.factor + i) : Lanes<T>{}));
    };
    int64_t i = 0;
    for (; i + W <= lanes; i += W) one(i);
    if (i == lanes) return;
    if (lanes >= W) return one(lanes - W);  // some values again
    const auto some = [&](const Mapped<T> *place) { return load_some(place, lanes); };
    if constexpr (std::is_same_v<T, Mapped<T>>) {
        store_some(y, mapped<T, THEN>(some(x), OTHER ? some(other) : Lanes<T>{}, some(p.center), some(p.scale), some(p.shift),
                                      THEN & SLOPE ? some(p.factor) : Lanes<T>{}), lanes);
    } else {
        Mapped<T> padded[4][W] = {};
        const Mapped<T> *from[4] = {p.center, p.scale, p.shift, THEN & SLOPE ? p.factor : p.center};
        for (int64_t k = 0; k < 4; k++)
            for (int64_t j = 0; j < lanes; j++) padded[k][j] = from[k][j];
        const Lanes<T> o = OTHER ? load_some(other, lanes) : Lanes<T>{};
        store_some(y, mapped<T, THEN>(load_some(x, lanes), o, of(padded[0]), of(padded[1]), of(padded[2]), of(padded[3])), lanes);
    }
}

// y of a part of a table, from the last rows: what the sums read last is still in the cache. Going up row by row takes
// five times as long, since processors fetch ahead in one direction: so by blocks of rows.
template <class T, int64_t THEN>
void map_table(const T *x, const T *other, T *y, int64_t rows, int64_t lanes, const LaneParameters<T> &p) {
    constexpr bool OTHER = THEN & (ADD | SLOPE);
    const int64_t tall = most(1, (int64_t(1) << 17) / lanes / TILE) * TILE;
    for (int64_t bottom = rows; bottom > 0;) {
        const int64_t first = (bottom - 1) / tall * tall;
        for (int64_t top = first; top < bottom; top += TILE)
            for (int64_t lane = 0; lane < lanes; lane += PANEL)
                for (int64_t row = top; row < least(top + TILE, bottom); row++) {
                    const int64_t at = row * lanes + lane, size = least(PANEL, lanes - lane);
                    if (size < lanes) {
                        ask(x + at + ROWS_AHEAD * lanes, size);
                        ask(y + at + ROWS_AHEAD * lanes, size);
                    }
                    map_row<T, THEN>(x + at, OTHER ? other + at : nullptr, y + at, size, p.from(lane));
                }
        bottom = first;
    }
}

}  // namespace gammabeta::GB_LEVEL
