"""Dask collections: the same bits as one thread, lazily, in any chunks, and on a cluster that loses a worker."""

import os
import pickle
import signal
import time
from contextlib import closing
from pathlib import Path

import dask
import dask.array as da
import dask.dataframe as dd
import distributed
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import gammabeta as gb
from gammabeta import data
from gammabeta.data import dask as ours

RANDOM = np.random.default_rng(5)
ROWS = 60
FRAME = pd.DataFrame(
    {
        "single": RANDOM.normal(1e4, 1, ROWS).astype(np.float32),
        "whole": np.arange(ROWS),
        "half": RANDOM.normal(size=ROWS).astype(np.float16),
        "nullable": pd.array([None, *range(2**53, 2**53 + ROWS - 1)], dtype="Int64"),
        "small": pd.array([*RANDOM.normal(size=ROWS - 1), None], dtype="Float32"),
        "arrow": pd.array([None, *RANDOM.normal(size=ROWS - 1)], dtype="double[pyarrow]"),
        "gaps": np.where(np.arange(ROWS) % 7, RANDOM.normal(size=ROWS), np.nan),
    },
    index=pd.Index(np.arange(0, 2 * ROWS, 2), name="place"),
)
WORDS = FRAME.assign(word="x", when=pd.Timestamp("2020-01-01"), flag=True, kind=pd.Categorical([1, 2] * (ROWS // 2)))
PAIRS = pytest.mark.parametrize(
    ("scaler", "core"),
    [(ours.StandardScaler, gb.StandardScaler), (ours.MinMaxScaler, gb.MinMaxScaler)],
    ids=["standard", "minmax"],
)


@pytest.fixture(autouse=True)
def _one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def collection(frame=FRAME, parts=4):
    return dd.from_pandas(frame, npartitions=parts)


def same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)


def same_fit(a, b):
    for name in (*b._fitted, b._statistic, "n_features_in_"):
        x, y = getattr(a, name), getattr(b, name)
        assert type(x) is type(y)
        assert np.array_equal(x, y, equal_nan=True) if isinstance(x, np.ndarray) else x == y, name
    assert hasattr(a, "feature_names_in_") == hasattr(b, "feature_names_in_")
    assert list(getattr(a, "feature_names_in_", [])) == list(getattr(b, "feature_names_in_", []))


# Statistics of arrays


@given(st.data())
def test_any_chunks_give_the_same_statistics(draw):
    shape = tuple(draw.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4)))
    axis = tuple(sorted(draw.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))))
    x = np.random.default_rng(draw.draw(st.integers(0, 99))).normal(1e8, 1, shape)
    x[draw.draw(st.sampled_from([x > 1e8 + 1, x > np.inf]))] = draw.draw(st.sampled_from([np.nan, np.inf, 1e300]))
    chunked = da.from_array(x, chunks=tuple(draw.draw(st.integers(1, n)) for n in shape))
    assert ours.moments(chunked, axis) == gb.Moments.of(x, axis)
    assert ours.extrema(chunked, axis) == gb.Extrema.of(x, axis)


@pytest.mark.parametrize("shape", [(0, 3), (5, 0), (0,)])
def test_an_empty_array_is_the_identity(shape):
    assert ours.moments(da.zeros(shape)) == gb.Moments.of(np.zeros(shape))


def test_empty_chunks_of_rows_and_of_features():
    x = RANDOM.normal(size=(6, 7))
    chunked = da.from_array(x, chunks=(2, 2))
    for columns in ([2, 3, 6], [0, 4, 5], []):
        chosen = np.isin(np.arange(7), columns)
        some = chunked[:, da.from_array(chosen, chunks=2)][da.from_array(np.arange(6) > 3, chunks=2)]
        assert ours.moments(some) == gb.Moments.of(x[4:, columns])
        assert ours.extrema(some, (0, 1)) == gb.Extrema.of(x[4:, columns], (0, 1))


def test_chunks_of_unknown_sizes():
    x = RANDOM.normal(size=(50, 4))
    chunked = da.from_array(x, chunks=(9, 3))
    some = chunked[chunked[:, 0] > 0]
    assert np.isnan(some.shape[0])
    assert ours.moments(some) == gb.Moments.of(x[x[:, 0] > 0])


def test_lazy_statistics_share_one_reading():
    read = []

    def block(i):
        read.append(i)
        return np.full((3, 2), i, np.float64)

    blocks = [da.from_delayed(dask.delayed(block)(i), (3, 2), np.float64) for i in range(5)]
    x = da.concatenate(blocks)
    lazy = ours.moments(x, compute=False), ours.extrema(x, compute=False)
    assert read == []
    moments, extrema = dask.compute(*lazy)
    assert sorted(read) == list(range(5))
    assert moments == gb.Moments.of(x.compute()) and extrema == gb.Extrema.of(x.compute())


# Statistics of frames


def test_a_frame_is_measured_as_a_table_is():
    found = ours.measure(collection(WORDS))
    wanted = data.measure(pa.Table.from_pandas(WORDS, preserve_index=False))
    assert found == wanted
    assert ours.measure(collection(WORDS), compute=False).compute() == wanted
    assert ours.moments(collection(WORDS)) == wanted.moments
    assert ours.extrema(collection(WORDS), columns=["small", "s*"]) == wanted.select(["single", "small"]).extrema
    assert data.Statistics.from_json(found.to_json()) == found


def test_only_the_columns_that_are_meant_are_read():
    read = []

    def part(i, columns=None):
        read.append(columns)
        return WORDS[20 * i : 20 * i + 20][columns or list(WORDS)]

    frame = dd.from_map(part, range(3), meta=WORDS.iloc[:0])
    assert ours.moments(frame, columns=["gaps"]) == gb.Moments.of(FRAME[["gaps"]].to_numpy())
    assert read == [["gaps"]] * 3


def test_columns_need_not_be_named_by_text():
    x = RANDOM.normal(size=(20, 4))
    frame = dd.from_dask_array(da.from_array(x, chunks=(6, 4)))
    assert ours.measure(frame).names == ("0", "1", "2", "3")
    assert ours.moments(frame, columns=[2, 0]) == gb.Moments.of(x[:, [0, 2]])


def test_empty_partitions_say_nothing():
    frame = collection()
    few = frame[frame["whole"] > 50]
    assert ours.moments(few, columns=["gaps"]) == gb.Moments.of(FRAME[["gaps"]].to_numpy()[51:])
    none = ours.measure(frame[frame["whole"] > 500])
    assert none.rows == 0 and (none.moments.count == 0).all() and np.isnan(none.extrema.max).all()


# Scalers


@PAIRS
def test_a_scaler_of_arrays_has_the_cores_bits(scaler, core):
    x = RANDOM.normal(1e8, 1, (40, 5)).astype(np.float32)
    x[3, 2] = np.nan
    chunked = da.from_array(x, chunks=(7, 2))
    a, b = scaler().fit(chunked), core().fit(x)
    same_fit(a, b)
    image = a.transform(chunked)
    assert isinstance(image, da.Array) and image.chunks == chunked.chunks and image.dtype == image._meta.dtype == "f4"
    same(image, b.transform(x))
    same(a.inverse_transform(image), b.inverse_transform(b.transform(x)))
    same(a.transform(x), b.transform(x))  # and NumPy's arrays
    same(a.fit_transform(chunked), b.transform(x))
    assert core.from_json(a.to_json()).transform([[1.0] * 5]).shape == (1, 5)
    assert pickle.loads(pickle.dumps(a)).transform(chunked).dtype == "f4"


@PAIRS
def test_a_scaler_of_frames_has_the_cores_bits(scaler, core):
    frame = collection()
    a, b = scaler().fit(frame), core().fit(FRAME)
    same_fit(a, b)
    image = a.transform(frame)
    wanted = b.set_output(transform="same").transform(FRAME)
    assert isinstance(image, dd.DataFrame) and image.divisions == frame.divisions and image.known_divisions
    pd.testing.assert_frame_equal(image.compute(), wanted, check_exact=True)
    pd.testing.assert_frame_equal(image._meta, wanted.iloc[:0])
    pd.testing.assert_frame_equal(a.inverse_transform(image).compute(), b.inverse_transform(wanted), check_exact=True)
    assert list(a.get_feature_names_out()) == list(FRAME)


@PAIRS
def test_any_axes(scaler, core):
    x = RANDOM.normal(5, 2, (9, 4, 5, 3)).astype(np.float32)
    chunked = da.from_array(x, chunks=(4, 3, 5, 2))
    for axis in ((0, 2, 3), 0, (0, 1)):
        a, b = scaler(axis=axis).fit(chunked), core(axis=axis).fit(x)
        same_fit(a, b)
        same(a.transform(chunked), b.transform(x))


@PAIRS
def test_rows_come_in_parts(scaler, core):
    x = RANDOM.normal(size=(30, 3))
    chunked = da.from_array(x, chunks=(4, 2))
    whole = core().fit(x)
    same_fit(scaler().partial_fit(chunked[:11]).partial_fit(chunked[11:]), whole)
    same_fit(scaler().partial_fit(x[:11]).partial_fit(chunked[11:]), whole)
    same_fit(scaler().fit(chunked[:11]).merge(scaler().fit(chunked[11:])), whole)


@PAIRS
def test_unknown_sizes_and_empty_chunks_stay(scaler, core):
    x = RANDOM.normal(size=(50, 4))
    chunked = da.from_array(x, chunks=(9, 3))
    some, kept = chunked[chunked[:, 0] > 1.2], x[x[:, 0] > 1.2]
    a, b = scaler().fit(some), core().fit(kept)
    same_fit(a, b)
    same(a.transform(some), b.transform(kept))
    frame = collection()
    few = frame[frame["whole"] > 50]
    same_fit(scaler().fit(few), core().fit(FRAME[51:]))
    pd.testing.assert_frame_equal(
        scaler().fit_transform(few).compute(), core().set_output(transform="same").fit_transform(FRAME[51:])
    )


def test_a_range_wider_than_float64_is_scaled_back():
    x = np.array([[-1.2e308, 1.0], [0, 2.0], [1.2e308, 3.0]])
    scaler, ends = ours.MinMaxScaler().fit(da.from_array(x, chunks=2)), np.array([[0.0, 0.0], [1.0, 1.0]])
    same(scaler.transform(da.from_array(x, chunks=1)), gb.MinMaxScaler().fit_transform(x))
    same(scaler.inverse_transform(da.from_array(ends, chunks=1)), x[::2])
    frame = pd.DataFrame(ends, columns=["a", "b"])
    same(scaler.inverse_transform(dd.from_pandas(frame, npartitions=2)).compute().to_numpy(), x[::2])


@pytest.mark.parametrize("copy", [True, False])
def test_no_input_is_changed(copy):
    x = RANDOM.normal(size=(20, 3))
    before, chunked, frame = x.copy(), da.from_array(x, chunks=(20, 3)), FRAME[["gaps"]].copy()
    scaler = ours.StandardScaler(copy=copy).fit(chunked)
    scaler.inverse_transform(scaler.transform(chunked)).compute()
    kept = chunked.persist()
    scaler.transform(kept).compute()
    same(x, before)
    same(kept, before)
    ours.StandardScaler(copy=copy).fit_transform(dd.from_pandas(frame, npartitions=1)).compute()
    pd.testing.assert_frame_equal(frame, FRAME[["gaps"]])


def test_a_pipeline_stays_lazy():
    x = RANDOM.normal(size=(20, 3))
    chunked = da.from_array(x, chunks=(6, 2))
    model = make_pipeline(ours.StandardScaler(), ours.MinMaxScaler())
    image = clone(model).fit_transform(chunked)
    assert isinstance(image, da.Array)
    same(image, make_pipeline(gb.StandardScaler(), gb.MinMaxScaler()).fit_transform(x))


def test_a_transform_is_of_the_scaler_as_it_was():
    x = da.from_array(RANDOM.normal(size=(20, 3)), chunks=7)
    scaler = ours.MinMaxScaler(clip=True).fit(x)
    lazy = scaler.transform(2 * x)
    wanted = gb.MinMaxScaler(clip=True).fit(x.compute()).transform(2 * x.compute())
    scaler.set_params(clip=False, feature_range=(5, 6)).fit(100 * x)
    same(lazy, wanted)
    assert wanted.max() == 1


def test_weights():
    x, w = RANDOM.normal(size=(60, 4)), RANDOM.random(60)
    chunked, weights = da.from_array(x, chunks=(9, 3)), da.from_array(w, chunks=9)
    whole = gb.StandardScaler().fit(x, sample_weight=w)
    for some in (w, weights, weights.rechunk(7)):
        same_fit(ours.StandardScaler().fit(chunked, sample_weight=some), whole)
    chosen = chunked[:, 0] > 0
    some = gb.StandardScaler().fit(x[x[:, 0] > 0], sample_weight=w[x[:, 0] > 0])
    same_fit(ours.StandardScaler().fit(chunked[chosen], sample_weight=weights[chosen]), some)
    series = dd.from_pandas(pd.Series(w, index=FRAME.index), npartitions=4)
    fitted = ours.StandardScaler().fit(collection(), sample_weight=series)
    same_fit(fitted, gb.StandardScaler().fit(FRAME, sample_weight=w))


# What is wrong


def fitted(*columns):
    return ours.StandardScaler().fit(collection(FRAME[list(columns)]))


def infinite_array():
    return da.from_array(np.array([[1.0, 2.0], [np.inf, 4.0]]), chunks=1)


def infinite_frame():
    return dd.from_pandas(pd.DataFrame({"fine": [1.0, 2.0, 3.0, 4.0], "odd": [1.0, 2.0, 3.0, -np.inf]}), npartitions=2)


WRONG = {
    "objects": (
        lambda: ours.moments(da.from_array(np.array(["a"], object), chunks=1)),
        gb.KindError,
        "statistics take real numbers of at most 64 bits, got dtype object",
    ),
    "axis": (lambda: ours.moments(da.zeros((3, 3)), 2), gb.DataError, "axis must be within an array of 2 dimensions"),
    "numpy": (
        lambda: ours.moments(np.zeros(3)),
        gb.KindError,
        "x must be a Dask array or a Dask DataFrame, got numpy's ndarray",
    ),
    "series": (lambda: ours.moments(collection()["gaps"]), gb.KindError, r"got dask's Series; .* \.to_frame\(\)"),
    "columns of an array": (
        lambda: ours.moments(da.zeros((3, 3)), columns=["a"]),
        gb.DataError,
        r"a Dask array has no columns to choose from, got columns=\['a'\]; index it",
    ),
    "axis of a frame": (lambda: ours.moments(collection(), 1), gb.DataError, "axis must be 0, got 1"),
    "measured array": (lambda: ours.measure(da.zeros(3)), gb.KindError, "got dask's Array; see moments"),
    "no numeric column": (
        lambda: ours.moments(collection(WORDS[["word"]])),
        gb.DataError,
        r"at least one numeric column is needed, 'Dask DataFrame' has none to scale \(word: str",
    ),
    "missing column": (
        lambda: ours.extrema(collection(), columns=["gap"]),
        gb.DataError,
        "there is no column 'gap' in 'Dask DataFrame'; it has 'single'",
    ),
    "column of text": (
        lambda: ours.measure(collection(WORDS), ["word"]),
        gb.KindError,
        "columns to scale must be of numbers, 'word' in 'Dask DataFrame' is not numeric",
    ),
    "infinity in a frame": (
        lambda: ours.moments(infinite_frame()),
        gb.DataError,
        r"values must be finite or missing, column 'odd' of 'partition 1' holds -inf in row 2 \(",
    ),
    "fit of infinity": (
        lambda: ours.StandardScaler().fit(infinite_array()),
        ValueError,
        r"Input X contains infinity or a value too large for dtype\('float64'\)",
    ),
    "fit of a frame's infinity": (
        lambda: ours.MinMaxScaler().fit(infinite_frame()),
        ValueError,
        "Input X contains infinity",
    ),
    "image of infinity": (
        lambda: ours.StandardScaler().fit(da.ones((3, 2))).transform(infinite_array()).compute(),
        ValueError,
        "Input X contains infinity",
    ),
    "fit of text": (
        lambda: ours.StandardScaler().fit(collection(WORDS)),
        gb.DataError,
        "every column must be numeric, got 'word'",
    ),
    "fit of objects": (
        lambda: ours.StandardScaler().fit(da.from_array(np.array([["a"]], object), chunks=1)),
        gb.KindError,
        "got dtype object",
    ),
    "no rows": (
        lambda: ours.StandardScaler().fit(da.zeros((0, 3))),
        ValueError,
        r"Found array with 0 sample\(s\) \(shape=\(0, 3\)\)",
    ),
    "no rows left": (
        lambda: ours.MinMaxScaler().fit(collection()[collection()["whole"] > 500]),
        ValueError,
        r"Found array with 0 sample\(s\) \(shape=\(0, 7\)\)",
    ),
    "not a table": (lambda: ours.StandardScaler().fit(da.zeros(3)), ValueError, "Expected 2D array, got 1D array"),
    "axes of a frame": (
        lambda: ours.StandardScaler(axis=(0, 1)).fit(collection()),
        gb.DataError,
        r"axis must be None or 0, got \(0, 1\)",
    ),
    "unknown features": (
        lambda: ours.StandardScaler().fit(da.ones((3, 4), chunks=2)[:, da.ones(4, chunks=2) > 0]),
        gb.DataError,
        r"the chunk sizes of the features must be known, got shape \(3, nan\)",
    ),
    "other features": (
        lambda: ours.StandardScaler().fit(da.ones((3, 4))).transform(da.ones((3, 2))),
        ValueError,
        "X has 2 features, but StandardScaler is expecting 4",
    ),
    "other names": (
        lambda: fitted("gaps", "small").transform(collection(FRAME[["small", "gaps"]])),
        ValueError,
        "Feature names must be in the same order",
    ),
    "not fitted": (lambda: ours.StandardScaler().transform(da.ones((3, 3))), ValueError, "not fitted yet"),
    "set_output": (
        lambda: ours.StandardScaler().set_output(transform="pandas").fit_transform(da.ones((3, 3))),
        gb.KindError,
        "a Dask collection comes back as one: set_output must be left alone",
    ),
    "weights of other rows": (
        lambda: ours.StandardScaler().fit(da.ones((3, 3)), sample_weight=np.ones(4)),
        gb.DataError,
        r"sample_weight must be of shape \(3,\), one for each row, got \(4,\)",
    ),
    "weights beside other axes": (
        lambda: ours.StandardScaler(axis=(0, 1)).fit(da.ones((3, 3, 2)), sample_weight=np.ones(3)),
        gb.DataError,
        r"axis must be 0, got \(0, 1\)",
    ),
    "the core's scaler": (
        lambda: gb.StandardScaler().fit(collection()),
        gb.KindError,
        "X must be a data frame that is in memory, got a Dask one; take gammabeta.data.dask's scalers",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said(wrong):
    run, kind, words = WRONG[wrong]
    with pytest.raises(kind, match=words):
        run()


def test_a_failed_partial_fit_learns_nothing():
    scaler = ours.StandardScaler().fit(da.ones((3, 2)))
    before = scaler.moments_
    with pytest.raises(ValueError, match="infinity"):
        scaler.partial_fit(infinite_array())
    assert scaler.moments_ == before and (scaler.mean_ == 1).all()


# A cluster


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_same_bits(tmp_path):
    pieces = [np.random.default_rng(i).normal(1e8, 10.0 ** (i - 6), (50, 3)) for i in range(12)]
    whole = np.concatenate(pieces)
    wanted = gb.StandardScaler().fit(whole)  # compiles, so that the workers need not

    def block(i):
        """A block of rows. A worker that has made two waits at the third until one of them has been killed."""
        mine = str(os.getpid())
        if len(list(tmp_path.glob(f"done-{mine}-*"))) == 2:
            (tmp_path / f"waiting-{mine}").touch()
            while not (tmp_path / "killed").exists():
                time.sleep(0.01)
        (tmp_path / f"done-{mine}-{i}").touch()
        return np.random.default_rng(i).normal(1e8, 10.0 ** (i - 6), (50, 3))

    x = da.concatenate([da.from_delayed(dask.delayed(block)(i), (50, 3), np.float64) for i in range(12)])
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with (
        dask.config.set(scheduler=None),
        closing(distributed.LocalCluster(**options, local_directory=tmp_path)) as cluster,
        closing(distributed.Client(cluster)) as client,
    ):
        running = set(client.run(os.getpid).values())
        assert len(running) == 2
        future = client.compute(ours.moments(x, compute=False))
        while not (waiting := list(tmp_path.glob("waiting-*"))):
            assert future.status == "pending"
            time.sleep(0.01)
        killed = int(waiting[0].name.partition("-")[2])
        os.kill(killed, signal.SIGKILL)
        (tmp_path / "killed").touch()
        assert future.result(timeout=60) == wanted.moments_
        assert len(list(tmp_path.glob("done-*"))) > 12  # what the killed one had made was made again

        scaler = ours.StandardScaler().fit(da.from_array(whole, chunks=(70, 2)))
        same_fit(scaler, wanted)
        same(scaler.transform(da.from_array(whole, chunks=(70, 2))), wanted.transform(whole))
        with pytest.raises(gb.DataError, match="column 'odd' of 'partition 1' holds -inf in row 2"):
            ours.moments(infinite_frame())
        client.wait_for_workers(2)
        running |= set(client.run(os.getpid).values())
        assert killed in running and len(running) > 2
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{process}").exists() for process in running) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [process for process in running if Path(f"/proc/{process}").exists()]


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_masked_chunks(dtype):
    values = np.arange(60).reshape(12, 5).astype(dtype)
    masked = np.ma.array(values, mask=values % 7 == 3)
    x = da.from_array(masked, chunks=(5, 2))
    assert ours.moments(x) == gb.Moments.of(masked)
    assert ours.extrema(x, axis=(0, 1)) == gb.Extrema.of(masked, axis=(0, 1))
    scaler = ours.StandardScaler().fit(x)
    image = scaler.transform(x).compute()
    wanted = gb.StandardScaler().fit(masked).transform(masked)
    assert (image.mask == masked.mask).all()
    assert image.compressed().tolist() == wanted.compressed().tolist()
    assert (scaler.inverse_transform(scaler.transform(x)).compute().mask == masked.mask).all()
