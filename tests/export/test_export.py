"""Maps written for other systems give the bits of `transform` of float64, in DuckDB, SQLite, polars, ONNX and C."""

import ctypes
import math
import sqlite3
import subprocess

import numpy as np
import pytest

import gammabeta as gb

RNG = np.random.default_rng(0)
NAMES = ["age", 'a"b`c\\', "^x.*$", "SELECT; --", "é 名"]
DATA = RNG.normal(size=(200, 5)) * [1, 5, 1e-3, 0, 1e100] + [1e6, 3, 1e4, 7.1, 0]
X = np.concatenate([DATA[:20], DATA[:20] + 3 * DATA.std(0)])
X[3, 1] = np.nan
MAPS = {
    "standard": gb.StandardScaler().fit(DATA),
    "minmax": gb.MinMaxScaler((-1, 2.5)).fit(DATA),
    "clipped": gb.MinMaxScaler((-0.1, 0.3), clip=True).fit(DATA[:50]),
}


def image(scaler):
    return scaler.transform(X)


def run(connection, table, scaler, dialect, create):
    """A table of X with these names, and the statement's image of it."""
    quoted = [f'"{name.replace(chr(34), chr(34) * 2)}"' for name in NAMES]
    connection.execute(f'CREATE TABLE "{table}" ({", ".join(f"{name} {create}" for name in quoted)})')
    connection.executemany(f'INSERT INTO "{table}" VALUES (?, ?, ?, ?, ?)', X.tolist())
    return connection.execute(scaler.to_sql(NAMES, table, dialect=dialect))


@pytest.mark.parametrize("name", MAPS)
def test_duckdb(framework, name):
    duckdb = framework("duckdb")
    with duckdb.connect() as connection:
        result = run(connection, "my table", MAPS[name], "duckdb", "DOUBLE")
        assert [column[0] for column in result.description] == NAMES
        np.testing.assert_array_equal(np.array(result.fetchall(), float), image(MAPS[name]))
        connection.execute('INSERT INTO "my table" SELECT NULL, NULL, NULL, NULL, NULL')
        assert connection.execute(MAPS[name].to_sql(NAMES, ("main", "my table"), dialect="duckdb")).fetchall()[-1] == (
            None,
        ) * len(NAMES)


@pytest.mark.parametrize("dialect", ["sqlite", "ansi"])
@pytest.mark.parametrize("name", MAPS)
def test_sqlite(name, dialect):
    connection = sqlite3.connect(":memory:")
    scaler = MAPS[name]
    result = run(connection, "my table", scaler, dialect, "REAL")
    got = np.array([[math.nan if value is None else value for value in row] for row in result.fetchall()])
    connection.close()
    # SQLite reads a literal to within two units of 2⁻⁵², by its own arithmetic; it has no NaN, and gives NULL
    a = scaler.affine_
    with np.errstate(invalid="ignore"):
        size = (np.abs(X) + np.abs(a.center)) * np.abs(a.slope) + np.abs(a.shift)
    error = np.abs(got - image(scaler))
    assert (np.isnan(got) == np.isnan(X)).all() and (error[~np.isnan(X)] <= (8 * 2.0**-52 * size)[~np.isnan(X)]).all()


@pytest.mark.parametrize("name", MAPS)
def test_polars(framework, name):
    polars = framework("polars")
    frame = polars.DataFrame(X, schema=NAMES)
    for given in frame, frame.lazy():
        found = given.with_columns(MAPS[name].to_polars(NAMES)).lazy().collect()
        assert found.columns == NAMES
        np.testing.assert_array_equal(found.to_numpy(), image(MAPS[name]))
    empty = polars.DataFrame({name: [None] for name in NAMES}, schema=dict.fromkeys(NAMES, polars.Float32))
    assert empty.with_columns(MAPS[name].to_polars(NAMES)).row(0) == (None,) * len(NAMES)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MAPS)
def test_onnx(framework, name, dtype):
    framework("onnx")
    runtime = framework("onnxruntime")
    model = MAPS[name].to_onnx(dtype=dtype)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with np.errstate(over="ignore"):
        x = X.astype(dtype)
    x[~np.isfinite(x)] = np.nan
    (y,) = session.run(None, {"x": x})
    np.testing.assert_array_equal(y, MAPS[name].transform(x))


def test_onnx_of_images(framework):
    framework("onnx")
    runtime = framework("onnxruntime")
    affine = gb.Affine(np.arange(3.0).reshape(3, 1, 1), 2.0, 1.0)
    x = RNG.normal(size=(2, 3, 1, 1)).astype(np.float32)
    session = runtime.InferenceSession(affine.to_onnx().SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], affine(x))


@pytest.mark.parametrize("name", MAPS)
def test_c(program, name, tmp_path):
    (tmp_path / "scale.h").write_text(MAPS[name].to_c("scale"))
    (tmp_path / "a.c").write_text(
        '#include "scale.h"\nvoid f(const double *x, double *y, size_t n) { scale(x, y, n); }\n'
    )
    library = tmp_path / "a.so"
    options = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-ffp-contract=off", "-shared", "-fPIC"]
    subprocess.run([program("cc"), *options, str(tmp_path / "a.c"), "-o", str(library)], check=True)
    y, double = np.empty_like(X), ctypes.POINTER(ctypes.c_double)
    function = ctypes.CDLL(str(library)).f
    function(X.ctypes.data_as(double), y.ctypes.data_as(double), ctypes.c_size_t(len(X)))
    np.testing.assert_array_equal(y, image(MAPS[name]))


def test_the_quoting_of_dialects():
    a = gb.Affine([-1.5], [1e-300], 0.1)
    assert '("a""b" AS' in a.to_sql(['a"b'], "t").replace("CAST(", "(")
    assert a.to_sql(["a`b"], ("p", "d.t"), dialect="spark").splitlines()[1:] == [
        "  (CAST(`a``b` AS DOUBLE) - (-1.5E0D)) * 1E-300D + 0.1E0D AS `a``b`",
        "FROM `p`.`d.t`",
    ]
    assert r"`a\`b\\`" in a.to_sql(["a`b\\"], "t", dialect="bigquery")
    assert "CAST('1E-300' AS DOUBLE PRECISION)" in a.to_sql(["a"], "t", dialect="postgresql")


def test_what_cannot_be_exported():
    a = gb.Affine([1.0, 2.0], 1.0)
    for call, match in (
        (lambda: a.to_sql(["a"], "t"), r"columns must name the features of shape \(2,\), one each, got 1"),
        (lambda: a.to_sql(None, "t"), "none are known"),
        (lambda: a.to_sql(["a", "a"], "t"), "once"),
        (lambda: a.to_sql(["a", "b\0"], "t"), "NUL"),
        (lambda: a.to_sql(["a", "b"]), "table must be a name"),
        (lambda: a.to_sql(["a", "b"], "t", dialect="oracle"), "dialect must be one of ansi, duckdb"),
        (lambda: a.to_c("int"), "C identifier"),
        (lambda: a.to_c("a-b"), "C identifier"),
        (lambda: a.to_onnx(dtype="int8"), "float32 or float64"),
        (lambda: gb.Affine([np.nan], 1.0).to_c(), "finite parameters"),
        (lambda: gb.Affine(np.zeros(0), 1.0).to_c(), "must have a feature"),
    ):
        with pytest.raises(gb.DataError, match=match):
            call()
    for call in (lambda: a.to_sql("ab", "t"), lambda: a.to_polars([1, 2])):
        with pytest.raises(gb.KindError, match="columns must be"):
            call()


def test_a_frame_s_names_are_known(framework):
    polars = framework("polars")
    frame = polars.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]})
    scaler = gb.MinMaxScaler().fit(frame)
    assert scaler.to_sql(table="t").count('"a"') == 2
    assert frame.with_columns(scaler.to_polars())["b"].to_list() == [0.0, 1.0]
