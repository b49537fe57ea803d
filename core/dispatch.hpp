// The processor levels that the core was compiled for, and which of them this machine can run.
#pragma once

#include <cstdint>

#include "edge.hpp"

namespace gammabeta {

struct Level {
    const char *name;
    bool (*runs_here)();
    Entries (*family)(int64_t index);
};

extern const Level LEVELS[];  // from the lowest to the highest
extern const int64_t LEVEL_COUNT;

}  // namespace gammabeta
