"""A map as a C header, its constants in hexadecimal."""

import re
from collections.abc import Sequence

from gammabeta.errors import DataError

# C99's, and C++'s that a header may meet
_WORDS = """
auto break case char class const continue default delete do double else enum extern float for goto if inline int long
namespace new operator private public register restrict return short signed sizeof static struct switch template this
throw try typedef typename union unsigned using virtual void volatile while
""".split()  # noqa: SIM905

_HEADER = """\
/* y = (x - center) * slope + shift of each of {features} features, in double{clipped}. Made by gammabeta.
   Without contraction of products and sums (-ffp-contract=off) the bits are those of Python's. */
#ifndef {guard}_H
#define {guard}_H

#include <stddef.h>

#define {guard}_FEATURES {features}

/* The features' constants. */
static const double {name}_center[{guard}_FEATURES] = {{{center}}};
static const double {name}_slope[{guard}_FEATURES] = {{{slope}}};
static const double {name}_shift[{guard}_FEATURES] = {{{shift}}};

/* x, y: rows of {guard}_FEATURES values, one after the other; y may be x. */
static inline void {name}(const double *x, double *y, size_t rows)
{{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < {guard}_FEATURES; j++) {{
            size_t at = i * {guard}_FEATURES + j;
            double z = (x[at] - {name}_center[j]) * {name}_slope[j] + {name}_shift[j];
            y[at] = {image};
        }}
}}

#endif
"""


def header(name: str, features: Sequence[tuple[float, float, float]], limits: tuple[float, float] | None) -> str:
    """The header. features: center, slope and shift of each."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in _WORDS:
        raise DataError(f"name must be a C identifier that begins with a letter and is no keyword, got {name!r}")
    if not features:
        raise DataError("a map must have a feature to be a C header, which has no empty arrays")
    center, slope, shift = (", ".join(value.hex() for value in values) for values in zip(*features, strict=True))
    low, high = (float(end).hex() for end in limits or (0.0, 0.0))
    return _HEADER.format(
        name=name,
        guard=name.upper(),
        features=len(features),
        center=center,
        slope=slope,
        shift=shift,
        image="z" if limits is None else f"z < {low} ? {low} : z > {high} ? {high} : z",
        clipped="" if limits is None else ", then clipped",
    )
