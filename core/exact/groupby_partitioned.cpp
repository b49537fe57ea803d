// Rows parted by blocks of groups, whose lines stay in a core's cache: what comes before groupby.cpp with many groups.
//
// Bytes: codes are read once to be counted; values and codes are read once and written once, 24 a row of float64, to one
// place for each block. Operations: a shift, two loads and three stores a row.
#include "edge.hpp"

namespace gammabeta::GB_LEVEL {
namespace {

constexpr int BLOCK_BITS = 11;  // as kernels/groupby.py has it: lines of 2¹¹ groups take 128 kB

// How many rows each block has.
Result tally_blocks(View<const int32_t> codes, View<int64_t> counts) {
    for (int64_t i = 0; i < codes.size; i++) {
        const uint32_t block = static_cast<uint32_t>(codes[i]) >> BLOCK_BITS;
        if (__builtin_expect(block >= counts.size, 0)) return refuse("groups: a code is beyond the last block");
        counts[block]++;
    }
    return done();
}

// Write rows to the places of their block. places: (blocks,), where each block's next row goes.
template <class T>
Result part(View<const T> x, View<const int32_t> codes, View<int64_t> places, View<T> values_out, View<int32_t> codes_out) {
    if (codes.size != x.size || codes_out.size != values_out.size) return refuse("groups: rows and codes must be as many");
    for (int64_t i = 0; i < x.size; i++) {
        const uint32_t block = static_cast<uint32_t>(codes[i]) >> BLOCK_BITS;
        if (__builtin_expect(block >= places.size, 0)) return refuse("groups: a code is beyond the last block");
        const int64_t at = places[block];
        if (__builtin_expect(static_cast<uint64_t>(at) >= static_cast<uint64_t>(values_out.size), 0))
            return refuse("groups: a block has more rows than were counted");
        values_out[at] = x[i];
        codes_out[at] = codes[i];
        places[block] = at + 1;
    }
    return done();
}

Entry all[] = {
    entry<tally_blocks>("groups_tally_blocks"),
    entry<part<double>>("groups_part_d"),
    entry<part<int64_t>>("groups_part_l"),
    entry<part<uint64_t>>("groups_part_L"),
};

}  // namespace

Entries groupby_partitioned_entries() { return entries(all); }

}  // namespace gammabeta::GB_LEVEL
