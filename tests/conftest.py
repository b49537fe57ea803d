"""What every test may ask for: a kind of array, a framework, a program, and the length of a property test."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import settings

from gammabeta.kernels import layout, moments

with suppress(ImportError):
    import_module("triton._C.libtriton")  # before TensorFlow: each brings an LLVM, and in the other order they abort

FRAMEWORKS = ("torch", "tensorflow", "keras", "jax", "flax")

# The first call of a kernel compiles it, which takes seconds: no example has a deadline.
settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=60, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# The files that take longest, the longest first: begun last, one of them would keep a single process busy.
LONGEST = (
    "keras/test_layer.py",
    "keras/test_models.py",
    "flax/test_layer.py",
    "keras/test_verbs.py",
    "project/test_least_versions.py",
    "data/test_memory.py",
    "keras/test_diagnose.py",
    "torch/networks/test_recalibrate.py",
    "project/test_documents.py",
    "kernels/test_core.py",
    "lab/test_lab.py",
    "torch/networks/test_diagnose.py",
    "report/test_browser.py",
)


def lacking(reason: str) -> NoReturn:
    """Skip where a machine may lack things; fail in CI, where nothing may be left out."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI must leave nothing out")
    pytest.skip(reason)


def framework(name: str) -> ModuleType:
    """A framework's module, or the end of the test."""
    try:
        return import_module(name)
    except ImportError as error:
        lacking(f"{name} cannot be imported ({error})")


def program(name: str) -> str:
    """The path of a program of the system, or the end of the test."""
    return shutil.which(name) or lacking(f"the program {name} is not installed")


@pytest.fixture(autouse=True)
def _threads_share_small_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is worth a thread in a test: so little that its arrays are split as large ones are."""
    monkeypatch.setattr(layout, "SPLIT", 2**14)
    monkeypatch.setattr(moments, "BESIDE", 2**15)


@pytest.fixture(name="framework", scope="session")
def _framework() -> Callable[[str], ModuleType]:
    return framework


@pytest.fixture(name="program", scope="session")
def _program() -> Callable[[str], str]:
    return program


@pytest.fixture(name="spark", scope="session")
def _spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Spark session whose workers are two processes of this interpreter, without pages or noise."""
    program("java")
    framework("pyspark")
    from pyspark.sql import SparkSession

    options = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.local.dir": tmp_path_factory.mktemp("spark"),
        "spark.sql.shuffle.partitions": 2,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder.master("local[2]").config(map=options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`keras_*.py` is for one of Keras' backends: not collected, nor searched for doctests, unless it is named."""
    named = {Path(argument.partition("::")[0]).name for argument in config.args}
    return True if fnmatch(collection_path.name, "keras_*.py") and collection_path.name not in named else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, whichever order the others have: a process takes a whole file at a time."""
    places = {Path(__file__).parent / path: i for i, path in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_sessionstart(session: pytest.Session) -> None:
    """In CI a framework that is not installed ends the run before its first test; one that does not load, its tests."""
    if not os.environ.get("CI") or hasattr(session.config, "workerinput"):
        return
    if missing := [name for name in FRAMEWORKS if find_spec(name) is None]:
        pytest.exit(f"CI must test {', '.join(missing)}, which cannot be found", returncode=1)


def read_only(x: np.ndarray) -> np.ndarray:
    """A copy that raises where something writes to its input."""
    copy = x.copy()
    copy.flags.writeable = False
    return copy


def strided(x: np.ndarray) -> np.ndarray:
    """The same values two elements apart, the last axis backwards, with NaN or 99 in the gaps."""
    gap = np.nan if x.dtype.kind in "fc" else 99
    wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), gap).astype(x.dtype)
    view = wide[..., ::-2]
    view[...] = x
    return view


def big_endian(x: np.ndarray) -> np.ndarray:
    """The same values in the other byte order."""
    return x.astype(x.dtype.newbyteorder(">"))


def to_torch(x: np.ndarray) -> Any:
    return framework("torch").tensor(x)


def to_jax(x: np.ndarray) -> Any:
    jax = framework("jax")
    with jax.enable_x64(True):
        return jax.numpy.asarray(x)


def to_tensorflow(x: np.ndarray) -> Any:
    return framework("tensorflow").constant(x)


@dataclass(frozen=True)
class Kind:
    """A kind of array: call it with a NumPy array to get the same values as that kind."""

    name: str
    make: Callable[[np.ndarray], Any]

    def __call__(self, x: np.ndarray) -> Any:
        return self.make(x)

    @property
    def is_numpy(self) -> bool:
        return self.name.startswith("numpy")


KINDS = [
    Kind("numpy", np.array),
    Kind("numpy-read-only", read_only),
    Kind("numpy-strided", strided),
    Kind("numpy-big-endian", big_endian),
    Kind("torch", to_torch),
    Kind("jax", to_jax),
    Kind("tensorflow", to_tensorflow),
]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name, scope="session")
def array(request: pytest.FixtureRequest) -> Kind:
    """Every kind of array in turn."""
    kind: Kind = request.param
    if not kind.is_numpy:
        framework(kind.name)
    return kind
