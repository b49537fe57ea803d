// Limbs as wide as the exponents of the data ask, no wider: what lies outside of them is not added, and is told.
//
// A caller looks at the data first and makes limbs for what it saw; data that changes meanwhile must not be written
// beyond them. That costs a comparison for each number that goes into the limbs.
#pragma once

#include "edge.hpp"
#include "exact/add_scalar.hpp"

namespace gammabeta::GB_LEVEL {

constexpr int64_t FARTHEST = 1 << 12;  // a base beyond every number that is summed

class Window {
    Limbs limbs;
    int64_t height;
    int64_t touched[2] = {0, 0};

  public:
    bool outside = false;

    // digits: int64 (height, lanes), the first row counting 2^(32·base).
    Window(View<int64_t> digits, int64_t lanes, int64_t base)
        : limbs{digits.data, lanes, base, touched}, height(lanes > 0 ? digits.size / lanes : 0) {}
    Window(const Window &) = delete;  // limbs point to `touched`

    GB_INLINE void add(int64_t lane, uint64_t value, int64_t exponent, bool negative) {
        if (value == 0) return;
        const int64_t at = (exponent - 32 * limbs.base) >> 5;
        if (at < 0 || at + 2 >= height)
            outside = true;
        else
            add_shifted(limbs, lane, value, exponent, negative);
    }

    // Add ±(value · 2^exponent)².
    GB_INLINE void add_squared(int64_t lane, uint64_t value, int64_t exponent, bool negative = false) {
        add(lane, value * value, 2 * exponent, negative);
        add(lane, multiply_high(value, value), 2 * exponent + 64, negative);
    }
};

// Whether digits are limbs of so many lanes.
GB_INLINE bool are_limbs(View<int64_t> digits, int64_t lanes, int64_t base) {
    return lanes > 0 && digits.size % lanes == 0 && base > -FARTHEST && base < FARTHEST;
}

// Which row of specials, (3, lanes), counts a number that is not finite; −1 for one that is.
GB_INLINE int64_t special(double v) {
    if (std::isfinite(v)) return -1;
    return v != v ? NAN_ROW : v > 0 ? PLUS_INF_ROW : MINUS_INF_ROW;
}
GB_INLINE int64_t special(int64_t) { return -1; }
GB_INLINE int64_t special(uint64_t) { return -1; }

constexpr const char *OUTSIDE = "the data changed while it was summed: its exponents are not those that were looked at";

}  // namespace gammabeta::GB_LEVEL
