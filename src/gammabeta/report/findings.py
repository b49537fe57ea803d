"""The findings of a column: what to watch, each in a sentence with its numbers."""

from collections.abc import Callable, Iterator, Sequence
from math import isfinite, log10

from gammabeta._util.findings import Finding, Kind, number, percent
from gammabeta.report.profile import Profile

NEARLY_CONSTANT = 0.99  # of the values are one
IDENTIFIER = 0.95  # of the values differ; the estimate of their number is good to some 3 %
MUCH_MISSING = 0.2
CRUSHED = 0.2  # of the range is all that the middle 98 % of the values have; a normal sample of a million leaves 0.48
RATIO = 1000.0  # |mean| / std from which on float32 keeps four digits or fewer; the same for stds of two columns
SKEWED, HEAVY = 2.0, 7.0  # skewness, and kurtosis in excess: those of an exponential distribution are 2 and 6

FLOAT32_MAX = 3.4028234663852886e38
MAX_WHOLE = 2.0**53


KINDS = (
    Kind("infinite", "Infinities", "No mean, no range: scaling refuses them. Remove them or leave the cells empty.", 3),
    Kind("empty", "No values", "There is nothing to scale by. Leave the column out.", 3),
    Kind("constant", "Constant", "The standard deviation is 0: scaled, the column is all zeros and says nothing.", 2),
    Kind("nearly", "Nearly constant", "Standardizing divides by a spread that a few rows make: those become huge.", 2),
    Kind("digits", "Large mean beside the spread", "In float32 the digits go to the mean: scale in float64 first.", 2),
    Kind("crushed", "Outliers that crush min-max", "Min-max scaling gives the range to a few values. Standardize.", 2),
    Kind("range32", "Beyond float32", "Such values become infinite in float32. Scale in float64 first.", 2),
    Kind("range53", "Beyond 2⁵³", "Such whole numbers are rounded in float64: as keys they would collide.", 2),
    Kind("identifier", "Identifiers, perhaps", "A number that names a row is no measurement: exclude it.", 2),
    Kind("tails", "Heavy tails", "Means and deviations follow a few large values.", 1),
    Kind("skewed", "Skewed", "No affine map undoes that: scaling keeps the shape. Take a logarithm first, perhaps.", 1),
    Kind("missing", "Much is missing", "Statistics are of the rest; missing values stay missing.", 1),
)


def findings(profile: Profile) -> list[Finding]:
    """The findings of a column, the worst first."""
    texts = {kind.key: text for kind in KINDS if (text := _TESTS[kind.key](profile))}
    return [Finding(key, text) for key, text in texts.items()]


def _infinite(p: Profile) -> str:
    parts = [f"{n:,} × {sign}∞" for n, sign in ((p.plus_infinity, "+"), (p.minus_infinity, "−")) if n]
    return f"{' and '.join(parts)}; the statistics here are of the finite values." if parts else ""


def _empty(p: Profile) -> str:
    return "" if p.count else "None of its cells holds a finite value."


def _constant(p: Profile) -> str:
    if not p.count:
        return ""
    if p.min == p.max:
        return f"Every value is {number(p.min)}."
    if p.constant:
        return f"Its deviation, {number(p.std)}, is no more than rounding beside {number(p.mean)} and counts as 0."
    return ""


def _nearly(p: Profile) -> str:
    if not NEARLY_CONSTANT <= p.common_share < 1:
        return ""
    return f"{percent(p.common_share)} of the values are {number(p.common)}; {p.count - p.common_count:,} are not."


def _digits(p: Profile) -> str:
    digits = p.float32_digits
    if not isfinite(digits) or p.constant or abs(p.mean) < RATIO * p.std:
        return ""
    ratio = f"|mean| is {abs(p.mean) / p.std:,.0f} × the standard deviation"
    left = f"float32 keeps {max(digits, 0):.1f} of 7.2 digits of what standardizing leaves"
    # E[x²] − E[x]² loses twice as many: its terms are (mean/std)² times their difference
    one_pass = 2 * digits - 24 * log10(2)
    return f"{ratio}: {left}" + ("" if one_pass > 0.5 else ", and none of a variance in one pass, E[x²] − E[x]²") + "."


def _crushed(p: Profile) -> str:
    share = p.middle_share
    if not share < CRUSHED or p.constant or p.common_share >= NEARLY_CONSTANT:
        return ""
    return f"The middle 98 % of the values would get {percent(share) if share else '0 %'} of the range 0…1."


def _range32(p: Profile) -> str:
    far = max(abs(p.min), abs(p.max)) if p.count else 0.0
    return f"The largest is {number(far)}; float32 ends at 3.403e+38." if far > FLOAT32_MAX else ""


def _range53(p: Profile) -> str:
    far = max(abs(p.min), abs(p.max)) if p.count and "int" in p.type else 0.0
    return f"The largest is {number(far)}; float64 holds every whole number up to 9.007e+15." if far > MAX_WHOLE else ""


def _identifier(p: Profile) -> str:
    if p.count < 20 or not p.distinct >= IDENTIFIER * p.count:
        return ""
    if p.order:
        return f"Whole numbers, all different, {p.order} from row to row."
    return f"Whole numbers, about {percent(min(1.0, round(p.distinct / p.count, 2)))} of them different."


def _tails(p: Profile) -> str:
    heavy = p.kurtosis > HEAVY and p.common_share < NEARLY_CONSTANT
    return f"Excess kurtosis {number(p.kurtosis)}, where the normal distribution has 0." if heavy else ""


def _skewed(p: Profile) -> str:
    skewed = abs(p.skewness) > SKEWED and p.common_share < NEARLY_CONSTANT
    return (
        f"Skewness {number(p.skewness)}: a long tail to the {'right' if p.skewness > 0 else 'left'}." if skewed else ""
    )


def _missing(p: Profile) -> str:
    much = p.count and p.missing >= MUCH_MISSING * p.rows
    return f"{percent(p.missing / p.rows)} of the rows have no value." if much else ""


_TESTS: dict[str, Callable[[Profile], str]] = {
    "infinite": _infinite,
    "empty": _empty,
    "constant": _constant,
    "nearly": _nearly,
    "digits": _digits,
    "crushed": _crushed,
    "range32": _range32,
    "range53": _range53,
    "identifier": _identifier,
    "tails": _tails,
    "skewed": _skewed,
    "missing": _missing,
}


def _spread(p: Profile) -> str:
    return f"{number(p.std)} ({p.name if len(p.name) <= 40 else f'{p.name[:39]}…'})"


def between_columns(profiles: Sequence[Profile]) -> Iterator[str]:
    """Sentences about a table as a whole: columns of very different scales."""
    spread = [p for p in profiles if p.count and not p.constant and p.std > 0]
    if len(spread) < 2:
        return
    narrow, wide = min(spread, key=lambda p: p.std), max(spread, key=lambda p: p.std)
    decades = log10(wide.std) - log10(narrow.std)
    if decades >= log10(RATIO):
        times = f"{10**decades:,.0f}-fold" if decades < 6 else f"by {decades:.0f} powers of ten"
        yield (
            f"The standard deviations differ {times}, from {_spread(narrow)} to {_spread(wide)}: unscaled, distances "
            "and gradients are those of the widest columns alone."
        )
