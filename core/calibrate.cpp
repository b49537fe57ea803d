// A layer's input goes into its exact sums, and its mean and variance come out: what recalibration calls, by address, on
// whatever threads run it. kernels/calibrate.py makes the plan; parts of features are taken one after another.
//
// Reads each value once (exact/runs.hpp); 100 to 200 ns a feature beside that.
#include "edge.hpp"
#include "exact/limbs.hpp"
#include "exact/round.hpp"
#include "exact/runs.hpp"

namespace gammabeta::GB_LEVEL {
namespace {

// What a part has for itself: where it works, and the rows of limbs that it has touched, (2, 2), in a cache line of its own.
struct alignas(LINE) Room {
    Workplace<float> *place;
    int64_t unused[7];
    int64_t touched[4];
    int64_t padding[4];
};

// What calls of a layer have in common; all are int64 or addresses. The first five are what a call says and is told.
struct Plan {
    const float *values;
    float *mean, *var;  // where to write the statistics, or null
    int64_t strange, unsure;
    int64_t size, features, many, step, ddof, parts;
    const int64_t *starts, *lengths;
    int64_t *sums, *squares, *counts, *specials;
    Room *rooms;
    int64_t ticket;
};

constexpr int64_t WORDS = sizeof(Plan) / sizeof(int64_t);
static_assert(sizeof(Plan) == WORDS * sizeof(int64_t) && sizeof(Room) == 16 * sizeof(int64_t));

// Write mean and variance of features; whether all are sure.
bool finish_part(const Plan &p, int64_t first, int64_t last, const int64_t *touched) {
    const int64_t low = least(touched[0], touched[1]), high = most(touched[1], 1);
    const int64_t lowest = least(touched[2], touched[3]), highest = most(touched[3], 1), f = p.features;
    const Sums of = {p.sums + low * f, p.squares + lowest * f, SUM_BASE + low, high - low, SQUARES_BASE + lowest,
                     highest - lowest, f};
    bool sure = true;
    for (int64_t i = first; i < last; i++) {
        const Statistics s = finish(of, i, p.counts[i], static_cast<double>(p.ddof));
        p.mean[i] = static_cast<float>(s.mean), p.var[i] = static_cast<float>(s.var);
        sure &= s.known;
    }
    return sure;
}

void take_part(Plan &p, int64_t part) {
    const int64_t first = p.features * part / p.parts, last = p.features * (part + 1) / p.parts;
    Room &room = p.rooms[part];
    const Sink to = {{p.sums, p.features, SUM_BASE, room.touched}, {p.squares, p.features, SQUARES_BASE, room.touched + 2}, p.specials};
    add_runs({p.values, p.starts, p.lengths, p.features, p.many, p.step}, first, last, *room.place, to);
    carry(to.sums, first, last);
    carry(to.squares, first, last);
    int64_t strange = 0;
    for (int64_t i = first; i < last; i++) {
        p.counts[i] += p.lengths[i] * p.many;
        for (int64_t kind = 0; kind < 3; kind++) strange |= p.specials[kind * p.features + i];
    }
    if (strange)
        __atomic_store_n(&p.strange, 1, __ATOMIC_RELAXED);
    else if (p.mean != nullptr && !finish_part(p, first, last, room.touched))
        __atomic_store_n(&p.unsure, 1, __ATOMIC_RELAXED);
}

// Take parts of the plan at an address as long as there are some.
void take(int64_t plan) {
    Plan &p = *reinterpret_cast<Plan *>(plan);
    for (int64_t part; (part = __atomic_fetch_add(&p.ticket, 1, __ATOMIC_RELAXED)) < p.parts;) take_part(p, part);
}

// Whether a plan fits, given what its addresses are of.
Result check(View<const int64_t> plan, View<const int64_t> starts, View<const int64_t> lengths, View<int64_t> sums,
             View<int64_t> squares, View<int64_t> counts, View<int64_t> specials, View<int64_t> rooms) {
    if (plan.size != WORDS) return refuse("calibrate: a plan of another size");
    const Plan &p = *reinterpret_cast<const Plan *>(plan.data);
    const int64_t f = p.features;
    if (f < 1 || f > int64_t(1) << 40 || p.parts < 1 || p.parts > f || starts.size != f || lengths.size != f || counts.size != f ||
        specials.size != 3 * f || sums.size != SUM_HEIGHT * f || squares.size != SQUARES_HEIGHT * f ||
        rooms.size != p.parts * static_cast<int64_t>(sizeof(Room) / sizeof(int64_t)) ||
        reinterpret_cast<uintptr_t>(rooms.data) % LINE != 0)
        return refuse("calibrate: a plan's arrays do not fit");
    if (p.starts != starts.data || p.lengths != lengths.data || p.sums != sums.data || p.squares != squares.data ||
        p.counts != counts.data || p.specials != specials.data || p.rooms != reinterpret_cast<Room *>(rooms.data))
        return refuse("calibrate: a plan is of other arrays");
    for (int64_t i = 0; i < p.parts; i++) {
        const int64_t *rows = p.rooms[i].touched;
        if (rows[0] < 0 || rows[1] < 0 || rows[1] >= SUM_HEIGHT || rows[2] < 0 || rows[3] < 0 || rows[3] >= SQUARES_HEIGHT)
            return refuse("calibrate: rows of limbs beyond these");
        if (reinterpret_cast<uintptr_t>(p.rooms[i].place) % LINE != 0 || p.rooms[i].place == nullptr)
            return refuse("calibrate: the room to work in is not aligned to 64 bytes");
    }
    if (const char *reason = check_runs<float>({nullptr, p.size}, starts, lengths, p.many, p.step, 0, f)) return refuse(reason);
    return done();
}

// What Python calls checks a plan; the address, for callers that are not Python, is of what takes it.
Entry all[] = {
    {{"calibrate", &Edge<check>::call, FASTCALL, nullptr}, reinterpret_cast<const void *>(&take)},
};

}  // namespace

Entries calibrate_entries() { return entries(all); }

}  // namespace gammabeta::GB_LEVEL
