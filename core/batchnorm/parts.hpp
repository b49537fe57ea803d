// Threads that share the parts of a job.
#pragma once

#include "job.hpp"

#if !defined(_WIN32)
#include <sched.h>
#endif

namespace gammabeta::GB_LEVEL {

GB_INLINE int64_t take(int64_t &ticket) { return __atomic_fetch_add(&ticket, 1, __ATOMIC_RELAXED); }

// body(part) for parts that no other thread has taken.
template <class Body>
GB_INLINE void for_parts(int64_t &ticket, int64_t parts, Body &&body) {
    for (int64_t part; (part = take(ticket)) < parts;) body(part);
}

GB_INLINE void give_way(int64_t turn) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
#if !defined(_WIN32)
    if (turn > 1000) sched_yield();  // some 20 µs: longer than a part whose thread has a processor
#else
    (void)turn;
#endif
}

// first(part) of all parts, then join() once, then second(part) of all, the last parts first.
template <class First, class Join, class Second>
GB_INLINE void in_two_sweeps(Tickets &tickets, int64_t parts, First &&first, Join &&join, Second &&second) {
    for_parts(tickets.first, parts, [&](int64_t part) {
        first(part);
        if (__atomic_add_fetch(&tickets.finished, 1, __ATOMIC_ACQ_REL) == parts) {
            join();
            __atomic_store_n(&tickets.joined, 1, __ATOMIC_RELEASE);
        }
    });
    for (int64_t turn = 0; !__atomic_load_n(&tickets.joined, __ATOMIC_ACQUIRE); turn++) give_way(turn);
    for_parts(tickets.second, parts, [&](int64_t part) { second(parts - 1 - part); });
}

}  // namespace gammabeta::GB_LEVEL
