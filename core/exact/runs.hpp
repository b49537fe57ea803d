// Features that lie in runs of memory, as kernels/layout.Runs has them, cut into tiles of one feature.
//
// Groups of `DEPTH` rows of 64 are added where they lie; what is shorter is gathered: 8 bytes a value go through the L1
// cache once more.
#pragma once

#include "exact/add_one_feature.hpp"

namespace gammabeta::GB_LEVEL {

constexpr int64_t DEEP = ROWS / DEPTH;  // groups of a tile

// Feature i has `many` runs, `step` apart, of lengths[i] values each, the first from x[starts[i]] on.
template <class T>
struct Runs {
    const T *x;
    const int64_t *starts, *lengths;
    int64_t features, many, step;
};

// Why runs are refused, or null: whether features first to last lie within so many values.
template <class T>
GB_INLINE const char *check_runs(View<const T> x, View<const int64_t> starts, View<const int64_t> lengths, int64_t many,
                                 int64_t step, int64_t first, int64_t last) {
    if (starts.size != lengths.size || first < 0 || last < first || last > starts.size)
        return "runs: starts, lengths and the part of the features do not fit";
    int64_t span;
    if (many < 1 || step < (many > 1) || __builtin_mul_overflow(many - 1, step, &span) || span > x.size)
        return "runs: they lie beyond the array";
    for (int64_t i = first; i < last; i++)
        if (lengths[i] < 0 || starts[i] < 0 || starts[i] > x.size || lengths[i] > x.size - starts[i] ||
            (lengths[i] > 0 && starts[i] + lengths[i] > x.size - span))
            return "runs: they lie beyond the array";
    return nullptr;
}

// What a thread works in, again and again.
template <class T>
struct alignas(LINE) Workplace {
    Channel<T> own;
    T tile[TILE], room[TILE];
};

template <class T>
struct Adding {
    Workplace<T> &place;
    int64_t feature;
    const Sink &to;

    void add(const T *x, int64_t jump, int64_t rows, int64_t ahead) {
        add_tile(place.own, {x, LANES, jump, rows, ahead}, place.tile, feature, to);
    }

    // `outer` times `inner` groups, which lie `far` and `near` apart, in tiles of inner ones of one height.
    void whole(const T *x, int64_t outer, int64_t far, int64_t inner, int64_t near) {
        if (inner == 0) return;
        const int64_t tiles = (inner + DEEP - 1) / DEEP, height = (inner + tiles - 1) / tiles;
        for (int64_t i = 0; i < outer; i++)
            for (int64_t j = 0; j < inner; j += height)
                add(x + i * far + j * near, near, least(height, inner - j) * DEPTH,
                    j + height < inner ? height * near : far - j * near);
    }

    // Runs shorter than a group, in tiles that are filled with them; what comes next lies `onward`.
    void gathered(const T *x, int64_t length, int64_t many, int64_t step, int64_t onward) {
        int64_t held = 0;
        for (int64_t run = 0; run < many; run++) {
            const int64_t ahead = run + DEEP < many ? DEEP * step : onward - most(many - DEEP, 0) * step;
            const T *at = x + run * step;
            for (int64_t left = length, more; left > 0; left -= more, at += more) {
                more = least(TILE - held, left);
                for (int64_t j = 0; j < more; j += LINE / static_cast<int64_t>(sizeof(T))) prefetch(at + ahead + j);
                memcpy(place.room + held, at, static_cast<size_t>(more) * sizeof(T));
                held += more;
                if (held == TILE) add(place.room, GROUP, ROWS, 0), held = 0;
            }
        }
        if (held == 0) return;
        const int64_t rows = (held + GROUP - 1) / GROUP * DEPTH;
        memset(place.room + held, 0, static_cast<size_t>(rows * LANES - held) * sizeof(T));
        add(place.room, GROUP, rows, 0);
    }
};

// Add the features first to last, one after another.
template <class T>
GB_INLINE void add_runs(const Runs<T> &runs, int64_t first, int64_t last, Workplace<T> &place, const Sink &to) {
    const int64_t many = runs.many, step = runs.step;
    for (int64_t feature = first; feature < last; feature++) {
        Adding<T> adding = {place, feature, to};
        const int64_t length = runs.lengths[feature], groups = length / GROUP, rest = length - groups * GROUP;
        const T *x = runs.x + runs.starts[feature];
        if (groups >= least(DEEP, many))  // else a tile is of groups of several runs
            adding.whole(x, many, step, groups, GROUP);
        else
            adding.whole(x, groups, GROUP, many, step);
        if (rest > 0) {
            const int64_t soon = least(feature + 1 + DEEP / (many + 1), runs.features - 1);
            adding.gathered(x + groups * GROUP, rest, many, step, runs.starts[soon] - runs.starts[feature]);
        }
        flush(place.own, feature, to);
    }
}

}  // namespace gammabeta::GB_LEVEL
