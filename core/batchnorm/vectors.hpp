// Vectors of the processor's width, and 16- to 64-bit floats read into them and rounded back.
//
// float32 and float64 are computed in float64, 16 bits in float32, where they have 2¹³ times their own digits. GCC and
// Clang make instructions of these types whatever the loop around them is; of plain loops over 16-bit floats, and over
// sums that should stay in registers, GCC 12 does not.
#pragma once

#include "common.hpp"

namespace gammabeta::GB_LEVEL {

#if defined(__AVX512F__)
constexpr int64_t VECTOR = 64;  // bytes
#elif defined(__AVX2__)
constexpr int64_t VECTOR = 32;
#else
constexpr int64_t VECTOR = 16;
#endif

#define GB_HOT __attribute__((always_inline))  // of a lambda in a loop

template <class T>
using Mapped = std::conditional_t<sizeof(T) == 2, float, double>;  // what values of T are computed in

template <class T>
constexpr int64_t WIDE = VECTOR / static_cast<int64_t>(sizeof(Mapped<T>));  // values of T in a vector

template <class N, int64_t W>
struct VectorOf {
    typedef N type __attribute__((vector_size(W * sizeof(N))));
};
template <class N, int64_t W>
using Vector = typename VectorOf<N, W>::type;

template <class T>
using Lanes = Vector<Mapped<T>, WIDE<T>>;

template <class V, class P>
GB_INLINE V raw(const P *place) {
    V v;
    std::memcpy(&v, place, sizeof(V));
    return v;
}
template <class V, class P>
GB_INLINE void put(P *place, V v) {
    std::memcpy(place, &v, sizeof(V));
}

template <class V, class N>
GB_INLINE V all(N value) {
    return value - V{};
}

template <class V, class N, class From, size_t... I>
GB_INLINE V convert_lanes(From v, std::index_sequence<I...>) {
    return V{static_cast<N>(v[I])...};
}

// A vector in another type of number, lane by lane: GCC 12 makes one instruction of it, and five of its own
// __builtin_convertvector.
template <class N, int64_t W, class From>
GB_INLINE Vector<N, W> convert(From v) {
    return convert_lanes<Vector<N, W>, N>(v, std::make_index_sequence<W>{});
}

template <class V, class N, size_t... I>
GB_INLINE V fused_lanes(V x, V y, V z, std::index_sequence<I...>) {
    return V{fused(static_cast<N>(x[I]), static_cast<N>(y[I]), static_cast<N>(z[I]))...};
}

// x·y + z of vectors; both compilers make one instruction of the lanes, where there is one.
template <class V>
GB_INLINE V multiply_add_lanes(V x, V y, V z) {
    using N = std::remove_cvref_t<decltype(x[0])>;
    if constexpr (FUSED) return fused_lanes<V, N>(x, y, z, std::make_index_sequence<sizeof(V) / sizeof(N)>{});
    return x * y + z;
}

// float16 as float32: the exponent moves by 112; below it the fraction is counted in 2^−24, above it stands infinity.
template <class F, class U>
GB_INLINE F from_half(U h) {
    const U shifted = (h & 0x7FFF) << 13, exponent = shifted & 0x0F800000, moved = shifted + (112u << 23);
    const F small = as<F>(moved + (1u << 23)) - all<F>(as<float>(113u << 23));
    const U normal = exponent == 0x0F800000 ? moved + (112u << 23) : moved;
    return as<F>((exponent == 0 ? as<U>(small) : normal) | ((h & 0x8000) << 16));
}

// float32 as float16, to nearest even: normal numbers in integers, smaller ones by an addition that rounds them.
template <class F, class U>
GB_INLINE U to_half(F v) {
    const U bits = as<U>(v), sign = bits & 0x80000000u, size = bits ^ sign;
    const U small = as<U>(as<F>(size) + all<F>(0.5f)) - as<uint32_t>(0.5f);
    const U normal = (size - (112u << 23) + 0xFFF + ((size >> 13) & 1)) >> 13;
    const U special = size > 0x7F800000u ? all<U>(0x7E00u) : all<U>(0x7C00u);
    const U finite = size < (113u << 23) ? small : normal;
    return (size >= (143u << 23) ? special : finite) | (sign >> 16);
}

// float32 as bfloat16, to nearest even.
template <class F, class U>
GB_INLINE U to_brain(F v) {
    const U bits = as<U>(v), near = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    return (bits & 0x7FFFFFFFu) > 0x7F800000u ? (bits >> 16) | 0x40 : near;
}

// As many values as a vector has, from a place on.
template <class T>
GB_INLINE Lanes<T> load(const T *place) {
    constexpr int64_t W = WIDE<T>;
    if constexpr (sizeof(T) == 8) return raw<Lanes<T>>(place);
    if constexpr (sizeof(T) == 4) return convert<double, W>(raw<Vector<float, W>>(place));
    if constexpr (sizeof(T) == 2) {
        const auto bits = convert<uint32_t, W>(raw<Vector<uint16_t, W>>(place));
        if constexpr (std::is_same_v<T, bfloat16>) return as<Lanes<T>>(bits << 16);
        if constexpr (std::is_same_v<T, float16>) return from_half<Lanes<T>>(bits);
    }
}

template <class T>
GB_INLINE void store(T *place, Lanes<T> v) {
    constexpr int64_t W = WIDE<T>;
    if constexpr (sizeof(T) == 8) put(place, v);
    if constexpr (sizeof(T) == 4) put(place, convert<float, W>(v));
    if constexpr (sizeof(T) == 2) {
        using U = Vector<uint32_t, W>;
        const U bits = std::is_same_v<T, bfloat16> ? to_brain<Lanes<T>, U>(v) : to_half<Lanes<T>, U>(v);
        put(place, convert<uint16_t, W>(bits));
    }
}

// The same of fewer; the others are 0.
template <class T>
GB_INLINE Lanes<T> load_some(const T *place, int64_t size) {
    T some[WIDE<T>] = {};
    for (int64_t j = 0; j < size; j++) some[j] = place[j];
    return load(some);
}
template <class T>
GB_INLINE void store_some(T *place, Lanes<T> v, int64_t size) {
    T some[WIDE<T>];
    store(some, v);
    for (int64_t j = 0; j < size; j++) place[j] = some[j];
}

// v from lane `first` on, 0 before.
template <class T>
GB_INLINE auto is_from_lane(int64_t first) {
    using I = std::conditional_t<sizeof(Mapped<T>) == 4, int32_t, int64_t>;
    Vector<I, WIDE<T>> index;
    for (int64_t j = 0; j < WIDE<T>; j++) index[j] = static_cast<I>(j);
    return index >= static_cast<I>(first);
}
template <class T>
GB_INLINE Lanes<T> from_lane(Lanes<T> v, int64_t first) {
    return is_from_lane<T>(first) ? v : Lanes<T>{};
}

// v up to lane `last`, 0 from there on.
template <class T>
GB_INLINE Lanes<T> up_to_lane(Lanes<T> v, int64_t last) {
    return is_from_lane<T>(last) ? Lanes<T>{} : v;
}

// A vector in float64: of float32 the sum of its halves.
template <class T>
GB_INLINE auto widened(Lanes<T> v) {
    if constexpr (sizeof(v[0]) == 8) return v;
    else {
        constexpr int64_t H = WIDE<T> / 2;
        using Half = Vector<float, H>;
        Half half[2];
        std::memcpy(half, &v, sizeof(v));
        return convert<double, H>(half[0]) + convert<double, H>(half[1]);
    }
}

// The sum of a vector's lanes, in float64.
template <class V>
GB_INLINE double sum_of(V v) {
    constexpr int64_t W = sizeof(V) / sizeof(v[0]);
    double lanes[W];
    for (int64_t j = 0; j < W; j++) lanes[j] = v[j];
    for (int64_t half = W / 2; half > 0; half /= 2)
        for (int64_t j = 0; j < half; j++) lanes[j] += lanes[j + half];
    return lanes[0];
}

}  // namespace gammabeta::GB_LEVEL
