"""The wheels for Linux, x86_64 and aarch64, into dist/: cross-compiled by Zig for glibc 2.17, tagged, and audited.

    pip install scikit-build-core cmake ninja ziglang wheel auditwheel && python tools/wheels.py

One wheel serves every CPython from 3.11 on. `auditwheel` refuses one whose core asks for a newer symbol than its tag
allows, or for a library beside libc's. `--try` builds for Windows and macOS too and throws that away: that it builds is
all that is known of those.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
GLIBC = "2.17"  # manylinux2014's
LINUX = ("x86_64", "aarch64")
OTHERS = {"Windows": ("x86_64-windows-gnu", "AMD64"), "Darwin": ("aarch64-macos", "arm64")}


def run(*command: str | Path, **variables: str) -> str:
    """What a program prints; its failure ends this one."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=os.environ | variables,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


def compiler(target: str) -> dict[str, str]:
    """Zig for a target, as a build finds it."""
    return {"CXX": f"{sys.executable} -m ziglang c++ -target {target}"}


def wheel(machine: str, to: Path) -> Path:
    """The wheel of a machine, audited."""
    tag = f"manylinux_{GLIBC.replace('.', '_')}_{machine}"
    system = f"-DCMAKE_SYSTEM_NAME=Linux;-DCMAKE_SYSTEM_PROCESSOR={machine}"
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    with tempfile.TemporaryDirectory() as place:
        settings = [f"--config-settings=cmake.args={system}", f"--wheel-dir={place}"]
        run(*build, *settings, ".", **compiler(f"{machine}-linux-gnu.{GLIBC}"))
        (made,) = Path(place).glob("*.whl")
        run(sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", tag, made)
        (tagged,) = Path(place).glob("*.whl")
        said = run(sys.executable, "-m", "auditwheel", "show", tagged)
        if f'"{tag}"' not in said:
            sys.exit(f"{tagged.name} is not what its tag says:\n{said}")
        to.mkdir(exist_ok=True)
        return tagged.replace(to / tagged.name)


def builds(system: str) -> None:
    """Whether the core builds for a system."""
    target, machine = OTHERS[system]
    with tempfile.TemporaryDirectory() as place:
        run(
            *("cmake", "-S", ROOT, "-B", place, "-G", "Ninja"),
            *(f"-DCMAKE_SYSTEM_NAME={system}", f"-DCMAKE_SYSTEM_PROCESSOR={machine}"),
            **compiler(target),
        )
        run("cmake", "--build", place)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--try", action="store_true", dest="others", help="build for Windows and macOS, and keep nothing"
    )
    others = parser.parse_args().others
    for machine in LINUX:
        sys.stdout.write(f"{wheel(machine, ROOT / 'dist')}\n")
    for system in OTHERS if others else ():
        builds(system)
        sys.stdout.write(f"the core builds for {system}\n")
