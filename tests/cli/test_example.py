"""The tables that the documentation's pages read, as the command writes them."""

import numpy as np
import pyarrow.dataset as ds
import pytest
from sklearn.datasets import load_breast_cancer

from gammabeta import data
from gammabeta.cli import main

TRUTH = load_breast_cancer().data[:, :3]


def test_the_tables_hold_scikit_learns_values(tmp_path, capsys):
    assert main(["example", "cells", "-o", str(tmp_path)]) == 0
    assert main(["example", "events", "-o", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""
    files = [tmp_path / "cells.csv", tmp_path / "more.csv"]
    for (first, last), file in zip(((0, 400), (400, 569)), files, strict=True):
        found = data.measure(file)
        assert found.names == ("mean_radius", "mean_texture", "mean_perimeter")
        assert found.moments == data.measure(TRUTH[first:last]).moments
        assert file.read_text().splitlines()[0].endswith(",kind")
    events = ds.dataset(tmp_path / "events", partitioning="hive").to_table()
    np.testing.assert_array_equal(np.stack([events[i].to_numpy() for i in range(3)], axis=1), TRUTH)
    assert set(events["year"].to_pylist()) == {2023, 2024}


def test_no_file_is_replaced(tmp_path, capsys):
    (tmp_path / "more.csv").write_text("mine")
    assert main(["example", "cells", "-o", str(tmp_path)]) == 2
    assert "an example replaces no file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["more.csv"]
    assert (tmp_path / "more.csv").read_text() == "mine"


@pytest.mark.parametrize("name", ["cell", ""])
def test_another_name_is_refused(tmp_path, capsys, name):
    assert main(["example", name, "-o", str(tmp_path)]) == 2
    assert "must be one of cells, events" in capsys.readouterr().err
