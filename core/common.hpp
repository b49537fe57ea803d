// What every kernel is written in: arrays as the edge hands them over, the numbers' types, and loops over constant lanes.
//
// A kernel's file is compiled once for each processor level (CMakeLists.txt), each time in a namespace of its own, so
// that no function of one level is ever taken for another's. Nothing here allocates, throws or locks.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#ifndef GB_LEVEL
#define GB_LEVEL baseline
#endif

#define GB_INLINE inline __attribute__((always_inline))
#define GB_RESTRICT __restrict__

// Before a loop whose turns do not depend on one another, whatever the compiler could suspect of its pointers.
#if defined(__clang__)
#define GB_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define GB_INDEPENDENT _Pragma("GCC ivdep")
#endif

namespace gammabeta::GB_LEVEL {

constexpr int64_t LANES = 64;  // a multiple of every processor's vector, and of a cache line
constexpr int64_t LINE = 64;   // bytes of a cache line

// An array: contiguous, of `size` elements, aligned to an element. `const T` where it is only read.
template <class T>
struct View {
    T *data;
    int64_t size;
    GB_INLINE T &operator[](int64_t i) const { return data[i]; }
};

// An array that may be left out, as None: then data is null.
template <class T>
struct Maybe : View<T> {};

// What a kernel gives back: a number, or the reason why it did nothing.
struct Result {
    int64_t value = 0;
    const char *refused = nullptr;
};

GB_INLINE Result done(int64_t value = 0) { return {value, nullptr}; }
GB_INLINE Result refuse(const char *reason) { return {0, reason}; }

// 16-bit floats by their bits; arithmetic is in float32 or wider.
struct float16 {
    uint16_t bits;
};
struct bfloat16 {
    uint16_t bits;
};

template <class To, class From>
GB_INLINE To as(From x) {
    return std::bit_cast<To>(x);
}

template <class T>
GB_INLINE void prefetch(const T *place) {  // to read, into the L2 cache; the place need not exist
    __builtin_prefetch(place, 0, 2);
}

// body(0) … body(N − 1) written out, so that the loop around it is the innermost one and becomes vector instructions.
template <int64_t N, class Body>
GB_INLINE void unroll(Body &&body) {
    [&]<int64_t... I>(std::integer_sequence<int64_t, I...>) __attribute__((always_inline)) {
        (body(std::integral_constant<int64_t, I>{}), ...);
    }(std::make_integer_sequence<int64_t, N>{});
}

#if defined(__FMA__) || defined(__aarch64__)
constexpr bool FUSED = true;
#else
constexpr bool FUSED = false;
#endif

// x·y + z rounded once. Without such an instruction it is a slow call: for what must be exact, not for loops.
GB_INLINE double fused(double x, double y, double z) { return __builtin_fma(x, y, z); }
GB_INLINE float fused(float x, float y, float z) { return __builtin_fmaf(x, y, z); }

// x·y + z, rounded once where the processor can, else twice: where either is good enough.
template <class T>
GB_INLINE T multiply_add(T x, T y, T z) {
    if constexpr (FUSED) return fused(x, y, z);
    return x * y + z;
}

// What x² − h leaves, h being x·x rounded: exact where neither over- nor underflows.
GB_INLINE double square_rest(double x, double h) {
    if constexpr (FUSED) return fused(x, x, -h);
    const double c = x * 134217729.0, high = c - (c - x), low = x - high;  // Veltkamp's split; Dekker's product (1971)
    return ((high * high - h) + 2.0 * high * low) + low * low;
}

GB_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
GB_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

}  // namespace gammabeta::GB_LEVEL
