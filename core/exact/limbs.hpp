// Limbs' digits in order: carries, and the canonical form of kernels/limbs.py.
//
// digits: int64 (height, lanes), each below 2⁶² in size; touched: the first and the last-plus-one row in use, height rows at
// most. Both sweep the rows in use once or twice: 8 bytes read and written a digit.
#pragma once

#include "exact/add_scalar.hpp"

namespace gammabeta::GB_LEVEL {

constexpr int64_t LOW_DIGIT = 0xFFFFFFFF;

// Bring the digits of the lanes from start to stop into [0, 2³²), those of the last row in use, which have the signs, into
// [−2³¹, 2³¹): where that needs another row there must be one.
GB_INLINE void carry(const Limbs &limbs, int64_t start, int64_t stop) {
    int64_t *touched = limbs.touched, large = 0;
    for (int64_t row = touched[0]; row < touched[1]; row++) {
        int64_t *digits = limbs.digits + row * limbs.lanes, *next = digits + limbs.lanes;
        if (row + 1 < touched[1]) {
            for (int64_t j = start; j < stop; j++) {
                next[j] += digits[j] >> 32;
                digits[j] &= LOW_DIGIT;
            }
        } else {
            for (int64_t j = start; j < stop; j++) large |= digits[j] ^ (digits[j] >> 63);
        }
    }
    if (large >> 31) {
        int64_t *last = limbs.digits + (touched[1] - 1) * limbs.lanes, *next = last + limbs.lanes;
        for (int64_t j = start; j < stop; j++) {
            next[j] = last[j] >> 32;
            last[j] &= LOW_DIGIT;
        }
        touched[1] += 1;
    }
}

// Bring all digits into canonical form; `touched` then tells its rows, none where all is zero.
GB_INLINE void settle(const Limbs &limbs) {
    int64_t *touched = limbs.touched;
    carry(limbs, 0, limbs.lanes);
    for (; touched[0] < touched[1]; touched[0]++) {
        int64_t some = 0;
        for (int64_t j = 0; j < limbs.lanes; j++) some |= limbs.digits[touched[0] * limbs.lanes + j];
        if (some) break;
    }
    for (; touched[1] - touched[0] > 1; touched[1]--) {
        int64_t *last = limbs.digits + (touched[1] - 1) * limbs.lanes, more = 0;
        for (int64_t j = 0; j < limbs.lanes; j++) more |= last[j] ^ (last[j] >> 63);
        if (more) break;
        for (int64_t j = 0; j < limbs.lanes; j++) {
            last[j - limbs.lanes] += static_cast<int64_t>(static_cast<uint64_t>(last[j]) << 32);
            last[j] = 0;
        }
    }
}

// Whether digits are of a height over so many lanes, and touched of so many pairs.
GB_INLINE bool are_limbs(int64_t size, int64_t height, int64_t lanes) {
    return lanes >= 1 && lanes < int64_t(1) << 40 && size == height * lanes;
}

}  // namespace gammabeta::GB_LEVEL
