"""A map as an ONNX model."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.errors import DataError

_OPSET, _IR = 17, 8  # what runtimes of 2022 read; nothing here is newer


def model(parameters: tuple[NDArray[np.float64], ...], limits: tuple[float, float] | None, dtype: str) -> Any:
    """The model. parameters: center, slope and shift, of the features' shape."""
    if dtype not in ("float32", "float64"):
        raise DataError(f"dtype must be float32 or float64, got {dtype!r}")
    import onnx

    helper: Any = onnx.helper
    double = onnx.TensorProto.DOUBLE
    outer = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    constants = dict(zip(("center", "slope", "shift"), parameters, strict=True))
    steps = [("Cast", ["x"], {"to": double}), ("Sub", ["center"], {}), ("Mul", ["slope"], {}), ("Add", ["shift"], {})]
    if limits is not None:
        constants |= {name: np.array(end, np.float64) for name, end in zip(("low", "high"), limits, strict=True)}
        steps.append(("Clip", ["low", "high"], {}))
    steps.append(("Cast", [], {"to": outer}))
    nodes, value = [], ""
    for i, (operation, given, attributes) in enumerate(steps):
        result = "y" if i == len(steps) - 1 else f"{operation.lower()}_{i}"
        nodes.append(helper.make_node(operation, [value, *given] if value else given, [result], **attributes))
        value = result
    ends = (helper.make_tensor_value_info(name, outer, ["rows", *parameters[0].shape]) for name in ("x", "y"))
    graph = helper.make_graph(
        nodes,
        "gammabeta",
        *([end] for end in ends),
        [onnx.numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR, producer_name="gammabeta"
    )
    onnx.checker.check_model(made)
    return made
