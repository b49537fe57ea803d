"""Where the system starts no thread, or few, the caller does the work, and no other number comes out."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from gammabeta import Affine, Moments, StandardScaler, data
from gammabeta.cli import main
from gammabeta.data.formats import csv_rows
from gammabeta.data.io import paths
from gammabeta.data.io.parallel import map_concurrently
from gammabeta.data.io.prefetch import prefetch
from gammabeta.errors import GammabetaError
from gammabeta.kernels import thread_pool

X = np.random.default_rng(0).standard_normal((100_000, 4))


@pytest.fixture
def few(monkeypatch, request):
    """So many threads can be started, and no more."""
    left = [request.param]
    start = threading.Thread.start

    def limited(thread):
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    monkeypatch.setattr(thread_pool, "_tasks", type(thread_pool._tasks)())
    monkeypatch.setattr(thread_pool, "_started", 0)
    monkeypatch.setattr(paths, "_enough_threads", False)
    return left


each_few = pytest.mark.parametrize("few", [0, 1, 2, 3], indirect=True)


@each_few
def test_the_pools_work_is_done(few):
    with thread_pool.limit(3):
        assert thread_pool.run(lambda n: n * n, range(20)) == [n * n for n in range(20)]
        with pytest.raises(ValueError, match="part 1"):
            thread_pool.run(lambda n: (_ for _ in ()).throw(ValueError(f"part {n}")), [1, 2])
    assert Moments.of(X) == sum((Moments.of(part) for part in X[1:].reshape(3, -1, 4)), Moments.of(X[:1]))
    assert np.isfinite(Affine.standard(Moments.of(X))(X)).all()


@pytest.mark.parametrize("few", [0], indirect=True)
def test_the_pool_keeps_nothing_of_what_no_thread_took(few):
    with thread_pool.limit(2):
        thread_pool.run(lambda n: n, range(4))
    assert thread_pool._tasks.empty()


@each_few
def test_stages_and_items_are_worked_on(few):
    assert list(prefetch(n * n for n in range(5))) == [0, 1, 4, 9, 16]
    for stopped in range(3):
        items = prefetch(iter(range(9)))
        assert [next(items) for _ in range(stopped)] == list(range(stopped))
        items.close()
    done = map_concurrently(lambda n, told: told(1) or n * n, [2, 3, 4], [1, 1, 1], 2, lambda so_far: None)
    assert sorted(done) == [(2, 4), (3, 9), (4, 16)]
    with pytest.raises(ZeroDivisionError):
        list(map_concurrently(lambda n, told: 1 // n, [1, 0], [1, 1], 2, lambda so_far: None))


@pytest.mark.parametrize("few", [0], indirect=True)
def test_an_interrupt_of_the_caller_ends_the_work_at_once(few):
    begun = []

    def work(n, told):
        begun.append(n)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(map_concurrently(work, [1, 2, 3], [1, 1, 1], 2, lambda so_far: None))
    assert begun == [1]


def test_no_work_is_done_twice_or_lost_by_a_pool_that_has_one_thread(monkeypatch):
    """Its second thread cannot be started, though its task is queued by then."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        begun, done = threading.Event(), []
        first = thread_pool.submit(pool, begun.wait, 10)
        monkeypatch.setattr(threading.Thread, "start", lambda thread: (_ for _ in ()).throw(RuntimeError("can't")))
        futures = [thread_pool.submit(pool, lambda n=n: done.append(n) or n) for n in range(5)]
        assert done == list(range(5)), "the caller did it"
        begun.set()
        assert first.result(10)
        assert [future.result(10) for future in futures] == list(range(5))
    assert done == list(range(5))


def made(folder: Path) -> dict[str, Path]:
    """One table in every format."""
    table = pa.table(
        {f"c{i}": X[:5000, i] for i in range(3)} | {"word": pa.array(["a", 'b "c", d', ""] * 1666 + ["é\nf"] * 2)}
    )
    found = {kind: folder / f"in.{kind}" for kind in ("csv", "csv.gz", "parquet", "feather", "arrow")}
    pyarrow.csv.write_csv(table, found["csv"])
    with pa.CompressedOutputStream(str(found["csv.gz"]), "gzip") as stream:
        pyarrow.csv.write_csv(table, stream)
    pq.write_table(table, found["parquet"], row_group_size=1000)
    pyarrow.feather.write_feather(table, str(found["feather"]), compression="lz4", chunksize=1000)
    pyarrow.feather.write_feather(table, str(found["arrow"]), compression="uncompressed", version=2)
    found["npy"] = folder / "in.npy"
    np.save(found["npy"], X[:5000, :3])
    return found


@each_few
@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet", "feather", "arrow", "npy"])
def test_files_are_measured_and_scaled(few, kind, tmp_path):
    source = made(tmp_path)[kind]
    out = source.with_name(f"out.{kind}")
    left = few[0]
    assert data.measure(source).moments == Moments.of(X[:5000, :3]), "from every format"
    few[0] = left
    data.scale(source, out)
    few[0] = 10**6
    paths._enough_threads = False
    again = source.with_name(f"again.{kind}")
    data.scale(source, again)
    assert out.read_bytes() == again.read_bytes()


@each_few
def test_folders_are_scaled_and_measured(few, tmp_path, capsys):
    for i in range(3):
        (tmp_path / "in").mkdir(exist_ok=True)
        made(tmp_path)["parquet"].rename(tmp_path / "in" / f"{i}.parquet")
    assert main(["scale", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 0
    assert main(["stats", str(tmp_path / "in"), "-o", str(tmp_path / "s.json")]) == 0
    assert data.load(tmp_path / "s.json").moments == sum(
        (Moments.of(X[:5000, :3]) for _ in range(2)), Moments.of(X[:5000, :3])
    )
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 3


@each_few
def test_images_are_decoded(few, tmp_path, framework):
    image = framework("PIL.Image")
    for i in range(9):
        image.fromarray(np.full((4, 4), i, np.uint8)).save(tmp_path / f"{i}.png")
    assert data.moments(tmp_path).mean == 4


@pytest.mark.parametrize("few", [0], indirect=True)
def test_a_pyarrow_data_set_says_what_it_needs(few, tmp_path):
    import pyarrow.dataset

    made(tmp_path)
    found = pyarrow.dataset.dataset(str(tmp_path / "in.parquet"))
    with pytest.raises(GammabetaError, match="threads of PyArrow's, of which this system starts too few; allow"):
        data.measure(found)


@pytest.mark.parametrize("few", [0], indirect=True)
def test_the_lab_says_what_it_needs(few, capsys, framework):
    framework("marimo")
    assert main(["lab", "--port", "0", "--no-browser"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "the lab needs threads, one for each open page, and this system starts none; allow" in said.err


ROWS = {
    "plain": "a,b\n1,x\n2,y\n",
    "empty lines": "a,b\n\n1,x\n\n\n2,y\n\n",
    "one column": "a\n1\n\n2\n",
    "quotes": 'a,b\n1,"x ""y"", z"\n2,"p\nq"\n',
    "no last line end": "a,b\r\n1,x\r\n2,y",
    "header alone": "a,b\n",
    "byte order mark": "\ufeffa,b\n1,é\n",
    "spaces": "a,b\n 1 , x\n2,\n",
    "quoted empty": 'a\n""\n1\n',
}


@pytest.mark.parametrize("name", ROWS)
def test_cells_are_those_that_arrow_reads(name, tmp_path, monkeypatch):
    path = tmp_path / "in.csv"
    path.write_bytes(ROWS[name].encode())
    theirs = [chunk.batch for chunk in data.scan(path)]
    monkeypatch.setattr("gammabeta.data.formats.csv.arrow_has_threads", lambda: False)
    monkeypatch.setattr(csv_rows, "BLOCK", 1)
    ours = [chunk.batch for chunk in data.scan(path)]
    assert (
        pa.Table.from_batches(ours, *[b.schema for b in theirs[:1]])
        == pa.Table.from_batches(theirs, *[b.schema for b in theirs[:1]])
        if theirs
        else not ours
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a,b\n1,2\n1,2,3\n", "line 3 must have 2 cells as the header has, it has 3"),
        (b"a,b\n1\n", "line 2 must have 2 cells as the header has, it has 1"),
        (b'a,b\n1,"cut\n2,3\n', "unexpected end of data"),
        (b"a,b\n1,\xff\n", "must be in UTF-8"),
    ],
)
def test_what_is_no_csv_is_refused(text, said, tmp_path, monkeypatch):
    path = tmp_path / "in.csv"
    path.write_bytes(text)
    monkeypatch.setattr("gammabeta.data.formats.csv.arrow_has_threads", lambda: False)
    with pytest.raises(GammabetaError, match=said):
        data.measure(path)


LIMITED = """
import sys
from gammabeta import data
data.scale(*sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("most", [1, 2, 3, 5, 8])
@pytest.mark.skipif(sys.platform != "linux", reason="limits of processes are Linux'")
def test_the_kernels_own_limit(most, tmp_path, program):
    """A real user's with no right to more than `most` threads: Arrow's own could not be started either."""
    made(tmp_path)
    limited = [program("prlimit"), f"--nproc={most}", sys.executable, "-c", LIMITED]
    if os.geteuid() == 0:  # whom no limit binds; files stay readable
        user = str(50_000 + os.getpid() % 10_000)
        limited = [program("setpriv"), f"--ruid={user}", "--bounding-set=-sys_resource,-sys_admin", *limited]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "2"}
    for kind in ("csv", "parquet", "feather", "npy"):
        source, out = tmp_path / f"in.{kind}", tmp_path / f"out.{kind}"
        done = subprocess.run(
            [*limited, str(source), str(out)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, (kind, done.stderr[-500:])
        expected = tmp_path / f"expected.{kind}"
        data.scale(source, expected)
        assert out.read_bytes() == expected.read_bytes()


def test_a_scaler_without_threads(monkeypatch):
    expected = StandardScaler().fit_transform(X)
    monkeypatch.setattr(thread_pool, "_started", 0)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: (_ for _ in ()).throw(RuntimeError("can't")))
    np.testing.assert_array_equal(StandardScaler().fit_transform(X), expected)
