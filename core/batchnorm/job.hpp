// One call of batch norm, as the threads share it that do it together: each calls `work` on the same job, takes parts of
// it as long as there are any, and where a second part needs the whole first one, the last to end the first joins it.
// So it ends with however few threads that come, and none waits for one that has not begun.
#pragma once

#include "common.hpp"

namespace gammabeta::GB_LEVEL {

enum Kind : int64_t { FLOAT16, BFLOAT16, FLOAT32, FLOAT64 };

enum Operation : int64_t {
    FORWARD,   // mean, rest, var; y = γ · (x − mean) / √(var + eps) + β (+ other, and no less than 0)
    BACKWARD,  // other = dy: total = Σdy, product = Σdy·x̂; y = dx
    APPLY,     // y = ((x − mean) − rest) · gamma + beta (+ other, and no less than 0)
    PRODUCTS,  // other = dy: total = Σdy, product = Σdy · (x − mean)
};

constexpr int64_t SHORT = 16;  // a run that is shorter is no run: its places are lanes of a table

struct Tickets {  // zeros at first
    int64_t first, finished, joined, second;
};

struct Job {
    int64_t operation, kind, threads;
    int64_t runs, features, width;
    const void *x, *other;
    void *y;
    const double *gamma, *beta;  // (features,)
    double eps;
    int64_t relu;
    double *mean, *rest, *var;  // (features,): of the batch; given but to FORWARD
    double *total, *product;    // (features,)
    double *scratch;            // `scratch_size`
    Tickets *tickets;
};

// How many float64 a job needs to work in.
int64_t scratch_size(int64_t threads, int64_t runs, int64_t features, int64_t width);

void work(const Job &job);

}  // namespace gammabeta::GB_LEVEL
