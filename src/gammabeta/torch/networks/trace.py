"""Traces a torch model to a graph of calls: symbolically, for any values, or on an example."""

import inspect
import sys
import traceback
import weakref
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakTensorKeyDictionary

from gammabeta.errors import DataError
from gammabeta.torch.networks.modules import arguments, is_norm, leaf, skeleton

Module = nn.Module

_TORCH = str(Path(torch.__file__).parent)
_VALUES = {"__bool__", "__int__", "__float__", "__index__", "__complex__", "item", "tolist", "numpy", "__contains__"}
"""What turns a tensor's values into Python's, on which the way through a model may then depend."""


class Trace(NamedTuple):
    """Graphs of calls, and what is called in them.

    A node's users are all that reads its value; what outlives the call, in an attribute say, is read by "output".
    """

    graphs: list[fx.Graph]
    paths: dict[fx.Node, str]
    """The module that each "call_module" calls, by its first name in the model."""
    read: set[int]
    """The model's parameters and buffers that are read otherwise than by the module that holds them, by `id`."""
    how: str

    def steps(self) -> list[tuple[str, str]]:
        """What is called, in order: the same for two models that do the same."""
        nodes = [node for graph in self.graphs for node in graph.nodes]
        return [(node.op, str(self.paths.get(node, node.target))) for node in nodes if node.op != "get_attr"]


def traced(model: Module, example: Any = None, within: Iterable[str] = ()) -> Trace:
    """The graph of a model's forward pass in evaluation; or of the submodules that `within` names, each alone.

    Arguments that the example does not give have their defaults, and those that are no tensors are what they are there.

    Raises:
        DataError: the way through the model depends on its input. The message names the line.
    """
    own = skeleton(model)
    if within:
        if unknown := set(within) - {path for path, _ in own.named_modules()}:
            raise DataError(f"within must name submodules of the model, got {sorted(unknown)}")
        parts = [(f"{path}.", own.get_submodule(path)) for path in within]
        return _joined(
            model, own, [(prefix, _symbolic(part, None)) for prefix, part in parts], "each part symbolically"
        )
    try:
        return _joined(model, own, [("", _symbolic(own, example))], "symbolically")
    except Exception as error:  # whatever the model's code raises for a stand-in
        if example is None:
            raise _untraceable(model, _line(error), _first(error), "give example=, an input to run, or ") from None
    return _joined(model, own, [("", _Run(model, own).graph_of(example))], "on the example")


class _Symbolic(fx.Tracer):
    """torch.fx's tracer, which also remembers what outlives the call."""

    def __init__(self) -> None:
        super().__init__()
        self.proxies: list[tuple[Any, fx.Node]] = []

    def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
        return leaf(m)

    def call_module(self, m: Module, forward: Any, args: Any, kwargs: Any) -> Any:
        made_on_the_way = m not in self.submodule_paths if self.submodule_paths else False
        return forward(*args, **kwargs) if made_on_the_way else super().call_module(m, forward, args, kwargs)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        proxy = super().proxy(node)
        self.proxies.append((weakref.ref(proxy), node))
        return proxy

    def graph_of(self, root: Module, concrete: dict[str, Any]) -> fx.Graph:
        graph = self.trace(root, concrete)
        _read_by_output(graph, [node for proxy, node in self.proxies if proxy() is not None])
        return graph


def _symbolic(root: Module, example: Any) -> fx.Graph:
    parameters = inspect.signature(root.forward).parameters
    given: dict[str, Any] = dict.fromkeys(list(parameters)[:1], torch.Tensor())
    if example is not None:
        args, kwargs = arguments(example)
        given = inspect.signature(root.forward).bind(*args, **kwargs).arguments
    concrete = {
        name: given.get(name, parameter.default)
        for name, parameter in parameters.items()
        if not isinstance(given.get(name), torch.Tensor) and (name in given or parameter.default is not parameter.empty)
    }
    return _Symbolic().graph_of(root, concrete)


class _Run(TorchFunctionMode):
    """A run of a model with each function and each module written down.

    Raises:
        DataError: values become Python's, so that other values may take another way.
    """

    def __init__(self, model: Module, own: Module) -> None:
        super().__init__()
        self.graph, self.inside = fx.Graph(), 0
        self.nodes: Any = WeakTensorKeyDictionary()
        self.model, self.own = model, own
        self.names = {id(t): name for name, t in chain(own.named_parameters(), own.named_buffers())}

    @torch.no_grad()
    def graph_of(self, example: Any) -> fx.Graph:
        """The graph of the call with the example."""
        args, kwargs = arguments(example)
        for i, value in enumerate(t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)):
            self._keep(value, self.graph.placeholder(f"x{i}"))
        given = {id(t) for t in self.nodes}
        for path, module in self.own.named_modules():
            if leaf(module):
                module.register_forward_pre_hook(self._enter)
                module.register_forward_hook(self._leave(path), with_kwargs=True)
        with self:
            result = self.own(*args, **kwargs)
        ends = [self.nodes[t] for t in pytree.tree_leaves(result) if isinstance(t, torch.Tensor) and t in self.nodes]
        self.graph.output(tuple(ends))
        # What is still alive is held by the result, however that is made, or by somebody else.
        _read_by_output(self.graph, [node for t, node in self.nodes.items() if id(t) not in given])
        return self.graph

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self.inside and getattr(func, "__name__", "") in _VALUES:
            raise _untraceable(
                self.model,
                _line_of(sys._getframe(1)),
                f"there {func.__name__} makes Python values of a tensor, and other values may go another way",
            )
        result = func(*args, **kwargs)
        if not self.inside:
            self._write("call_function", func, args, kwargs, result)
        return result

    def _enter(self, module: Module, args: Any) -> None:
        self.inside += 1

    def _leave(self, path: str) -> Any:
        def leave(module: Module, args: Any, kwargs: Any, result: Any) -> None:
            self.inside -= 1
            if not self.inside:
                self._write("call_module", path, args, kwargs, result)

        return leave

    def _write(self, kind: str, target: Any, args: Any, kwargs: Any, result: Any) -> None:
        tensors = [t for t in pytree.tree_leaves(result) if isinstance(t, torch.Tensor)]
        if not tensors and not mutates(getattr(target, "__name__", "")):
            return
        args, kwargs = pytree.tree_map_only(torch.Tensor, self._node, (args, kwargs))
        node = self.graph.create_node(kind, target, _plain(args), _plain(kwargs))
        for tensor in tensors:
            self._keep(tensor, node)

    def _keep(self, tensor: torch.Tensor, node: fx.Node) -> None:
        node.meta["shape"] = tuple(tensor.shape)
        self.nodes[tensor] = node

    def _node(self, tensor: torch.Tensor) -> fx.Node:
        if tensor not in self.nodes:
            name = self.names.get(id(tensor), "constant")
            self._keep(tensor, self.graph.create_node("get_attr", name))
        found: fx.Node = self.nodes[tensor]
        return found


def _plain(given: Any) -> Any:
    """Arguments as a graph may hold them: what it cannot name, such as a generator, by its text."""
    held = (fx.Node, int, float, bool, str, type(None), torch.dtype, torch.device)
    return pytree.tree_map(lambda value: value if isinstance(value, held) else str(value), given)


def mutates(name: str) -> bool:
    """Whether a function of that name changes its argument."""
    return name in ("setitem", "__setitem__", "set_data") or (name.endswith("_") and not name.endswith("__"))


def _read_by_output(graph: fx.Graph, nodes: Iterable[fx.Node]) -> None:
    """Let the output read these nodes too."""
    (output,) = (node for node in graph.nodes if node.op == "output")
    calls = ("call_module", "call_function", "call_method")
    output.args = (*output.args, tuple(node for node in nodes if node.op in calls))


def _joined(model: Module, own: Module, graphs: list[tuple[str, fx.Graph]], how: str) -> Trace:
    paths: dict[fx.Node, str] = {}
    read: set[int] = set()
    first = {module: path for path, module in own.named_modules()}
    for prefix, graph in graphs:
        for node in graph.nodes:
            if node.op == "call_module":
                paths[node] = first[own.get_submodule(prefix + str(node.target))]
            elif node.op == "get_attr" and node.target != "constant":
                holder, _, name = (prefix + str(node.target)).rpartition(".")
                read.add(id(getattr(model.get_submodule(holder), name, None)))  # fx gives its copy constants
    return Trace([graph for _, graph in graphs], paths, read, how)


def _untraceable(model: Module, line: str, why: str, first: str = "") -> DataError:
    parts = list(_parts(skeleton(model), ""))
    rest = f"within={parts}, the submodules that can be traced alone, if each is only ever called as a whole"
    return DataError(
        f"the way through {type(model).__name__} must not depend on its input, and it does at {line}: {why}. "
        f"Nothing is folded; {first}{rest if parts else 'write that line otherwise: no submodule can be traced alone'}"
    )


def _parts(module: Module, path: str) -> Iterable[str]:
    """The outermost submodules with a batch norm in them that can be traced alone."""
    for name, child in module.named_children():
        whole = f"{path}{name}"
        if leaf(child) or not any(is_norm(m) for m in child.modules()):
            continue
        try:
            _symbolic(child, None)
        except Exception:
            yield from _parts(child, f"{whole}.")
        else:
            yield whole


def _first(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _line(error: Exception) -> str:
    """The last line outside torch that an error passed through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _foreign(f.filename)]
    return f"{frames[-1].filename}:{frames[-1].lineno}: `{frames[-1].line}`" if frames else "no line of its own"


def _line_of(frame: FrameType | None) -> str:
    """The nearest line outside torch from which something was called."""
    while frame is not None and _foreign(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None:
        return "no line of its own"
    (line,) = traceback.extract_stack(frame, limit=1)
    return f"{line.filename}:{line.lineno}: `{line.line}`"


def _foreign(file: str) -> bool:
    return file.startswith(_TORCH) or file == __file__
