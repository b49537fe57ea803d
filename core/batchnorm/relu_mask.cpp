// What the backward pass of a ReLU needs of its output: one bit for each value, whether it got through.
//
// Floats y ≥ 0 come as integers of their bits, which are 0 where the value is, whatever its sign; bits lie in memory's
// order, 64 to a word, (ceil(n / 64),). Words first to last are done.
// Bytes: `signs` reads y and writes a bit for each value; `gate` reads dy and the bits and writes as much as dy.
#include "edge.hpp"

#if defined(__AVX512BW__)
#include <immintrin.h>
#endif

namespace gammabeta::GB_LEVEL {
namespace {

constexpr int64_t WORD = 64;

#if defined(__AVX512BW__)
// Compilers have no loop for a comparison whose result is bits in a register: of the plain loop below they make four
// operations for each eight values, of these one for each vector.
template <class I>
GB_INLINE uint64_t word_of(const I *y) {
    constexpr int64_t W = 64 / sizeof(I);
    uint64_t word = 0;
    unroll<WORD / W>([&](auto k) {
        const __m512i v = _mm512_loadu_si512(y + k * W);
        uint64_t bits;
        if constexpr (sizeof(I) == 2) bits = _mm512_test_epi16_mask(v, _mm512_set1_epi16(0x7FFF));
        if constexpr (sizeof(I) == 4) bits = _mm512_test_epi32_mask(v, _mm512_set1_epi32(0x7FFFFFFF));
        if constexpr (sizeof(I) == 8) bits = _mm512_test_epi64_mask(v, _mm512_set1_epi64(0x7FFFFFFFFFFFFFFF));
        word |= bits << (k * W);
    });
    return word;
}

template <class I>
GB_INLINE void let(const I *dy, uint64_t word, I *out) {
    constexpr int64_t W = 64 / sizeof(I);
    unroll<WORD / W>([&](auto k) {
        const uint64_t bits = word >> (k * W);
        __m512i v;
        if constexpr (sizeof(I) == 2) v = _mm512_maskz_loadu_epi16(static_cast<__mmask32>(bits), dy + k * W);
        if constexpr (sizeof(I) == 4) v = _mm512_maskz_loadu_epi32(static_cast<__mmask16>(bits), dy + k * W);
        if constexpr (sizeof(I) == 8) v = _mm512_maskz_loadu_epi64(static_cast<__mmask8>(bits), dy + k * W);
        _mm512_storeu_si512(out + k * W, v);
    });
}
#else
template <class I>
GB_INLINE uint64_t word_of(const I *y) {
    uint64_t word = 0;
    for (int64_t j = 0; j < WORD; j++) word |= static_cast<uint64_t>(static_cast<I>(y[j] << 1) != 0) << j;
    return word;
}

template <class I>
GB_INLINE void let(const I *dy, uint64_t word, I *out) {
GB_INDEPENDENT
    for (int64_t j = 0; j < WORD; j++) out[j] = word >> j & 1 ? dy[j] : 0;
}
#endif

bool are_words(int64_t values, int64_t words, int64_t first, int64_t last) {
    return words == (values + WORD - 1) / WORD && first >= 0 && first <= last && last <= words;
}

template <class I>
Result signs(View<const I> y, View<uint64_t> bits, int64_t first, int64_t last) {
    if (!are_words(y.size, bits.size, first, last)) return refuse("relu: the bits are not those of y");
    const int64_t whole = least(last, y.size / WORD);
    for (int64_t i = first; i < whole; i++) bits[i] = word_of(y.data + i * WORD);
    if (last > whole && first < last) {
        uint64_t word = 0;
        for (int64_t j = whole * WORD; j < y.size; j++)
            word |= static_cast<uint64_t>(static_cast<I>(y[j] << 1) != 0) << (j - whole * WORD);
        bits[whole] = word;
    }
    return done();
}

template <class I>
Result gate(View<const I> dy, View<const uint64_t> bits, View<I> out, int64_t first, int64_t last) {
    if (out.size != dy.size || !are_words(dy.size, bits.size, first, last))
        return refuse("relu: the bits, or the result, are not those of dy");
    const int64_t whole = least(last, dy.size / WORD);
    for (int64_t i = first; i < whole; i++) let(dy.data + i * WORD, bits[i], out.data + i * WORD);
    if (last > whole && first < last)
        for (int64_t j = whole * WORD; j < dy.size; j++) out[j] = bits[whole] >> (j - whole * WORD) & 1 ? dy[j] : 0;
    return done();
}

Entry all[] = {
    entry<signs<int16_t>>("relu_signs_h"), entry<signs<int32_t>>("relu_signs_i"), entry<signs<int64_t>>("relu_signs_l"),
    entry<gate<int16_t>>("relu_gate_h"),   entry<gate<int32_t>>("relu_gate_i"),   entry<gate<int64_t>>("relu_gate_l"),
};

}  // namespace

Entries relu_mask_entries() { return entries(all); }

}  // namespace gammabeta::GB_LEVEL
