// The kernel that finishes many features: see round.hpp.
#include "exact/round.hpp"

#include "edge.hpp"

namespace gammabeta::GB_LEVEL {
namespace {

// Mean, variance and deviation of the features start to stop, found: (3, lanes); sure: whether they are what they should be.
// Gives back how many are not.
Result finish_features(View<const int64_t> counts, int64_t sum_base, View<const int64_t> sums, int64_t square_base,
                       View<const int64_t> squares, double ddof, int64_t start, int64_t stop, View<double> found,
                       View<bool> sure) {
    const int64_t lanes = sure.size;
    if (lanes == 0) return done();
    if (sums.size % lanes != 0 || squares.size % lanes != 0 || found.size != 3 * lanes || counts.size != lanes ||
        start < 0 || stop < start || stop > lanes)
        return refuse("finish: limbs, counts and results do not fit");
    const Sums of = {sums.data, squares.data, sum_base, sums.size / lanes, square_base, squares.size / lanes, lanes};
    if (of.sum_rows > SUM_HEIGHT || of.square_rows > SQUARES_HEIGHT || sum_base < SUM_BASE || square_base < SQUARES_BASE ||
        sum_base + of.sum_rows > SUM_BASE + SUM_HEIGHT || square_base + of.square_rows > SQUARES_BASE + SQUARES_HEIGHT)
        return done(stop - start);  // weighted sums may: `sure` stays as it is
    if (!(std::fabs(ddof) < 0x1p20) || ddof * 2 != __builtin_floor(ddof * 2)) return refuse("finish: ddof must be a multiple of 1/2");
    int64_t unsure = 0;
    for (int64_t f = start; f < stop; f++) {
        const Statistics s = finish(of, f, counts[f], ddof);
        found[f] = s.mean, found[lanes + f] = s.var, found[2 * lanes + f] = s.std;
        sure[f] = s.known;
        unsure += !s.known;
    }
    return done(unsure);
}

constexpr double EPS = 0x1p-52, TINY = 0x1p-1022, MOST_ROWS = 0x1p14;

// What standardizing divides by: a feature's deviation, and 1 where it is constant, var ≤ n·eps·var + (n·mean·eps)² with n up
// to 2¹⁴; where var is beyond float64, by its deviation. Comparisons with NaN are false.
Result divisors(View<const double> count, View<const double> mean, View<const double> var, View<const double> std,
                View<const double> deviation, View<double> out) {
    const int64_t n = out.size;
    if (count.size != n || mean.size != n || var.size != n || std.size != n || deviation.size != n)
        return refuse("divisors: the statistics do not fit");
    for (int64_t i = 0; i < n; i++) {
        const double rows = count[i] > MOST_ROWS ? MOST_ROWS : count[i], error = rows * std::fabs(mean[i]) * EPS;
        const bool beyond = var[i] == INFINITY || var[i] < TINY;
        const bool constant = beyond ? std[i] <= error || std[i] < TINY : var[i] <= rows * EPS * var[i] + error * error;
        out[i] = constant ? 1.0 : deviation[i];
    }
    return done();
}

Entry all[] = {
    entry<finish_features>("finish"),
    entry<divisors>("divisors"),
};

}  // namespace

Entries round_entries() { return entries(all); }

}  // namespace gammabeta::GB_LEVEL
