// One look at columns whose mean and range are known: histogram, third and fourth central moments, tallies; and the
// registers of HyperLogLog.
//
// A value v is of the bin floor((v·lift − low)·inverse) and adds d³ and d⁴, d = (v·lift − mean)·unit, in float64. Sums go
// down 64 lanes, which are added up in their order: the bits are the same at every level. Bytes: x is read once.
// Operations a value: some 20, and one store for its bin.
#include "edge.hpp"

namespace gammabeta::GB_LEVEL {
namespace {

constexpr int64_t BINS = 480, SLOTS = BINS + 3;  // as kernels/histogram.py has them: below the bins, above them, NaN
constexpr int64_t TURNS = 4;                     // histograms by turns: one would wait for its own last store
constexpr int64_t SHORT = 4096;                  // values from which they pay

struct How {  // a row of `view`: see View in kernels/histogram.py
    double lift, low, inverse, mean, unit, least, most, common, tally;
};

struct Lanes {
    double cubes[LANES], fourths[LANES], outside[LANES], alike[LANES], broken[LANES];
};

template <class T>
GB_INLINE void places(const T *x, int64_t size, const How &how, int32_t *GB_RESTRICT place) {
    for (int64_t j = 0; j < size; j++) {
        double p = (static_cast<double>(x[j]) * how.lift - how.low) * how.inverse + 1.0;
        p = p < 0.0 ? 0.0 : p;
        p = p > BINS + 1.0 ? BINS + 1.0 : p;
        place[j] = static_cast<int32_t>(p == p ? p : BINS + 2.0);
    }
}

template <class T>
GB_INLINE void powers(const T *x, int64_t size, const How &how, Lanes &lanes) {
    for (int64_t j = 0; j < size; j++) {
        const double v = static_cast<double>(x[j]);
        double d = (v * how.lift - how.mean) * how.unit;
        d = v - v == 0.0 ? d : 0.0;
        const double cube = d * d * d;
        lanes.cubes[j] += cube;
        lanes.fourths[j] += cube * d;
    }
}

template <class T>
GB_INLINE void tallies(const T *x, int64_t size, const How &how, Lanes &lanes) {
    for (int64_t j = 0; j < size; j++) {
        const double v = static_cast<double>(x[j]);
        lanes.outside[j] += ((v < how.least) | (v > how.most)) ? 1.0 : 0.0;
        lanes.alike[j] += v == how.common ? 1.0 : 0.0;
        lanes.broken[j] += ((v == v) & (v != __builtin_floor(v))) ? 1.0 : 0.0;
    }
}

double sum(const double *lanes) {
    double total = 0;
    for (int64_t j = 0; j < LANES; j++) total += lanes[j];
    return total;
}

template <class T>
void look_at(const T *x, int64_t size, const How &how, int64_t *counts, double *sums, int64_t *tally) {
    int32_t place[LANES];
    int64_t turns[TURNS * SLOTS] = {};
    Lanes lanes = {};
    for (int64_t start = 0; start < size; start += LANES) {
        const int64_t some = least(LANES, size - start);
        const T *const values = x + start;
        places(values, some, how, place);
        powers(values, some, how, lanes);
        if (how.tally != 0) tallies(values, some, how, lanes);
        if (size < SHORT)
            for (int64_t j = 0; j < some; j++) counts[place[j]]++;
        else
            for (int64_t j = 0; j < some; j++) turns[(j % TURNS) * SLOTS + place[j]]++;
    }
    sums[0] += sum(lanes.cubes);
    sums[1] += sum(lanes.fourths);
    tally[0] += static_cast<int64_t>(sum(lanes.outside));
    tally[1] += static_cast<int64_t>(sum(lanes.alike));
    tally[2] += static_cast<int64_t>(sum(lanes.broken));
    if (size >= SHORT)
        for (int64_t slot = 0; slot < TURNS * SLOTS; slot++) counts[slot % SLOTS] += turns[slot];
}

// x: (k, n); view: (k, 9); counts: (k, SLOTS); sums: (k, 2); tallies: (k, 3).
template <class T>
Result look(View<const T> x, View<const double> view, View<int64_t> counts, View<double> sums, View<int64_t> tallies) {
    constexpr int64_t FIELDS = sizeof(How) / sizeof(double);
    const int64_t columns = view.size / FIELDS;
    if (view.size % FIELDS != 0 || counts.size != columns * SLOTS || sums.size != columns * 2 ||
        tallies.size != columns * 3 || (columns == 0 ? x.size != 0 : x.size % columns != 0))
        return refuse("histogram: values, views and results must be of as many columns");
    for (int64_t i = 0; i < columns; i++) {
        const int64_t size = x.size / columns;
        How how;
        std::memcpy(&how, view.data + i * FIELDS, sizeof(how));
        look_at(x.data + i * size, size, how, counts.data + i * SLOTS, sums.data + i * 2, tallies.data + i * 3);
    }
    return done();
}

// HyperLogLog (Flajolet, Fusy, Gandouet, Meunier, 2007) with 4,096 registers, and 64-bit hashes by splitmix64's
// finalizer: a value's register is told by the upper 12 bits, its rank is how many of the others are zeros first, plus 1.
template <class T>
Result distinct(View<const T> words, View<uint8_t> registers) {
    if (registers.size != 4096) return refuse("distinct values: there must be 4,096 registers");
    for (int64_t i = 0; i < words.size; i++) {
        uint64_t h = static_cast<uint64_t>(words[i]) + 0x9E3779B97F4A7C15u;
        h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9u;
        h = (h ^ (h >> 27)) * 0x94D049BB133111EBu;
        h ^= h >> 31;
        const uint8_t rank = static_cast<uint8_t>(std::countl_zero((h << 12) | 2048) + 1);
        uint8_t &highest = registers[static_cast<int64_t>(h >> 52)];
        highest = rank > highest ? rank : highest;
    }
    return done();
}

Entry all[] = {
    entry<look<float>>("histogram_look_f"),     entry<look<double>>("histogram_look_d"),
    entry<distinct<uint8_t>>("distinct_1"),     entry<distinct<uint16_t>>("distinct_2"),
    entry<distinct<uint32_t>>("distinct_4"),    entry<distinct<uint64_t>>("distinct_8"),
};

}  // namespace

Entries histogram_entries() { return entries(all); }

}  // namespace gammabeta::GB_LEVEL
