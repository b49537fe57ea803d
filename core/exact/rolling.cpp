// Exact sums over a window that slides down a column: the new number is added, the old one taken away.
//
// A step takes as many numbers as it is long into the limbs and as many out, and writes the digits of both sums once,
// carried. Bytes: 8 a number read twice, 8 a digit written. Operations: some 30 a number, 4 a digit.
#include "exact/window.hpp"

namespace gammabeta::GB_LEVEL {
namespace {

// Add ±x to the sums, (height, 1); what is not finite is counted.
template <class T>
GB_INLINE void count(T x, int64_t sign, Window &sums, Window &squares, int64_t *specials) {
    if (const int64_t row = special(x); row >= 0) {
        specials[row] += sign;
        return;
    }
    const Split number = split(x);
    sums.add(0, number.value, number.exponent, number.negative == (sign > 0));
    squares.add_squared(0, number.value, number.exponent, sign < 0);
}

// Write digits in canonical form to a column of `out`, (height, windows).
GB_INLINE void carry(View<int64_t> digits, int64_t *out, int64_t windows) {
    int64_t over = 0;
    for (int64_t i = 0; i + 1 < digits.size; i++) {
        const int64_t digit = digits[i] + over;
        out[i * windows] = digit & 0xFFFFFFFF;
        over = digit >> 32;
    }
    out[(digits.size - 1) * windows] = digits[digits.size - 1] + over;
}

bool fits(View<int64_t> digits, int64_t base, View<int64_t> out, int64_t windows) {
    return digits.size > 0 && are_limbs(digits, 1, base) && windows >= 0 &&
           (windows == 0 || (out.size % windows == 0 && out.size / windows == digits.size));
}

// The sums of windows first, first + 1, … of x: window j is x[j·step : j·step + window]. sums, squares: (height,), with
// their bases, specials: (3,) and reach: (2,), which of x they are of: zeros at first, and what the windows before have
// left. out_sums, out_squares: (height, windows); out_specials: (3, windows).
template <class T>
Result slide(View<const T> x, int64_t window, int64_t step, int64_t first, View<int64_t> sum_digits, int64_t sum_base,
             View<int64_t> square_digits, int64_t square_base, View<int64_t> specials, View<int64_t> reach,
             View<int64_t> out_sums, View<int64_t> out_squares, View<int64_t> out_specials) {
    const int64_t windows = out_specials.size / 3;
    if (specials.size != 3 || reach.size != 2 || out_specials.size % 3 != 0 || !fits(sum_digits, sum_base, out_sums, windows) ||
        !fits(square_digits, square_base, out_squares, windows))
        return refuse("windows: limbs and results do not fit");
    if (window < 1 || step < 1 || first < 0 || reach[0] < 0 || reach[1] < reach[0] || reach[1] > x.size ||
        window > x.size || (windows > 0 && first > (x.size - window) / step - (windows - 1)))
        return refuse("windows: a window must lie in the column");
    Window sums(sum_digits, 1, sum_base), squares(square_digits, 1, square_base);
    for (int64_t j = 0; j < windows; j++) {
        const int64_t start = (first + j) * step;
        for (int64_t i = reach[0]; i < least(start, reach[1]); i++) count(x[i], -1, sums, squares, specials.data);
        for (int64_t i = most(reach[1], start); i < start + window; i++) count(x[i], 1, sums, squares, specials.data);
        reach[0] = start;
        reach[1] = start + window;
        carry(sum_digits, out_sums.data + j, windows);
        carry(square_digits, out_squares.data + j, windows);
        for (int64_t k = 0; k < 3; k++) out_specials[k * windows + j] = specials[k];
    }
    return sums.outside || squares.outside ? refuse(OUTSIDE) : done();
}

Entry all[] = {
    entry<slide<double>>("rolling_slide_d"),
    entry<slide<int64_t>>("rolling_slide_l"),
    entry<slide<uint64_t>>("rolling_slide_L"),
};

}  // namespace

Entries rolling_entries() { return entries(all); }

}  // namespace gammabeta::GB_LEVEL
