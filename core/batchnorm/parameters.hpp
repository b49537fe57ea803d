// Parameters at addresses, of the type that a kind names; an address of 0 stands for none.
#pragma once

#include "job.hpp"
#include "vectors.hpp"

namespace gammabeta::GB_LEVEL {

// body(a pointer to nothing of the type that a kind is)
template <class Body>
GB_INLINE void with_kind(int64_t kind, Body &&body) {
    switch (kind) {
        case FLOAT16: return body(static_cast<float16 *>(nullptr));
        case BFLOAT16: return body(static_cast<bfloat16 *>(nullptr));
        case FLOAT32: return body(static_cast<float *>(nullptr));
        case FLOAT64: return body(static_cast<double *>(nullptr));
    }
}

template <class T>
GB_INLINE double number(const T *place) {
    if constexpr (sizeof(T) == 2) return static_cast<double>(load_some(place, 1)[0]);
    else return static_cast<double>(*place);
}
template <class T>
GB_INLINE void set_number(T *place, double value) {
    if constexpr (sizeof(T) == 2) store_some(place, all<Lanes<T>>(static_cast<float>(value)), 1);
    else *place = static_cast<T>(value);
}

inline void read(int64_t as, int64_t address, double otherwise, double *GB_RESTRICT to, int64_t size) {
    if (address == 0) {
        for (int64_t f = 0; f < size; f++) to[f] = otherwise;
        return;
    }
    with_kind(as, [&](auto *type) {
        const auto *from = reinterpret_cast<decltype(type)>(address);
        for (int64_t f = 0; f < size; f++) to[f] = number(from + f);
    });
}

inline void write(int64_t as, int64_t address, const double *GB_RESTRICT from, int64_t size) {
    if (address == 0) return;
    with_kind(as, [&](auto *type) {
        auto *to = reinterpret_cast<decltype(type)>(address);
        for (int64_t f = 0; f < size; f++) set_number(to + f, from[f]);
    });
}

}  // namespace gammabeta::GB_LEVEL
