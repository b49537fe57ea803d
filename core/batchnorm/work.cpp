// Batch norm of a block (runs, features, width), forward, backward, in evaluation, and the sums of evaluation's
// gradients: y = γ · (x − mean) / √(var + eps) + β. With x̂ = (x − mean) / √(var + eps), n values of each feature:
// dβ = Σdy, dγ = Σdy·x̂, dx = γ / √(var + eps) · (dy − dβ/n − x̂·dγ/n).
//
// Bytes: forward reads x twice and writes y, backward reads x and dy twice and writes dx. Where whole features, or
// columns of a table, stay in a core's cache, the second time is from there.
#include "job.hpp"
#include "channels_first.hpp"
#include "channels_last.hpp"
#include "parts.hpp"
#include "plan.hpp"

#include <initializer_list>

namespace gammabeta::GB_LEVEL {
namespace {

// What the second sweep does with a feature.
struct Map {
    double mean, rest, scale, shift, factor;
};

// A job in its type, with what its features' sums and maps are.
template <class T>
struct Typed {
    const Job &job;
    const T *x = static_cast<const T *>(job.x), *other = static_cast<const T *>(job.other);
    T *y = static_cast<T *>(job.y);
    double count = static_cast<double>(job.runs * job.width);
    bool products = job.operation == BACKWARD || job.operation == PRODUCTS;

    explicit Typed(const Job &job_) : job(job_) {}

    GB_INLINE double inverse(int64_t f) const { return 1.0 / __builtin_sqrt(job.var[f] + job.eps); }

    // The sums of a feature are known.
    GB_INLINE void set_statistics(int64_t f, const Statistics &s) const {
        job.mean[f] = s.high, job.rest[f] = s.low, job.var[f] = s.squares / count;
    }
    GB_INLINE void set_products(int64_t f, double total, double product) const {
        job.total[f] = total;
        job.product[f] = job.operation == BACKWARD ? product * inverse(f) : product;
    }
    template <int64_t OPERATION>
    GB_INLINE Map map_as(int64_t f) const {
        const double mean = job.mean[f], rest = job.rest[f], gamma = job.gamma[f];
        if constexpr (OPERATION == APPLY) return {mean, rest, gamma, job.beta[f], 0};
        if constexpr (OPERATION == FORWARD) return {mean, rest, gamma / __builtin_sqrt(job.var[f] + job.eps), job.beta[f], 0};
        const double i = inverse(f), a = gamma * i;
        return {mean, rest, -a * i * job.product[f] / count, -a * job.total[f] / count, a};
    }

    // body(the operation as a constant)
    template <class Body>
    GB_INLINE void with_operation(Body &&body) const {
        using std::integral_constant;
        switch (job.operation) {
            case FORWARD: return body(integral_constant<int64_t, FORWARD>{});
            case BACKWARD: return body(integral_constant<int64_t, BACKWARD>{});
            case APPLY: return body(integral_constant<int64_t, APPLY>{});
        }
    }

    // body(the map's kind as a constant)
    template <class Body>
    GB_INLINE void with_then(Body &&body) const {
        using std::integral_constant;
        if (job.operation == BACKWARD) return body(integral_constant<int64_t, SLOPE>{});
        switch ((other != nullptr ? ADD : NOTHING) | (job.relu ? RELU : NOTHING)) {
            case NOTHING: return body(integral_constant<int64_t, NOTHING>{});
            case ADD: return body(integral_constant<int64_t, ADD>{});
            case RELU: return body(integral_constant<int64_t, RELU>{});
            default: return body(integral_constant<int64_t, ADD | RELU>{});
        }
    }

    // Runs.

    Place place(int64_t f) const { return {job.features, job.width, f}; }

    void sum_feature(int64_t f) const {
        const int64_t n = job.runs * job.width;
        if (products) {
            double total, product;
            products_of_runs(x, other, place(f), 0, n, job.mean[f], job.rest[f], total, product);
            set_products(f, total, product);
        } else {
            set_statistics(f, moments_of_runs(x, place(f), 0, n));
        }
    }

    template <int64_t THEN>
    GB_INLINE void map_values(int64_t f, int64_t first, int64_t last) const {
        Map m{};
        with_operation([&](auto as) { m = map_as<as>(f); });
        map_runs<T, THEN>(x, other, y, place(f), first, last, Parameters<T>(m.mean, m.rest, m.scale, m.shift),
                          static_cast<Mapped<T>>(m.factor));
    }

    void by_feature(const Plan &plan) const {
        for_parts(job.tickets->first, plan.parts, [&](int64_t part) {
            const Range some(job.features, part, plan.parts);
            for (int64_t f = some.first; f < some.last; f++) {
                if (job.operation != APPLY) sum_feature(f);
                if (job.operation != PRODUCTS)
                    with_then([&](auto then) { map_values<then>(f, 0, job.runs * job.width); });
            }
        });
    }

    // In evaluation: stretch by stretch, as they lie in memory.
    void by_stretch(const Plan &plan) const {
        for_parts(job.tickets->first, plan.parts, [&](int64_t part) {
            const Range some(job.runs * job.features, part, plan.parts);
            with_then([&](auto then) {
                for (int64_t i = some.first; i < some.last; i++)
                    map_values<then>(i % job.features, i / job.features * job.width, (i / job.features + 1) * job.width);
            });
        });
    }

    Range piece(const Plan &plan, int64_t part) const {
        const int64_t multiple = job.runs >= plan.pieces ? 1 : LINE;
        if (multiple == LINE) return {job.runs * job.width, part % plan.pieces, plan.pieces, LINE};
        Range runs(job.runs, part % plan.pieces, plan.pieces);
        runs.first *= job.width, runs.last *= job.width;
        return runs;
    }

    void join_pieces(const Plan &plan, int64_t f) const {
        Statistics s;
        int64_t before = 0;
        for (int64_t part = f * plan.pieces; part < (f + 1) * plan.pieces; part++) {
            const double *found = job.scratch + 3 * part;
            const int64_t more = piece(plan, part).size();
            if (products)
                s.high += found[0], s.low += found[1];
            else
                join_parts(Weights(before, more), found[0], found[1], found[2], s.high, s.low, s.squares);
            before += more;
        }
        products ? set_products(f, s.high, s.low) : set_statistics(f, s);
    }

    void by_piece(const Plan &plan) const {
        const auto sum = [&](int64_t part) {
            const int64_t f = part / plan.pieces;
            const Range r = piece(plan, part);
            double *s = job.scratch + 3 * part;
            if (job.operation == APPLY) return;
            if (products) return products_of_runs(x, other, place(f), r.first, r.last, job.mean[f], job.rest[f], s[0], s[1]);
            const Statistics found = moments_of_runs(x, place(f), r.first, r.last);
            s[0] = found.high, s[1] = found.low, s[2] = found.squares;
        };
        const auto join = [&] {
            if (job.operation != APPLY)
                for (int64_t f = 0; f < job.features; f++) join_pieces(plan, f);
        };
        const auto map = [&](int64_t part) {
            if (job.operation == PRODUCTS) return;
            const Range r = piece(plan, part);
            with_then([&](auto then) { map_values<then>(part / plan.pieces, r.first, r.last); });
        };
        in_two_sweeps(*job.tickets, plan.parts, sum, join, map);
    }

    // Tables.

    // The sums of rows into a part's results, (3, plan.lanes).
    void sum_rows(const Plan &plan, int64_t part, int64_t first, int64_t rows, int64_t lanes) const {
        for (int64_t lane = 0; lane < lanes; lane += PANEL) {
            const int64_t at = first * plan.lanes + lane, size = least(PANEL, lanes - lane);
            double *a = job.scratch + 3 * part * plan.lanes + lane, *b = a + plan.lanes, *c = b + plan.lanes;
            if (products)
                sum_products(plan.lanes, at, lane, rows, size, a, b);
            else
                moments_of_table(x + at, plan.lanes, rows, size, a, b, c);
        }
    }

    void sum_products(int64_t stride, int64_t at, int64_t lane, int64_t rows, int64_t lanes, double *total, double *product) const {
        double mean[PANEL], rest[PANEL];
        for (int64_t j = 0; j < lanes; j++) {
            const int64_t f = (lane + j) / job.width % job.features;
            mean[j] = job.mean[f], rest[j] = job.rest[f];
        }
        products_of_table(x + at, other + at, stride, rows, lanes, mean, rest, total, product);
    }

    void map_rows(const Plan &plan, int64_t first, int64_t rows, int64_t lanes, const LaneParameters<T> &p) const {
        const int64_t at = first * plan.lanes;
        with_then([&](auto then) { map_table<T, then>(x + at, other == nullptr ? nullptr : other + at, y + at, rows, lanes, p); });
    }

    // The parameters of every lane: of a feature, for all its places in a row.
    template <int64_t OPERATION>
    void lay(const Plan &plan, const LaneParameters<T> &p) const {
        Mapped<T> *GB_RESTRICT center = p.center, *GB_RESTRICT scale = p.scale, *GB_RESTRICT shift = p.shift, *GB_RESTRICT factor = p.factor;
        const int64_t width = job.width, size = job.features * width;
        for (int64_t i = 0; i < width; i++)
GB_INDEPENDENT
            for (int64_t f = 0; f < job.features; f++) {
                const Map m = map_as<OPERATION>(f);
                const Parameters<T> found(m.mean, m.rest, m.scale, m.shift);
                const int64_t lane = f * width + i;
                center[lane] = found.center, scale[lane] = found.scale, shift[lane] = found.shift;
                factor[lane] = static_cast<Mapped<T>>(m.factor);
            }
        for (Mapped<T> *vector : {center, scale, shift, factor})
            for (int64_t k = 1; k < plan.side; k++) std::memcpy(vector + k * size, vector, size * sizeof(Mapped<T>));
    }

    // The results of parts, (parts + 1, 3, lanes), the last of the rows that are left.
    void join_rows(const Plan &plan) const {
        double *GB_RESTRICT high = products ? job.total : job.mean, *GB_RESTRICT low = products ? job.product : job.rest,
               *GB_RESTRICT squares = job.var;
        const int64_t features = job.features, width = job.width;
        int64_t before = 0;
        if (products)
            for (int64_t f = 0; f < features; f++) high[f] = low[f] = 0;
        for (int64_t part = 0; part < plan.parts + (plan.left > 0); part++) {
            const bool left = part == plan.parts;
            const int64_t more = left ? 1 : Range(plan.rows, part, plan.parts).size();
            for (int64_t k = 0; k < (left ? plan.left : plan.side); k++)
                for (int64_t i = 0; i < width; i++) {
                    const double *a = job.scratch + 3 * part * plan.lanes + k * features * width + i, *b = a + plan.lanes, *c = b + plan.lanes;
                    const Weights weights(before, more);
                    if (products)
                        for (int64_t f = 0; f < features; f++) high[f] += a[f * width], low[f] += b[f * width];
                    else
                        for (int64_t f = 0; f < features; f++)
                            join_parts(weights, a[f * width], b[f * width], c[f * width], high[f], low[f], squares[f]);
                    before += more;
                }
        }
        for (int64_t f = 0; f < features; f++)
            products ? set_products(f, high[f], low[f]) : set_statistics(f, {high[f], low[f], squares[f]});
    }

    // body(lane, first row, rows, lanes) for the panels of a part, and for the rows that are left with the last part.
    template <class Body>
    GB_INLINE void for_panels(const Plan &plan, int64_t part, Body &&body) const {
        const Range rows(plan.rows, part, plan.parts);
        for (int64_t lane = 0; lane < plan.lanes; lane += PANEL)
            body(part, lane, rows.first, rows.size(), least(PANEL, plan.lanes - lane));
        if (plan.left > 0 && part == plan.parts - 1) {
            const int64_t lanes = plan.lanes / plan.side * plan.left;
            for (int64_t lane = 0; lane < lanes; lane += PANEL) body(plan.parts, lane, plan.rows, 1, least(PANEL, lanes - lane));
        }
    }

    void by_row(const Plan &plan) const {
        auto *laid = reinterpret_cast<Mapped<T> *>(job.scratch + 3 * (plan.parts + 1) * plan.lanes);
        const LaneParameters<T> p{laid, laid + plan.lanes, laid + 2 * plan.lanes, laid + 3 * plan.lanes};
        const auto sum = [&](int64_t part) {
            if (job.operation == APPLY) return;
            const Range rows(plan.rows, part, plan.parts);
            sum_rows(plan, part, rows.first, rows.size(), plan.lanes);
            if (plan.left > 0 && part == plan.parts - 1) sum_rows(plan, plan.parts, plan.rows, 1, plan.lanes / plan.side * plan.left);
        };
        const auto join = [&] {
            if (job.operation != APPLY) join_rows(plan);
            with_operation([&](auto as) { lay<as>(plan, p); });
        };
        const auto map = [&](int64_t part) {
            if (job.operation == PRODUCTS) return;
            const Range rows(plan.rows, part, plan.parts);
            map_rows(plan, rows.first, rows.size(), plan.lanes, p);
            if (plan.left > 0 && part == plan.parts - 1) map_rows(plan, plan.rows, 1, plan.lanes / plan.side * plan.left, p);
        };
        in_two_sweeps(*job.tickets, plan.parts, sum, join, map);
    }

    void run() const {
        const Plan plan(job.threads, job.runs, job.features, job.width);
        if (job.operation == APPLY && plan.way <= BY_PIECE && job.runs * job.features >= plan.parts) return by_stretch(plan);
        switch (plan.way) {
            case BY_FEATURE: return by_feature(plan);
            case BY_PIECE: return by_piece(plan);
            case BY_ROW: return by_row(plan);
        }
    }
};

}  // namespace

int64_t scratch_size(int64_t threads, int64_t runs, int64_t features, int64_t width) {
    return Plan(threads, runs, features, width).scratch;
}

void work(const Job &job) {
    switch (job.kind) {
        case FLOAT16: return Typed<float16>(job).run();
        case BFLOAT16: return Typed<bfloat16>(job).run();
        case FLOAT32: return Typed<float>(job).run();
        case FLOAT64: return Typed<double>(job).run();
    }
}

}  // namespace gammabeta::GB_LEVEL
