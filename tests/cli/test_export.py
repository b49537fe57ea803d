"""`gammabeta export`: a map as a file for each of what runs it; its errors are one line."""

import json
import pickle
import runpy

import numpy as np
import pytest

import gammabeta as gb
from gammabeta.cli import main

X = np.array([[1.0, 10.0], [2.0, 30.0], [6.0, 20.0]])


@pytest.fixture(params=["standard", "minmax", "scaler"])
def fitted(request, tmp_path, framework):
    """A document of a fitted map, and the image of X."""
    polars = framework("polars")
    frame = polars.DataFrame(X, schema=["a", 'b"'])
    path = tmp_path / "s.json"
    if request.param == "scaler":
        scaler = gb.MinMaxScaler((0, 0.5), clip=True).fit(frame)
        path.write_text(scaler.to_json())
    else:
        frame.write_parquet(tmp_path / "in.parquet")
        arguments = ["--method", request.param, "-o", str(tmp_path / "out.parquet"), "--stats", str(path)]
        assert main(["scale", str(tmp_path / "in.parquet"), *arguments]) == 0
        scaler = (gb.StandardScaler() if request.param == "standard" else gb.MinMaxScaler()).fit(frame)
    return path, frame, scaler.transform(frame)


def exported(path, to, *more):
    """The file that `export` writes."""
    out = path.parent / f"map.{'py' if to == 'polars' else to}"
    assert main(["export", str(path), "--to", to, "-o", str(out), *more]) == 0
    return out


def test_every_kind(fitted, framework):
    path, frame, want = fitted
    duckdb, runtime = framework("duckdb"), framework("onnxruntime")
    with duckdb.connect() as connection:
        connection.register("given", frame.to_arrow())
        statement = exported(path, "sql", "--table", "given", "--dialect", "duckdb").read_text()
        np.testing.assert_array_equal(connection.execute(statement).fetchall(), want)
    session = runtime.InferenceSession(exported(path, "onnx").read_bytes(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": X.astype(np.float32)})[0], want.astype(np.float32))
    torch = framework("torch")
    program = torch.export.load(exported(path, "torch")).module()
    np.testing.assert_array_equal(program(torch.tensor(X, dtype=torch.float32)), want.astype(np.float32))
    expressions = runpy.run_path(str(exported(path, "polars")))["expressions"]
    np.testing.assert_array_equal(frame.with_columns(expressions).to_numpy(), want)
    theirs = pickle.loads(exported(path, "sklearn").read_bytes())
    # scikit-learn divides, or multiplies and adds: some roundings of 2⁻⁵³ of values up to 3
    np.testing.assert_allclose(theirs.transform(frame), want, rtol=0, atol=16 * 2.0**-53)
    assert "void norm(" in exported(path, "c", "--name", "norm").read_text()
    found = json.loads(exported(path, "json").read_text())
    assert found["columns"] == ["a", 'b"']
    y = (X - found["center"]) * found["slope"] + found["shift"]
    np.testing.assert_array_equal(y if found["limits"] is None else y.clip(*found["limits"]), want)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "sql"], "--to sql needs --table"),
        (["--to", "onnx", "--table", "t"], "--table goes with --to sql, got --to onnx"),
        (["--to", "c", "--name", "a b"], "C identifier"),
        (["--to", "sql", "--table", "t", "--dialect", "x"], "dialect must be one of ansi"),
        (["--to", "fortran"], "Invalid value for '--to'"),
    ],
)
def test_errors_are_one_line(tmp_path, capsys, arguments, message):
    path = tmp_path / "s.json"
    scaler = gb.StandardScaler().fit(X)
    scaler._name_features(2, ["a", "b"])
    path.write_text(scaler.to_json())
    assert main(["export", str(path), "-o", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_what_is_no_map(tmp_path, capsys):
    (tmp_path / "s.json").write_text("{}")
    assert main(["export", str(tmp_path / "s.json"), "--to", "c", "-o", str(tmp_path / "out.h")]) == 2
    assert "is not a stats file" in capsys.readouterr().err
