"""Trouble with data sets that come and go while they are measured and scaled."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gammabeta import data
from gammabeta.data.dataset.file_jobs import FileJobs
from gammabeta.errors import FileError


@pytest.fixture(name="folder")
def _folder(tmp_path, monkeypatch):
    """A folder `in` of three files of one column."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for i in range(3):
        pq.write_table(pa.table({"x": [float(i), 1.5, 10.0 * i]}), f"in/{i}.parquet")
    return tmp_path


def test_a_source_that_vanishes_before_it_is_scaled_again(folder, monkeypatch):
    data.scale("in", "out")
    pq.write_table(pa.table({"x": [7.0]}), "in/3.parquet")
    run = FileJobs.run

    def vanishing(self):
        Path("in/0.parquet").unlink()
        return run(self)

    monkeypatch.setattr(FileJobs, "run", vanishing)
    with pytest.raises(FileError, match=r"^cannot read 'in/0\.parquet': no such file$"):
        data.scale("in", "out")
    pq.write_table(pa.table({"x": [0.5]}), "in/0.parquet")
    done = data.scale("in", "out", skip_bad=True)
    assert done.files.bad == {"0.parquet": "cannot read 'in/0.parquet': no such file"}


def test_no_file_is_good_with_skip_bad(folder):
    for path in Path("in").iterdir():
        path.write_bytes(b"")
    with pytest.raises(
        FileError, match=r"^one file at least must be fit to be read, none of 3 is: 'in/\d\.parquet' is"
    ):
        data.update("s.json", "in", skip_bad=True)
    with pytest.raises(FileError, match=r"or go on without: --skip-bad$"):
        data.update("s.json", "in")
