"""scikit-learn's own tests and estimator checks, run on our classes in the place of its own.

The modules of scikit-learn that test its scalers, and compositions of estimators, are executed with the two names
replaced, as by a user's import line; every test in them that mentions one of the scalers is collected here.
"""

import ast
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import sklearn.preprocessing
import sklearn.preprocessing._data
from sklearn.utils.estimator_checks import _get_check_estimator_ids, estimator_checks_generator

import gammabeta as gb

OURS = {"StandardScaler": gb.StandardScaler, "MinMaxScaler": gb.MinMaxScaler}
MENTIONS = (*OURS, "minmax_scale")

# Tests of theirs that ours are not to pass, each with the reason.
_MORE = "it lists every parameter, and ours have ddof and axis too"
DESELECTED = {
    "test_column_transformer__column_transformer_get_set_params": _MORE,
    "test_column_transformer__column_transformer_get_set_params_with_remainder": _MORE,
}

pytestmark = pytest.mark.filterwarnings("default")  # theirs expect, and give, warnings


UNKNOWN = re.compile("thread_unsafe|no_check_spmatrix")  # marks that scikit-learn's configuration declares


class _Listed(ast.NodeTransformer):
    """Parameters of tests as lists: theirs are generators too, which pytest is about to refuse. No marks of theirs."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.decorator_list = [mark for mark in node.decorator_list if not UNKNOWN.search(ast.unparse(mark))]
        self.generic_visit(node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.Call:
        if isinstance(node.func, ast.Attribute) and node.func.attr == "parametrize":
            node.args[1] = ast.Call(ast.Name("list", ast.Load()), [node.args[1]], [])
        return node


def _swapped(module_name: str) -> dict[str, Any]:
    """The functions of a test module of scikit-learn that mention a scaler, with ours in place of its own."""
    spec = find_spec(module_name)  # which does not import it: some of its marks are not known here
    file = spec.origin
    source = Path(file).read_text(encoding="utf-8")
    wanted = set()
    module = ast.parse(source)
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            text = "\n".join(ast.unparse(part) for part in (node, *node.decorator_list))
            if any(name in text for name in MENTIONS):
                wanted.add(node.name)
    namespace: dict[str, Any] = {"__name__": __name__, "__file__": file, "__package__": spec.parent}
    with patch.multiple(sklearn.preprocessing, **OURS):
        exec(compile(ast.fix_missing_locations(_Listed().visit(module)), file, "exec"), namespace)
    assert any(namespace.get(name) is ours for name, ours in OURS.items())
    return {name: namespace[name] for name in wanted}


@pytest.fixture(autouse=True)
def _ours_everywhere():
    """scikit-learn's functions, such as `minmax_scale`, use our classes too."""
    with patch.multiple(sklearn.preprocessing._data, **OURS), patch.multiple(sklearn.preprocessing, **OURS):
        yield


@pytest.fixture
def global_random_seed():
    """What scikit-learn's own configuration of pytest gives to its tests."""
    return 42


COMPOSITIONS = (
    "sklearn.compose.tests.test_column_transformer",
    "sklearn.compose.tests.test_target",
    "sklearn.model_selection.tests.test_classification_threshold",
    "sklearn.model_selection.tests.test_search",
    "sklearn.tests.test_base",
    "sklearn.tests.test_pipeline",
    "sklearn.utils.tests.test_estimator_checks",
    "sklearn.utils.tests.test_set_output",
)
_THEIRS = _swapped("sklearn.preprocessing.tests.test_data")
for _module in COMPOSITIONS:
    _short = _module.rpartition(".")[2]
    _THEIRS |= {f"{_short}__{name.removeprefix('test_')}": test for name, test in _swapped(_module).items()}
_SLOW = "test_estimator_checks__estimator_with_set_output"  # half a minute: all checks of an estimator, twice
_THEIRS[_SLOW] = pytest.mark.long(_THEIRS[_SLOW])
globals().update({name: test for name, test in _THEIRS.items() if name not in DESELECTED})


def test_their_tests_are_there():
    """scikit-learn 1.9 has 39 tests of scalers, and more of compositions: were they to move, none would be run."""
    assert sum("__" not in name for name in _THEIRS) >= 35
    assert sum("__" in name for name in _THEIRS) >= 35
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
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-k", "array_api", __file__]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    assert "passed" in run.stdout
