// All kernels of one processor level, family by family: what a new family is added to.
#include "edge.hpp"

namespace gammabeta::GB_LEVEL {

Entries affine_entries();
Entries batchnorm_entries();
Entries calibrate_entries();
Entries contiguous_entries();
Entries exact_entries();
Entries factorize_entries();
Entries group_norm_entries();
Entries groupby_entries();
Entries groupby_partitioned_entries();
Entries histogram_entries();
Entries limbs_entries();
Entries minmax_entries();
Entries relu_mask_entries();
Entries rolling_entries();
Entries round_entries();
Entries wide_entries();

Entries family(int64_t index) {
    Entries (*const families[])() = {
        affine_entries,
        batchnorm_entries,
        calibrate_entries,
        contiguous_entries,
        exact_entries,
        factorize_entries,
        group_norm_entries,
        groupby_entries,
        groupby_partitioned_entries,
        histogram_entries,
        limbs_entries,
        minmax_entries,
        relu_mask_entries,
        rolling_entries,
        round_entries,
        wide_entries,
    };
    constexpr int64_t count = sizeof(families) / sizeof(families[0]);
    return index < count ? families[index]() : Entries{nullptr, 0};
}

}  // namespace gammabeta::GB_LEVEL
