"""scikit-learn's own tests and estimator checks, run on our classes in the place of its own.

The module of scikit-learn that tests its scalers is executed with the two names replaced, as by a user's import line;
every test in it that mentions one of the scalers is collected here.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import sklearn.preprocessing
import sklearn.preprocessing._data
from sklearn.preprocessing.tests import test_data as theirs
from sklearn.utils.estimator_checks import _get_check_estimator_ids, estimator_checks_generator

import gammabeta as gb

OURS = {"StandardScaler": gb.StandardScaler, "MinMaxScaler": gb.MinMaxScaler}
MENTIONS = (*OURS, "minmax_scale")

# Tests of theirs that ours are not to pass, each with the reason.
DESELECTED: dict[str, str] = {}

pytestmark = pytest.mark.filterwarnings("default")  # theirs expect, and give, warnings


class _Listed(ast.NodeTransformer):
    """Parameters of tests as lists: theirs are generators too, which pytest is about to refuse."""

    def visit_Call(self, node: ast.Call) -> ast.Call:
        if isinstance(node.func, ast.Attribute) and node.func.attr == "parametrize":
            node.args[1] = ast.Call(ast.Name("list", ast.Load()), [node.args[1]], [])
        return node


def _swapped() -> dict[str, Any]:
    """The functions of scikit-learn's test module that mention a scaler, with ours in place of its own."""
    source = Path(theirs.__file__).read_text(encoding="utf-8")
    wanted = set()
    module = ast.parse(source)
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            text = "\n".join(ast.unparse(part) for part in (node, *node.decorator_list))
            if any(name in text for name in MENTIONS):
                wanted.add(node.name)
    namespace: dict[str, Any] = {"__name__": __name__, "__file__": theirs.__file__}
    with patch.multiple(sklearn.preprocessing, **OURS):
        exec(compile(ast.fix_missing_locations(_Listed().visit(module)), theirs.__file__, "exec"), namespace)
    assert namespace["StandardScaler"] is gb.StandardScaler
    return {name: namespace[name] for name in wanted}


@pytest.fixture(autouse=True)
def _ours_everywhere():
    """scikit-learn's functions, such as `minmax_scale`, use our classes too."""
    with patch.multiple(sklearn.preprocessing._data, **OURS), patch.multiple(sklearn.preprocessing, **OURS):
        yield


_THEIRS = _swapped()
globals().update({name: test for name, test in _THEIRS.items() if name not in DESELECTED})


def test_their_tests_are_there():
    """scikit-learn 1.9 has 39 tests that mention a scaler: were their module to move, none would be run."""
    assert len(_THEIRS) >= 35
    assert set(DESELECTED) <= set(_THEIRS)


ESTIMATORS = (
    gb.StandardScaler(),
    gb.StandardScaler(with_mean=False),
    gb.StandardScaler(with_std=False),
    gb.StandardScaler(with_mean=False, with_std=False),
    gb.StandardScaler(ddof=1),
    gb.MinMaxScaler(),
    gb.MinMaxScaler(feature_range=(-1, 2), clip=True),
)
CHECKS = [pair for estimator in ESTIMATORS for pair in estimator_checks_generator(estimator)]


@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=_get_check_estimator_ids)
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.skipif("SCIPY_ARRAY_API" in os.environ, reason="this is the run that the test starts")
def test_array_api_dispatch():
    """Their tests of dispatch over torch's tensors and others, which run only where SciPy was told to before."""
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-k", "array_api", __file__]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    assert "passed" in run.stdout
