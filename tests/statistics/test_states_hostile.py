"""States that cannot be: whatever a stats file, a scaler's document, a ledger or a folder's record says, it is read as
what some data could have given, to be written again with the same bits, or it is refused by an error of ours."""

import json
import time
import tracemalloc
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gammabeta as gb
from document_mutants import mutant
from gammabeta import Extrema, GroupedExtrema, GroupedMoments, MinMaxScaler, Moments, StandardScaler, axes, data
from gammabeta.errors import DataError, FileError, GammabetaError, StateError
from gammabeta.kernels import limbs
from gammabeta.norm.state import BatchNormState
from gammabeta.statistics import state_check
from gammabeta.statistics.binary import packed, unpacked
from gammabeta.statistics.concat import concat

resource = pytest.importorskip("resource", reason="Windows does not tell how much memory was taken")

X = np.array([[1.0, -2.5, 7.0], [3.0, 0.1, 7.0], [5.5, np.nan, 7.0], [1e-3, 1e17, 7.0]])
TABLE = pa.table({"g": ["b", "a", None, "a"], "x": X[:, 0], "y": pa.array([1, None, 3, 2**60]), "z": X[:, 2]})
DAYS = np.array(["2024-01-02", "2024-01-01", "NaT", "2024-01-01"], "M8[D]")
LABELS: list[Any] = [["b", "a", "b", None], [3, 1, 2, 1], [1.5, -np.inf, np.nan, 1.5], [True, False, True, True], DAYS]
LABELS += [DAYS.astype("M8[ns]"), DAYS - DAYS[0], np.array([2**63, 1, 2, 3], np.uint64), [10**30, 1, 2, 3]]

DOCUMENTS: list[tuple[Any, Any]] = [
    *((Moments, m) for m in (Moments.of(X), Moments.of(X, nan="propagate"), Moments.of([1.0, np.inf]))),
    (Moments, Moments.of(X, weights=[0.25, 1, 2, 1e-300])),
    *((Extrema, e) for e in (Extrema.of(X), Extrema.of(X, nan="propagate"), Extrema.between([0.0, 1], [2.0, 1]))),
    *((GroupedMoments, Moments.of(X, groups=labels)) for labels in LABELS),
    *((GroupedExtrema, Extrema.of(X, groups=labels)) for labels in LABELS),
    *((data.Statistics, data.measure(TABLE, recipe=r)) for r in (data.Recipe(ddof=1), data.Recipe("minmax"))),
    (data.GroupStatistics, data.measure_by(TABLE, "g")),
    (data.GroupStatistics, data.measure_by(TABLE, "z")),
    (StandardScaler, StandardScaler(ddof=1).fit(X)),
    (StandardScaler, StandardScaler(axis=(0, 2)).fit(X.reshape(2, 2, 3), sample_weight=np.ones((2, 3)))),
    (MinMaxScaler, MinMaxScaler((-1, 2), clip=True).fit(X)),
    (MinMaxScaler, MinMaxScaler().fit(X)),
]  # fmt: skip


def use(found: Any, original: Any) -> None:
    """What is done with a state: it is shown, added, asked, scaled by, written and read again."""
    if isinstance(found, StandardScaler | MinMaxScaler):
        assert attributes(type(found).from_json(found.to_json())) == attributes(found)
        repr(found), found.affine_.inverse()
        assert found.transform(np.ones(data_shape(found))).shape == data_shape(found)
        acts = [lambda: found.merge(original), lambda: again_from(type(found)().merge(found).merge(found))]
    else:
        again = type(found).from_json(found.to_json())
        assert again == found and again.to_json() == found.to_json()
        repr(found), hash(found)
        for name in ("count", "mean", "var", "std", "min", "max", "names", "labels", "rows"):
            getattr(found, name, None)
        acts = [lambda: found + original, lambda: original + found, lambda: again_from(found + found)]
        acts += [getattr(found, name) for name in ("affine", "total") if hasattr(found, name)]
    for act in acts:
        try:
            act()
        except GammabetaError:
            continue


def again_from(state: Any) -> None:
    """What is added up is written, and can be read."""
    text = state.to_json()
    try:
        type(state).from_json(text)
    except StateError as error:
        raise AssertionError(f"what was written cannot be read: {error}") from error


def data_shape(scaler: Any) -> tuple[int, ...]:
    """A shape of data that a scaler takes: two places along each axis that it reduces."""
    if scaler.axis is None:
        return (2, scaler.n_features_in_)
    reduced_axes = np.size(scaler.axis)
    features, along = list(scaler._shape), axes.reduced(scaler.axis, reduced_axes + len(scaler._shape))
    return tuple(2 if i in along else features.pop(0) for i in range(reduced_axes + len(scaler._shape)))


def attributes(scaler: Any) -> dict[str, Any]:
    return {name: np.asarray(getattr(scaler, name)).tobytes() for name in scaler._fitted} | scaler.get_params()


def refused(error: GammabetaError, *words: str) -> int:
    """None is read: the error is short, and one of those meant."""
    text = str(error)
    assert len(text) < 800
    assert not words or any(word in text for word in words)
    return 0


class Bounds:
    """No mutant takes five seconds, all together no more than 2 GB."""

    def __enter__(self) -> "Bounds":
        self.slowest, self.before = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return self

    def timed(self, act: Any) -> Any:
        start = time.process_time()
        try:
            return act()
        finally:
            self.slowest = max(self.slowest, time.process_time() - start)

    def __exit__(self, *_: Any) -> None:
        assert self.slowest < 5
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self.before < 2 << 20  # kB


SIZES = [pytest.param(600, id="some"), pytest.param(48_000, id="all", marks=pytest.mark.long)]


@pytest.mark.parametrize("size", SIZES)
def test_mutants_of_states_are_read_or_refused(size: int) -> None:
    parsed = [(kind, original, json.loads(original.to_json())) for kind, original in DOCUMENTS]
    read = 0

    def act(i: int) -> int:
        kind, original, document = parsed[i % len(parsed)]
        text = mutant(document, Random(f"state {i}"))
        try:
            found = kind.from_json(text)
        except StateError as error:
            return refused(error)
        except Exception as error:
            raise AssertionError(f"mutant {i} of {kind.__name__}: {text[:3000]}") from error
        try:
            with np.errstate(all="ignore"):
                use(found, original)
        except Exception as error:
            raise AssertionError(f"mutant {i} of {kind.__name__} is read, then: {text[:3000]}") from error
        return 1

    with Bounds() as bounds:
        for i in range(size):
            read += bounds.timed(lambda i=i: act(i))
    assert size // 50 < read < size // 2


@contextmanager
def taking(most: int) -> Iterator[None]:
    """No more bytes of memory than so many are taken at a time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def line(told: Any) -> bytes:
    content = told if isinstance(told, bytes) else json.dumps(told).encode()
    return b"%08x %s\n" % (crc32(content), content)


def words_changed(sums: str, random: Random) -> str:
    """Packed statistics with a word or two that are others."""
    words = np.frombuffer(zlib.decompress(b64decode(sums)), "<i8").copy()
    for _ in range(random.choice([1, 1, 2])):
        at = random.choice([random.randrange(7), random.randrange(len(words))])
        old = int(words[at])
        new = random.choice(
            [old + 1, old - 1, -old, ~old, old ^ 1 << random.randrange(63), 2**31, -(2**31), 2**62, -2, 0]
        )
        words[at] = (new + 2**63) % 2**64 - 2**63
    data = words.tobytes()
    if random.random() < 0.1:
        data = random.choice([data[:-8], data + bytes(8), data[:-3], data + bytes(50_000_000), b""])
    packed = zlib.compress(data)
    return b64encode(packed + b"more" if random.random() < 0.03 else packed).decode()


def ledger_mutant(lines: list[bytes], random: Random) -> bytes:
    """A ledger with one line changed, its checksum right."""
    changed = lines.copy()
    at = random.randrange(len(lines))
    told = json.loads(lines[at][9:])
    if "sums" in told and random.random() < 0.6:
        changed[at] = line(told | {"sums": words_changed(told["sums"], random)})
    elif random.random() < 0.05:
        changed[at] = line(b"[" * 100_000)
    else:
        changed[at] = line(mutant(told, random).encode(errors="surrogatepass").replace(b"\n", b" "))
    return b"".join(changed)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("d").mkdir()
    for i in range(3):
        pq.write_table(TABLE.slice(i % 2, 3 - i % 2), f"d/{i}.parquet")
    return tmp_path


@pytest.mark.parametrize("size", [pytest.param(150, id="some"), pytest.param(7_000, id="all", marks=pytest.mark.long)])
def test_mutants_of_ledgers_are_read_or_refused(folder: Path, size: int) -> None:
    whole = data.update("s.json", "d").statistics
    lines = Path("s.ledger").read_bytes().splitlines(keepends=True)
    read = 0

    def act(i: int) -> int:
        content = ledger_mutant(lines, Random(f"ledger {i}"))
        Path("s.ledger").write_bytes(content)
        try:
            found = data.update("s.json", "d").statistics
        except (StateError, FileError) as error:
            assert Path("s.ledger").read_bytes() == content
            return refused(error)
        except DataError as error:  # of another column, or one less: the files do not agree then
            return refused(error, "every file must have", "numbers in every file")
        except Exception as error:
            raise AssertionError(f"ledger mutant {i}: {content[:3000]!r}") from error
        assert data.load("s.json") == found
        assert (found + whole).affine()
        return 1

    with Bounds() as bounds:
        for i in range(size):
            read += bounds.timed(lambda i=i: act(i))
    assert 0 < read < size // 2


@pytest.mark.parametrize("size", [pytest.param(100, id="some"), pytest.param(2_000, id="all", marks=pytest.mark.long)])
def test_mutants_of_a_folders_record_are_left_out(folder: Path, size: int) -> None:
    """Whatever the record says of files, the outputs are those of a fresh run."""
    data.scale("d", "out")
    expected = {path.name: path.read_bytes() for path in Path("out").glob("*.parquet")}
    record = Path("out/.gammabeta/written.jsonl")
    head, *rest = record.read_text().splitlines()
    with Bounds() as bounds:
        for i in range(size):
            random = Random(f"record {i}")
            lines = [head, *rest, mutant(json.loads(random.choice(rest)), random).replace("\n", " ")]
            record.write_bytes("\n".join([*lines, ""]).encode(errors="surrogatepass"))
            done = bounds.timed(lambda: data.scale("d", "out"))
            assert done.files.written + done.files.unchanged == 3
            assert {path.name: path.read_bytes() for path in Path("out").glob("*.parquet")} == expected


# Each kind of impossible state, as small as it can be


def stats(**changes: Any) -> str:
    """A stats file of the column x of 1, 2 and 6, with other fields; `a__b` is the field b of a."""
    document = json.loads(data.measure(pa.table({"x": [1.0, 2.0, 6.0]})).to_json())
    for name, value in changes.items():
        *outer, last = name.split("__")
        place = document
        for key in outer:
            place = place[key]
        place[last] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"extrema__min": ["0x1.9p+6"], "extrema__max": ["0x1.9p+7"]},
            "mean and variance must be of 3 values from the",
        ),
        ({"extrema__max": ["0x1.4p+2"]}, "mean and variance must be of 3 values from the least to the greatest"),
        ({"extrema__max": ["0x1.cp+2"]}, "mean and variance must be of 3 values from the least to the greatest"),
        ({"moments__squares": ["0x53p-1"]}, "mean and variance must be of 3 values"),
        ({"moments__squares": ["0x1bp+0"]}, "mean and variance must be of 3 values"),
        ({"moments__sum": ["0x11p-1"]}, "mean and variance must be of 3 values from the least to the greatest"),
        ({"extrema__count": [2]}, "moments and extrema must be of the same values, those of column 'x' differ"),
        ({"extrema__count": [0], "extrema__min": ["inf"], "extrema__max": ["-inf"]}, "must be of the same values"),
        ({"moments__weight": ["0x5p-1"]}, "must count whole values, column 'x' has 2.5"),
        ({"rows": 2}, "of 2 rows cannot count more values in a column, column 'x' has 3"),
        ({"rows": 2.5}, "rows must hold integers from 0 to 2"),
        ({"rows": True}, "rows must hold integers from 0 to 2"),
        ({"extrema__nan": [1]}, "cannot count NaN"),
        ({"extrema__max": ["inf"]}, "cannot hold infinities"),
        ({"extrema__max": ["0x1.8p+٢"]}, "max must hold floats as text"),
        ({"extrema__min": ["0x1.0p-1080"]}, "min must hold floats as text"),
        ({"moments__sum": ["0x9p+٠"]}, "sum must hold integers as text"),
        ({"moments__sum": ["0x1p+3300"]}, "sum must hold sums of numbers of 64 bits"),
        ({"moments__squares": ["0x1p-3300"]}, "squares must hold sums of numbers of 64 bits"),
        ({"scaling": {"method": "standard", "ddof": 10**30}}, "scaling must say"),
        ({"scaling": {"method": "standard", "ddof": True}}, "scaling must say"),
        ({"scaling": {"method": "standard", "ddof": 10**400}}, "scaling must say"),
        *(
            ({"scaling": {"method": "minmax", "feature_range": ends}}, "scaling must say")
            for ends in (
                [1],
                [None, 1],
                [1, 1],
                [0, True],
                [0, 1, 2],
                "01",
                {"0": 1, "1": 2},
                [0, 10**400],
            )
        ),
        ({"columns": [{"name": "\ud800", "type": "float64"}]}, "each column must have a name and a type"),
    ],
)
def test_stats_files_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StateError, match=message):
        data.Statistics.from_json(stats(**changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            stats().replace('"rows": 3', '"rows": 3, "rows": 3'),
            "each key of an object must come once, 'rows' comes twice",
        ),
        (stats().replace('"rows": 3', '"rows": NaN'), "numbers must be finite, got NaN"),
        (stats().replace('"rows": 3', '"rows": -Infinity'), "numbers must be finite, got -Infinity"),
        (stats().replace('"rows": 3', '"rows": 1e999'), "numbers must be finite, got 1e999"),
        (stats().replace('"rows": 3', '"rows": ' + "3" * 5000), "integer string"),
        (stats().replace('"rows": 3', '"rows": ' + "[" * 500 + "]" * 500), "rows must hold integers"),
        (stats().replace('"rows": 3', '"rows": ' + "[" * 50_000 + "]" * 50_000), "it is nested too deeply"),
        (stats() * 2, "Extra data"),
    ],
)
def test_texts_that_say_two_things_or_none(text: str, message: str) -> None:
    with pytest.raises(StateError, match=message):
        data.Statistics.from_json(text)


def scaler(kind: Any, **changes: Any) -> str:
    return json.dumps(json.loads(kind().fit([[1.0], [2.0]]).to_json()) | changes)


STANDARD = {"copy": True, "with_mean": True, "with_std": True, "ddof": 0, "axis": None, "dim": None, "max_value": None}
MINMAX = {"feature_range": [0, 1], "copy": True, "clip": False, "axis": None, "dim": None}


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        *(
            (
                MinMaxScaler,
                {"parameters": MINMAX | {"feature_range": ends}},
                "cannot have been made with feature_range=",
            )
            for ends in ([1], [None, 1], [1, 1], [1, 0], ["0", "1"], [False, True], None, [0, 10**400])
        ),
        *(
            (StandardScaler, {"parameters": STANDARD | {"ddof": ddof}}, "cannot have been made with ddof=")
            for ddof in (10**30, 1e30, -1, True, "1", None, [])
        ),
        *(
            (StandardScaler, {"parameters": STANDARD | {"axis": axis}}, "cannot have been made with axis=|beside axis")
            for axis in ([], True, "0", 7, [0, 0], [0, [1]], 10**30, [None])
        ),
        (StandardScaler, {"parameters": STANDARD | {"copy": 1}}, "cannot have been made with copy=1"),
        *(
            (StandardScaler, {"parameters": STANDARD | {"dim": dim}}, "cannot have been made with dim=")
            for dim in (1, [1], ["a", None], {"a": 1}, True)
        ),
        *(
            (StandardScaler, {"parameters": STANDARD | {"max_value": most}}, "cannot have been made with max_value=")
            for most in (0, -1, True, "1", [1])
        ),
        *(
            (kind, {"dims": dims}, "dims must be null, or a name for each axis of the features")
            for kind in (StandardScaler, MinMaxScaler)
            for dims in (
                1,
                [],
                [1],
                [["a"]],
                [["a", 1]],
                [["a", [[1]]]],
                [[1, None]],
                [["a", []]],
                [["a", None]] * 9,
                {},
            )
        ),
        (StandardScaler, {"parameters": {"ddof": 1}}, "must hold the parameters of StandardScaler"),
        (StandardScaler, {"rows": 3}, "got 3 rows where 2 were counted"),
        (MinMaxScaler, {"rows": 1}, "got 1 rows where 2 were counted"),
        (MinMaxScaler, {"weighted": True}, "got weights, of which it knows nothing"),
        (MinMaxScaler, {"statistic": json.loads(Extrema.of([[1.0], [np.inf]]).to_json())}, "got infinities"),
        (StandardScaler, {"statistic": json.loads(Moments.of([[1.0], [np.inf]]).to_json())}, "got infinities"),
        (StandardScaler, {"statistic": json.loads(Moments.of([1.0, 2.0]).to_json())}, r"got shape \(\)"),
        (
            StandardScaler,
            {"statistic": json.loads(Moments.of([[1.0], [2.0]], weights=[1.5, 1]).to_json())},
            "got counts that are none, without weights",
        ),
        (StandardScaler, {"feature_names": ["\udfff"]}, "must hold rows, weighted, and feature_names"),
    ],
)
def test_scalers_that_cannot_be(kind: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StateError, match=message):
        kind.from_json(scaler(kind, **changes))


def test_scalers_of_infinities_are_refused_where_they_are_made() -> None:
    with pytest.raises(DataError, match="moments must be of finite values to scale by"):
        StandardScaler.from_moments(Moments.of([[1.0], [np.inf]]))
    with pytest.raises(DataError, match="extrema must be finite to scale by"):
        MinMaxScaler.from_extrema(Extrema.of([[1.0], [np.inf]]))


def test_weights_beyond_float64_are_counted_as_the_greatest() -> None:
    heavy = StandardScaler().fit([[1.0], [3.0]], sample_weight=[1e308, 1e308])
    assert np.isinf(heavy.n_samples_seen_) and heavy.mean_ == 2
    found = StandardScaler.from_json(heavy.to_json()).merge(heavy)
    assert found.mean_ == 2 and found.var_ == 1


@pytest.mark.parametrize(
    "labels",
    [
        *(
            {"type": kind, "values": [1, 2]}
            for kind in (",ojf", "i8,f8", "datetime64", "datetime64[0s]", "int8", ">i8")
        ),
        *(
            {"type": kind, "values": [1, 2]}
            for kind in ("V16", "O", None, 3, [], {}, "datetime64[٣s]", "timedelta64[q]")
        ),
        {"type": "float64", "values": ["0x1.0p+0", "0x1.0p-1080"]},
        {"type": "float64", "values": ["1.5", "2.5"]},
        {"type": "float64", "values": ["-0x0.0p+0", "0x1.0p+0"]},
        {"type": "int64", "values": [True, 2]},
        {"type": "int64", "values": [1, 2**63]},
        {"type": "uint64", "values": [1, 2]},
        {"type": "datetime64[s]", "values": [1, -(2**63)]},
        {"type": "datetime64[s]", "values": [1.5, 2]},
        {"type": "object", "values": [[], {}]},
        {"type": "object", "values": "ab"},
        {"type": "object", "values": {"a": 1, "b": 2}},
    ],
)
def test_labels_that_cannot_be(labels: Any) -> None:
    document = json.loads(Moments.of([1.0, 2.0], groups=["a", "b"]).to_json())
    with pytest.raises(StateError, match=r"labels must be distinct|labels must hold floats"):
        GroupedMoments.from_json(json.dumps(document | {"labels": labels}))


def test_labels_that_are_alike_in_numbers_alone_do_not_meet() -> None:
    of = {
        kind: Moments.of([1.0, 2.0], groups=np.array([1, 2**62], kind)) for kind in ("M8[Y]", "M8[ns]", "M8[as]", "i8")
    }
    for a, b in (("M8[Y]", "M8[as]"), ("M8[Y]", "M8[ns]"), ("M8[ns]", "i8")):
        with pytest.raises(gb.KindError, match="labels must be of"):
            of[a] + of[b]
    days, seconds = (Moments.of([1.0], groups=np.array(["2024-01-01"], unit)) for unit in ("M8[D]", "M8[s]"))
    assert len(days + seconds) == 1
    huge, floats = (Moments.of([1.0, 2.0], groups=labels) for labels in ([1, 10**400], [1.0, 2.5]))
    assert (huge + floats).labels.tolist() == [1.0, 2.5, 10**400]
    with pytest.raises(gb.KindError, match="labels must be text, numbers or dates to be written, got inf"):
        Moments.of([1.0, 2.0, 3.0], groups=[True, None, float("inf")]).to_json()


def test_counts_that_64_bits_cannot_hold_together() -> None:
    most = Extrema.between([0.0], [1.0], 2**62 - 1024)
    with pytest.raises(StateError, match=r"must be of 2\^62 values at most"):
        most + most
    with pytest.raises(StateError, match=r"must be of 2\^62 values at most"):
        Extrema.stack([most] * 5).total()
    unknown = Extrema.stack([Extrema.between([0.0], [1.0])] * 3).total()
    assert np.isnan(unknown.count) and unknown.max == 1
    document = json.loads(Moments.of([1.0, 2.0], groups=["a", "b"]).to_json())
    with pytest.raises(StateError, match=r"must be of 2\^62 rows at most"):
        GroupedMoments.from_json(json.dumps(document | {"rows": [2**62, 1]}))
    document = json.loads(Extrema.of([1.0, 2.0, 3.0], groups=["a", "b", "b"]).to_json())
    with pytest.raises(StateError, match="cannot count more values in a group than it has rows"):
        GroupedExtrema.from_json(json.dumps(document | {"rows": [1, 1]}))


def test_rows_that_64_bits_cannot_hold_together() -> None:
    document = json.loads(stats())
    most = data.Statistics.from_json(json.dumps(document | {"rows": 2**62}))
    with pytest.raises(StateError, match=r"statistics must be of 2\^62 rows at most together"):
        most + most
    fitted = MinMaxScaler.from_json(scaler(MinMaxScaler, rows=2**62))
    with pytest.raises(StateError, match=r"scalers must have seen 2\^62 rows at most together"):
        fitted.merge(MinMaxScaler().fit([[1.0]]))


@pytest.mark.parametrize("ddof", [10**400, float("nan"), None, "1"])
def test_a_ddof_that_is_no_number(ddof: Any) -> None:
    m = Moments.of([1.0, 2.0])
    for act in (
        lambda: m.with_ddof(ddof or "1").std,
        lambda: gb.rolling(np.ones(3), 2, ddof=ddof),
        lambda: data.Recipe(ddof=ddof),
    ):
        with pytest.raises(DataError, match="ddof must be a finite number"):
            act()


def test_a_ddof_beyond_64_bits() -> None:
    assert np.isnan(Moments.of([1.0, 2.0]).with_ddof(10**30).var)
    assert np.isnan(gb.rolling(np.ones(3), 2, ddof=10**30).var).all()
    with pytest.raises(DataError, match="ddof must be a finite number, 0 or more"):
        data.Recipe(ddof=10**30)


def test_numpys_numbers_in_a_recipe_are_written_as_json_has_them() -> None:
    for recipe in (data.Recipe(ddof=np.int64(1)), data.Recipe("minmax", feature_range=(np.float32(-1), np.int8(2)))):
        found = data.measure(TABLE, recipe=recipe)
        assert data.Statistics.from_json(found.to_json()) == found


WHOLE = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6)
FINITE = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=6)
FEW = st.lists(st.sampled_from([0.0, 1.0, 1.0 + 2**-52, 5e-324, 1e308, -1e308, 2.0**53, 2.0**64]), max_size=6)


@given(st.one_of(WHOLE, FINITE, FEW, st.lists(st.integers(0, 1), max_size=9)), st.sampled_from([1, 1, 3]))
def test_all_that_some_data_has_is_possible(values: list[Any], times: int) -> None:
    whole = all(isinstance(value, int) for value in values)
    found = data.measure(pa.table({"x": pa.array(values * times, pa.int64() if whole else pa.float64())}))
    assert found.possible() is found and data.Statistics.from_json(found.to_json()) == found
    assert unpacked(packed(found.moments, found.extrema), 1) == (found.moments, found.extrema)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(-2, 2), st.integers(-3, 3))
def test_sums_of_integers_are_possible_if_reals_between_have_them(values: list[int], more: int, squares: int) -> None:
    """Against the bounds of the n − 2 values that are free, taken by rational arithmetic."""
    low, high, n = min(values), max(values), len(values)
    total, square = sum(values) + more, sum(v * v for v in values) + squares
    text = stats(
        rows=n,
        moments__weight=[f"{n:#x}p+0"],
        moments__sum=[f"{total:#x}p+0"],
        moments__squares=[f"{max(square, 0):#x}p+0"],
        extrema__min=[float(low).hex()],
        extrema__max=[float(high).hex()],
        extrema__count=[n],
    )
    ends = [low, high] if n > 1 else [low]
    free, rest, left = n - len(ends), total - sum(ends), max(square, 0) - sum(v * v for v in ends)
    if free:
        full, part = divmod(rest - free * low, high - low) if high > low else (0, 0)
        most = full * high**2 + (free - full - 1) * low**2 + (low + part) ** 2 if full < free else free * high**2
        fits = free * low <= rest <= free * high and Fraction(rest**2, free) <= left <= most
    else:
        fits = rest == 0 and left == 0
    try:
        data.Statistics.from_json(text)
    except StateError:
        assert not fits
    else:
        assert fits


# Ledgers and other files


@pytest.mark.parametrize(
    "told",
    [
        {"rows": -1}, {"rows": True}, {"rows": 2.0}, {"rows": 2}, {"rows": "4"}, {"of": [0, 0, 2]}, {"of": [-1, 1, 2]},
        {"of": [0, 1, 9]}, {"of": ["0", 1, 2]}, {"of": [True, 2, 3]}, {"of": [1, 2]}, {"of": {}}, {"layout": 3},
        {"size": -1}, {"size": True}, {"mtime_ns": 2.0}, {"mtime_ns": 10**30}, {"file": "a\0b"}, {"file": "\ud800"},
        {"file": ""}, {"file": 3}, {"more": 1},
    ],
)  # fmt: skip
def test_lines_of_a_ledger_that_cannot_be(folder: Path, told: dict[str, Any]) -> None:
    data.update("s.json", "d")
    lines = Path("s.ledger").read_bytes().splitlines(keepends=True)
    changed = json.loads(lines[-1][9:]) | told
    if "rows" in told and told["rows"] == 2:
        lines[-1] = next(text for text in lines if b'"rows": 3' in text)
        changed = json.loads(lines[-1][9:]) | told
    Path("s.ledger").write_bytes(b"".join([*lines[:-1], line(changed)]))
    with pytest.raises(StateError, match=f"line {len(lines)} of 's.ledger' is damaged; take the line out"):
        data.update("s.json", "d")


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"file": "a", "file": "b"}', b"null", b"\xff", b'{"size": NaN}'])
def test_lines_of_a_ledger_that_say_nothing(folder: Path, content: bytes) -> None:
    data.update("s.json", "d")
    with Path("s.ledger").open("ab") as file:
        file.write(line(content))
    with pytest.raises(StateError, match=r"of 's.ledger' is damaged; take the line out"):
        data.update("s.json", "d")


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (1, 2**31, "sums that are none"),
        (1, -(2**31), "sums that are none"),
        (1, 102, "sums that are none"),
        (2, 2**31, "a height that is none"),
        (2, 0, "a height that is none"),
        (0, 2**40, "of other features"),
        (0, -1, "of other features"),
        (7, 2**33, "sums that are none"),
        (8, 2**33, "sums that are none"),
    ],
)
def test_packed_statistics_that_cannot_be(at: int, value: int, message: str) -> None:
    m, e = Moments.of([[1.0], [3.0]]), Extrema.of([[1.0], [3.0]])
    words = np.frombuffer(zlib.decompress(packed(m, e)), "<i8").copy()
    words[at] = value
    compressed = zlib.compress(words.tobytes())
    with taking(1 << 24), pytest.raises(StateError, match=f"must be as they were written, .*(?:{message})"):
        unpacked(compressed, 1)


def test_what_is_packed_takes_no_more_memory_than_its_head_says() -> None:
    m, e = Moments.of([[1.0], [3.0]]), Extrema.of([[1.0], [3.0]])
    bomb = zlib.compress(zlib.decompress(packed(m, e)) + bytes(200_000_000))
    with taking(1 << 24), pytest.raises(StateError, match="a wrong length"):
        unpacked(bomb, 1)


def test_large_files_that_are_no_documents_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    with path.open("wb") as file:
        file.truncate(1 << 33)  # 8 GiB of nothing
    for act in (lambda: data.load(path), lambda: data.load_groups(path)):
        with Bounds(), pytest.raises(StateError, match="a document of more than 1 MiB must begin with"):
            act()
    many = [f"c{i}" for i in range(9000)]
    large = data.measure(pa.table(dict.fromkeys(many, pa.array([1.0, 2.0]))))
    data.save(large, path)
    assert path.stat().st_size > 1 << 20 and data.load(path) == large


def test_many_states_in_one_file_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    path, state = tmp_path / "s.json", stats()
    for content in ("\n".join([state] * 48_000), f"[{','.join([state] * 48_000)}]"):
        path.write_text(content)
        with Bounds() as bounds, pytest.raises(StateError, match="is not a stats file to be used"):
            bounds.timed(lambda: data.load(path))


def test_first_lines_without_an_end_are_not_read(tmp_path: Path, folder: Path) -> None:
    data.scale("d", "out")
    for path in (Path("s.ledger"), Path("out/.gammabeta/written.jsonl")):
        with path.open("wb") as file:
            file.truncate(1 << 33)
    with Bounds(), pytest.raises(StateError, match=r"'s.ledger' is not a ledger to be used"):
        data.update("s.json", "d")
    with Bounds(), pytest.raises(StateError, match=r"does not say what has been written"):
        data.scale("d", "out")


def test_a_record_that_is_no_file(folder: Path) -> None:
    data.scale("d", "out")
    record = Path("out/.gammabeta/written.jsonl")
    record.unlink()
    record.mkdir()
    with pytest.raises(FileError, match=r"cannot read .*written.jsonl': Is a directory"):
        data.scale("d", "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batches": -1}, "batches must be an integer, 0 or more, got -1"),
        ({"batches": 2.5}, "batches must be an integer"),
        ({"batches": 2**63}, "batches must be an integer"),
        ({"mean": None}, "must be real numbers"),
        ({"var": np.array(["a", "b"])}, "must be real numbers"),
        ({"gamma": np.array([1j, 2])}, "must be real numbers"),
        ({"beta": np.ones(3)}, "must have mean's shape"),
        ({"var": np.array([1.0, -1.0])}, "var must not be negative"),
    ],
)
def test_layers_states_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    whole = {"gamma": None, "beta": None, "mean": np.zeros(2), "var": np.ones(2), "batches": 3, "convention": gb.TORCH}
    with pytest.raises(StateError, match=message):
        BatchNormState(**whole | changes)


ROWS = st.one_of(
    st.lists(st.integers(-3, 3), min_size=1, max_size=6),
    st.lists(st.sampled_from([1e9, 1e9 + 1, 1e9 + 2**-20, -1e9, 0.1, 0.3]), min_size=3, max_size=6),
    st.lists(st.floats(-10, 10), min_size=3, max_size=6),
)


@given(st.lists(st.tuples(ROWS, st.integers(-2, 2), st.integers(-2, 2), st.integers(0, 90)), min_size=8, max_size=12))
def test_what_floats_take_for_possible_is_so_exactly(features: list[Any]) -> None:
    """Sums that are changed a little, by some units at some place of their digits."""
    parts = []
    for row, first, second, place in features:
        m, e = Moments.of(np.array([row], np.float64).T), Extrema.of(np.array([row], np.float64).T)
        more = [limbs.from_integers([units], -place) for units in (first, second)]
        sums = [limbs.add(part, units) for part, units in zip(m._limbs[1:], more, strict=True)]
        parts.append((Moments._of_limbs((1,), m._weight, *sums, m._specials), e))
    m, e = concat(parts)
    rows, names = np.full(len(parts), 99), [f"c{i}" for i in range(len(parts))]
    for i in np.flatnonzero(state_check._surely(m, e, rows)).tolist():
        state_check.moments(m, "sums", [i])
        state_check._exactly(m, e, rows, [i], names)


def test_most_columns_are_told_by_floats() -> None:
    random = np.random.default_rng(5)
    x = np.concatenate([random.normal(1e3, 1, (200, 20)), random.integers(0, 2, (200, 10))], axis=1)
    assert state_check._surely(Moments.of(x), Extrema.of(x), np.full(30, 200)).all()
    assert not state_check._surely(Moments.of(x), Extrema.of(x), np.full(30, 199)).any()
    assert not state_check._surely(Moments.of(x), Extrema.of(x + 5), np.full(30, 200)).any()
