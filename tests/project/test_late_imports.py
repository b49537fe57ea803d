"""Imports within functions are those of one table, each for a reason: all others stand at the top of their file.

A late import hides what a file depends on, and can hide a cycle. It stays where it spares whoever does not need it the
loading of a framework or of a heavy library. `python tests/project/test_late_imports.py` prints every late import that
there is and the pattern that allows it.
"""

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"

pytestmark = pytest.mark.skipif(
    not SOURCE.exists(), reason="the tests run outside a checkout: there is no source to read"
)

# A reason, and the imports that it allows: "the importing module -> what is imported", * standing for anything.
ALLOWED = {
    "its arrays are there, so that it has been loaded, or is installed with their framework": [
        "gammabeta.backends.arrays -> ml_dtypes",
        "gammabeta.keras.networks.linear -> ml_dtypes",
    ],
    "only of one of Keras' backends, in whose process alone it may be imported": [
        "gammabeta.keras.* -> tensorflow",
    ],
    "Altair, vl-convert and the pages' templates are for who asks for a chart or a page": [
        "gammabeta._util.charts -> altair",
        "gammabeta.report* -> gammabeta.report.*",
        "gammabeta.report.* -> vl_convert",
    ],
    "a peer is compared in a process of its own": [
        "gammabeta.lab.peers -> torch",
        "gammabeta.lab.peers -> tensorflow",
        "gammabeta.lab.peers -> keras",
        "gammabeta.lab.peers -> jax*",
        "gammabeta.lab.peers -> flax",
    ],
    "the lab's server and its cells: marimo runs each cell as a function": [
        "gammabeta.lab.server -> marimo",
        "gammabeta.lab.server -> uvicorn",
        "gammabeta.lab.app -> *",
    ],
    "scikit-learn's example tables are loaded when one is asked for": [
        "gammabeta.lab.datasets -> sklearn.datasets",
        "gammabeta.lab.digits -> sklearn.datasets",
        "gammabeta.data.formats.table -> sklearn.datasets",
    ],
    "scikit-learn is loaded where a scaler is given, and not with every network": [
        "gammabeta.networks.fold.planner -> gammabeta.scalers",
        "gammabeta.networks.normalize -> gammabeta.scalers",
    ],
    "a map is exported in the terms of a library that only whoever asks for it has": [
        "gammabeta.export.onnx_model -> onnx",
        "gammabeta.export.polars_expressions -> polars",
    ],
    "--help, a version and a wrong argument are answered without NumPy, PyArrow or a framework": [
        "gammabeta.cli* -> gammabeta*",
        "gammabeta.cli.* -> rich.*",
        "gammabeta.cli.commands -> threading",
        "gammabeta.cli.commands -> webbrowser",
        "gammabeta.cli.names -> csv",
        "gammabeta.cli.example -> pyarrow*",
    ],
    "a format's library is loaded where a file is of that format": [
        "gammabeta.data.formats.geotiff -> rasterio*",
        "gammabeta.data.formats.hdf5 -> h5py",
        "gammabeta.data.formats.hdf5 -> netCDF4",
        "gammabeta.data.formats.iceberg -> pyiceberg.*",
        "gammabeta.data.formats.images -> PIL*",
        "gammabeta.data.formats.lake -> deltalake",
        "gammabeta.data.formats.record_batches -> pyarrow.*",
        "gammabeta.data.formats.zarr* -> zarr*",
        "gammabeta.data.io.remote -> fsspec",
    ],
}


def late_imports(source: Path = SOURCE) -> Iterator[tuple[str, str]]:
    """Each module and what one of its functions imports, TYPE_CHECKING's aside, which no function has."""
    for file in sorted(source.rglob("*.py")):
        module = ".".join(file.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Import):
                        yield from ((module, alias.name) for alias in node.names)
                    elif isinstance(node, ast.ImportFrom):
                        yield module, "." * node.level + (node.module or "")


def allowed_by(module: str, imported: str) -> list[str]:
    """The patterns that allow an import."""
    patterns = [pattern for several in ALLOWED.values() for pattern in several]
    return [pattern for pattern in patterns if fnmatchcase(f"{module} -> {imported}", pattern)]


def test_late_imports_are_those_of_the_table():
    assert [f"{m} -> {i}" for m, i in dict.fromkeys(late_imports()) if not allowed_by(m, i)] == []


def test_the_table_allows_nothing_that_is_not_there():
    used = {pattern for m, i in late_imports() for pattern in allowed_by(m, i)}
    assert {pattern for several in ALLOWED.values() for pattern in several} - used == set()


def test_a_late_import_is_found(tmp_path):
    (tmp_path / "gammabeta").mkdir()
    (tmp_path / "gammabeta" / "affine.py").write_text("import os\ndef f():\n    def g():\n        import torch, sys\n")
    found = set(late_imports(tmp_path))
    assert found == {("gammabeta.affine", "torch"), ("gammabeta.affine", "sys")}
    assert not any(allowed_by(*late) for late in found)


if __name__ == "__main__":
    for late in dict.fromkeys(late_imports()):
        print(" -> ".join(late), "  ", " | ".join(allowed_by(*late)) or "NOT ALLOWED")  # noqa: T201
