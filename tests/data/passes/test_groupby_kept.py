"""Statistics by group come back from their file whatever the labels; options that mean nothing to them are refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gammabeta import data
from gammabeta.cli import main


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.float16()], ids=str)
def test_labels_that_are_nan_come_back(tmp_path, kind):
    labels = np.array([np.nan, 1.5, np.nan, -0.0, np.inf]).astype(kind.to_pandas_dtype())
    table = pa.table({"k": pa.array(labels, mask=np.array([0, 0, 0, 1, 0], bool)), "x": [1.0, 2.0, 3.0, 4.0, 5.0]})
    found = data.measure_by(table, "k")
    data.save_groups(found, tmp_path / "k.json")
    kept = data.load_groups(tmp_path / "k.json")
    assert kept.moments == found.moments and kept.extrema == found.extrema


@pytest.mark.parametrize("option", ["--skip-bad", "--check"])
def test_options_of_the_ledger_are_refused(tmp_path, capsys, option):
    pq.write_table(pa.table({"k": ["a"], "x": [1.0]}), tmp_path / "x.parquet")
    assert main(["stats", str(tmp_path), "--by", "k", "-o", str(tmp_path / "k.json"), option]) == 2
    assert capsys.readouterr().err == (
        f"gammabeta: {option} goes with a folder, a pattern or several data files, and with -o S.json and without "
        "--by: groups have no ledger\n"
    )
    assert not (tmp_path / "k.json").exists()
