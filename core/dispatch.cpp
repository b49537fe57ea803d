#include "dispatch.hpp"

#include <initializer_list>

#define GB_DECLARE(level)                   \
    namespace gammabeta::level {            \
    Entries family(int64_t index);          \
    }

GB_DECLARE(baseline)
#if defined(__x86_64__)
GB_DECLARE(avx2)
GB_DECLARE(avx512)
#endif

namespace gammabeta {

#if defined(__x86_64__)

namespace {

// cpuid by hand: __builtin_cpu_supports needs a run-time library that not every compiler links.
struct Registers {
    uint32_t a, b, c, d;
};

Registers cpuid(uint32_t leaf, uint32_t sub) {
    Registers r;
    __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub));
    return r;
}

bool bits(uint32_t word, std::initializer_list<int> places) {
    for (int place : places)
        if (!(word >> place & 1)) return false;
    return true;
}

// Whether the operating system keeps these registers when it switches threads (XCR0).
bool keeps(uint32_t mask) {
    if (!bits(cpuid(1, 0).c, {27})) return false;
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & mask) == mask;
}

// x86-64-v2: SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT.
bool runs_baseline() { return bits(cpuid(1, 0).c, {0, 9, 13, 19, 20, 23}); }

// x86-64-v3: also FMA, MOVBE, AVX, F16C; BMI1, AVX2, BMI2; LZCNT.
bool runs_avx2() {
    return runs_baseline() && keeps(0x6) && cpuid(0, 0).a >= 7 && bits(cpuid(1, 0).c, {12, 22, 28, 29}) &&
           bits(cpuid(7, 0).b, {3, 5, 8}) && cpuid(0x80000000, 0).a >= 0x80000001 && bits(cpuid(0x80000001, 0).c, {5});
}

// x86-64-v4: also AVX-512 F, DQ, CD, BW, VL.
bool runs_avx512() { return runs_avx2() && keeps(0xE6) && bits(cpuid(7, 0).b, {16, 17, 28, 30, 31}); }

}  // namespace

const Level LEVELS[] = {
    {"baseline", runs_baseline, baseline::family},
    {"avx2", runs_avx2, avx2::family},
    {"avx512", runs_avx512, avx512::family},
};

#else

namespace {
bool always() { return true; }
}  // namespace

const Level LEVELS[] = {{"baseline", always, baseline::family}};

#endif

const int64_t LEVEL_COUNT = sizeof(LEVELS) / sizeof(LEVELS[0]);

}  // namespace gammabeta
