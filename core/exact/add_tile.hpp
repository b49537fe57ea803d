// A tile of numbers is added to the exact sums of its lanes' features, each lane with its own K (binned.hpp).
//
// Where a tile does not keep within its lanes' grids nothing has been lost: it is copied, without what is not finite, which
// is counted; lanes are given another K; what that does not hold, numbers far smaller or larger than the others, is added
// number by number, in integers; and the copy is folded again.
//
// A block of 64 lanes is 7 KB of state. A tile costs some 20 operations a lane beside its folds; one that is folded again
// two to five times its time.
#pragma once

#include "exact/binned.hpp"

namespace gammabeta::GB_LEVEL {

// Where sums go: limbs of Σx and Σx², (70, features) and (138, features), and how many are NaN, +inf, −inf, (3, features).
struct Sink {
    Limbs sums, squares;
    int64_t *specials;
};

GB_INLINE void put(const Sink &to, bool is_square, int64_t feature, int64_t total, int64_t exponent) {
    if (total == 0) return;
    const uint64_t size = total < 0 ? uint64_t(0) - static_cast<uint64_t>(total) : static_cast<uint64_t>(total);
    add_shifted(is_square ? to.squares : to.sums, feature, size, exponent, total < 0);
}

GB_INLINE void add_alone(const Sink &to, int64_t feature, double v) {
    const Split x = split(v);
    add_shifted(to.sums, feature, x.value, x.exponent, x.negative);
    add_square(to.squares, feature, x.value, x.exponent);
}

// Count a number that is not finite.
GB_INLINE void count_special(const Sink &to, int64_t feature, double v) {
    const int64_t row = v != v ? NAN_ROW : v > 0 ? PLUS_INF_ROW : MINUS_INF_ROW;
    to.specials[row * to.sums.lanes + feature] += 1;
}

constexpr int64_t NO_GRID = -100000;  // the K of a lane that has seen nothing

// What is known of 64 lanes.
template <class T>
struct alignas(LINE) Block {
    uint64_t sums[Folds<T>::PARTS][LANES];    // since the last flush, each in its unit
    uint64_t starts[Folds<T>::PARTS][LANES];  // the bits of each part's constant
    int64_t k[LANES];
    WordOf<T> floor[LANES];
    int64_t tiles;  // that the sums are of, and room for a line

    void clear() {
        for (int64_t j = 0; j < LANES; j++) set(j, NO_GRID);
        memset(sums, 0, sizeof sums);
        tiles = FULL;  // so that the first tile is looked at before it is folded
    }
    void set(int64_t j, int64_t value) {
        k[j] = value;
        if (value == NO_GRID) return;
        floor[j] = floor_word<T>(value);
        for (int64_t part = 0; part < Folds<T>::PARTS; part++) starts[part][j] = constant_bits<T>(part, value);
    }
};

// The features of a block's lanes: lane j is of (first + j) mod features.
struct Features {
    int64_t first, count;
    GB_INLINE int64_t of(int64_t lane) const { return (first + lane) % count; }
};

// Move the sums of the lanes from j to stop, which are of one feature and have one K, to the feature's limbs: as two numbers
// each, since 64 lanes are more than 64 bits hold.
template <class T>
GB_INLINE void flush_lanes(Block<T> &block, int64_t j, int64_t stop, int64_t feature, const Sink &to) {
    for (int64_t part = 0; part < Folds<T>::PARTS; part++) {
        const int64_t exponent = unit_of<T>(part, block.k[j]);
        const bool is_square = part < Folds<T>::SQUARES;
        if (stop - j == 1) {
            put(to, is_square, feature, static_cast<int64_t>(block.sums[part][j]), exponent);
            block.sums[part][j] = 0;
            continue;
        }
        int64_t low = 0, high = 0;
        for (int64_t lane = j; lane < stop; lane++) {
            const int64_t total = static_cast<int64_t>(block.sums[part][lane]);
            block.sums[part][lane] = 0;
            low += total & 0xFFFFFFFF;
            high += total >> 32;
        }
        high += low >> 32;
        put(to, is_square, feature, low & 0xFFFFFFFF, exponent);
        put(to, is_square, feature, high, exponent + 32);
    }
}

template <class T>
GB_INLINE void flush(Block<T> &block, Features features, const Sink &to) {
    for (int64_t j = 0, stop; j < LANES; j = stop) {
        stop = j + 1;
        while (stop < LANES && features.count == 1 && block.k[stop] == block.k[j]) stop++;
        if (block.k[j] != NO_GRID) flush_lanes(block, j, stop, features.of(j), to);
    }
    block.tiles = 0;
}

// What a block's lanes begin a tile with.
template <class T>
GB_INLINE void begin(const Block<T> &block, Sweep<T> &w) {
    for (int64_t part = 0; part < Folds<T>::PARTS; part++)
        for (int64_t j = 0; j < LANES; j++)
            w.parts[part][j] = part == 0 || begins_at_magic<T>(part) ? as<double>(block.starts[part][j]) : 0.0;
    for (int64_t j = 0; j < LANES; j++) w.least[j] = static_cast<WordOf<T>>(-1);
}

// Add what a tile left to the sums if all lanes kept within their grids; whether they did.
template <class T>
GB_INLINE bool end(Block<T> &block, const Sweep<T> &w) {
    uint64_t beyond = 0;
    WordOf<T> below = 0;
    for (int64_t j = 0; j < LANES; j++) beyond |= as<uint64_t>(w.parts[0][j]) - block.starts[0][j];
    for (int64_t j = 0; j < LANES; j++) below |= w.least[j] < block.floor[j];
    if (beyond >> POINT || below) return false;
    for (int64_t part = 0; part < Folds<T>::PARTS; part++)
        for (int64_t j = 0; j < LANES; j++) {
            const uint64_t start = block.starts[part][j];
            const bool read = part == 0 || begins_at_magic<T>(part);
            const double v = w.parts[part][j];
            block.sums[part][j] += as<uint64_t>(read ? v : v + as<double>(start)) - start;
        }
    block.tiles++;
    return true;
}

// Fold a tile, and add it to the sums if all lanes keep within their grids; whether they do.
template <class T>
bool fold_into(Block<T> &block, const Place<T> &at) {
    Sweep<T> w;
    begin(block, w);
    fold(at, w);
    return end(block, w);
}

// Copy what there is of a tile, zeros elsewhere, in as many rows as folds take; how many that are.
template <class T>
GB_INLINE int64_t copy_tile(const Place<T> &at, int64_t lanes, T *GB_RESTRICT tile) {
    const int64_t rows = (at.rows + DEPTH - 1) / DEPTH * DEPTH;
    for (int64_t row = 0; row < rows; row++) {
        const T *x = at.x + row / DEPTH * at.jump + row % DEPTH * at.stride;
        const int64_t width = row < at.rows ? lanes : 0;
        T *to = tile + row * LANES;
        for (int64_t j = 0; j < width; j += LINE / static_cast<int64_t>(sizeof(T))) prefetch(x + at.ahead + j);
        for (int64_t j = 0; j < width; j++) to[j] = x[j];
        for (int64_t j = width; j < LANES; j++) to[j] = 0;
    }
    return rows;
}

// Take what is not finite out of a tile, and count it; whether there was anything.
template <class T, class Feature>
GB_INLINE bool take_specials(T *tile, int64_t rows, const Extent<T> &extent, const Sink &to, Feature &&feature) {
    bool any = false;
    for (int64_t j = 0; j < LANES; j++) {
        if (extent.high[j] < INFINITE<T>) continue;
        any = true;
        for (int64_t row = 0; row < rows; row++) {
            T &v = tile[row * LANES + j];
            if ((as<WordOf<T>>(v) & SIZE_BITS<T>) < INFINITE<T>) continue;
            count_special(to, feature(j), v);
            v = 0;
        }
    }
    return any;
}

// How many numbers of a lane a K does not hold; with `take` these are called, and leave zeros.
template <class T, class Take>
GB_INLINE int64_t outliers(T *lane, int64_t rows, int64_t k, Take &&take) {
    const double scale = power(-k);
    const WordOf<T> floor = floor_word<T>(k);
    double total = 0;
    int64_t count = 0;
    for (int64_t row = 0; row < rows; row++) {
        T &v = lane[row * LANES];
        const WordOf<T> less = (as<WordOf<T>>(v) & SIZE_BITS<T>) - 1;
        const double y = static_cast<double>(v) * scale, more = total + y * y;
        if (less >= floor && more < SURE) {
            total = more;
        } else {
            count++;
            take(v);
        }
    }
    return count;
}

template <class T>
GB_INLINE bool is_k(int64_t k) {
    return k >= Folds<T>::LEAST && k <= Folds<T>::MOST;
}

// Of some lanes the K that leaves out the fewest numbers: the one they have, or one by their greatest or their least.
template <class T>
int64_t best_k(T *tile, int64_t rows, int64_t first, int64_t stop, int64_t given, int64_t needs, WordOf<T> low) {
    int64_t best = given, fewest = stop * ROWS + 1;
    for (const int64_t k : {given, needs, exponent_of<T>(low + 1) + Folds<T>::SPREAD}) {
        if (!is_k<T>(k)) continue;
        int64_t count = 0;
        for (int64_t j = first; j < stop; j++) count += outliers(tile + j, rows, k, [](T) {});
        if (count < fewest) best = k, fewest = count;
    }
    return is_k<T>(best) ? best : 0;
}

// Make a tile one that a block's lanes hold.
template <class T>
void fit(Block<T> &block, T *tile, int64_t rows, Features features, const Sink &to) {
    Extent<T> extent;
    measure(tile, rows, extent);
    if (take_specials(tile, rows, extent, to, [=](int64_t j) { return features.of(j); })) measure(tile, rows, extent);
    for (int64_t j = 0; j < LANES; j++) {
        const int64_t k = block.k[j], needs = extent.needs[j];
        if (k != NO_GRID && needs <= k && extent.low[j] >= block.floor[j]) continue;
        const bool whole = is_k<T>(needs) && extent.low[j] >= floor_word<T>(needs);
        const int64_t next = whole ? needs : best_k(tile, rows, j, j + 1, k, needs, extent.low[j]);
        if (!whole)
            outliers(tile + j, rows, next, [&](T &v) {
                add_alone(to, features.of(j), v);
                v = 0;
            });
        if (next == k) continue;
        if (k != NO_GRID) flush_lanes(block, j, j + 1, features.of(j), to);
        block.set(j, next);
    }
}

// Add a tile by way of a copy, which is made one that the lanes hold.
template <class T>
void add_copied(Block<T> &block, const Place<T> &at, int64_t lanes, T *tile, Features features, const Sink &to) {
    const bool whole = lanes == LANES && at.rows % DEPTH == 0;
    if (block.tiles >= FULL) flush(block, features, to);
    const int64_t rows = copy_tile(at, lanes, tile);
    const Place<T> copied = {tile, LANES, GROUP, rows, 0};
    if (block.k[0] != NO_GRID && !whole && fold_into(block, copied)) return;
    fit(block, tile, rows, features, to);
    fold_into(block, copied);
}

// Add a tile, or what there is of one: `at.rows` rows, up to 32, of `lanes` lanes, up to 64. tile: room for one.
template <class T>
void add_tile(Block<T> &block, const Place<T> &at, int64_t lanes, T *tile, Features features, const Sink &to) {
    const bool whole = lanes == LANES && at.rows % DEPTH == 0;
    if (block.tiles < FULL && whole && fold_into(block, at)) return;
    add_copied(block, at, lanes, tile, features, to);
}

constexpr int64_t ABREAST = 8;  // blocks whose work arrays, 14 or 28 KB, stay in the L1 cache

// Add whole tiles that lie side by side, one of each block, `ABREAST` at most: along the rows, 2 or 4 KB of each at a time,
// which is how memory is read ahead; 64 lanes at a time down rows that are 32 KB apart took 1.4 times as long.
template <class T>
void add_tiles(Block<T> *blocks, int64_t count, const Place<T> &at, T *tile, Features features, const Sink &to) {
    Sweep<T> w[ABREAST];
    bool full = false;
    for (int64_t b = 0; b < count; b++) begin(blocks[b], w[b]), full |= blocks[b].tiles >= FULL;
    for (int64_t group = 0; !full && group * DEPTH < at.rows; group++)
        for (int64_t b = 0; b < count; b++) fold<T>({at.x + group * at.jump + b * LANES, at.stride, 0, DEPTH, at.ahead}, w[b]);
    for (int64_t b = 0; b < count; b++) {
        const Features own = {features.first + b * LANES, features.count};
        Place<T> place = at;
        place.x += b * LANES;
        if (full)
            add_tile(blocks[b], place, LANES, tile, own, to);
        else if (!end(blocks[b], w[b]))
            add_copied(blocks[b], place, LANES, tile, own, to);
    }
}

}  // namespace gammabeta::GB_LEVEL
