// Exact sums of x and x², and extrema, by group: a cache line of integers for each group.
//
// x = h + l and x² = h + l + (h + l) are added as multiples of fixed units: t = v + M has v, rounded to M's unit, in its
// last bits, so that sums of t's bits are sums of integers; what was rounded off goes to the next, 51 binades finer M.
// A group's line is of eight words:
//
//     x, x², x² − fl(x²), how many numbers | the finer folds of the same three, top
//
// top is the exponent field of 2^T, where 2^(T−25) ≤ |x| < 2^T for each x ≠ 0 that the line may take; the constants M
// follow from it by shifts. A number above the grid moves it, once what was summed has gone to the group's limbs; one
// below it goes to the limbs by itself.
//
// Bytes: x and its code are read once, 12 a row; a line is read and written, which stays in a cache where groups are few
// (groupby_partitioned.cpp where they are not). Operations a row: two folds of three lanes, some 20 of 4 lanes each.
#include "exact/window.hpp"

namespace gammabeta::GB_LEVEL {
namespace {

constexpr int64_t LINE_WORDS = 8, PENDING = 3, TOP = 7;
constexpr uint64_t FULL = 4095, BINADES = 25;
constexpr uint64_t SPARE = 3;                                // binades above a group's first number
constexpr uint64_t LOWEST = 1023 - 420, HIGHEST = 1023 + 490;  // fields between which no fold leaves float64's range
constexpr uint64_t HALF = uint64_t(1) << 51;

using Words = uint64_t __attribute__((vector_size(32)));
using Doubles = double __attribute__((vector_size(32)));

// The bits of M beside top's: of x, x² and its rest; then of their finer folds.
constexpr uint64_t constant(int64_t field) { return (static_cast<uint64_t>(field) << POINT) + HALF; }
constexpr uint64_t COARSE[4] = {constant(1), constant(-1022), constant(-1076), 0};
constexpr uint64_t FINE[4] = {constant(-51), constant(-1074), constant(-1128), 0};

// Vectors by hand: no compiler makes one loop of three numbers that are summed alike.
GB_INLINE void fold(double v, uint64_t *line, uint64_t top) {
    const double h = v * v;
    const uint64_t once = top << POINT, twice = once << 1;  // top's part of the bits of M
    const Doubles x = {v, h, square_rest(v, h), 0.0};
    const Words grid = {once, twice, twice, 0};
    const Words more = {COARSE[0], COARSE[1], COARSE[2], 0}, still_more = {FINE[0], FINE[1], FINE[2], 0};
    const Doubles coarse = (Doubles)(grid + more), fine = (Doubles)(grid + still_more);  // the same bits
    const Doubles t = x + coarse;
    const Doubles rest = (x - (t - coarse)) + fine;
    Words first, second;
    std::memcpy(&first, line, sizeof(first));
    std::memcpy(&second, line + 4, sizeof(second));
    first += (Words)t + Words{0, 0, 0, 1};
    second += (Words)rest;
    std::memcpy(line, &first, sizeof(first));
    std::memcpy(line + 4, &second, sizeof(second));
}

// Add total · 2^unit, a multiple of the least number that the limbs hold.
GB_INLINE void put(Window &to, int64_t base, int64_t group, int64_t total, int64_t unit) {
    const int64_t below = 32 * base - unit;
    uint64_t size = static_cast<uint64_t>(total < 0 ? -total : total);
    if (below > 0) {
        size = below < 64 ? size >> below : 0;
        unit += below;
    }
    to.add(group, size, unit, total < 0);
}

// Move what a line has summed into the limbs; it then has no grid.
void flush(uint64_t *line, int64_t group, Window &sums, int64_t sum_base, Window &squares, int64_t square_base) {
    const uint64_t pending = line[PENDING], top = line[TOP];
    if (pending != 0)
        for (int64_t part = 0; part < 3; part++)
            for (int64_t finer = 0; finer < 2; finer++) {
                const uint64_t bits = (part == 0 ? top << POINT : top << (POINT + 1)) + (finer ? FINE : COARSE)[part];
                const int64_t total = static_cast<int64_t>(line[4 * finer + part] - pending * bits);
                const int64_t unit = static_cast<int64_t>(bits >> POINT) - 1075;
                if (part == 0)
                    put(sums, sum_base, group, total, unit);
                else
                    put(squares, square_base, group, total, unit);
            }
    for (int64_t word = 0; word < LINE_WORDS; word++) line[word] = 0;
}

bool within(View<const int32_t> codes, int64_t groups) {
    uint32_t top = 0;
    for (int64_t i = 0; i < codes.size; i++) {
        const uint32_t code = static_cast<uint32_t>(codes[i]);
        top = code > top ? code : top;
    }
    return codes.size == 0 || top < groups;
}

constexpr const char *CODES = "groups: there must be a code for each row, from 0 to the number of groups − 1";
constexpr const char *SIZES = "groups: lines, limbs and counts do not fit";

// Add numbers to their groups. x: (n,); codes: (n,), 0 ≤ code < groups; lines: (groups · 8,), zeros at first; sums,
// squares: (height, groups), with the bases of their first rows; specials: (3, groups).
Result accumulate(View<const double> x, View<const int32_t> codes, View<uint64_t> lines, View<int64_t> sum_digits,
                  int64_t sum_base, View<int64_t> square_digits, int64_t square_base, View<int64_t> specials) {
    const int64_t groups = specials.size / 3;
    if (specials.size % 3 != 0 || lines.size / LINE_WORDS != groups || lines.size % LINE_WORDS != 0 ||
        !are_limbs(sum_digits, groups, sum_base) || !are_limbs(square_digits, groups, square_base))
        return refuse(SIZES);
    if (codes.size != x.size || !within(codes, groups)) return refuse(CODES);
    Window sums(sum_digits, groups, sum_base), squares(square_digits, groups, square_base);
    for (int64_t i = 0; i < x.size; i++) {
        const double v = x[i];
        const uint64_t field = (as<uint64_t>(v) & MAGNITUDE) >> POINT;
        if (v == 0) continue;
        const int64_t group = codes[i];
        uint64_t *const line = lines.data + group * LINE_WORDS;
        if (__builtin_expect((field + BINADES - line[TOP] >= BINADES) | (line[PENDING] >= FULL), 0)) {
            if (const int64_t row = special(v); row >= 0) {
                specials[row * groups + group]++;
                continue;
            }
            if (line[PENDING] >= FULL) flush(line, group, sums, sum_base, squares, square_base);
            if (field >= line[TOP] && field >= LOWEST && field <= HIGHEST) {
                flush(line, group, sums, sum_base, squares, square_base);
                line[TOP] = field + 1 + SPARE;
            }
            if (field >= line[TOP] || field + BINADES < line[TOP]) {
                const Split number = split(v);
                sums.add(group, number.value, number.exponent, number.negative);
                squares.add_squared(group, number.value, number.exponent);
                continue;
            }
        }
        fold(v, line, line[TOP]);
    }
    return sums.outside || squares.outside ? refuse(OUTSIDE) : done();
}

// Move what the lines of groups first … last have summed into the limbs.
Result finish(int64_t first, int64_t last, View<uint64_t> lines, View<int64_t> sum_digits, int64_t sum_base,
              View<int64_t> square_digits, int64_t square_base) {
    const int64_t groups = lines.size / LINE_WORDS;
    if (lines.size % LINE_WORDS != 0 || first < 0 || last < first || last > groups ||
        !are_limbs(sum_digits, groups, sum_base) || !are_limbs(square_digits, groups, square_base))
        return refuse(SIZES);
    Window sums(sum_digits, groups, sum_base), squares(square_digits, groups, square_base);
    for (int64_t group = first; group < last; group++)
        flush(lines.data + group * LINE_WORDS, group, sums, sum_base, squares, square_base);
    return sums.outside || squares.outside ? refuse(OUTSIDE) : done();
}

// Add 64-bit integers to their groups, number by number. sums: (3, groups), squares: (5, groups), limbs from 2⁰ on.
template <class T>
Result accumulate_integers(View<const T> x, View<const int32_t> codes, View<int64_t> sum_digits,
                           View<int64_t> square_digits) {
    const int64_t groups = sum_digits.size / 3;
    if (sum_digits.size != 3 * groups || square_digits.size != 5 * groups) return refuse(SIZES);
    if (codes.size != x.size || !within(codes, groups)) return refuse(CODES);
    Window sums(sum_digits, groups, 0), squares(square_digits, groups, 0);
    for (int64_t i = 0; i < x.size; i++) {
        const Split number = split(x[i]);
        sums.add(codes[i], number.value, 0, number.negative);
        squares.add_squared(codes[i], number.value, 0);
    }
    return done();
}

// Add w·x², whole, to a lane: w = weight · 2^place, x = value · 2^exponent.
GB_INLINE void add_weighted_square(Window &to, int64_t lane, uint64_t value, uint64_t weight, int64_t place) {
    const uint64_t lower = value * value, upper = multiply_high(value, value);
    const uint64_t middle = multiply_high(lower, weight) + upper * weight;
    const uint64_t carry = middle < upper * weight;
    to.add(lane, lower * weight, place, false);
    to.add(lane, middle, place + 64, false);
    to.add(lane, multiply_high(upper, weight) + carry, place + 128, false);
}

// Add w, w·x and w·x² to their groups, number by number; where w = 0, x counts for nothing. weights: (n,), finite, ≥ 0;
// omit: whether the weight of a NaN is left out.
template <class T>
Result accumulate_weighted(View<const T> x, View<const double> weights, View<const int32_t> codes, int64_t omit,
                           View<int64_t> count_digits, int64_t count_base, View<int64_t> sum_digits, int64_t sum_base,
                           View<int64_t> square_digits, int64_t square_base, View<int64_t> specials) {
    const int64_t groups = specials.size / 3;
    if (specials.size % 3 != 0 || !are_limbs(count_digits, groups, count_base) ||
        !are_limbs(sum_digits, groups, sum_base) || !are_limbs(square_digits, groups, square_base))
        return refuse(SIZES);
    if (codes.size != x.size || weights.size != x.size || !within(codes, groups)) return refuse(CODES);
    Window counts(count_digits, groups, count_base), sums(sum_digits, groups, sum_base);
    Window squares(square_digits, groups, square_base);
    for (int64_t i = 0; i < x.size; i++) {
        if (weights[i] == 0) continue;
        if (!(weights[i] > 0) || special(weights[i]) >= 0) return refuse("groups: weights must be finite and not negative");
        const int64_t group = codes[i], row = special(x[i]);
        const Split weight = split(weights[i]);
        if (!(omit && row == NAN_ROW)) counts.add(group, weight.value, weight.exponent, false);
        if (row >= 0) {
            specials[row * groups + group]++;
            continue;
        }
        const Split number = split(x[i]);
        const int64_t place = weight.exponent + number.exponent;
        sums.add(group, number.value * weight.value, place, number.negative);
        sums.add(group, multiply_high(number.value, weight.value), place + 64, number.negative);
        add_weighted_square(squares, group, number.value, weight.value, place + number.exponent);
    }
    return counts.outside || sums.outside || squares.outside ? refuse(OUTSIDE) : done();
}

// Widen fields[0] … fields[1], exponent fields of float64, to those of the numbers that are finite and not 0.
Result span(View<const double> x, View<uint64_t> fields) {
    if (fields.size != 2) return refuse("span: fields must be two");
    int64_t low = static_cast<int64_t>(fields[0]), high = static_cast<int64_t>(fields[1]);
    for (int64_t i = 0; i < x.size; i++) {
        const uint64_t bits = as<uint64_t>(x[i]) & MAGNITUDE;
        const int64_t field = static_cast<int64_t>(bits >> POINT);
        const int64_t down = bits != 0 ? field : 2047, up = field < 2047 ? field : 0;
        low = down < low ? down : low;
        high = up > high ? up : high;
    }
    fields[0] = static_cast<uint64_t>(low);
    fields[1] = static_cast<uint64_t>(high);
    return done();
}

// How many rows each group has.
Result tally(View<const int32_t> codes, View<int64_t> counts) {
    if (!within(codes, counts.size)) return refuse(CODES);
    for (int64_t i = 0; i < codes.size; i++) counts[codes[i]]++;
    return done();
}

// Lower `low`, raise `high` and count NaN, group by group; comparisons with NaN are false.
Result widen(View<const double> x, View<const int32_t> codes, View<double> low, View<double> high, View<int64_t> missing) {
    if (high.size != low.size || missing.size != low.size) return refuse(SIZES);
    if (codes.size != x.size || !within(codes, low.size)) return refuse(CODES);
    for (int64_t i = 0; i < x.size; i++) {
        const double v = x[i];
        const int64_t group = codes[i];
        low[group] = v < low[group] ? v : low[group];
        high[group] = v > high[group] ? v : high[group];
        missing[group] += v != v;
    }
    return done();
}

// Codes, values − low, as kernels take them.
template <class T>
Result codes_of(View<const T> values, int64_t low, View<int32_t> codes) {
    if (codes.size != values.size) return refuse(CODES);
    const uint64_t from = static_cast<uint64_t>(low);
    for (int64_t i = 0; i < values.size; i++) codes[i] = static_cast<int32_t>(static_cast<uint64_t>(values[i]) - from);
    return done();
}

Entry all[] = {
    entry<accumulate>("groups_accumulate"),
    entry<finish>("groups_finish"),
    entry<accumulate_integers<int64_t>>("groups_integers_l"),
    entry<accumulate_integers<uint64_t>>("groups_integers_L"),
    entry<accumulate_weighted<double>>("groups_weighted_d"),
    entry<accumulate_weighted<int64_t>>("groups_weighted_l"),
    entry<accumulate_weighted<uint64_t>>("groups_weighted_L"),
    entry<span>("span"),
    entry<tally>("groups_tally"),
    entry<widen>("groups_widen"),
    entry<codes_of<int32_t>>("groups_codes_i"),
    entry<codes_of<int64_t>>("groups_codes_l"),
};

}  // namespace

Entries groupby_entries() { return entries(all); }

}  // namespace gammabeta::GB_LEVEL
