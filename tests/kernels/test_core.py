"""The compiled core beside Python: what it depends on, on arm64 under an emulator, and under the sanitizers."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import gammabeta as gb
from gammabeta.kernels import limbs

ROOT = Path(__file__).parents[2]
HEIGHTS, BASES = (70, 138), (-34, -68)

pytestmark = pytest.mark.skipif(
    not (ROOT / "core").exists(), reason="the tests run outside a checkout: there is no core/"
)


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[bytes]:
    """A program's run, which must succeed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    return done


def test_the_core_depends_on_libc_alone(program: Callable[[str], str]) -> None:
    library = find_spec("gammabeta.kernels._core")
    assert library is not None
    assert library.origin is not None
    said = run(program("readelf"), "--dynamic", "--wide", library.origin).stdout.decode()
    needed = {line.split("[")[1].rstrip("]") for line in said.splitlines() if "(NEEDED)" in line}
    assert needed <= {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"}


def test_no_process_needs_numba() -> None:
    assert find_spec("numba") is None
    assert find_spec("llvmlite") is None


WRITES_NOTHING = """
import os, sys
def watch(event, given):
    if event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        raise SystemExit(f"opened to write: {given[0]}")
    if event in ("os.mkdir", "os.rename", "tempfile.mkstemp", "tempfile.mkdtemp", "subprocess.Popen"):
        raise SystemExit(f"{event}: {given}")
sys.addaudithook(watch)
import numpy as np
import gammabeta as gb
x = np.arange(24.0).reshape(8, 3)
for dtype in np.float32, np.float64:
    given = x.astype(dtype)
    scaled = gb.StandardScaler().fit(given).transform(given)
    gb.MinMaxScaler().fit_transform(given)
    gb.batch_norm(given)
    gb.Moments.of(given, groups=[0, 1] * 4).moments.mean
    gb.rolling(given, 2)
sys.stdout.write(scaled.tobytes().hex())
"""


def test_a_process_writes_nothing_and_needs_no_home() -> None:
    """No cache, no home, no temporary folder: the same bits."""
    nowhere = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), "/nonexistent")
    environment = {**os.environ, **nowhere, "PYTHONDONTWRITEBYTECODE": "1"}
    said = run(sys.executable, "-c", WRITES_NOTHING, env=environment).stdout.decode()
    x = np.arange(24.0).reshape(8, 3)
    assert bytes.fromhex(said) == gb.StandardScaler().fit_transform(x).tobytes()


def hostile(dtype: type) -> list[np.ndarray]:
    """Tables whose columns are ordinary, hostile and everything between."""
    rng = np.random.default_rng(5)
    least, most = (-140, 120) if dtype == np.float32 else (-1060, 1000)
    wide = np.ldexp(rng.standard_normal((301, 67)), rng.integers(least, most, (301, 67))).astype(dtype)
    strange = rng.standard_normal((150, 3)).astype(dtype)
    strange[::7, 0], strange[3, 1], strange[5, 2] = np.nan, np.inf, -np.inf
    subnormal = np.full((130, 2), np.finfo(dtype).smallest_subnormal)
    return [
        rng.standard_normal((1000, 5)).astype(dtype),
        (1e4 + rng.standard_normal((257, 130))).astype(dtype),
        wide,
        strange,
        subnormal,
        np.zeros((40, 1), dtype),
        np.full((1, 70), np.finfo(dtype).max),
    ]


def of_harness(program: list[str], x: np.ndarray) -> tuple[list[limbs.Limbs], np.ndarray, np.ndarray, np.ndarray]:
    """Σx and Σx² as limbs, how many values are not finite, statistics, and whether these are sure."""
    rows, columns = x.shape
    given = np.array([rows, columns, ord(x.dtype.char)]).tobytes() + x.tobytes()
    told = run(*program, input=given).stdout
    sizes = [height * columns for height in HEIGHTS]
    digits = [np.frombuffer(told, np.int64, sizes[0]), np.frombuffer(told, np.int64, sizes[1], 8 * sizes[0])]
    at = 8 * sum(sizes)
    specials = np.frombuffer(told, np.int64, 3 * columns, at).reshape(3, columns)
    found = np.frombuffer(told, np.float64, 3 * columns, at + 24 * columns).reshape(3, columns)
    sure = np.frombuffer(told, np.bool_, columns, at + 48 * columns)
    pairs = [limbs.canonical(base, d.reshape(-1, columns)) for base, d in zip(BASES, digits, strict=True)]
    return pairs, specials, found, sure


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arm64_gives_the_same_integers_and_statistics(dtype: type, arm64: list[str]) -> None:
    """The core cross-compiled, on the same vectors as here, under an emulator."""
    compared = 0
    for x in hostile(dtype):
        (total, squares), specials, found, sure = of_harness(arm64, x)
        m = gb.Moments.of(x)
        assert m == gb.Moments.of(x.astype(np.float64))
        weight, infinities = limbs.from_counts(len(x) - specials[0]), specials * [[0], [1], [1]]
        assert m.to_json() == gb.Moments._of_limbs(m.shape, weight, total, squares, infinities).to_json()
        finite = sure & (specials == 0).all(axis=0)
        for mine, theirs in zip((m.mean, m.var, m.std), found, strict=True):
            assert np.array_equal(mine[finite], theirs[finite])
        compared += int(finite.sum())
    assert compared >= 130


@pytest.fixture(name="arm64", scope="session")
def _arm64(program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs the harness on an emulated arm64."""
    compiler, emulator = program("aarch64-linux-gnu-g++"), program("qemu-aarch64")
    place = tmp_path_factory.mktemp("arm64") / "harness"
    sources = [path for path in (ROOT / "core").rglob("*.cpp") if path.name not in ("interface.cpp", "dispatch.cpp")]
    options = [
        "-std=c++20",
        "-O2",
        "-ffp-contract=off",
        "-fno-exceptions",
        "-fno-rtti",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-static",
    ]
    run(compiler, *options, f"-I{ROOT / 'core'}", ROOT / "tests" / "core" / "harness.cpp", *sources, "-o", place)
    return [emulator, str(place)]


@pytest.mark.long
def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    """The tests of sums, groups, windows, maps and batch norm over a core that looks at every address and every sum."""
    build, source = tmp_path / "build", tmp_path / "src"
    run("cmake", "-S", ROOT, "-B", build, "-G", "Ninja", "-DSANITIZE=ON")
    run("cmake", "--build", build)
    shutil.copytree(
        ROOT / "src" / "gammabeta", source / "gammabeta", ignore=shutil.ignore_patterns("_core.*", "__pycache__")
    )
    run("cmake", "--install", build, "--prefix", source)
    asan = run("g++", "-print-file-name=libasan.so").stdout.decode().strip()
    kernels = ("rounding", "batchnorm_kernels", "binding", "one_column")
    names = ("test_affine", "statistics", *(f"kernels/test_{name}" for name in kernels))
    tests = [ROOT / "tests" / (name if name == "statistics" else f"{name}.py") for name in names]
    environment = {
        **os.environ,
        "PYTHONPATH": str(source),
        "LD_PRELOAD": asan,
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }
    options = ("-q", "-x", "-n", "0", "-p", "no:randomly", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *options, *tests]
    done = run(*command, env=environment, cwd=ROOT)
    assert b" passed" in done.stdout
