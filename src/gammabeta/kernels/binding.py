"""The compiled core, loaded: `function(name)` gives one of its kernels, as Python calls it.

The library lies beside this file; it is built with the package. It holds every kernel once for each processor level;
the best that this machine runs is taken, or what the environment variable `GAMMABETA_LEVEL` names. The numbers do not
depend on it but for batch norm's last digits.

A kernel takes contiguous arrays of exactly its types, writable where it writes, and numbers; it checks what it is given
(`core/edge.hpp`), lets other threads run meanwhile and gives an integer back.
"""

import ctypes
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from gammabeta import __version__

VARIABLE = "GAMMABETA_LEVEL"

# What the core calls of Python, in the order of core/python.hpp.
_FUNCTIONS = (
    "PyObject_GetBuffer",
    "PyBuffer_Release",
    "PyLong_AsLongLong",
    "PyFloat_AsDouble",
    "PyErr_Occurred",
    "PyErr_SetString",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
    "PyLong_FromLongLong",
    "PyCFunction_NewEx",
)

Kernel = Callable[..., int]

# The core's letters, NumPy's where `long` has 64 bits. A dtype's own letter depends on the machine: int64 has two.
_LETTERS = {
    np.dtype(name): letter
    for name, letter in zip(
        (
            "float16",
            "float32",
            "float64",
            "bool",
            "int8",
            "uint8",
            "int16",
            "uint16",
            "int32",
            "uint32",
            "int64",
            "uint64",
        ),
        "efd?bBhHiIlL",
        strict=True,
    )
}


def _library() -> ctypes.PyDLL:
    # Named as an extension module is, so that an editable install finds it, and builds it anew where it is out of date.
    place = find_spec("gammabeta.kernels._core")
    if place is None or place.origin is None:
        raise ImportError("gammabeta's compiled core is missing beside gammabeta/kernels; install gammabeta anew")
    try:
        return ctypes.PyDLL(place.origin)
    except OSError as error:
        raise ImportError(
            f"gammabeta's compiled core cannot be loaded: {error}; install gammabeta anew for this machine"
        ) from None


def _checked(library: ctypes.PyDLL) -> None:
    """Refuse a library of another version than the Python files beside it."""
    library.gammabeta_version.restype = ctypes.c_char_p
    version = library.gammabeta_version().decode()
    if version != __version__:
        raise ImportError(
            f"gammabeta {__version__} lies beside a compiled core of version {version}; install gammabeta anew"
        )


def _levels(library: ctypes.PyDLL) -> dict[str, bool]:
    """Every level, from the lowest to the highest, and whether this machine runs it."""
    library.gammabeta_level_count.restype = ctypes.c_int64
    library.gammabeta_level_name.restype = ctypes.c_char_p
    library.gammabeta_level_runs.restype = ctypes.c_int64
    places = range(library.gammabeta_level_count())
    return {
        library.gammabeta_level_name(ctypes.c_int64(i)).decode(): bool(library.gammabeta_level_runs(ctypes.c_int64(i)))
        for i in places
    }


def _chosen(levels: dict[str, bool], asked: str | None) -> str:
    """The level to take: the one asked for, or the highest that this machine runs."""
    here = [name for name, runs in levels.items() if runs]
    if not here:
        raise ImportError(f"gammabeta needs a processor of level {next(iter(levels))} (x86-64-v2) or higher")
    if not asked:
        return here[-1]
    if asked not in here:
        raise ImportError(f"{VARIABLE} must be one of {', '.join(here)} on this machine, got {asked!r}")
    return asked


def _given(library: ctypes.PyDLL) -> None:
    """Let the core know Python's functions."""
    api = ctypes.pythonapi
    places = [ctypes.cast(getattr(api, name), ctypes.c_void_p).value for name in _FUNCTIONS]
    places.append(ctypes.addressof(ctypes.c_char.in_dll(api, "_Py_NoneStruct")))
    places += [ctypes.c_void_p.in_dll(api, name).value for name in ("PyExc_ValueError", "PyExc_TypeError")]
    library.gammabeta_python((ctypes.c_void_p * len(places))(*places))


def _loaded() -> tuple[str, dict[str, Kernel], dict[str, int]]:
    """The level, its kernels as Python calls them, and where these are."""
    library = _library()
    _checked(library)
    levels = _levels(library)
    level = _chosen(levels, os.environ.get(VARIABLE))
    _given(library)
    at = ctypes.c_int64(list(levels).index(level))
    library.gammabeta_name.restype = ctypes.c_char_p
    library.gammabeta_address.restype = ctypes.c_void_p
    library.gammabeta_function.restype = ctypes.py_object
    functions: dict[str, Kernel] = {}
    addresses: dict[str, int] = {}
    index = 0
    while (name := library.gammabeta_name(at, ctypes.c_int64(index))) is not None:
        functions[name.decode()] = library.gammabeta_function(at, ctypes.c_int64(index))
        addresses[name.decode()] = library.gammabeta_address(at, ctypes.c_int64(index)) or 0
        index += 1
    return level, functions, addresses


LEVEL, _KERNELS, _ADDRESSES = _loaded()
"""The processor level in use."""


def function(name: str) -> Kernel:
    """A kernel, by its name in the core."""
    return _KERNELS[name]


def by_type(name: str, letters: str = "fd") -> dict[str, Kernel]:
    """A kernel of several types: of each NumPy letter, in which its names end."""
    return {letter: _KERNELS[f"{name}_{letter}"] for letter in letters}


def letter(dtype: np.dtype[Any]) -> str:
    """The letter of a type in kernels' names, bfloat16's being E; empty for others, such as those of other byte orders.

    >>> letter(np.dtype(np.int64)), letter(np.dtype(">f4"))
    ('l', '')
    """
    return _LETTERS.get(dtype, "") or ("E" if dtype.name == "bfloat16" and dtype.isnative else "")


def address(name: str) -> int:
    """Where the function of a kernel is that callers which are not Python call."""
    return _ADDRESSES[name]
