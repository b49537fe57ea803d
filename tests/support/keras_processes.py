"""Keras' tests, each an item of pytest's, though Keras has one backend a process: those selected run in one for each.

An outer test has the parameters (backend, name), one for each test function of an inner file: `-k` and node ids select
these. The first that runs starts a process for all of its file and backend that this run has selected; each reports its
own cases as subtests.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import pytest

BACKENDS = ("tensorflow", "jax", "torch")
SUPPORT = Path(__file__).parent
Outcomes = dict[str, dict[str, str]]
"""Why each case of a test function failed, "" if it passed: {function: {case: reason}}."""

_known: dict[tuple[Path, str, tuple[str, ...]], tuple[Outcomes, str]] = {}


def inside(*files: str, backends: tuple[str, ...] = BACKENDS, whole: bool = False) -> Any:
    """Parametrize a test by backend and by the test functions that the inner files define there.

    whole: whether functions and cases that are long on a backend are among them.
    """
    options = ("-m", "long or not long") if whole else ("-m", "not long")
    cases = [
        pytest.param(backend, file, name, options, id=f"{backend}-{name}")
        for backend in backends
        for file in files
        for name in functions(SUPPORT / file, backend, whole)
    ]
    return pytest.mark.parametrize(("backend", "file", "name", "options"), cases)


def functions(file: Path, backend: str, whole: bool = False) -> Iterator[str]:
    """The names of a file's test functions; those below `if BACKEND == …` where that is so.

    whole: whether those are among them that `@long_but_on(…)` makes long on that backend.
    """
    waiting = list(ast.parse(file.read_text()).body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.If):
            holds = eval(ast.unparse(node.test), {"BACKEND": backend})
            waiting = [*(node.body if holds else node.orelse), *waiting]
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            quick = [d.args for d in node.decorator_list if isinstance(d, ast.Call) and _name(d.func) == "long_but_on"]
            if whole or all(backend in map(ast.literal_eval, names) for names in quick):
                yield node.name


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def run(backend: str, *arguments: str) -> tuple[Outcomes, str]:
    """What pytest finds in a new process, where nothing has imported Keras yet, and what it prints."""
    environment = {**os.environ, "KERAS_BACKEND": backend}
    # Two devices, for a batch that is spread over them. The run around this one has asked for the frameworks already.
    environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment.pop("CI", None)
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", f"--junitxml={report}"]
        done = subprocess.run(
            [*command, *arguments], cwd=SUPPORT.parents[1], env=environment, capture_output=True, text=True, timeout=600
        )
        said = f"on {backend}:\n{done.stdout[-20_000:]}\n{done.stderr[-5_000:]}"
        cases = ElementTree.parse(report).iter("testcase") if report.exists() else ()
        outcomes: Outcomes = {}
        for case in cases:
            name, why = case.get("name", ""), [f"{part.tag}: {part.text}" for part in case if part.tag in _BAD]
            outcomes.setdefault(name.partition("[")[0], {})[name] = "\n".join(why)
    return outcomes, said


_BAD = ("failure", "error", "skipped")  # nothing may be left out


def check(request: pytest.FixtureRequest, subtests: pytest.Subtests) -> None:
    """Report the cases of this item's inner test; before the first one of a file, run all that are selected of it."""
    own = request.node.callspec.params
    key = request.path, own["backend"], own["options"]
    if key not in _known:
        items = (item for item in request.session.items if item.path == request.path and hasattr(item, "callspec"))
        chosen = [item.callspec.params for item in items]
        selected = [p for p in chosen if (p.get("backend"), p.get("options")) == key[1:]]
        places = [f"{SUPPORT / p['file']}::{p['name']}" for p in selected]
        _known[key] = run(own["backend"], *own["options"], *places)
    outcomes, said = _known[key]
    assert own["name"] in outcomes, f"{own['name']} has not run {said}"
    for case, why in outcomes[own["name"]].items():
        with subtests.test(case):
            assert not why, f"on {own['backend']}: {why}"
