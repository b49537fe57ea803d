// The statistics of a feature, block of values by block of values.
//
// Of a block the sums of d = x − center and of d² are taken, the center being the mean of all blocks before it, and the
// block joins these by Chan's formula. Nothing cancels: with the distance `apart` of the block's mean, Σd² =
// Σ(x − the block's mean)² + size · apart², of which the join keeps the first term and size · count / (size + count) ·
// apart², at least half of the second, since a block has at most as many values as all before it. The first block is
// read twice, for its own mean.
//
// Chan, Golub and LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample variances".
#pragma once

#include "vectors.hpp"

namespace gammabeta::GB_LEVEL {

// How two numbers of values join, the same for every lane of a table.
struct Weights {
    double size, each, part, both;
    bool first;
    Weights(int64_t count, int64_t more)
        : size(static_cast<double>(more)), each(1.0 / size), part(size / static_cast<double>(count + more)),
          both(static_cast<double>(count) * part), first(count == 0) {}
};

// A block, by its center, Σd and Σd², joins the mean high + low and the sum of squares of those before it.
GB_INLINE void join(const Weights &w, double center, double sum, double sum_of_squares, double &high, double &low,
                    double &squares) {
    const double here = sum * w.each, before = w.first ? here : (high - center) + low;
    const double within = sum_of_squares - w.size * here * here, apart = here - before;
    const double mean = before + apart * w.part;
    high = center + mean;
    low = (center - high) + mean;
    squares += (within < 0.0 ? 0.0 : within) + apart * apart * w.both;
}

// The statistics of more values join, by `Weights(count before, count of more)`.
GB_INLINE void join_parts(const Weights &w, double more_high, double more_low, double more_squares, double &high, double &low,
                          double &squares) {
    const double apart = w.first ? 0 : (more_high - high) + (more_low - low);
    const double center = w.first ? more_high : high, mean = w.first ? more_low : low + apart * w.part;
    high = center + mean;
    low = (center - high) + mean;
    squares = (w.first ? 0 : squares) + more_squares + apart * apart * w.both;
}

// The center of the next block: where the mean is NaN or infinite, 0.
template <class T>
GB_INLINE Mapped<T> center_of(double high) {
    const auto center = static_cast<Mapped<T>>(high);
    return center - center == 0 ? center : 0;
}

// shift − rest · scale; where nothing rests with no look at scale, which may be infinite.
GB_INLINE double less(double shift, double rest, double scale) { return rest != 0.0 ? shift - rest * scale : shift; }

// What a map takes of a feature: ((x − center) · scale + shift), the shift with what of the mean is not in its center.
template <class T>
struct Parameters {
    Mapped<T> center, scale, shift;
    GB_INLINE Parameters(double mean, double rest, double scale_, double shift_)
        : center(static_cast<Mapped<T>>(mean)), scale(static_cast<Mapped<T>>(scale_)),
          shift(static_cast<Mapped<T>>(less(shift_, (mean - static_cast<double>(center)) + rest, scale_))) {}
};

// What a map does beside (x − center) · scale + shift.
constexpr int64_t NOTHING = 0;
constexpr int64_t ADD = 1;    // + other
constexpr int64_t RELU = 2;   // and no less than 0; NaN stays
constexpr int64_t SLOPE = 4;  // + other · factor

// The map, of one vector. `factor` is not looked at without SLOPE.
template <class T, int64_t THEN>
GB_INLINE Lanes<T> mapped(Lanes<T> x, Lanes<T> other, Lanes<T> center, Lanes<T> scale, Lanes<T> shift, Lanes<T> factor) {
    Lanes<T> v = multiply_add_lanes(x - center, scale, shift);
    if constexpr (THEN & SLOPE) v = multiply_add_lanes(other, factor, v);
    if constexpr (THEN & ADD) v = v + other;
    if constexpr (THEN & RELU) v = v < Lanes<T>{} ? Lanes<T>{} : v;
    return v;
}

}  // namespace gammabeta::GB_LEVEL
