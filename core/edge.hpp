// The checked edge: a kernel, a plain C++ function of views and numbers, as a function that Python calls.
//
// `entry<kernel>` reads the kernel's parameter types and makes the call from them: an int64_t takes an integer, a double
// a number, a View<T> an array that is contiguous, aligned, of exactly T's type, and writable unless T is const. Anything
// else is refused before the kernel sees it. How long arrays must be is the kernel's own first lines (`refuse`). A call
// with four arrays and six numbers costs some 0.5 µs.
#pragma once

#include "common.hpp"
#include "python.hpp"

namespace gammabeta {

struct Entry {
    Method method;
    const void *address;  // of the kernel itself, for callers that are not Python
};

struct Entries {  // of one family
    Entry *first;
    int64_t count;
};

}  // namespace gammabeta

namespace gammabeta::GB_LEVEL {

// Whether a format of one letter stands for T; 16-bit floats come as they are, or as integers of their bits.
template <class T>
GB_INLINE bool is_format(const char *format, ptrdiff_t itemsize) {
    constexpr char OWN = std::endian::native == std::endian::little ? '<' : '>';
    if (format != nullptr && *format == OWN) format++;  // a byte order that is named, and is this machine's
    if (itemsize != static_cast<ptrdiff_t>(sizeof(T)) || format == nullptr || *format == '\0' || format[1] != '\0') return false;
    const char c = format[0];
    if constexpr (std::is_same_v<T, float>) return c == 'f';
    if constexpr (std::is_same_v<T, double>) return c == 'd';
    if constexpr (std::is_same_v<T, float16>) return c == 'e' || c == 'h';
    if constexpr (std::is_same_v<T, bfloat16>) return c == 'H';
    if constexpr (std::is_same_v<T, bool>) return c == '?';
    if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) return c == 'b' || c == 'h' || c == 'i' || c == 'l' || c == 'q';
    if constexpr (std::is_integral_v<T> && std::is_unsigned_v<T>) return c == 'B' || c == 'H' || c == 'I' || c == 'L' || c == 'Q';
    return false;
}

// One argument on its way from Python to a kernel.
template <class P>
struct Argument;

template <>
struct Argument<int64_t> {
    int64_t value;
    bool take(Object *given) {
        value = python.as_long_long(given);
        return value != -1 || python.error_occurred() == nullptr;
    }
    int64_t get() const { return value; }
    void release() {}
};

template <>
struct Argument<double> {
    double value;
    bool take(Object *given) {
        value = python.as_double(given);
        return value != -1.0 || python.error_occurred() == nullptr;
    }
    double get() const { return value; }
    void release() {}
};

template <class T>
struct Argument<View<T>> {
    using Plain = std::remove_const_t<T>;
    Buffer buffer;
    bool held = false;
    bool take(Object *given) {
        const int flags = C_CONTIGUOUS | FORMAT | (std::is_const_v<T> ? 0 : WRITABLE);
        if (python.get_buffer(given, &buffer, flags) != 0) return false;
        held = true;
        if (!is_format<Plain>(buffer.format, buffer.itemsize)) {
            python.set_error(python.type_error, "a kernel got an array of another type than its own");
            return false;
        }
        if (reinterpret_cast<uintptr_t>(buffer.buf) % alignof(Plain) != 0) {
            python.set_error(python.value_error, "a kernel got an array that is not aligned");
            return false;
        }
        return true;
    }
    View<T> get() const { return {static_cast<T *>(buffer.buf), held ? buffer.len / static_cast<int64_t>(sizeof(T)) : 0}; }
    void release() {
        if (held) python.release_buffer(&buffer);
    }
};

template <class T>
struct Argument<Maybe<T>> : Argument<View<T>> {
    bool take(Object *given) {
        this->buffer.buf = nullptr;
        return given == python.none || Argument<View<T>>::take(given);
    }
    Maybe<T> get() const { return {Argument<View<T>>::get()}; }
};

template <auto Kernel>
struct Edge;

template <class... P, Result (*Kernel)(P...)>
struct Edge<Kernel> {
    template <size_t... I>
    static Object *run([[maybe_unused]] Object *const *args, std::index_sequence<I...>) {
        struct All : Slot<I, P>... {} all;
        const bool taken = (static_cast<Slot<I, P> &>(all).argument.take(args[I]) && ...);
        Result result;
        if (taken) {
            void *thread = python.save_thread();
            result = Kernel(static_cast<Slot<I, P> &>(all).argument.get()...);
            python.restore_thread(thread);
        }
        (static_cast<Slot<I, P> &>(all).argument.release(), ...);
        if (!taken) return nullptr;
        if (result.refused != nullptr) {
            python.set_error(python.value_error, result.refused);
            return nullptr;
        }
        return python.from_long_long(result.value);
    }

    template <size_t I, class Q>
    struct Slot {
        Argument<Q> argument;
    };

    static Object *call(Object *, Object *const *args, ptrdiff_t count) {
        if (count != static_cast<ptrdiff_t>(sizeof...(P))) {
            python.set_error(python.type_error, "a kernel got another number of arguments than its own");
            return nullptr;
        }
        return run(args, std::index_sequence_for<P...>{});
    }
};

template <auto Kernel>
GB_INLINE Entry entry(const char *name) {
    return {{name, &Edge<Kernel>::call, FASTCALL, nullptr}, reinterpret_cast<const void *>(Kernel)};
}

template <int64_t N>
GB_INLINE Entries entries(Entry (&all)[N]) {
    return {all, N};
}

}  // namespace gammabeta::GB_LEVEL
