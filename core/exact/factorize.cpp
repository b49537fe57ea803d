// Numbers for the distinct values of a column of 64-bit keys, in the order in which they come: a table of open
// addressing, probed one slot after another, at most half full.
//
// slots: int32, a power of two of them, −1 where empty, else the place of a key in `distinct`. A key's slot is the upper
// bits of its product with 2⁶⁴ over the golden ratio (Fibonacci hashing). Bytes: a key is read, a code written; a slot
// and a distinct key are looked at, somewhere: keys are taken by turns of AHEAD, whose slots and then whose distinct keys
// are asked for, in a large table, before the first of them is looked at.
#include "edge.hpp"

namespace gammabeta::GB_LEVEL {
namespace {

constexpr int64_t AHEAD = 16;
constexpr int64_t CACHED = 1 << 16;  // slots that a core's cache holds, with the keys

struct Table {
    const int32_t *slots;
    const int64_t *distinct;
    uint64_t size;  // of slots
    int shift;
    int64_t count;  // distinct keys so far

    GB_INLINE uint64_t first(int64_t key) const { return (static_cast<uint64_t>(key) * 0x9E3779B97F4A7C15u) >> shift; }

    // The slot that has this key, or the empty one where it would go; `size` in a table that was not made here.
    GB_INLINE uint64_t find(int64_t key) const {
        uint64_t at = first(key);
        for (uint64_t step = 0; step < size; step++) {
            const int32_t place = slots[at];
            if (place < 0) return at;
            if (__builtin_expect(place >= count, 0)) return size;
            if (__builtin_expect(distinct[place] == key, 1)) return at;
            at = (at + 1) & (size - 1);
        }
        return size;
    }
};

void ask(const Table &table, const int64_t *keys, int64_t some) {
    uint64_t at[AHEAD];
    for (int64_t i = 0; i < some; i++) {
        at[i] = table.first(keys[i]);
        prefetch(table.slots + at[i]);
    }
    for (int64_t i = 0; i < some; i++)
        if (table.slots[at[i]] >= 0) prefetch(table.distinct + table.slots[at[i]]);
}

bool is_table(View<int32_t> slots, View<int64_t> distinct, int64_t count) {
    return slots.size >= 2 && std::has_single_bit(static_cast<uint64_t>(slots.size)) && slots.size <= int64_t(1) << 32 &&
           count >= 0 && count <= slots.size / 2 && distinct.size > slots.size / 2;
}

constexpr const char *TABLE = "keys: slots must be a power of two, and distinct keys no more than half of them";

// Number keys from state[0] on, state[1] keys being distinct so far, until all are numbered or the table is half full.
Result number(View<const int64_t> keys, View<int32_t> codes, View<int32_t> slots, View<int64_t> distinct,
              View<int64_t> state) {
    if (state.size != 2 || !is_table(slots, distinct, state[1])) return refuse(TABLE);
    if (codes.size != keys.size || state[0] < 0 || state[0] > keys.size) return refuse("keys: there must be a code for each");
    const int shift = 64 - std::countr_zero(static_cast<uint64_t>(slots.size));
    Table table = {slots.data, distinct.data, static_cast<uint64_t>(slots.size), shift, state[1]};
    for (int64_t start = state[0]; start < keys.size; start += AHEAD) {
        const int64_t some = least(AHEAD, keys.size - start);
        if (slots.size > CACHED) ask(table, keys.data + start, some);
        for (int64_t i = 0; i < some; i++) {
            const int64_t key = keys[start + i];
            const uint64_t slot = table.find(key);
            if (slot == table.size) return refuse(TABLE);
            if (slots[slot] < 0) {
                if (2 * table.count >= slots.size) {
                    state[0] = start + i;
                    state[1] = table.count;
                    return done();
                }
                slots[slot] = static_cast<int32_t>(table.count);
                distinct[table.count++] = key;
            }
            codes[start + i] = slots[slot];
        }
    }
    state[0] = keys.size;
    state[1] = table.count;
    return done();
}

// Put the first `count` distinct keys into an empty table.
Result enter(int64_t count, View<int32_t> slots, View<int64_t> distinct) {
    if (!is_table(slots, distinct, count)) return refuse(TABLE);
    const int shift = 64 - std::countr_zero(static_cast<uint64_t>(slots.size));
    for (int64_t i = 0; i < count; i++) {
        const Table table = {slots.data, distinct.data, static_cast<uint64_t>(slots.size), shift, i};
        const uint64_t slot = table.find(distinct[i]);
        if (slot == table.size) return refuse(TABLE);
        slots[slot] = static_cast<int32_t>(i);
    }
    return done();
}

Entry all[] = {
    entry<number>("factorize_number"),
    entry<enter>("factorize_enter"),
};

}  // namespace

Entries factorize_entries() { return entries(all); }

}  // namespace gammabeta::GB_LEVEL
