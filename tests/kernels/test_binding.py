"""The checked edge of the compiled core: what a kernel cannot take is an error, whatever it is, and never a crash."""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gammabeta
from gammabeta.kernels import binding

ERRORS = (TypeError, ValueError, BufferError, OverflowError)


def rows_arguments() -> list[Any]:
    """What a kernel takes: affine_rows_fd(x, y, first, last, center, scale, shift)."""
    return [np.arange(12, dtype=np.float32), np.empty(12), 0, 12, np.zeros(3), np.ones(3), np.zeros(3)]


def changed(place: int, value: Any) -> list[Any]:
    arguments = rows_arguments()
    arguments[place] = value
    return arguments


def read_only(x: np.ndarray) -> np.ndarray:
    x.flags.writeable = False
    return x


KERNEL = binding.function("affine_rows_fd")


def test_what_a_kernel_takes() -> None:
    arguments = rows_arguments()
    assert KERNEL(*arguments) == 0
    np.testing.assert_array_equal(arguments[1], np.arange(12))
    for x in read_only(np.arange(12, dtype=np.float32)), np.arange(12, dtype=np.float32).reshape(3, 4):
        assert KERNEL(*changed(0, x)) == 0
    assert KERNEL(*changed(3, np.int64(6))) == 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (rows_arguments()[:-1], TypeError, "another number of arguments"),
        ([*rows_arguments(), 1], TypeError, "another number of arguments"),
        ([], TypeError, "another number of arguments"),
        (changed(0, None), TypeError, "NoneType"),
        (changed(0, [1.0]), TypeError, "list"),
        (changed(0, "text"), TypeError, "str"),
        (changed(0, np.arange(12.0)), TypeError, "of another type than its own"),
        (changed(0, np.arange(12, dtype=np.int32)), TypeError, "of another type than its own"),
        (changed(0, np.arange(12, dtype=">f4")), TypeError, "of another type than its own"),
        (changed(0, np.zeros(12, "f4,f4")), TypeError, "of another type than its own"),
        (changed(0, b"\0" * 48), TypeError, "of another type than its own"),
        (changed(0, np.zeros(24, np.float32)[::2]), ValueError, "contiguous"),
        (changed(0, np.zeros(12, np.float32)[::-1]), ValueError, "contiguous"),
        (changed(0, np.zeros((4, 3), np.float32).T), ValueError, "contiguous"),
        (changed(0, np.broadcast_to(np.float32(1), 12)), ValueError, "contiguous"),
        (
            changed(0, np.zeros(49, np.uint8)[1:].view(np.float32)),
            TypeError,
            "of another type than its own",
        ),  # says NumPy
        (changed(0, memoryview(bytearray(49))[1:].cast("f")), ValueError, "not aligned"),
        (changed(1, read_only(np.empty(12))), ValueError, "read-only"),
        (changed(1, np.empty(11)), ValueError, "do not fit"),
        (changed(0, np.empty(11, np.float32)), ValueError, "do not fit"),
        (changed(2, -1), ValueError, "do not fit"),
        (changed(2, 1), ValueError, "do not fit"),
        (changed(3, 13), ValueError, "do not fit"),
        (changed(3, 2**63 - 1), ValueError, "do not fit"),
        (changed(3, 2**63), OverflowError, "int"),
        (changed(3, 1.5), TypeError, "float"),
        (changed(3, None), TypeError, "NoneType"),
        (changed(4, np.zeros(0)), ValueError, "do not fit"),
        (changed(5, np.zeros(2)), ValueError, "do not fit"),
    ],
)
def test_what_a_kernel_does_not_take(arguments: list[Any], error: type[Exception], message: str) -> None:
    kept = [np.array(a) if isinstance(a, np.ndarray) else a for a in arguments]
    with pytest.raises(error, match=message):
        KERNEL(*arguments)
    for before, after in zip(kept, arguments, strict=True):
        if isinstance(after, np.ndarray) and after.flags.writeable and after.dtype.kind == "f":
            np.testing.assert_array_equal(before, after)


def test_an_array_that_was_refused_is_free() -> None:
    """A buffer that stays held would keep its array from being resized."""
    for arguments in changed(6, np.zeros(3, np.float32)), changed(3, 13), rows_arguments():
        if arguments[3] == 12 and arguments[6].dtype == np.float64:
            KERNEL(*arguments)
        else:
            with pytest.raises(ERRORS):
                KERNEL(*arguments)
        arguments[1].resize(13, refcheck=False)
        memory = bytearray(48)
        with pytest.raises(ERRORS):
            KERNEL(*changed(0, memory))
        memory.append(0)  # a bytearray that is held refuses


DTYPES = [np.float16, np.float32, np.float64, np.bool_, *(f"{s}{n}" for s in "iu" for n in (1, 2, 4, 8))]
SIZES = [0, 1, 2, 3, 4, 8, 15, 16, 24, 63, 64, 128, 480 + 3, 4096, 4097]
MULTIPLES = [1, 1, 1, 1, 2, 3, 5, 8, 9]
INTEGERS = [0, 1, 2, 3, 7, 8, 64, -1, -2, 2**31, -(2**31), 2**62, -(2**63), 2**63 - 1, 2**63, 1.0, None, True]
OWN = ("affine", "factorize", "groups", "span", "histogram", "distinct", "limbs", "rolling")


def some_array(rng: np.random.Generator, dtype: Any, rows: int) -> Any:
    """An array of small numbers, mostly of a multiple of `rows`, as kernels ask for; seldom strided or read-only."""
    n = rows * int(rng.choice(MULTIPLES)) if rng.random() < 0.9 else int(rng.choice(SIZES))
    numbers = rng.integers(-2, 9, 2 * n) if rng.random() < 0.7 else rng.integers(0, 3, 2 * n)
    with np.errstate(all="ignore"):
        x = numbers.astype(dtype)
        if x.dtype.kind == "f" and rng.random() < 0.5:
            x = (x * rng.choice([1e-30, 1e30, np.inf, np.nan, 0.0])).astype(dtype)
    odd = rng.random()
    x = x[::2] if odd < 0.02 else x[:n]
    x.flags.writeable = odd < 0.97
    return x


def counted(kernel: Callable[..., int]) -> int:
    """How many arguments a kernel takes: with any other number it says so."""
    for many in range(40):
        try:
            kernel(*[None] * many)
        except TypeError as error:
            if "number of arguments" not in str(error):
                return many
        except ERRORS:
            return many
        else:
            return many
    raise AssertionError("no kernel takes 40 arguments")


def kinds(kernel: Callable[..., int], many: int) -> list[Any]:
    """The type of each argument: a dtype, or int. Arguments are read in their order: the first refused is told."""
    found: list[Any] = []
    for _ in range(many):
        for kind in (int, *DTYPES):
            given = [1 if k is int else np.zeros(1, k) for k in [*found, kind]] + ["wrong"] * (many - len(found) - 1)
            try:
                kernel(*given)
            except TypeError as error:
                if "'str'" in str(error) or "str" in str(error):
                    found.append(kind)
                    break
            except ERRORS:
                found.append(kind)
                break
            else:
                found.append(kind)
                break
        else:
            found.append(np.uint16)  # bfloat16's bits
    return found


def fuzzed(name: str, rounds: int, seed: int) -> tuple[int, int]:
    """Calls of a kernel with random arguments: how many it took and how many it refused."""
    kernel = binding.function(name)
    rng = np.random.default_rng([seed, *name.encode()])
    types = kinds(kernel, counted(kernel))
    taken = refused = 0
    for _ in range(rounds):
        arguments, rows = [], int(rng.choice(SIZES[:8]))
        for kind in types:
            if kind is int and rng.random() < 0.98:
                arguments.append(INTEGERS[int(rng.integers(0, 7 if rng.random() < 0.8 else len(INTEGERS)))])
            else:
                own = kind if kind is not int and rng.random() < 0.98 else DTYPES[int(rng.integers(len(DTYPES)))]
                arguments.append(some_array(rng, own, rows))
        try:
            kernel(*arguments)
            taken += 1
        except ERRORS:
            refused += 1
    return taken, refused


NAMES = sorted(name for name in binding._KERNELS if name.startswith(OWN))


@pytest.mark.parametrize("name", NAMES)
def test_random_arguments(name: str) -> None:
    taken, refused = fuzzed(name, 150, 0)
    assert taken + refused == 150 and refused


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_many_random_arguments(name: str) -> None:
    taken, refused = fuzzed(name, 5000, 1)
    assert taken + refused == 5000 and refused


# Loading


def imported(folder: Path, **variables: str) -> str:
    """What is said by a process that imports the package's copy in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder), **variables}
    command = [sys.executable, "-W", "ignore", "-c", "from gammabeta.kernels import binding; print(binding.LEVEL)"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=folder)
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with what of the package loads the core."""
    source = Path(gammabeta.__file__).parent
    target = tmp_path / "gammabeta"
    (target / "kernels").mkdir(parents=True)
    version = f'__version__ = "{gammabeta.__version__}"\n'
    (target / "__init__.py").write_text(version)
    for name in ("__init__.py", "binding.py"):
        shutil.copy(source / "kernels" / name, target / "kernels" / name)
    library = next((source / "kernels").glob("_core.*"))
    shutil.copy(library, target / "kernels" / library.name)
    return tmp_path


def test_a_library_is_loaded(copy: Path) -> None:
    assert imported(copy, GAMMABETA_LEVEL="") in ("baseline", "avx2", "avx512")
    assert imported(copy, GAMMABETA_LEVEL="baseline") == "baseline"


def test_a_missing_library_is_an_import_error(copy: Path) -> None:
    library = next((copy / "gammabeta" / "kernels").glob("_core.*"))
    library.unlink()
    assert imported(copy).startswith("ImportError: gammabeta's compiled core is missing")
    library.write_bytes(b"no library")
    said = imported(copy)
    assert said.startswith("ImportError: gammabeta's compiled core") and said.endswith(
        "install gammabeta anew for this machine"
    )


def test_another_version_is_an_import_error(copy: Path) -> None:
    (copy / "gammabeta" / "__init__.py").write_text('__version__ = "99.0"\n')
    assert imported(copy) == (
        f"ImportError: gammabeta 99.0 lies beside a compiled core of version {gammabeta.__version__}; "
        "install gammabeta anew"
    )


@pytest.mark.parametrize("level", ["sse9", "AVX2", " ", "avx2,avx512"])
def test_an_unknown_level_is_an_import_error(copy: Path, level: str) -> None:
    said = imported(copy, GAMMABETA_LEVEL=level)
    assert said.startswith("ImportError: GAMMABETA_LEVEL must be one of baseline")
    assert said.endswith(f"on this machine, got {level!r}")


def test_a_processor_that_runs_no_level_is_an_import_error() -> None:
    with pytest.raises(ImportError, match=r"needs a processor of level baseline \(x86-64-v2\) or higher"):
        binding._chosen({"baseline": False, "avx2": False}, None)
    assert binding._chosen({"baseline": True, "avx2": False}, None) == "baseline"
    with pytest.raises(ImportError, match="GAMMABETA_LEVEL must be one of baseline on this machine, got 'avx2'"):
        binding._chosen({"baseline": True, "avx2": False}, "avx2")


def test_every_level_has_the_same_kernels() -> None:
    library = binding._library()
    levels = list(binding._levels(library))
    library.gammabeta_name.restype = ctypes.c_char_p
    names = []
    for at in range(len(levels)):
        found: list[bytes] = []
        while (name := library.gammabeta_name(ctypes.c_int64(at), ctypes.c_int64(len(found)))) is not None:
            found.append(name)
        names.append(found)
    assert all(found == names[0] for found in names) and len(set(names[0])) == len(names[0])
