// float16 and bfloat16 to and from float64: every conversion is exact, or rounded once to nearest, ties to even.
//
// All is done in integers of 32 bits and float32, without a branch, so that loops over it become vector instructions at
// every level. Cost: some 8 operations to widen, 12 to 20 to narrow.
#pragma once

#include "common.hpp"

namespace gammabeta::GB_LEVEL {

GB_INLINE float widened(bfloat16 x) { return as<float>(static_cast<uint32_t>(x.bits) << 16); }

// Giesen's way: the exponent is moved by a product, which makes normal numbers of subnormal ones.
GB_INLINE float widened(float16 x) {
    const uint32_t magnitude = static_cast<uint32_t>(x.bits & 0x7FFF) << 13;
    const float moved = as<float>(magnitude) * 0x1p112f;
    const uint32_t special = x.bits & 0x7FFF ? as<uint32_t>(moved) | 0x7F800000u : 0x7F800000u;
    const uint32_t bits = (x.bits & 0x7C00) == 0x7C00 ? special | magnitude : as<uint32_t>(moved);
    return as<float>(bits | static_cast<uint32_t>(x.bits & 0x8000) << 16);
}

// x in float32, rounded to odd: what is then rounded to fewer than 23 digits is rounded as if at once.
GB_INLINE uint32_t odd(double x) {
    const float near = static_cast<float>(x);
    const double back = static_cast<double>(near);
    uint32_t bits = as<uint32_t>(near);
    bits -= std::fabs(back) > std::fabs(x) ? 1u : 0u;
    bits |= back != x ? 1u : 0u;
    return x == x ? bits : as<uint32_t>(near);
}

GB_INLINE void narrow(double x, bfloat16 &y) {
    const uint32_t bits = odd(x);
    const uint32_t near = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    y.bits = static_cast<uint16_t>(x == x ? near : 0x7FC0u);
}

GB_INLINE void narrow(double x, float16 &y) {
    const uint32_t all = odd(x), bits = all & 0x7FFFFFFF, sign = (all >> 16) & 0x8000;
    const uint32_t normal = (bits - (112u << 23) + 0xFFF + ((bits >> 13) & 1)) >> 13;
    const uint32_t subnormal = as<uint32_t>(as<float>(bits) + 0.5f) - as<uint32_t>(0.5f);  // the sum rounds at 2⁻²⁴
    const uint32_t not_a_number = 0x7E00 | ((bits >> 13) & 0x3FF);
    uint32_t near = bits < (113u << 23) ? subnormal : normal;
    near = bits >= (143u << 23) ? 0x7C00u : near;  // from 2¹⁶ on; what rounds up to it gets there by itself
    near = bits > (255u << 23) ? not_a_number : near;
    y.bits = static_cast<uint16_t>(near | sign);
}

GB_INLINE void narrow(double x, float &y) { y = static_cast<float>(x); }
GB_INLINE void narrow(double x, double &y) { y = x; }

template <class X>
GB_INLINE double wide(X x) {
    if constexpr (std::is_same_v<X, float16> || std::is_same_v<X, bfloat16>) return static_cast<double>(widened(x));
    else return static_cast<double>(x);
}

}  // namespace gammabeta::GB_LEVEL
