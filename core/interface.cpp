// What `kernels/binding.py` finds in the library: the levels, and the functions of one of them.
#include "dispatch.hpp"

#if defined(_WIN32)
#define GB_EXPORT extern "C" __declspec(dllexport)
#else
#define GB_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace gammabeta {
Python python;
}

using gammabeta::Entries;
using gammabeta::Entry;

namespace {
Entry *place(int64_t level, int64_t index) {
    for (int64_t i = 0;; i++) {
        const Entries family = gammabeta::LEVELS[level].family(i);
        if (family.first == nullptr) return nullptr;
        if (index < family.count) return family.first + index;
        index -= family.count;
    }
}
}  // namespace

GB_EXPORT const char *gammabeta_version() { return GB_VERSION; }
GB_EXPORT int64_t gammabeta_level_count() { return gammabeta::LEVEL_COUNT; }
GB_EXPORT const char *gammabeta_level_name(int64_t level) { return gammabeta::LEVELS[level].name; }
GB_EXPORT int64_t gammabeta_level_runs(int64_t level) { return gammabeta::LEVELS[level].runs_here(); }

// The functions of Python that the core calls, in the order of `python.hpp`.
GB_EXPORT void gammabeta_python(const gammabeta::Python *functions) { gammabeta::python = *functions; }

// Kernel `index` of a level, null behind the last: its name, where it is, and itself as Python calls it.
GB_EXPORT const char *gammabeta_name(int64_t level, int64_t index) {
    const Entry *entry = place(level, index);
    return entry == nullptr ? nullptr : entry->method.name;
}
GB_EXPORT const void *gammabeta_address(int64_t level, int64_t index) { return place(level, index)->address; }
GB_EXPORT gammabeta::Object *gammabeta_function(int64_t level, int64_t index) {
    return gammabeta::python.new_function(&place(level, index)->method, nullptr, nullptr);
}
