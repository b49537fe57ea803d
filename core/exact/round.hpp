// Mean, variance and deviation of features whose exact sums are limbs, each the float64 nearest to the exact value.
//
//   mean = S₁ / n,    var = (n·S₂ − S₁²) / (n·(n − ddof)),    std = √var
//
// n·S₂ − S₁² is formed exactly; quotients and roots are taken in pairs of float64, to 2⁻⁹⁵ of the result. Where that leaves
// open on which side of the middle between two floats the value lies (Ziv's test), the middle is multiplied back, in
// integers, and compared: ties are known for ties, and go to the even float.
//
// Some 100 to 200 ns a feature, for limbs of usual height.
#pragma once

#include "exact/add_scalar.hpp"

namespace gammabeta::GB_LEVEL {

// A number without sign as digits of 32 bits, from 2^(32·base) on.
constexpr int64_t MOST_DIGITS = SQUARES_HEIGHT + 16;

struct Digits {
    int64_t base, count;
    uint64_t digits[MOST_DIGITS];

    void zero(int64_t from, int64_t many) {
        base = from, count = many;
        memset(digits, 0, static_cast<size_t>(many) * sizeof(uint64_t));
    }
    void shrink() {
        while (count > 0 && digits[count - 1] == 0) count--;
    }
};

// |a feature's number of limbs|; whether it is negative.
GB_INLINE bool magnitude(const int64_t *limbs, int64_t rows, int64_t lanes, int64_t feature, int64_t base, Digits &out) {
    const bool negative = rows > 0 && limbs[(rows - 1) * lanes + feature] < 0;
    int64_t carry = 0;
    out.base = base, out.count = rows + 2;
    for (int64_t i = 0; i < out.count; i++) {
        if (i < rows) carry += negative ? -limbs[i * lanes + feature] : limbs[i * lanes + feature];
        out.digits[i] = static_cast<uint64_t>(carry) & 0xFFFFFFFF;
        carry >>= 32;
    }
    out.shrink();
    return negative;
}

// Add sign · a · b, whose digits lie within those of `out`, and whose total stays one that these hold.
GB_INLINE void add_product(const Digits &a, const Digits &b, int64_t sign, Digits &out) {
    const int64_t at = a.base + b.base - out.base;
    for (int64_t i = 0; i < a.count; i++) {
        int64_t carry = 0;
        for (int64_t j = 0; i + j + at < out.count && (j < b.count || carry != 0); j++) {
            const uint64_t product = j < b.count ? a.digits[i] * b.digits[j] : 0;
            uint64_t &digit = out.digits[i + j + at];
            const int64_t total = static_cast<int64_t>(digit) + carry + sign * static_cast<int64_t>(product & 0xFFFFFFFF);
            digit = static_cast<uint64_t>(total) & 0xFFFFFFFF;
            carry = (total >> 32) + sign * static_cast<int64_t>(product >> 32);
        }
    }
}

GB_INLINE void multiply(const Digits &a, const Digits &b, Digits &out) {
    out.zero(a.base + b.base, a.count + b.count + 1);
    add_product(a, b, 1, out);
    out.shrink();
}

// value · 2^exponent as digits.
GB_INLINE void from_word(uint64_t value, int64_t exponent, Digits &out) {
    const int shift = static_cast<int>(exponent & 31);
    const unsigned __int128 shifted = static_cast<unsigned __int128>(value) << shift;
    out.base = exponent >> 5, out.count = 3;
    for (int i = 0; i < 3; i++) out.digits[i] = static_cast<uint64_t>(shifted >> 32 * i) & 0xFFFFFFFF;
    out.shrink();
}

// The sign of a − b.
GB_INLINE int compare(const Digits &a, const Digits &b) {
    const int64_t above = most(a.base + a.count, b.base + b.count), below = least(a.base, b.base);
    for (int64_t i = above - 1; i >= below; i--) {
        const uint64_t x = i >= a.base && i < a.base + a.count ? a.digits[i - a.base] : 0;
        const uint64_t y = i >= b.base && i < b.base + b.count ? b.digits[i - b.base] : 0;
        if (x != y) return x < y ? -1 : 1;
    }
    return 0;
}

// A number as high + low, to 2⁻¹⁰⁰ of it.
struct Pair {
    double high, low;
    int64_t exponent;  // times 2^exponent
};

GB_INLINE Pair pair_of(const Digits &a) {
    double high = 0, low = 0, scale = 1;
    for (int64_t i = 0; i < 5 && i < a.count; i++, scale *= 0x1p-32) {
        const double part = static_cast<double>(a.digits[a.count - 1 - i]) * scale, total = high + part;
        low += part - (total - high);
        high = total;
    }
    const double total = high + low;
    return {total, low - (total - high), a.count ? 32 * (a.base + a.count - 1) : 0};
}

// (a.high + a.low) / (c + d).
GB_INLINE Pair quotient(const Pair &a, double c, double d) {
    const double high = a.high / c;
    const double low = (fused(-high, c, a.high) + (a.low - high * d)) / c, total = high + low;
    return {total, low - (total - high), a.exponent};
}

// Whether high is the float64 nearest to what high + low stands for, whatever the error of low.
GB_INLINE bool certain(double high, double low) {
    const double half = as<double>(as<uint64_t>(high) & ~FRACTION) * 0x1p-53;
    return (as<uint64_t>(high) & FRACTION) != 0 && std::fabs(low) < half * (1 - 0x1p-30);
}

// The float64 nearest to a positive number near high + low, both normal, where `above(middle, exponent)` says on which side of
// middle · 2^exponent the number lies.
template <class Above>
GB_INLINE double nearest(double high, double low, Above &&above) {
    if (certain(high, low)) return high;
    for (uint64_t bits = as<uint64_t>(high) - 1;; bits++) {  // the number lies between high − 1 and high + 1 units
        const Split x = split(as<double>(bits)), y = split(as<double>(bits + 1));
        const uint64_t middle = x.value + (y.value << (y.exponent - x.exponent));
        const int side = above(middle, x.exponent - 1);
        if (side < 0 || (side == 0 && bits % 2 == 0)) return as<double>(bits);
        if (bits > as<uint64_t>(high)) return as<double>(bits);
    }
}

GB_INLINE double scaled(double x, int64_t exponent) {  // x · 2^exponent
    return x * as<double>(static_cast<uint64_t>(1023 + exponent) << POINT);
}

constexpr int64_t FAR = 800;  // exponents far enough from the ends of float64's range, also for what is 2⁻¹⁶⁰ of a number

// What a feature's sums are: Σx and Σx² of n values as limbs of (rows, lanes) from a base on.
struct Sums {
    const int64_t *sums, *squares;
    int64_t sum_base, sum_rows, square_base, square_rows, lanes;
};

struct Statistics {
    double mean, var, std;
    bool known;
};

// ddof: a multiple of 1/2, below 2²⁰ in size. Unknown where n ≥ 2⁵² or a result is far out in float64's range.
inline Statistics finish(const Sums &of, int64_t feature, int64_t n, double ddof) {
    constexpr double NONE = NAN;
    if (n == 0) return {NONE, NONE, NONE, true};
    Statistics found = {NONE, NONE, NONE, n > 0 && n < int64_t(1) << 52};
    if (!found.known) return found;
    Digits total, squares, spread, size, left, right;
    const bool negative = magnitude(of.sums, of.sum_rows, of.lanes, feature, of.sum_base, total);
    magnitude(of.squares, of.square_rows, of.lanes, feature, of.square_base, squares);
    from_word(static_cast<uint64_t>(n), 0, size);

    const Pair sum = pair_of(total);
    found.mean = 0;
    if (total.count > 0) {
        const Pair mean = quotient(sum, static_cast<double>(n), 0);
        found.known = mean.exponent > -FAR && mean.exponent < FAR;
        if (!found.known) return found;
        const double size_of_mean = nearest(scaled(mean.high, mean.exponent), scaled(mean.low, mean.exponent),
                                            [&](uint64_t middle, int64_t exponent) {
                                                from_word(middle, exponent, right);
                                                multiply(size, right, left);
                                                return compare(total, left);
                                            });
        found.mean = negative ? -size_of_mean : size_of_mean;
    }

    const double divisor = static_cast<double>(n) - ddof;
    if (divisor <= 0) return found;
    const int64_t base = least(2 * total.base, squares.base);
    spread.zero(base, most(2 * (total.base + total.count), squares.base + squares.count + 2) - base + 1);
    add_product(size, squares, 1, spread);
    add_product(total, total, -1, spread);
    spread.shrink();
    found.var = found.std = 0;
    if (spread.count == 0) return found;
    const double n_squared = static_cast<double>(n) * divisor;
    const Pair var = quotient(pair_of(spread), n_squared, fused(static_cast<double>(n), divisor, -n_squared));
    found.known = var.exponent > -FAR && var.exponent < FAR;
    if (!found.known) return found;

    Digits divisors, halves;  // n · (n − ddof), twice, to be an integer
    from_word(static_cast<uint64_t>(2 * divisor), -1, halves);
    multiply(size, halves, divisors);
    found.var = nearest(scaled(var.high, var.exponent), scaled(var.low, var.exponent),
                        [&](uint64_t middle, int64_t exponent) {
                            from_word(middle, exponent, right);
                            multiply(divisors, right, left);
                            return compare(spread, left);
                        });
    const double root = __builtin_sqrt(var.high), rest = (fused(-root, root, var.high) + var.low) / (2 * root);
    const double high = root + rest;
    const int64_t half = var.exponent / 2;  // exponents of digits are multiples of 32
    found.std = nearest(scaled(high, half), scaled(rest - (high - root), half),
                        [&](uint64_t middle, int64_t exponent) {
                            Digits square;
                            from_word(middle, exponent, right);
                            multiply(right, right, square);
                            multiply(divisors, square, left);
                            return compare(spread, left);
                        });
    return found;
}

}  // namespace gammabeta::GB_LEVEL
