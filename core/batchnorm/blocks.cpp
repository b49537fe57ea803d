// Batch norm of arrays, as Python calls it: x (runs, features, width) contiguous; `other` and y of its size and type.
//
// Each thread that takes part calls with the same arguments. `tickets` is four zeros, which the threads share, and
// `scratch` what `batchnorm_scratch` says.
#include "edge.hpp"
#include "job.hpp"

namespace gammabeta::GB_LEVEL {
namespace {

template <class T>
constexpr int64_t KIND = std::is_same_v<T, float16> ? FLOAT16 : std::is_same_v<T, bfloat16> ? BFLOAT16 : sizeof(T) == 4 ? FLOAT32 : FLOAT64;

constexpr int64_t MOST_VALUES = int64_t(1) << 56;

// Whether this is the shape of so many values.
bool fits(int64_t size, int64_t runs, int64_t features, int64_t width) {
    int64_t values;
    return runs > 0 && features > 0 && width > 0 && !__builtin_mul_overflow(runs, features, &values) &&
           !__builtin_mul_overflow(values, width, &values) && values == size && size < MOST_VALUES;
}

// Whether memory that is written lies over other memory.
template <class A, class B>
bool overlap(View<A> a, View<B> b) {
    const auto from = [](auto v) { return reinterpret_cast<uintptr_t>(v.data); };
    return a.size > 0 && b.size > 0 && from(a) < from(b) + static_cast<uintptr_t>(b.size) * sizeof(B) &&
           from(b) < from(a) + static_cast<uintptr_t>(a.size) * sizeof(A);
}

Result scratch(int64_t threads, int64_t runs, int64_t features, int64_t width) {
    if (threads < 1 || threads > 4096 || runs < 1 || features < 1 || width < 1 ||
        runs > MOST_VALUES / features || runs * features > MOST_VALUES / width)
        return refuse("batch norm: a shape has no values, or too many");
    return done(scratch_size(threads, runs, features, width));
}

// mean, rest, var: of a batch, and with APPLY mean and rest; sums: (2, features), Σdy and the product; of these what the
// operation has no use for may be left out.
template <class T>
Result block(int64_t operation, int64_t threads, View<const T> x, Maybe<const T> other, Maybe<T> y, int64_t runs,
             int64_t features, int64_t width, Maybe<const double> gamma, Maybe<const double> beta, double eps,
             int64_t relu, View<double> statistics, Maybe<double> sums, View<double> space, View<int64_t> tickets) {
    if (operation < FORWARD || operation > PRODUCTS || threads < 1 || threads > 4096)
        return refuse("batch norm: no such operation, or number of threads");
    if (!fits(x.size, runs, features, width)) return refuse("batch norm: x is not of its shape");
    const bool gradient = operation == BACKWARD || operation == PRODUCTS, maps = operation != PRODUCTS;
    if (gradient ? other.size != x.size : other.data != nullptr && other.size != x.size)
        return refuse("batch norm: what goes beside x is not of its size");
    if (maps ? y.size != x.size || gamma.size != features : y.data != nullptr)
        return refuse("batch norm: the result is not of x's size, or gamma is not one for each feature");
    if (maps && !gradient && beta.size != features) return refuse("batch norm: beta is not one for each feature");
    if (statistics.size != 3 * features || (gradient && sums.size != 2 * features))
        return refuse("batch norm: the statistics are not one for each feature");
    if (space.size < scratch_size(threads, runs, features, width) || tickets.size != 4)
        return refuse("batch norm: too little to work in");
    if (overlap(y, x) || overlap(y, other)) return refuse("batch norm: the result lies over what is read");
    double *s = statistics.data, *total = sums.data;
    const Job job{operation, KIND<T>, threads, runs, features, width, x.data, other.data, y.data, gamma.data, beta.data,
                  eps, relu, s, s + features, s + 2 * features, total, total + (gradient ? features : 0), space.data,
                  reinterpret_cast<Tickets *>(tickets.data)};
    work(job);
    return done();
}

Entry all[] = {
    entry<scratch>("batchnorm_scratch"), entry<block<float16>>("batchnorm_e"),   entry<block<bfloat16>>("batchnorm_H"),
    entry<block<float>>("batchnorm_f"),  entry<block<double>>("batchnorm_d"),
};

}  // namespace

Entries batchnorm_entries() { return entries(all); }

}  // namespace gammabeta::GB_LEVEL
