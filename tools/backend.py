"""Builds the package: scikit-build-core, with a compiler from the package index where the machine has none that will
do.

A machine with GCC 12, Clang 15 or newer uses that (the environment's CXX first). Elsewhere the build asks for
`ziglang`, whose `zig c++` is Clang, and needs nothing else of the machine; CMake and Ninja come the same way where they
are missing.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scikit_build_core import build as builder
from scikit_build_core.build import (
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = dict[str, Any] | None

_ZIG = "ziglang>=0.13"
_PROGRAM = """
#include <bit>
#include <utility>
template <int... I> int sum(std::integer_sequence<int, I...>) { return (I + ...); }
int main() {
    const auto bits = []<class T>(T x) { return std::bit_cast<int>(x); };
    return bits(0.0f) + sum(std::make_integer_sequence<int, 1>{});
}
"""


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """What the build needs beside `build-system.requires`."""
    return [*builder.get_requires_for_build_wheel(config_settings), *_compiler_requires()]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    """The same for an editable install."""
    return [*builder.get_requires_for_build_editable(config_settings), *_compiler_requires()]


def build_wheel(directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Build the wheel."""
    with _compiler():
        return str(builder.build_wheel(directory, config_settings, metadata_directory))


def build_editable(directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Build an editable wheel; where CMake and Ninja are the machine's own, an import builds what has changed since."""
    lasting = shutil.which("cmake") and shutil.which("ninja") and _compilers()
    rebuilds = {"editable.rebuild": "true", "editable.verbose": "false", "build-dir": "build/editable"}
    settings = (rebuilds if lasting else {}) | (config_settings or {})
    with _compiler():
        return str(builder.build_editable(directory, settings, metadata_directory))


def _compilers() -> list[str]:
    """The machine's compilers that build the core, the environment's CXX before others."""
    asked = os.environ.get("CXX")
    return [name for name in ([asked] if asked else ["c++", "g++", "clang++"]) if _builds(name)]


def _builds(compiler: str) -> bool:
    """Whether a compiler knows what the core is written in."""
    command = shlex.split(compiler)
    if shutil.which(command[0]) is None:
        return False
    with tempfile.TemporaryDirectory() as place:
        source = Path(place, "try.cpp")
        source.write_text(_PROGRAM)
        made = [*command, "-std=c++20", "-c", str(source), "-o", str(Path(place, "try.o"))]
        return subprocess.run(made, capture_output=True, check=False).returncode == 0


def _compiler_requires() -> list[str]:
    return [] if _compilers() else [_ZIG]


@contextmanager
def _compiler() -> Iterator[None]:
    """Let CMake find a compiler: the machine's, or Zig's, whose cache is a temporary folder."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as cache:
        if found := _compilers():
            os.environ["CXX"] = found[0]
        else:
            os.environ["CXX"] = _zig()
            os.environ.setdefault("ZIG_GLOBAL_CACHE_DIR", cache)  # a home may be missing or not writable
            os.environ.setdefault("ZIG_LOCAL_CACHE_DIR", cache)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _zig() -> str:
    """Zig as a C++ compiler."""
    spec = find_spec("ziglang")
    if spec is None or spec.origin is None:
        sys.exit(
            "gammabeta's core needs a C++20 compiler, and none was found: install GCC 12, Clang 15 or newer "
            "(Debian: apt-get install g++; macOS: xcode-select --install), or `pip install ziglang` beside this build"
        )
    program = Path(spec.origin).with_name("zig.exe" if os.name == "nt" else "zig")
    return f"{shlex.quote(str(program))} c++"
