// Exact sums number by number: any float, any 64-bit integer, any weight.
//
// Sums are limbs: int64 (height, lanes), row j of a lane counting 2^(32·(base + j)), digits not carried. Each number adds
// less than 2³³ to a digit. What a kernel touches of the rows it notes, so that the rest need not be looked at.
#pragma once

#include "common.hpp"

namespace gammabeta::GB_LEVEL {

constexpr int64_t SUM_BASE = -34, SUM_HEIGHT = 70;          // for x: from 2^−1088 to beyond every float and 64-bit integer
constexpr int64_t SQUARES_BASE = -68, SQUARES_HEIGHT = 138;  // for x² and w·x: from 2^−2176
constexpr int64_t CUBES_BASE = -102, CUBES_HEIGHT = 206;     // for w·x²: from 2^−3264

constexpr int64_t NAN_ROW = 0, PLUS_INF_ROW = 1, MINUS_INF_ROW = 2;  // of specials, (3, lanes)

constexpr uint64_t MAGNITUDE = 0x7FFFFFFFFFFFFFFF, FRACTION = (uint64_t(1) << 52) - 1, ONE = 1;
constexpr int POINT = 52;

// The limbs of `lanes` numbers, and the first and the last-plus-one row in use.
struct Limbs {
    int64_t *digits;
    int64_t lanes;
    int64_t base;
    int64_t *touched;
};

GB_INLINE uint64_t multiply_high(uint64_t a, uint64_t b) {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(a) * b >> 64);
}

// Add ±value · 2^exponent to a lane.
GB_INLINE void add_shifted(const Limbs &limbs, int64_t lane, uint64_t value, int64_t exponent, bool negative) {
    const int64_t position = exponent - 32 * limbs.base, at = position >> 5;
    const int shift = static_cast<int>(position & 31);
    const uint64_t first = (value & 0xFFFFFFFF) << shift, second = (value >> 32) << shift;
    const int64_t sign = negative ? -1 : 1;
    int64_t *digit = limbs.digits + at * limbs.lanes + lane;
    digit[0] += sign * static_cast<int64_t>(first & 0xFFFFFFFF);
    digit[limbs.lanes] += sign * (static_cast<int64_t>(first >> 32) + static_cast<int64_t>(second & 0xFFFFFFFF));
    digit[2 * limbs.lanes] += sign * static_cast<int64_t>(second >> 32);
    limbs.touched[0] = least(limbs.touched[0], at);
    limbs.touched[1] = most(limbs.touched[1], at + 3);
}

// Add (value · 2^exponent)².
GB_INLINE void add_square(const Limbs &limbs, int64_t lane, uint64_t value, int64_t exponent) {
    add_shifted(limbs, lane, value * value, 2 * exponent, false);
    add_shifted(limbs, lane, multiply_high(value, value), 2 * exponent + 64, false);
}

// A finite number as value · 2^exponent.
struct Split {
    uint64_t value;
    int64_t exponent;
    bool negative;
};

GB_INLINE Split split(double v) {
    const uint64_t bits = as<uint64_t>(v) & MAGNITUDE;
    const int64_t field = static_cast<int64_t>(bits >> POINT);
    return {(bits & FRACTION) | (field > 0 ? ONE << POINT : 0), (field > 1 ? field : 1) - 1075, v < 0};
}
GB_INLINE Split split(int64_t v) { return {v < 0 ? uint64_t(0) - static_cast<uint64_t>(v) : static_cast<uint64_t>(v), 0, v < 0}; }
GB_INLINE Split split(uint64_t v) { return {v, 0, false}; }

// Where weighted sums go: limbs of Σw, Σw·v and Σw·v², and how many of v are NaN, +inf, −inf.
struct Weighted {
    Limbs counts, sums, squares;
    int64_t *specials;
};

// Add w, finite and ≥ 0, w·v and w·v² to a lane; where w = 0, v counts for nothing. omit: whether a NaN's weight is left out.
template <class T>
GB_INLINE void add_weighted(const Weighted &to, int64_t lane, T v, double w, bool omit) {
    if (w == 0) return;
    const Split weight = split(w);
    int64_t place = weight.exponent;
    if constexpr (std::is_floating_point_v<T>) {
        if (!(omit && v != v)) add_shifted(to.counts, lane, weight.value, place, false);
        if ((as<uint64_t>(v) & MAGNITUDE) >> POINT == 2047) {
            const int64_t row = v != v ? NAN_ROW : v > 0 ? PLUS_INF_ROW : MINUS_INF_ROW;
            to.specials[row * to.sums.lanes + lane] += 1;
            return;
        }
    } else {
        add_shifted(to.counts, lane, weight.value, place, false);
    }
    const Split x = split(v);
    place += x.exponent;
    add_shifted(to.sums, lane, x.value * weight.value, place, x.negative);
    add_shifted(to.sums, lane, multiply_high(x.value, weight.value), place + 64, x.negative);
    place += x.exponent;
    const uint64_t lower = x.value * x.value, upper = multiply_high(x.value, x.value), top = upper * weight.value;
    const uint64_t middle = multiply_high(lower, weight.value) + top;
    const uint64_t highest = multiply_high(upper, weight.value) + (middle < top);
    add_shifted(to.squares, lane, lower * weight.value, place, false);
    add_shifted(to.squares, lane, middle, place + 64, false);
    add_shifted(to.squares, lane, highest, place + 128, false);
}

}  // namespace gammabeta::GB_LEVEL
