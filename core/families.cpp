// All kernels of one processor level, family by family: what a new family is added to.
#include "edge.hpp"

namespace gammabeta::GB_LEVEL {

Entries affine_entries();
Entries calibrate_entries();
Entries exact_entries();
Entries minmax_entries();
Entries round_entries();
Entries wide_entries();

Entries family(int64_t index) {
    Entries (*const families[])() = {affine_entries, calibrate_entries, exact_entries, minmax_entries, round_entries, wide_entries};
    constexpr int64_t count = sizeof(families) / sizeof(families[0]);
    return index < count ? families[index]() : Entries{nullptr, 0};
}

}  // namespace gammabeta::GB_LEVEL
