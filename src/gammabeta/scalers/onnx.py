"""A scaler's map as ONNX operators, for skl2onnx, which asks an estimator for what it has no converter of.

skl2onnx calls `onnx_shape_calculator` and `onnx_converter` of estimators that it does not know, so that nothing has to
be registered; all that is needed of it and of onnx is in what it passes. The graph is `transform`'s own arithmetic, in
float64 and in the same order: cast, subtract, multiply, add, clip, and cast to the result's type. scikit-learn's
`StandardScaler` is converted to the input's type, where 10⁶ ± 1 in float32 comes out a sixteenth off.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from gammabeta.errors import DataError

_DOUBLE = 11  # onnx.TensorProto.DOUBLE
_CLIPS = 12  # the opset whose Clip takes float64

Converter = Callable[[Any, Any, Any], None]


class OnnxMixin:
    """The mixin by which `skl2onnx.to_onnx` converts a scaler, alone or within a pipeline."""

    def onnx_shape_calculator(self) -> Callable[[Any], None]:
        """A function that skl2onnx calls with its operator, to set the shape of the output."""
        _check(self)
        return _set_shape

    def onnx_converter(self) -> Converter:
        """A function that skl2onnx calls with its scope, operator and container, to add the nodes of `transform`.

        They are in float64 whatever the input is, and rounded once to float32 or float64, so that the result is
        `transform`'s own. Infinities, which `transform` refuses, stay infinite.

        Raises:
            DataError: the scaler scales along other axes than a table's rows, or so large values that the graph's
                arithmetic would overflow.
        """
        _check(self)
        return _add_nodes


def _check(scaler: Any) -> None:
    check_is_fitted(scaler)
    if scaler.axis not in (None, 0):
        raise DataError(f"skl2onnx converts scalers of tables: axis must be None or 0, got {scaler.axis!r}")


def _set_shape(operator: Any) -> None:
    given = [variable.type.shape for variable in operator.inputs]
    rows = given[0][0] if given[0] else None
    operator.outputs[0].type.shape = [rows, operator.raw_operator.n_features_in_]


def _add_nodes(scope: Any, operator: Any, container: Any) -> None:
    scaler, result = operator.raw_operator, operator.outputs[0]

    def node(kind: str, *inputs: str, **attributes: Any) -> str:
        name: str = scope.get_unique_variable_name("scaled")
        container.add_node(kind, list(inputs), name, name=scope.get_unique_operator_name(kind), **attributes)
        return name

    def constant(values: Any) -> str:
        name: str = scope.get_unique_variable_name("parameter")
        values = np.asarray(values, np.float64)
        container.add_initializer(name, _DOUBLE, list(values.shape), values.reshape(-1).tolist())
        return name

    columns = [node("Cast", variable.full_name, to=_DOUBLE) for variable in operator.inputs]
    x = columns[0] if len(columns) == 1 else node("Concat", *columns, axis=1)
    affine = scaler.affine_
    affine.refuse_extremes("a graph of ONNX")
    x = node("Mul", node("Sub", x, constant(affine.center)), constant(affine.slope))
    x = node("Add", x, constant(affine.shift))
    if getattr(scaler, "clip", False):
        low, high = map(constant, scaler.feature_range)
        x = node("Clip", x, low, high) if container.target_opset >= _CLIPS else node("Min", node("Max", x, low), high)
    kind = result.type.to_onnx_type().tensor_type.elem_type
    container.add_node("Cast", x, result.full_name, name=scope.get_unique_operator_name("Cast"), to=kind)
