// Vectors of integers as limbs: sums, differences and the canonical form, each in one call.
//
// A vector of n numbers is int64 (rows, n): row j counts 2^(32·(base + j)). In canonical form (kernels/limbs.py) every
// digit but the last row's lies in [0, 2³²), the last's in [−2³², 2³²), and neither the first nor the last row could be
// left out. Digits given are below 2⁶². Bytes: 8 a digit of each vector, 16 of the result's. Operations: 4 a digit.
#include "edge.hpp"

namespace gammabeta::GB_LEVEL {
namespace {

constexpr int64_t LOW = 0xFFFFFFFF;
constexpr int64_t ROWS_BOUND = int64_t(1) << 31;  // what a result's first row is multiplied with

bool any(const int64_t *row, int64_t n) {
    int64_t some = 0;
    for (int64_t i = 0; i < n; i++) some |= row[i];
    return some != 0;
}

// Whether a row only carries signs, zeros and minus ones, and could go into the one below.
bool is_sign(const int64_t *row, int64_t n) {
    int64_t more = 0;
    for (int64_t i = 0; i < n; i++) more |= row[i] ^ (row[i] >> 63);
    return more == 0;
}

// Which rows of `out`, (rows, n), whose digits are carried, are the canonical form: the first · 2³¹ + how many; none of
// zeros alone.
int64_t trimmed(int64_t *out, int64_t rows, int64_t n) {
    int64_t first = 0, last = rows - 1;
    while (first < last && !any(out + first * n, n)) first++;
    while (last > first && is_sign(out + last * n, n)) {
        last--;
        for (int64_t i = 0; i < n; i++) out[last * n + i] += out[(last + 1) * n + i] * (LOW + 1);
    }
    return first == last && !any(out + last * n, n) ? 0 : first * ROWS_BOUND + last - first + 1;
}

// Put row(j) of digits, j < rows, carried, into `out`, (rows + 1, n).
template <class Row>
GB_INLINE void carry(int64_t *GB_RESTRICT out, int64_t rows, int64_t n, Row &&row) {
    for (int64_t i = 0; i < n; i++) out[i] = 0;
    for (int64_t j = 0; j < rows; j++) {
        int64_t *GB_RESTRICT const here = out + j * n, *GB_RESTRICT const next = here + n;
        row(j, here);
        for (int64_t i = 0; i < n; i++) {
            const int64_t digit = here[i];
            here[i] = digit & LOW;
            next[i] = digit >> 32;
        }
    }
}

constexpr const char *SIZES = "limbs: digits and result do not fit";

// out: (rows + 1, n) of digits (rows, n).
Result canonical(View<const int64_t> digits, int64_t n, View<int64_t> out) {
    if (n < 1 || digits.size % n != 0 || out.size != digits.size + n) return refuse(SIZES);
    const int64_t rows = digits.size / n;
    carry(out.data, rows, n, [&](int64_t j, int64_t *GB_RESTRICT here) {
        const int64_t *const from = digits.data + j * n;
        for (int64_t i = 0; i < n; i++) here[i] += from[i];
    });
    return done(trimmed(out.data, rows + 1, n));
}

// a + sign · b, whose first rows are rows a_first and b_first of `out`, (rows + 1, n).
Result combine(View<const int64_t> a, int64_t a_first, View<const int64_t> b, int64_t b_first, int64_t sign, int64_t n,
               View<int64_t> out) {
    if (n < 1 || a.size % n != 0 || b.size % n != 0 || out.size % n != 0 || (sign != 1 && sign != -1)) return refuse(SIZES);
    const int64_t a_rows = a.size / n, b_rows = b.size / n, rows = out.size / n - 1;
    if (a_first < 0 || b_first < 0 || a_first > rows - a_rows || b_first > rows - b_rows) return refuse(SIZES);
    carry(out.data, rows, n, [&](int64_t j, int64_t *GB_RESTRICT here) {
        if (j >= a_first && j < a_first + a_rows) {
            const int64_t *const from = a.data + (j - a_first) * n;
            for (int64_t i = 0; i < n; i++) here[i] += from[i];
        }
        if (j >= b_first && j < b_first + b_rows) {
            const int64_t *const from = b.data + (j - b_first) * n;
            for (int64_t i = 0; i < n; i++) here[i] += sign * from[i];
        }
    });
    return done(trimmed(out.data, rows + 1, n));
}

Entry all[] = {
    entry<canonical>("limbs_canonical"),
    entry<combine>("limbs_combine"),
};

}  // namespace

Entries limbs_entries() { return entries(all); }

}  // namespace gammabeta::GB_LEVEL
