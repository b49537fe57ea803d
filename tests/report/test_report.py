"""The numbers of a report: exact where they are said to be, within what is said of them elsewhere."""

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from scipy import stats
from sklearn.datasets import load_breast_cancer, load_wine

from gammabeta import data, report
from gammabeta.data.formats.registry import open_source
from gammabeta.kernels import histogram, thread_pool
from gammabeta.report import profile_pass
from gammabeta.report.profile import QUANTILES, Grid, grid_for
from gammabeta.report.sampling import Sample

EPS = float(np.finfo(np.float64).eps)


def table(**columns) -> pa.Table:
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def one(values, name="x"):
    """The profile of a single column, and what a report says of it."""
    source = open_source(pa.table({name: values}))
    (profile,) = profile_pass.profiles(source, lambda: source.columns, lambda done, size: None)
    return profile, report.describe(pa.table({name: values}))["columns"][0]


def kinds(told) -> list[str]:
    return [finding["kind"] for finding in told["findings"]]


def text_of(told, kind) -> str:
    return next(finding["text"] for finding in told["findings"] if finding["kind"] == kind)


@pytest.fixture(name="cancer")
def _cancer():
    found = load_breast_cancer()
    return pa.table({str(name): found.data[:, i] for i, name in enumerate(found.feature_names)})


def test_the_statistics_are_the_exact_ones(cancer):
    found, told = data.measure(cancer), report.describe(cancer)
    for i, column in enumerate(told["columns"]):
        exact = found.moments.mean[i], found.moments.std[i], found.extrema.min[i], found.extrema.max[i]
        assert (column["mean"], column["std"], column["min"], column["max"]) == exact
        assert (column["count"], column["missing"]) == (569, 0)


def test_skewness_and_kurtosis(cancer):
    for name, column in zip(cancer.column_names, report.describe(cancer)["columns"], strict=True):
        x = cancer[name].to_numpy()
        # sums of 569 terms to the third and fourth power: each rounds once a step, and the mean's rounding,
        # an ULP of it or eps · |mean| / std deviations, is multiplied by the power
        z = np.abs((x - x.mean()) / x.std())
        error = (569 + 8 * (1 + abs(x.mean() / x.std()))) * EPS
        assert abs(column["skewness"] - stats.skew(x)) <= error * (z**3).mean()
        assert abs(column["kurtosis"] - stats.kurtosis(x)) <= error * (z**4).mean()


def test_counts_and_quantiles(cancer):
    for name in cancer.column_names:
        x = np.sort(cancer[name].to_numpy())
        profile, told = one(x, name)
        edges = profile.grid.edge(np.arange(profile.grid.bins + 1))
        # a value on an edge may be put on either side of it by rounding: no more than one such value in this table
        found = np.cumsum(profile.counts) - np.searchsorted(x, edges[1:])
        assert np.abs(found[:-1]).max() <= 12
        assert profile.counts.sum() == sum(told["histogram"]["counts"]) == 569
        for q, value in zip(QUANTILES, told["quantiles"], strict=True):
            rank = int(np.ceil(q * 569)) - 1
            assert abs(value - x[rank]) <= told["quantile_error"] * (1 + 8 * EPS)


def test_counts_of_random_values_are_those_of_the_edges():
    x = np.random.default_rng(3).normal(5, 2, 30_000).astype(np.float32)
    profile, _ = one(x)
    edges = profile.grid.edge(np.arange(histogram.BINS + 1))
    edges[-1] = np.inf
    np.testing.assert_array_equal(profile.counts, np.diff(np.searchsorted(np.sort(x).astype(np.float64), edges)))


def test_every_format_gives_the_same_report(tmp_path, cancer):
    arrow_csv.write_csv(cancer, tmp_path / "t.csv")
    pq.write_table(cancer, tmp_path / "t.parquet")
    feather.write_feather(cancer, str(tmp_path / "t.feather"))
    np.save(tmp_path / "t.npy", np.stack([c.to_numpy() for c in cancer.columns], axis=1))
    told = [report.describe(tmp_path / f"t.{suffix}") for suffix in ("csv", "parquet", "feather", "npy")]
    for other in told[1:]:
        for a, b in zip(told[0]["columns"], other["columns"], strict=True):
            # sums in another order; all else, the histogram too, is the same to the last bit
            assert {**a, "name": "", "skewness": 0, "kurtosis": 0} == {**b, "name": "", "skewness": 0, "kurtosis": 0}


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_what_is_not_held_is_read_again(tmp_path, monkeypatch, limit):
    rng = np.random.default_rng(0)
    columns = {f"c{i}": rng.normal(i, 1, 200_000).astype(np.float32) for i in range(6)}
    columns["id"] = np.arange(200_000)
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=30_000)
    held = report.describe(tmp_path / "t.parquet")
    monkeypatch.setattr(profile_pass, "HELD_BYTES", limit)
    assert report.describe(tmp_path / "t.parquet") == held


def test_threads_change_no_count():
    x = np.random.default_rng(0).normal(size=300_000)
    with thread_pool.limit(1):
        alone, _ = one(x)
    together, _ = one(x)
    np.testing.assert_array_equal(alone.counts, together.counts)


def test_infinities_are_counted_apart():
    x = np.array([1.0, np.inf, 3.0, -np.inf, np.inf, np.nan, 5.0])
    profile, told = one(x)
    assert (profile.count, profile.missing, profile.plus_infinity, profile.minus_infinity) == (3, 1, 2, 1)
    assert (told["mean"], told["min"], told["max"]) == (3.0, 1.0, 5.0)
    assert text_of(told, "infinite") == "2 × +∞ and 1 × −∞; the statistics here are of the finite values."
    assert (profile.counts.sum(), profile.below, profile.above) == (3, 0, 0)


def test_infinities_beside_an_outlier_are_not_in_the_counts():
    x = np.concatenate([np.random.default_rng(0).normal(size=1000), [1e9, np.inf, -np.inf, -np.inf]])
    profile, _ = one(x)
    assert (profile.counts.sum(), profile.below, profile.above) == (1000, 0, 1)


def test_nothing_but_nothing():
    _, told = one(np.full(4, np.nan))
    assert kinds(told) == ["empty"]
    assert (told["mean"], told["quantiles"], told["missing"]) == (None, [None] * 7, 4)


@pytest.mark.parametrize("value", [0.1, 3.0, -1e300, 5e-324, 1.7976931348623157e308, 0.0])
def test_a_constant(value):
    profile, told = one(np.full(100, value))
    assert kinds(told)[0] == "constant"
    assert profile.counts.sum() == 100 and profile.below == profile.above == 0
    assert told["quantiles"] == [value] * 7
    assert told["skewness"] is None


def test_a_deviation_that_is_rounding_is_constant():
    _, told = one(np.array([1e16, 1e16 + 2]))
    assert "counts as 0" in text_of(told, "constant")


def test_nearly_constant_is_counted_exactly():
    x = np.zeros(100_000)
    x[::500] = 7.5
    profile, told = one(x)
    assert profile.common_count == 99_800
    assert text_of(told, "nearly") == "99.8 % of the values are 0; 200 are not."
    assert "crushed" not in kinds(told)


@pytest.mark.parametrize(
    ("mean", "digits", "none"), [(4000.0, 3.9, False), (8000.0, 3.6, True), (1e6, 1.5, True), (1e8, 0.0, True)]
)
def test_digits_that_float32_has_left(mean, digits, none):
    # log10(2²⁴ · std / |mean|): 7.22 − 3.60 for a mean of 4,000 deviations; a variance in one pass loses twice 3.60
    _, told = one(mean + 2.0 * np.random.default_rng(0).normal(size=5000))
    text = text_of(told, "digits")
    assert f"keeps {digits} of 7.2 digits" in text
    assert ("none of a variance in one pass" in text) is none


def test_an_outlier_crushes_minmax():
    x = np.concatenate([np.random.default_rng(0).normal(size=50_000), [1e6]])
    profile, told = one(x)
    share = (np.quantile(x, 0.99) - np.quantile(x, 0.01)) / (x.max() - x.min())
    assert abs(told["middle_share"] - share) <= 2 * profile.error / (x.max() - x.min())
    assert {"crushed", "tails", "skewed"} <= set(kinds(told))
    assert profile.grid.high < 20 and profile.above == 1  # the picture is of the others


def test_values_as_far_apart_as_floats_can_be():
    x = np.concatenate([np.random.default_rng(0).normal(size=1000), [1e30, -1.7e308, 1.7e308]])
    profile, told = one(x)
    assert profile.counts.sum() + profile.below + profile.above == 1003
    assert "range32" in kinds(told)
    assert all(np.isfinite(q) for q in told["quantiles"])


def test_the_smallest_numbers_there_are():
    x = np.random.default_rng(0).normal(size=1000) * 1e-310
    profile, _ = one(x)
    edges = profile.grid.edge(np.arange(histogram.BINS + 1))
    assert profile.counts.sum() == 1000
    np.testing.assert_allclose(
        np.cumsum(profile.counts)[:-1], np.searchsorted(np.sort(x), edges[1:-1]), atol=3
    )  # edges are 3e-312 apart, of which a subnormal's spacing, 5e-324, is 1e-12: three values at most lie so near


def test_identifiers():
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(60_000)[:20_000]
    told = report.describe(
        table(
            row=np.arange(20_000),
            falling=np.arange(20_000, 0, -1) * 3.0,
            shuffled=shuffled,
            large=2**60 + shuffled,
            dice=rng.integers(1, 7, 20_000),
            repeated=np.repeat(np.arange(10_000), 2),
            real=rng.normal(size=20_000),
            wide=rng.normal(size=20_000) * 1e300,
        )
    )
    found = {column["name"]: column for column in told["columns"]}
    named = [name for name, column in found.items() if "identifier" in kinds(column)]
    assert named == ["row", "falling", "shuffled", "large"]
    assert "rising from row to row" in text_of(found["row"], "identifier")
    assert "falling from row to row" in text_of(found["falling"], "identifier")
    assert "range53" in kinds(found["large"])


def test_counting_distinct_values_stays_within_its_error():
    rng = np.random.default_rng(0)
    for count in (1, 10, 1000, 5000, 10_000, 30_000, 1_000_000):
        registers = np.zeros(histogram.REGISTERS, np.uint8)
        values = rng.integers(0, 2**62, count)
        for _ in range(2):  # what comes twice counts once
            histogram.distinct(values, registers)
        # three standard errors of 1.04 / √4096, and the bias that the paper gives for about 2.5 registers' worth
        assert abs(histogram.how_many(registers) / count - 1) <= 3 * 0.01625 + 0.01


def test_fractions_that_a_sample_cannot_see():
    x = np.repeat(np.arange(10.0), 30_000)
    x[12_345] = 3.5
    profile, _ = one(x)
    assert not profile.whole
    assert profile.error == 1.0  # a bin's width, and no longer nothing


def test_whole_numbers_have_exact_quantiles():
    x = np.random.default_rng(0).integers(-3, 40, 10_000)
    profile, told = one(x)
    assert told["quantile_error"] == 0
    assert told["quantiles"] == [float(q) for q in np.quantile(x, QUANTILES, method="inverted_cdf")]
    np.testing.assert_array_equal(profile.counts, np.bincount(x + 3))


def test_much_is_missing_is_said():
    _, told = one(pa.array([1.0, None, None, 2.5]))
    assert text_of(told, "missing") == "50 % of the rows have no value."


def test_mixed_scales():
    told = report.describe(table(small=[0.001, 0.003, 0.002], large=[1e5, 3e5, 2e5]))
    assert told["between"] == [
        (
            "The standard deviations differ by 8 powers of ten, from 0.0008165 (small) to 8.165e+04 (large): unscaled, "
            "distances and gradients are those of the widest columns alone."
        )
    ]


def test_ordinary_tables_are_nothing_to_watch():
    found = load_wine()
    told = report.describe(pa.table({"alcohol": found.data[:, 0], "ash": found.data[:, 2]}))
    assert [kinds(column) for column in told["columns"]] == [[], []]


def test_a_sample_of_what_repeats_in_step():
    sample = Sample(1)
    hours = np.tile(np.arange(24.0), 50_000)
    for part in np.array_split(hours, 7):
        sample.add([0], part)
    values = sample.sorted(0)
    assert sample.size <= len(values) <= 2 * sample.size
    counts = np.bincount(values.astype(int), minlength=24)
    # one in 24 of n draws: five standard deviations of a binomial
    n = len(values)
    assert np.abs(counts - n / 24).max() <= 5 * np.sqrt(n / 24)


def test_a_sample_keeps_to_its_size_when_columns_come_apart():
    sample = Sample(3)
    for _ in range(30):
        sample.add([0, 1], np.zeros((1000, 2)))
        sample.add([2], np.zeros(37))
    assert [len(sample.sorted(i)) <= 2 * sample.size for i in range(3)] == [True] * 3
    assert len(sample.sorted(2)) == 30 * 37


@pytest.mark.parametrize(
    ("low", "high", "values"), [(0.0, 1e30, [0.0, 1.0, 2.0]), (-1.7e308, 1.7e308, [-1.0, 0.0, 1.0]), (0.0, 1.0, [0.5])]
)
def test_a_grid_lies_within_the_range(low, high, values):
    grid = grid_for(low, high, np.array(values), whole=False)
    assert low <= grid.low < grid.high <= high
    assert np.isfinite(grid.width)


def test_bars_hold_every_bin():
    x = np.random.default_rng(0).integers(0, 100, 5000)
    profile, told = one(x)
    assert isinstance(profile.grid, Grid) and profile.grid.bins == 100
    assert sum(told["histogram"]["counts"]) == 5000
    assert (told["histogram"]["start"], told["histogram"]["width"]) == (-0.5, 3.0)  # 34 bars, of 48 at most
    assert len(told["histogram"]["counts"]) == 34


@pytest.mark.parametrize(("rows", "most"), [(1, 12), (178, 16), (569, 24), (8_100, 60), (50_000, 60)])
def test_few_values_make_few_bars(rows, most):
    _, told = one(np.random.default_rng(0).normal(size=rows))
    assert len(told["histogram"]["counts"]) == most


def test_drift():
    rng = np.random.default_rng(0)
    a = rng.normal(10, 2, 10_000)
    first = table(moved=a, same=a, wider=a, constant=np.full(10_000, 3.5), gone=a)
    later = table(moved=a + 3, same=a, wider=10 + 3 * (a - 10), constant=np.full(10_000, 4.5), new=a)
    told = report.compare(first, later)
    found = {column["name"]: column for column in told["columns"]}
    assert [column["name"] for column in told["columns"]][:2] == ["constant", "moved"]
    before, after = data.moments(first, ["moved"]), data.moments(later, ["moved"])
    # a difference of two means, divided: three roundings, of numbers within 8 times the result
    expected = (after.mean[0] - before.mean[0]) / before.std[0]
    assert found["moved"]["difference"] == pytest.approx(expected, rel=16 * EPS)
    assert found["moved"]["outside"] == np.mean((a + 3 > a.max()) | (a + 3 < a.min()))
    assert found["wider"]["ratio"] == pytest.approx(3.0, rel=1e-12)
    assert (found["same"]["difference"], found["same"]["ratio"], found["same"]["outside"]) == (0.0, 1.0, 0.0)
    assert kinds(found["same"]) == []
    assert "moved" in kinds(found["moved"])
    assert "spread" in kinds(found["wider"])
    assert (found["constant"]["difference"], kinds(found["constant"])) == (None, ["constant", "outside"])
    assert told["only"] == {"the first file": ["gone"], "the second file": ["new"]}
    assert (
        sum(found["moved"]["histogram"]["other"])
        + sum(found["moved"]["histogram"]["others"][side] for side in ("below", "above"))
        == 10_000
    )


def test_drift_of_what_has_no_values():
    first = table(a=[1.0, 2.0, 3.0], b=[1.0, 2.0, 3.0], c=pa.array([None, None, None], pa.float64()))
    later = table(a=[np.inf, 2.0, -np.inf], b=pa.array([None] * 3, pa.float64()), c=[1.0, 2.0, 3.0])
    found = {column["name"]: column for column in report.compare(first, later)["columns"]}
    assert found["a"]["outside"] == pytest.approx(2 / 3)
    assert "infinite" in kinds(found["a"])
    assert kinds(found["b"]) == ["empty", "missing"]
    assert (found["c"]["difference"], found["c"]["outside"]) == (None, None)


@pytest.mark.slow
def test_memory_stays_bounded_in_a_long_column():
    sample = Sample(1)
    for _ in range(400):
        sample.add([0], np.zeros(100_000, np.float32))
    assert sum(part.nbytes for part in sample._kept[0]) <= 2 * 8 * sample.size
