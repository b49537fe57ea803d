// Layer, group, instance and RMS norm of a contiguous tensor, from the addresses of all that it holds: y, or the
// gradients, in one call. y = γ · (x − mean) / √(var + eps) + β, of RMS norm with a mean of 0. With x̂ = (x − mean) /
// √(var + eps), g = γ · dy and n values of a row: dx = (g − Σg/n − x̂ · Σ(g·x̂)/n) / √(var + eps), dγ = Σdy·x̂ and dβ =
// Σdy over the rows of γ's group, without Σg/n where the mean is 0.
//
// x: (rows, size); row r is of group r mod `groups`, and its element i of channel r mod groups · size/width + i / width,
// for which there is a γ and a β: parameters (groups · size / width,) of the type `as`, an address of 0 standing for
// none: γ = 1, β = 0. With one thread a call does all; with more it lays the work down in `room`, several threads call
// `group_norm_run` there, and `group_norm_settle` ends it.
//
// Bytes: forward reads x and writes y, backward reads x and dy and writes dx, where a row stays in a core's cache.
#include "edge.hpp"
#include "parameters.hpp"
#include "parts.hpp"
#include "plan.hpp"
#include "rows.hpp"

namespace gammabeta::GB_LEVEL {
namespace {

constexpr int64_t MARK = 0x726F7773;    // that work has been laid down
constexpr int64_t NEAR_ROWS = 256;      // rows of 16 bits whose dγ and dβ are added up in float32
constexpr int64_t PIECE = 1024;         // elements mapped between two requests for the next row's
constexpr int64_t MOST_AHEAD = 1 << 18;  // bytes of a row that is asked for ahead: it must fit into the L2 cache
constexpr int64_t PAD = VECTOR / 4;     // numbers behind an array of parameters, so that whole vectors can be read

struct Form {
    int64_t kind, as, threads, rows, size, groups, width, centred;

    int64_t channels() const { return groups * (size / width); }
    bool by_element() const { return width < SHORT; }
    int64_t features() const { return by_element() ? groups * size : channels(); }  // γs and βs as they are laid out
    int64_t stride() const { return features() + PAD; }

    // In how many parts the rows are cut; gradients of parameters, a set for each part, do not take more than x.
    int64_t parts(bool backward) const {
        if (threads == 1) return 1;
        int64_t parts = least(PARTS * threads, rows * size / WORTH_A_PART);
        if (backward) parts = least(parts, most(threads, rows * size / (4 * features())));
        return most(1, least(parts, rows));
    }
};

struct Call {
    int64_t mark;
    Form form;
    bool backward, sums;
    const void *x, *dy;
    void *y;
    double eps;
    double *mean, *rest, *var;       // (rows,)
    double *gamma, *beta;            // (features,), padded: numbers of type Mapped<T> BY_ELEMENT
    double *slopes;                  // dγ, dβ: (parts, 2, stride), then as many of type Mapped<T> for 16 bits
    int64_t dgamma, dbeta;           // addresses
    Tickets tickets;
};

constexpr int64_t HEAD = (sizeof(Call) + LINE - 1) / LINE * LINE / 8;

// The work in its type.
template <class T>
struct Typed {
    using M = Mapped<T>;
    static constexpr bool NARROW = sizeof(T) == 2;
    const Call &call;
    const Form &form = call.form;
    const T *x = static_cast<const T *>(call.x), *dy = static_cast<const T *>(call.dy);
    T *y = static_cast<T *>(call.y);
    const M *gamma = reinterpret_cast<const M *>(call.gamma), *beta = reinterpret_cast<const M *>(call.beta);
    int64_t size = form.size, width = form.width, parts = form.parts(call.backward);
    double count = static_cast<double>(size), each = 1.0 / count;

    explicit Typed(const Call &call_) : call(call_) {}

    GB_INLINE double inverse(int64_t row) const { return 1.0 / __builtin_sqrt(call.var[row] + call.eps); }
    GB_INLINE int64_t first(int64_t row) const { return row % form.groups * (form.by_element() ? size : size / width); }

    template <bool CENTRED>
    GB_INLINE void forward_row(int64_t row) const {
        const T *from = x + row * size;
        T *to = y + row * size;
        const Statistics s = moments_of_row<T, CENTRED>(from, size, each);
        call.mean[row] = s.high, call.rest[row] = s.low, call.var[row] = s.squares * each;
        const double i = inverse(row);
        const int64_t f = first(row);
        if (form.by_element()) {
            const Standard<T> normal(s.high, s.low, i);
            for (int64_t at = 0; at < size; at += PIECE) {
                const int64_t length = least(PIECE, size - at);
                fetch_next(at, length, from, to);
                map_elements<T>(from + at, to + at, length, normal, gamma + f + at, beta + f + at);
            }
            return;
        }
        for (int64_t c = size / width; c-- > 0;) {  // what the sums read last is still in the cache
            const int64_t at = c * width;
            fetch_next(at, width, from, to);
            map_stretch<T, NOTHING>(from + at, nullptr, to + at, width,
                                    Parameters<T>(s.high, s.low, call.gamma[f + c] * i, call.beta[f + c]), 0);
        }
    }

    // Ask for the same piece of the next row, while this one is mapped: it is read from memory while nothing else is.
    template <class... P>
    GB_INLINE void fetch_next(int64_t at, int64_t length, P *...rows_) const {
        if (size > MOST_AHEAD / int64_t(sizeof(T))) return;
        for (int64_t j = 0; j < length; j += LINE / int64_t(sizeof(T))) (prefetch(rows_ + size + at + j), ...);
    }

    // A set of dγ and dβ of a part, and where rows of 16 bits add to them first.
    GB_INLINE double *slopes(int64_t part) const { return call.slopes + 2 * form.stride() * part; }
    GB_INLINE M *near_slopes(int64_t part) const {
        return NARROW ? reinterpret_cast<M *>(slopes(parts)) + 2 * form.stride() * part : reinterpret_cast<M *>(slopes(part));
    }

    template <bool SUMS>
    GB_INLINE void backward_elements(int64_t row, int64_t part) const {
        const T *values = x + row * size, *slope = dy + row * size;
        const double mean = call.mean[row], rest = call.rest[row], i = inverse(row);
        const int64_t f = first(row);
        double total, product;
        const M center = static_cast<M>(mean);
        products_of_elements<T>(values, slope, size, center, gamma + f, total, product);
        product -= ((mean - static_cast<double>(center)) + rest) * total;
        const double a = form.centred ? -total * each : 0, b = -product * i * each;
        M *near = near_slopes(part) + f;
        const Standard<T> normal(mean, rest, i);
        T *to = y + row * size;
        for (int64_t at = 0; at < size; at += PIECE) {
            const int64_t length = least(PIECE, size - at);
            fetch_next(at, length, values, slope, to);
            slope_elements<T, SUMS>(values + at, slope + at, to + at, length, normal, gamma + f + at, static_cast<M>(a),
                                    static_cast<M>(b), near + at, near + form.stride() + at);
        }
    }

    void backward_stretches(int64_t row, int64_t part) const {
        const T *values = x + row * size, *slope = dy + row * size;
        T *to = y + row * size;
        const double mean = call.mean[row], rest = call.rest[row], i = inverse(row);
        const int64_t f = first(row);
        double *dgamma = slopes(part) + f, *dbeta = dgamma + form.stride(), total = 0, product = 0;
        for (int64_t c = 0; c < size / width; c++) {
            double a, b;
            products_of_stretch(values + c * width, slope + c * width, width, mean, rest, a, b);
            total += call.gamma[f + c] * a, product += call.gamma[f + c] * b;
            dgamma[c] += b * i, dbeta[c] += a;
        }
        const Parameters<T> p(mean, rest, -i * i * i * product * each, form.centred ? -i * total * each : 0);
        for (int64_t c = size / width; c-- > 0;) {
            const int64_t at = c * width;
            fetch_next(at, width, values, slope, to);
            map_stretch<T, SLOPE>(values + at, slope + at, to + at, width, p, static_cast<M>(call.gamma[f + c] * i));
        }
    }

    // The near sums of a part go over to the wide ones.
    void carry(int64_t part) const {
        M *near = near_slopes(part);
        double *wide = slopes(part);
        for (int64_t j = 0; j < 2 * form.stride(); j++) wide[j] += static_cast<double>(near[j]), near[j] = 0;
    }

    void backward(int64_t part, const Range &rows) const {
        std::memset(slopes(part), 0, 2 * form.stride() * sizeof(double));
        if (!form.by_element()) {
            for (int64_t row = rows.first; row < rows.last; row++) backward_stretches(row, part);
        } else if (!call.sums) {
            for (int64_t row = rows.first; row < rows.last; row++) backward_elements<false>(row, part);
        } else {
            if constexpr (NARROW) std::memset(near_slopes(part), 0, 2 * form.stride() * sizeof(M));
            for (int64_t row = rows.first; row < rows.last; row++) {
                backward_elements<true>(row, part);
                if constexpr (NARROW)
                    if ((row - rows.first) % NEAR_ROWS == NEAR_ROWS - 1 || row + 1 == rows.last) carry(part);
            }
        }
    }

    void run() const {
        for_parts(const_cast<Tickets &>(call.tickets).first, parts, [&](int64_t part) {
            const Range rows(form.rows, part, parts);
            if (call.backward) return backward(part, rows);
            if (form.centred)
                for (int64_t row = rows.first; row < rows.last; row++) forward_row<true>(row);
            else
                for (int64_t row = rows.first; row < rows.last; row++) forward_row<false>(row);
        });
    }
};

void work_on(const Call &call) {
    with_kind(call.form.kind, [&](auto *type) { Typed<std::remove_pointer_t<decltype(type)>>(call).run(); });
}

// dγ and dβ: the sums of all parts, and of all elements of a channel.
void settled(const Call &call) {
    if (!call.backward || !call.sums) return;
    const Form &form = call.form;
    const int64_t stride = form.stride(), channels = form.channels(), many = form.features() / channels;
    double *GB_RESTRICT total = call.slopes;
    for (int64_t part = 1; part < form.parts(true); part++) {
        const double *GB_RESTRICT more = call.slopes + 2 * stride * part;
        for (int64_t j = 0; j < 2 * stride; j++) total[j] += more[j];
    }
    for (int64_t k = 0; k < 2; k++) {
        double *set = call.slopes + k * stride;
        for (int64_t c = 0; many > 1 && c < channels; c++) {
            double sum = 0;
            for (int64_t j = 0; j < many; j++) sum += set[c * many + j];
            set[c] = sum;
        }
        write(form.as, k == 0 ? call.dgamma : call.dbeta, set, channels);
    }
}

// Parameters as they are laid out: one for each element, in the type that values are computed in, or for each channel.
void lay(const Form &form, int64_t address, double otherwise, double *to) {
    read(form.as, address, otherwise, to, form.channels());
    if (!form.by_element()) return;
    for (int64_t c = form.channels(); form.width > 1 && c-- > 0;)
        for (int64_t i = form.width; i-- > 0;) to[c * form.width + i] = to[c];
    for (int64_t f = form.features(); f < form.stride(); f++) to[f] = 0;
    auto *narrow = reinterpret_cast<float *>(to);
    if (form.kind == FLOAT16 || form.kind == BFLOAT16)
        for (int64_t f = 0; f < form.stride(); f++) {
            const auto number = static_cast<float>(to[f]);
            std::memcpy(narrow + f, &number, sizeof(number));
        }
}

bool is_form(const Form &form) {
    constexpr int64_t MOST_VALUES = int64_t(1) << 56;
    return form.kind >= FLOAT16 && form.kind <= FLOAT64 && form.as >= FLOAT16 && form.as <= FLOAT64 && form.threads >= 1 &&
           form.threads <= 4096 && form.rows >= 1 && form.size >= 1 && form.rows <= MOST_VALUES / form.size && form.groups >= 1 &&
           form.width >= 1 && form.rows % form.groups == 0 && form.size % form.width == 0;
}

int64_t room_size(const Form &form, bool backward) {
    return HEAD + 2 * form.stride() + (backward ? 4 * form.stride() * form.parts(true) : 0);
}

constexpr const char *REFUSED = "group norm: a shape, a type or a number of threads is not as it must be";
constexpr const char *FEW = "group norm: too little to work in, or an address is missing";

Result room(int64_t threads, int64_t rows, int64_t size, int64_t groups, int64_t width, int64_t backward) {
    const Form form{FLOAT32, FLOAT32, threads, rows, size, groups, width, 1};
    return is_form(form) ? done(room_size(form, backward)) : refuse(REFUSED);
}

Call *laid(View<double> room, const Form &form, bool backward, int64_t x, int64_t dy, int64_t y, int64_t gamma, int64_t beta,
           double *statistics, double eps) {
    if (room.size < room_size(form, backward)) return nullptr;
    auto *call = reinterpret_cast<Call *>(room.data);
    *call = {};
    double *v = room.data + HEAD;
    call->mark = MARK, call->form = form, call->backward = backward, call->eps = eps;
    call->x = reinterpret_cast<const void *>(x), call->dy = reinterpret_cast<const void *>(dy), call->y = reinterpret_cast<void *>(y);
    call->mean = statistics, call->rest = statistics + form.rows, call->var = statistics + 2 * form.rows;
    call->gamma = v, call->beta = v + form.stride(), call->slopes = v + 2 * form.stride();
    lay(form, gamma, 1.0, call->gamma);
    if (!backward) lay(form, beta, 0.0, call->beta);
    return call;
}

Result ended(const Call &call) {
    if (call.form.threads == 1) {
        work_on(call);
        settled(call);
    }
    return done();
}

// y and statistics, (3, rows): mean, rest, var.
Result forward(View<double> room, int64_t kind, int64_t as, int64_t threads, int64_t rows, int64_t size, int64_t groups,
               int64_t width, int64_t centred, int64_t x, int64_t y, int64_t gamma, int64_t beta, View<double> statistics,
               double eps) {
    const Form form{kind, as, threads, rows, size, groups, width, centred};
    if (!is_form(form)) return refuse(REFUSED);
    if (statistics.size != 3 * rows || x == 0 || y == 0) return refuse(FEW);
    const Call *call = laid(room, form, false, x, 0, y, gamma, beta, statistics.data, eps);
    return call == nullptr ? refuse(FEW) : ended(*call);
}

// dx, and where there is a place for them dγ and dβ. statistics: as `forward` left them.
Result backward(View<double> room, int64_t kind, int64_t as, int64_t threads, int64_t rows, int64_t size, int64_t groups,
                int64_t width, int64_t centred, int64_t x, int64_t dy, int64_t dx, int64_t gamma, int64_t dgamma, int64_t dbeta,
                View<double> statistics, double eps) {
    const Form form{kind, as, threads, rows, size, groups, width, centred};
    if (!is_form(form)) return refuse(REFUSED);
    if (statistics.size != 3 * rows || x == 0 || dy == 0 || dx == 0) return refuse(FEW);
    Call *call = laid(room, form, true, x, dy, dx, gamma, 0, statistics.data, eps);
    if (call == nullptr) return refuse(FEW);
    call->dgamma = dgamma, call->dbeta = dbeta, call->sums = dgamma != 0 || dbeta != 0;
    return ended(*call);
}

bool has_work(View<double> room) { return room.size >= HEAD && reinterpret_cast<const Call *>(room.data)->mark == MARK; }

// One thread's part of the work that one of the two above has laid down.
Result run(View<double> room) {
    if (!has_work(room)) return refuse(FEW);
    work_on(*reinterpret_cast<Call *>(room.data));
    return done();
}
void run_at(void *room) { work_on(*static_cast<Call *>(room)); }

Result settle(View<double> room) {
    if (!has_work(room)) return refuse(FEW);
    settled(*reinterpret_cast<Call *>(room.data));
    return done();
}

Entry all_[] = {
    entry<room>("group_norm_room"),
    entry<forward>("group_norm_forward"),
    entry<backward>("group_norm_backward"),
    {entry<run>("group_norm_run").method, reinterpret_cast<const void *>(run_at)},
    entry<settle>("group_norm_settle"),
};

}  // namespace

Entries group_norm_entries() { return entries(all_); }

}  // namespace gammabeta::GB_LEVEL
