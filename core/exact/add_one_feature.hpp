// A tile of numbers that are all of one feature, in runs of memory as the channels of (n, c, h, w) are: its 64 lanes share
// a K, and what they leave is added up at once, so that a short feature costs no more than its values.
//
// State: K, which goes on from feature to feature, and the sums of each part as two numbers. A tile costs some 10 operations
// a lane beside its folds.
#pragma once

#include "exact/add_tile.hpp"

namespace gammabeta::GB_LEVEL {

template <class T>
struct alignas(LINE) Channel {
    int64_t k;
    int64_t low[Folds<T>::PARTS], high[Folds<T>::PARTS];
};

// Move what has been added so far to a feature's limbs.
template <class T>
GB_INLINE void flush(Channel<T> &own, int64_t feature, const Sink &to) {
    for (int64_t part = 0; part < Folds<T>::PARTS; part++) {
        const int64_t exponent = unit_of<T>(part, own.k);
        put(to, part < Folds<T>::SQUARES, feature, own.low[part], exponent);
        put(to, part < Folds<T>::SQUARES, feature, own.high[part], exponent + 32);
        own.low[part] = own.high[part] = 0;
    }
}

// Fold a tile, and add it to the sums if it keeps within the grid of K; whether it does.
template <class T>
bool fold_into(Channel<T> &own, const Place<T> &at) {
    using F = Folds<T>;
    Sweep<T> w;
    for (int64_t part = 0; part < F::PARTS; part++) {
        const bool read = part == 0 || begins_at_magic<T>(part);
        const double start = read ? as<double>(constant_bits<T>(part, own.k)) : 0.0;
        for (int64_t j = 0; j < LANES; j++) w.parts[part][j] = start;
    }
    for (int64_t j = 0; j < LANES; j++) w.least[j] = static_cast<WordOf<T>>(-1);
    fold(at, w);
    const uint64_t begin = constant_bits<T>(0, own.k);
    uint64_t beyond = 0;
    WordOf<T> least = static_cast<WordOf<T>>(-1);
    for (int64_t j = 0; j < LANES; j++) beyond |= as<uint64_t>(w.parts[0][j]) - begin;
    for (int64_t j = 0; j < LANES; j++) least = w.least[j] < least ? w.least[j] : least;
    if (beyond >> POINT || least < floor_word<T>(own.k)) return false;
    for (int64_t part = 0; part < F::PARTS; part++) {
        const bool read = part == 0 || begins_at_magic<T>(part);
        const uint64_t start = constant_bits<T>(part, own.k);
        const double add = read ? 0.0 : as<double>(start);
        uint64_t total = 0;
        for (int64_t j = 0; j < LANES; j++) total += as<uint64_t>(read ? w.parts[part][j] : w.parts[part][j] + add) - start;
        own.low[part] += static_cast<int64_t>(total & 0xFFFFFFFF);  // a total of 64 lanes is below 2⁵⁸
        own.high[part] += static_cast<int64_t>(total) >> 32;
    }
    return true;
}

// Make a tile of a feature one that K holds, or another K.
template <class T>
void fit(Channel<T> &own, T *tile, int64_t rows, int64_t feature, const Sink &to) {
    Extent<T> extent;
    measure(tile, rows, extent);
    if (take_specials(tile, rows, extent, to, [=](int64_t) { return feature; })) measure(tile, rows, extent);
    int64_t needs = Folds<T>::LEAST;
    WordOf<T> low = static_cast<WordOf<T>>(-1);
    for (int64_t j = 0; j < LANES; j++) {
        needs = most(needs, extent.needs[j]);
        low = extent.low[j] < low ? extent.low[j] : low;
    }
    if (needs <= own.k && low >= floor_word<T>(own.k)) return;
    // a binade more than they need, if the least allows that: the next tile may be larger
    const int64_t room = needs + 1;
    const bool wide = is_k<T>(room) && low >= floor_word<T>(room), whole = is_k<T>(needs) && low >= floor_word<T>(needs);
    const int64_t next = wide ? room : whole ? needs : best_k(tile, rows, 0, LANES, own.k, needs, low);
    if (!wide && !whole)
        for (int64_t j = 0; j < LANES; j++)
            outliers(tile + j, rows, next, [&](T &v) {
                add_alone(to, feature, v);
                v = 0;
            });
    if (next == own.k) return;
    flush(own, feature, to);
    own.k = next;
}

// Add a tile of `at.rows` rows of 64 values, at most 32, a multiple of `DEPTH`. tile: room for one.
template <class T>
void add_tile(Channel<T> &own, const Place<T> &at, T *tile, int64_t feature, const Sink &to) {
    if (fold_into(own, at)) return;
    const int64_t rows = copy_tile(at, LANES, tile);
    fit(own, tile, rows, feature, to);
    fold_into(own, {tile, LANES, GROUP, rows, 0});
}

}  // namespace gammabeta::GB_LEVEL
