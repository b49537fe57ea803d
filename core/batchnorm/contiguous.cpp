// A layer's batch norm of a contiguous tensor, from the addresses of all that it holds: statistics, output and running
// statistics, or the gradients, in one call. What counts for some thousands of values is what surrounds the arithmetic.
//
// x: (runs, features, width). Parameters are of the type `as`; an address of 0 stands for none: γ = 1, β = 0. With one
// thread a call does all; with more it lays the job down in `room`, several threads call `contiguous_run` there, and
// `contiguous_settle` ends it.
#include "edge.hpp"
#include "parameters.hpp"

namespace gammabeta::GB_LEVEL {
namespace {

constexpr int64_t MARK = 0x67616D6D61;  // that a job has been laid down

struct Call {
    int64_t mark;
    Job job;
    Tickets tickets;
    int64_t as;
    int64_t running_mean, running_var, batches;  // addresses
    double most, weight;
    int64_t unbiased;
    int64_t dgamma, dbeta;
};

constexpr int64_t HEAD = (sizeof(Call) + LINE - 1) / LINE * LINE / 8, VECTORS = 7;

// running ← running + weight · (batch − running)
void move(const Call &call) {
    const Job &job = call.job;
    const double n = static_cast<double>(job.runs * job.width), factor = call.unbiased ? n / (n - 1) : 1.0;
    with_kind(call.as, [&](auto *type) {
        auto *GB_RESTRICT mean = reinterpret_cast<decltype(type)>(call.running_mean);
        auto *GB_RESTRICT var = reinterpret_cast<decltype(type)>(call.running_var);
        for (int64_t f = 0; f < job.features; f++) {
            const double m = number(mean + f), v = number(var + f);
            set_number(mean + f, m + ((job.mean[f] + job.rest[f]) - m) * call.weight);
            set_number(var + f, v + (job.var[f] * factor - v) * call.weight);
        }
    });
    *reinterpret_cast<int64_t *>(call.batches) += 1;
}

// What is left to do when all is computed. 0: nothing has moved, since a variance is not below `most`.
int64_t settled(const Call &call) {
    const Job &job = call.job;
    if (job.operation == FORWARD) {
        bool below = true;
        for (int64_t f = 0; f < job.features; f++) below &= job.var[f] < call.most;
        if (!below) return 0;
        if (call.running_mean != 0) move(call);
    }
    if (job.operation == BACKWARD) {
        write(call.as, call.dgamma, job.product, job.features);
        write(call.as, call.dbeta, job.total, job.features);
    }
    return 1;
}

const char *refused(int64_t kind, int64_t as, int64_t threads, int64_t runs, int64_t features, int64_t width) {
    constexpr int64_t MOST_VALUES = int64_t(1) << 56;
    if (kind < FLOAT16 || kind > FLOAT64 || as < FLOAT16 || as > FLOAT64 || threads < 1 || threads > 4096)
        return "contiguous: no such type, or number of threads";
    if (runs < 1 || features < 1 || width < 1 || runs > MOST_VALUES / features || runs * features > MOST_VALUES / width)
        return "contiguous: a shape has no values, or too many";
    return nullptr;
}

int64_t room_size(int64_t threads, int64_t runs, int64_t features, int64_t width) {
    return HEAD + VECTORS * features + scratch_size(threads, runs, features, width);
}

Result room(int64_t threads, int64_t runs, int64_t features, int64_t width) {
    const char *reason = refused(FLOAT32, FLOAT32, threads, runs, features, width);
    return reason != nullptr ? refuse(reason) : done(room_size(threads, runs, features, width));
}

struct Form {
    int64_t kind, as, threads, runs, features, width;
};

// A job, laid down in `room`, or null where it does not fit; its statistics are there too where none are given.
Call *laid(View<double> room, int64_t operation, const Form &form, int64_t x, int64_t other, int64_t y, double eps, double *statistics) {
    if (room.size < room_size(form.threads, form.runs, form.features, form.width)) return nullptr;
    auto *call = reinterpret_cast<Call *>(room.data);
    *call = {};
    call->mark = MARK;
    const int64_t f = form.features;
    double *v = room.data + HEAD, *s = statistics == nullptr ? v + 4 * f : statistics;
    call->job = {operation, form.kind, form.threads, form.runs, f, form.width, reinterpret_cast<const void *>(x),
                 reinterpret_cast<const void *>(other), reinterpret_cast<void *>(y), v, v + f, eps, 0, s, s + f, s + 2 * f,
                 v + 2 * f, v + 3 * f, v + VECTORS * f, &call->tickets};
    call->as = form.as;
    return call;
}

Result ended(const Call &call) {
    if (call.job.threads > 1) return done(1);
    work(call.job);
    return done(settled(call));
}

constexpr const char *FEW = "contiguous: too little to work in, or an address is missing";

// y and statistics, (3, features): mean, rest, var; then the running statistics move. 0, these being as they were, where
// a variance is not below `most`.
Result forward(View<double> room, int64_t kind, int64_t as, int64_t threads, int64_t runs, int64_t features, int64_t width,
               int64_t x, int64_t y, int64_t gamma, int64_t beta, int64_t running_mean, int64_t running_var, int64_t batches,
               View<double> statistics, double eps, double most, double weight, int64_t unbiased) {
    const char *reason = refused(kind, as, threads, runs, features, width);
    if (reason != nullptr) return refuse(reason);
    if (statistics.size != 3 * features || x == 0 || y == 0 || (running_mean != 0 && (running_var == 0 || batches == 0)))
        return refuse(FEW);
    Call *call = laid(room, FORWARD, {kind, as, threads, runs, features, width}, x, 0, y, eps, statistics.data);
    if (call == nullptr) return refuse(FEW);
    read(as, gamma, 1.0, const_cast<double *>(call->job.gamma), features);
    read(as, beta, 0.0, const_cast<double *>(call->job.beta), features);
    call->running_mean = running_mean, call->running_var = running_var, call->batches = batches;
    call->most = most, call->weight = weight, call->unbiased = unbiased;
    return ended(*call);
}

// y by the running statistics.
Result evaluate(View<double> room, int64_t kind, int64_t as, int64_t threads, int64_t runs, int64_t features, int64_t width,
                int64_t x, int64_t y, int64_t gamma, int64_t beta, int64_t running_mean, int64_t running_var, double eps) {
    const char *reason = refused(kind, as, threads, runs, features, width);
    if (reason != nullptr) return refuse(reason);
    if (x == 0 || y == 0 || running_mean == 0 || running_var == 0) return refuse(FEW);
    Call *call = laid(room, APPLY, {kind, as, threads, runs, features, width}, x, 0, y, eps, nullptr);
    if (call == nullptr) return refuse(FEW);
    const Job &job = call->job;
    double *GB_RESTRICT scale = const_cast<double *>(job.gamma), *GB_RESTRICT var = job.var;
    read(as, gamma, 1.0, scale, features);
    read(as, beta, 0.0, const_cast<double *>(job.beta), features);
    read(as, running_mean, 0.0, job.mean, features);
    read(as, running_var, 1.0, var, features);
    for (int64_t f = 0; f < features; f++) job.rest[f] = 0;
    for (int64_t f = 0; f < features; f++) scale[f] *= 1.0 / __builtin_sqrt(var[f] + eps);
    return ended(*call);
}

// dx, and where there is a place for them dγ and dβ. statistics: as `forward` left them.
Result backward(View<double> room, int64_t kind, int64_t as, int64_t threads, int64_t runs, int64_t features, int64_t width,
                int64_t x, int64_t dy, int64_t dx, int64_t gamma, int64_t dgamma, int64_t dbeta, View<double> statistics,
                double eps) {
    const char *reason = refused(kind, as, threads, runs, features, width);
    if (reason != nullptr) return refuse(reason);
    if (statistics.size != 3 * features || x == 0 || dy == 0 || dx == 0) return refuse(FEW);
    Call *call = laid(room, BACKWARD, {kind, as, threads, runs, features, width}, x, dy, dx, eps, statistics.data);
    if (call == nullptr) return refuse(FEW);
    read(as, gamma, 1.0, const_cast<double *>(call->job.gamma), features);
    call->dgamma = dgamma, call->dbeta = dbeta;
    return ended(*call);
}

bool has_job(View<double> room) { return room.size >= HEAD && reinterpret_cast<const Call *>(room.data)->mark == MARK; }

// One thread's part of a job that one of the three above has laid down.
Result run(View<double> room) {
    if (!has_job(room)) return refuse(FEW);
    work(reinterpret_cast<Call *>(room.data)->job);
    return done();
}
void run_at(void *room) { work(static_cast<Call *>(room)->job); }

Result settle(View<double> room) {
    if (!has_job(room)) return refuse(FEW);
    return done(settled(*reinterpret_cast<Call *>(room.data)));
}

Entry all_[] = {
    entry<room>("contiguous_room"),
    entry<forward>("contiguous_forward"),
    entry<evaluate>("contiguous_evaluate"),
    entry<backward>("contiguous_backward"),
    {entry<run>("contiguous_run").method, reinterpret_cast<const void *>(run_at)},
    entry<settle>("contiguous_settle"),
};

}  // namespace

Entries contiguous_entries() { return entries(all_); }

}  // namespace gammabeta::GB_LEVEL
