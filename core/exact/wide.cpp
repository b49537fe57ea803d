// Exact sums of a table of few rows and very many columns: each block of 64 columns has limbs of its own, which stay in the
// L1 cache, and leaves its digits in canonical form where those of all columns are put together.
//
// Digits are of a window, base and height, that Python takes from the data's exponents (`exponents`): wide enough for every
// feature's sums, so that no digit is left out. Bytes: x is read once, 8 bytes a digit written. Some 60 to 100 ns a column
// beside the folds.
#include "edge.hpp"
#include "exact/add_tile.hpp"
#include "exact/limbs.hpp"

namespace gammabeta::GB_LEVEL {
namespace {

template <class T>
struct alignas(LINE) Own {  // all zeros between two blocks
    Block<T> block;
    int64_t sums[SUM_HEIGHT * LANES], squares[SQUARES_HEIGHT * LANES], specials[3 * LANES];
};

// Digits of all columns, (height, columns), from a base on; used: the first row in use, and the last plus one.
struct Window {
    int64_t *digits, columns, base, height, *used;
};

// Write a block's carried digits into a window from a column on, `width` of them, and clear them; false if some lie outside.
bool leave(const Limbs &own, const Window &to, int64_t column, int64_t width) {
    const int64_t first = own.touched[0], last = own.touched[1], shift = to.base - own.base;
    int64_t sign[LANES];
    uint64_t outside = 0;
    for (int64_t j = 0; j < LANES; j++) sign[j] = last > first ? own.digits[(last - 1) * LANES + j] >> 63 : 0;
    for (int64_t row = first; row < last; row++) {
        const int64_t at = row - shift;
        if (at >= 0 && at < to.height) continue;
        for (int64_t j = 0; j < width; j++)
            outside |= (own.digits[row * LANES + j] & LOW_DIGIT) ^ (at < 0 ? 0 : sign[j] & LOW_DIGIT);
    }
    for (int64_t at = 0; at < to.height; at++) {
        const int64_t row = at + shift;
        const bool is_top = at == to.height - 1;
        int64_t *out = to.digits + at * to.columns + column, some = 0, more = 0;
        for (int64_t j = 0; j < width; j++) {
            const int64_t beyond = row < last ? 0 : sign[j] & LOW_DIGIT;
            const int64_t digit = row >= first && row < last ? own.digits[row * LANES + j] & LOW_DIGIT : beyond;
            some |= digit;
            more |= digit ^ (sign[j] & LOW_DIGIT);
            out[j] = is_top ? digit | static_cast<int64_t>(static_cast<uint64_t>(sign[j]) << 32) : digit;
        }
        if (some) to.used[0] = least(to.used[0], at);
        if (more || some) to.used[1] = most(to.used[1], more ? at + 1 : to.used[0] + 1);
    }
    for (int64_t i = first * LANES; i < last * LANES; i++) own.digits[i] = 0;
    return outside == 0;
}

// x: rows of `columns` numbers; add the columns first to last. used: int64 (2, 2), of Σx and of Σx².
template <class T>
Result wide(View<const T> x, int64_t columns, int64_t first, int64_t last, int64_t sum_base, View<int64_t> sums,
            int64_t square_base, View<int64_t> squares, View<int64_t> specials, View<int64_t> used, View<uint8_t> room) {
    if (columns < 1 || x.size % columns != 0 || first < 0 || last < first || last > columns || sums.size % columns != 0 ||
        squares.size % columns != 0 || specials.size != 3 * columns || used.size != 4)
        return refuse("exact sums: the columns of a table, its window and its specials do not fit");
    const Window windows[] = {{sums.data, columns, sum_base, sums.size / columns, used.data},
                              {squares.data, columns, square_base, squares.size / columns, used.data + 2}};
    if (sum_base < SUM_BASE || sum_base > SUM_BASE + SUM_HEIGHT || square_base < SQUARES_BASE ||
        square_base > SQUARES_BASE + SQUARES_HEIGHT || windows[0].height < 1 || windows[1].height < 1 ||
        windows[0].height > SUM_HEIGHT || windows[1].height > SQUARES_HEIGHT)
        return refuse("exact sums: a window beyond what sums of floats take");
    if (room.size < static_cast<int64_t>(sizeof(Own<T>)) || reinterpret_cast<uintptr_t>(room.data) % LINE != 0)
        return refuse("exact sums: the room to work in is too small or not aligned to 64 bytes");
    Own<T> &own = *reinterpret_cast<Own<T> *>(room.data);
    alignas(LINE) T tile[TILE];
    const int64_t rows = x.size / columns;
    for (int64_t column = first; column < last; column += LANES) {
        const int64_t width = least(LANES, last - column);
        int64_t touched[4] = {SUM_HEIGHT, 0, SQUARES_HEIGHT, 0};
        const Sink to = {{own.sums, LANES, SUM_BASE, touched}, {own.squares, LANES, SQUARES_BASE, touched + 2}, own.specials};
        own.block.clear();
        for (int64_t row = 0; row < rows; row += ROWS) {
            const Place<T> place = {x.data + row * columns + column, columns, DEPTH * columns, least(ROWS, rows - row), LANES};
            add_tile(own.block, place, width, tile, {0, LANES}, to);
        }
        flush(own.block, {0, LANES}, to);
        bool inside = true;
        for (int64_t i = 0; i < 2; i++) {
            const Limbs &limbs = i ? to.squares : to.sums;
            carry(limbs, 0, LANES);
            inside &= leave(limbs, windows[i], column, width);
        }
        int64_t strange = 0;
        for (int64_t j = 0; j < 3 * LANES; j++) strange |= own.specials[j];
        for (int64_t j = 0; strange && j < 3 * LANES; j++) {
            if (j % LANES < width) specials[j / LANES * columns + column + j % LANES] += own.specials[j];
            own.specials[j] = 0;
        }
        if (!inside) return refuse("exact sums: the window does not hold the sums");
    }
    return done();
}

template <class T>
Result wide_room(int64_t) {
    return done(sizeof(Own<T>));
}

Entry all[] = {
    entry<wide<float>>("exact_wide_f"),
    entry<wide<double>>("exact_wide_d"),
    entry<wide_room<float>>("exact_wide_room_f"),
    entry<wide_room<double>>("exact_wide_room_d"),
};

}  // namespace

Entries wide_entries() { return entries(all); }

}  // namespace gammabeta::GB_LEVEL
