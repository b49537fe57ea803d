// Into which parts a batch is cut: whole features, pieces of features, or rows of a table.
#pragma once

#include "job.hpp"

namespace gammabeta::GB_LEVEL {

constexpr int64_t PARTS = 4;                   // of each thread's share: a thread may be late
constexpr int64_t NARROW = 64, LAID = 512;     // lanes of a table that is too narrow, and as many rows side by side make
constexpr int64_t WORTH_A_PART = 1 << 14;      // values
constexpr int64_t TALL = 256;                  // rows of a part of a wide table: few of its blocks are short

enum Way : int64_t { BY_FEATURE, BY_PIECE, BY_ROW };

struct Plan {
    Way way;
    int64_t parts;    // that the job is cut into, for sums and for maps
    int64_t pieces;   // of a feature, BY_PIECE
    int64_t lanes;    // of a table's row: BY_ROW `side` rows side by side
    int64_t rows;     // whole ones
    int64_t side;
    int64_t left;     // rows that do not fill one more: a part of its own, `left` · lanes / side wide
    int64_t scratch;  // float64

    Plan(int64_t threads, int64_t runs, int64_t features, int64_t width) {
        const int64_t wanted = threads > 1 ? PARTS * threads : 1, size = runs * features * width;
        const int64_t worth = most(1, least(wanted, size / WORTH_A_PART));
        side = 1, left = 0, pieces = 1, lanes = features * width, rows = runs;
        if (width >= SHORT) {
            way = features >= 2 * threads || worth == 1 ? BY_FEATURE : BY_PIECE;
            pieces = way == BY_FEATURE ? 1 : (worth + features - 1) / features;
            parts = way == BY_FEATURE ? least(features, threads > 1 ? 2 * wanted : 1) : features * pieces;
            scratch = 3 * features * pieces;
            return;
        }
        way = BY_ROW;
        if (lanes < NARROW) side = most(1, least(LAID / lanes, runs / 16));
        lanes *= side, rows = runs / side, left = runs % side;
        parts = most(1, least(worth, lanes < LAID ? rows : most(threads, rows / TALL)));
        parts = least(parts, rows);
        scratch = (3 * (parts + 1) + 4) * lanes;
    }
};

// The part-th of `parts` ranges of n, cut at multiples.
struct Range {
    int64_t first, last;
    Range(int64_t n, int64_t part, int64_t parts, int64_t multiple = 1)
        : first(cut(n, part, parts, multiple)), last(part + 1 == parts ? n : cut(n, part + 1, parts, multiple)) {}
    int64_t size() const { return last - first; }
    static int64_t cut(int64_t n, int64_t part, int64_t parts, int64_t multiple) {
        return (n / parts * part + n % parts * part / parts) / multiple * multiple;
    }
};

}  // namespace gammabeta::GB_LEVEL
