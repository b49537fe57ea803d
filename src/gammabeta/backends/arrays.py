"""The kind of an array, and conversion of arrays to NumPy and back: the one place that asks.

A framework whose arrays somebody passes has been imported already, so it is looked up in `sys.modules` and never
imported (as einops does). `to_numpy` reads host memory where it lies; `like` gives a result back to the framework,
and to the device, that the input came from.
"""

import os
import sys
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gammabeta.backends import registry

Kind = Literal["numpy", "torch", "tensorflow", "jax", "cupy", "array_api", "other"]

# Where to find the classes of each kind. JAX's tracers are `jax.Array` too, TensorFlow's symbolic tensors `tf.Tensor`:
# NumPy cannot read either, and each framework's own error says so.
_CLASSES: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("torch", ("Tensor",)),
    ("tensorflow", ("Tensor", "Variable")),
    ("jax", ("Array",)),
    ("cupy", ("ndarray",)),
)

_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def kind(x: Any) -> Kind:
    """The kind of array that x is; "other" is a list, a data frame or anything else.

    >>> kind(np.zeros(3)), kind([1.0, 2.0])
    ('numpy', 'other')
    """
    if isinstance(x, (np.ndarray, np.generic)):
        return "numpy"
    for name, classes in _CLASSES:
        module = sys.modules.get(name)
        # A module whose import is still going on, in another thread, may not have its classes yet.
        if module is not None and any(isinstance(x, getattr(module, c, ())) for c in classes):
            return name
    return "array_api" if hasattr(x, "__array_namespace__") and hasattr(x, "device") else "other"


def is_tensor(x: Any) -> bool:
    """Whether x is an array of a framework, for which `to_numpy` and `like` are needed."""
    return kind(x) not in ("numpy", "other")


def elsewhere(x: Any) -> ModuleType | None:
    """The module for exact statistics and maps of x in a GPU's memory; None where x is in the host's.

    Where Triton interprets its kernels, which is how they are tested, it takes any tensor.
    """
    if kind(x) != "torch" or not (x.is_cuda or _INTERPRETED):
        return None
    return registry.module("torch", "statistics")


def is_lazy(x: Any) -> bool:
    """Whether x is a Dask array, which is computed when it is asked for."""
    kind = getattr(sys.modules.get("dask.array"), "Array", None)
    return kind is not None and isinstance(x, kind)


def to_numpy(x: Any) -> Any:
    """x as a NumPy array: a view of x's memory where that is the host's, else a copy. What is no array stays itself.

    bfloat16 is `ml_dtypes.bfloat16`. Views of JAX and TensorFlow arrays are read-only. A torch tensor that requires
    its gradient is refused by torch: `detached` takes it out of its graph first, where that is meant.
    """
    name = kind(x)
    if name == "torch":
        return _from_torch(x)
    if name in ("tensorflow", "jax"):
        return np.asarray(x)
    if name == "cupy":
        return x.get()
    if name == "array_api":
        return np.from_dlpack(x, device="cpu")
    return x


def detached(x: Any) -> Any:
    """A torch tensor without its graph, its values alone; anything else as it is."""
    return x.detach() if kind(x) == "torch" else x


def like(x: Any, result: NDArray[Any]) -> Any:
    """A NumPy result as an array of x's kind, on x's device, of the result's own dtype.

    The result is given away: where the framework allows it the new array is a view of its memory. JAX narrows 64 bits
    to 32 unless x has 64 or `jax_enable_x64` is set, as it does with every array.
    """
    name = kind(x)
    if name == "torch":
        return _to_torch(x, result)
    if name == "tensorflow":
        return _to_tensorflow(x, result)
    if name == "jax":
        return _to_jax(x, result)
    if name == "cupy":
        with x.device:
            return sys.modules["cupy"].asarray(result)
    if name == "array_api":
        return x.__array_namespace__().asarray(result, device=x.device)
    return result


def _from_torch(x: Any) -> NDArray[Any]:
    torch = sys.modules["torch"]
    host = x.cpu().resolve_neg()
    if host.dtype is not torch.bfloat16:
        view: NDArray[Any] = host.numpy()
        return view
    import ml_dtypes

    bits: NDArray[Any] = host.view(torch.int16).numpy()
    return bits.view(ml_dtypes.bfloat16)


def _to_torch(x: Any, result: NDArray[Any]) -> Any:
    torch = sys.modules["torch"]
    host = np.ascontiguousarray(result) if any(step < 0 for step in result.strides) else result
    if host.dtype.name == "bfloat16":
        return torch.from_numpy(host.view(np.int16)).view(torch.bfloat16).to(x.device)
    return torch.from_numpy(host).to(x.device)


def _to_tensorflow(x: Any, result: NDArray[Any]) -> Any:
    # A copy: TensorFlow would take the memory through DLPack, and then abort the process where it is not aligned to 64
    # bytes, which NumPy's never promises to be.
    tensorflow = sys.modules["tensorflow"]
    with tensorflow.device(x.device):
        return tensorflow.convert_to_tensor(result)


def _to_jax(x: Any, result: NDArray[Any]) -> Any:
    jax = sys.modules["jax"]
    with jax.enable_x64(bool(x.dtype.itemsize == 8 or jax.config.jax_enable_x64)):
        return jax.device_put(result, x.sharding)


def namespace(x: Any) -> Any:
    """The module of functions for arrays of x's kind: `numpy`, `torch`, `tensorflow`, `jax.numpy`, `cupy`, …

    >>> namespace(np.zeros(3)) is np
    True
    """
    name = kind(x)
    if name == "array_api":
        return x.__array_namespace__()
    return np if name in ("numpy", "other") else sys.modules["jax.numpy" if name == "jax" else name]


def dtype_name(x: Any) -> str:
    """The name of x's dtype, the same in every framework.

    >>> dtype_name(np.zeros(3, ">f4"))
    'float32'
    """
    return str(getattr(x.dtype, "name", x.dtype)).rpartition(".")[2]
