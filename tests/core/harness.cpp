// The exact sums of one table without Python, for processors that only an emulator runs: see tests/kernels/test_core.py.
//
// Reads int64 rows, columns and the letter of a type, f or d, and the table; writes its limbs as `exact_table` leaves them,
// Σx and Σx², how many values are not finite, and mean, variance and deviation as `finish` rounds them.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "edge.hpp"

namespace gammabeta {
Python python;  // nothing here calls it
namespace GB_LEVEL {
Entries family(int64_t index);
}
}  // namespace gammabeta

using namespace gammabeta;
using namespace gammabeta::GB_LEVEL;

namespace {

constexpr int64_t SUMS = 70, SQUARES = 138, SUM_BASE = -34, SQUARES_BASE = -68;  // the heights and bases of limbs
constexpr int64_t BLOCK_SIZE = 9;  // which of `exact_constant` tells the bytes that 64 lanes need

template <class F>
F kernel(const char *name) {
    for (int64_t i = 0;; i++) {
        const Entries all = family(i);
        if (all.first == nullptr) std::exit(2);
        for (int64_t j = 0; j < all.count; j++)
            if (std::strcmp(all.first[j].method.name, name) == 0) return reinterpret_cast<F>(const_cast<void *>(all.first[j].address));
    }
}

int64_t checked(Result result) {
    if (result.refused == nullptr) return result.value;
    std::fprintf(stderr, "%s\n", result.refused);
    std::exit(3);
}

template <class T>
View<T> zeros(int64_t size) {
    const size_t bytes = (static_cast<size_t>(size) * sizeof(T) + 63) / 64 * 64 + 64;
    void *place = std::aligned_alloc(64, bytes);
    std::memset(place, 0, bytes);
    return {static_cast<T *>(place), size};
}

template <class T>
void put(View<T> values) {
    std::fwrite(values.data, sizeof(T), static_cast<size_t>(values.size), stdout);
}

template <class T>
void table(int64_t rows, int64_t columns, const char *sums_name, const char *constant_name) {
    const View<T> x = zeros<T>(rows * columns);
    if (std::fread(x.data, sizeof(T), static_cast<size_t>(x.size), stdin) != static_cast<size_t>(x.size)) std::exit(4);
    const View<int64_t> sums = zeros<int64_t>(SUMS * columns), squares = zeros<int64_t>(SQUARES * columns);
    const View<int64_t> specials = zeros<int64_t>(3 * columns), touched = zeros<int64_t>(4), counts = zeros<int64_t>(columns);
    touched.data[0] = SUMS, touched.data[2] = SQUARES;
    const int64_t block = checked(kernel<Result (*)(int64_t)>(constant_name)(BLOCK_SIZE));
    const View<uint8_t> room = zeros<uint8_t>((columns + LANES - 1) / LANES * block);
    checked(kernel<Result (*)(View<const T>, int64_t, int64_t, int64_t, int64_t, View<int64_t>, View<int64_t>, View<int64_t>,
                              View<int64_t>, View<uint8_t>)>(sums_name)(
        {x.data, x.size}, columns, 1, 0, columns, sums, squares, specials, touched, room));
    for (int64_t f = 0; f < columns; f++)
        counts.data[f] = rows - specials[f];
    const View<double> found = zeros<double>(3 * columns);
    const View<bool> sure = zeros<bool>(columns);
    const auto used = [](View<int64_t> limbs, int64_t lanes, int64_t first, int64_t last) {
        return View<const int64_t>{limbs.data + first * lanes, (last - first) * lanes};
    };
    int64_t *t = touched.data;
    for (int64_t i = 0; i < 4; i += 2)
        if (t[i] >= t[i + 1]) t[i] = 0, t[i + 1] = 1;  // all is zero
    checked(kernel<Result (*)(View<const int64_t>, int64_t, View<const int64_t>, int64_t, View<const int64_t>, double, int64_t,
                              int64_t, View<double>, View<bool>)>("finish")(
        {counts.data, columns}, SUM_BASE + t[0], used(sums, columns, t[0], t[1]), SQUARES_BASE + t[2],
        used(squares, columns, t[2], t[3]), 0.0, 0, columns, found, sure));
    put(sums), put(squares), put(specials), put(found), put(sure);
}

}  // namespace

int main() {
    int64_t head[3];
    if (std::fread(head, sizeof head, 1, stdin) != 1) return 4;
    if (head[2] == 'f')
        table<float>(head[0], head[1], "exact_table_f", "exact_constant_f");
    else
        table<double>(head[0], head[1], "exact_table_d", "exact_constant_d");
    return 0;
}
