"""From a norm to the layers around it, along a graph: past what changes no value, and never past a second reader."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import fx, nn
from torch.utils import _pytree as pytree

from gammabeta.torch.networks.folded_norm import RefusalError
from gammabeta.torch.networks.trace import Trace, mutates

_SAME = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
_DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
_SHAPES = ("size", "dim", "shape", "ndim", "dtype", "device")


class LayerLink(NamedTuple):
    """A call at the end of a chain, and what happens to the value on the way there."""

    node: fx.Node
    swapped: bool = False
    """The last two axes of three are swapped."""
    flat: bool = False
    """All axes after the first are one."""


class Chains:
    """The chains of a traced model.

    Attributes:
        gone: paths of the norms that were folded away and let values pass.
    """

    def __init__(self, model: nn.Module, trace: Trace) -> None:
        self.model, self.trace = model, trace
        self.gone: set[str] = set()
        self.sites: dict[str, list[fx.Node]] = {}
        for node, path in trace.paths.items():
            self.sites.setdefault(path, []).append(node)

    def source(self, site: fx.Node) -> LayerLink:
        """The call whose value reaches a norm, which alone reads it."""
        reader, swapped = site, False
        while True:
            node = fed(reader)
            if node is None or node.op == "placeholder":
                raise RefusalError("it normalizes the model's input" if node is not None else "its input is no tensor")
            self._read_once(node, reader)
            way = self._way(node)
            if way not in ("same", "swap"):
                return LayerLink(node, swapped)
            swapped ^= way == "swap"
            reader = node

    def sinks(self, site: fx.Node) -> Iterator[LayerLink]:
        """The calls that a value reaches, all of them."""
        waiting = [LayerLink(site)]
        while waiting:
            link = waiting.pop()
            readers = [user for user in link.node.users if not _asks_shape(user)]
            if not readers:
                raise RefusalError("nothing reads its output")
            for user in readers:
                if user.op == "output":
                    raise RefusalError("its output is the model's, or outlives the call")
                if occurrences(user, link.node) != 1 or fed(user) is not link.node:
                    raise RefusalError(f"its output goes to {self.name(user)}")
                way = self._way(user)
                if way is None:
                    yield link._replace(node=user)
                elif way != "same" and (link.flat or (way == "flat" and link.swapped)):
                    raise RefusalError(f"its output is rearranged by {self.name(user)}")
                else:
                    waiting.append(LayerLink(user, link.swapped ^ (way == "swap"), link.flat or way == "flat"))

    def unchanged(self, site: fx.Node, until: fx.Node) -> None:
        """Refuse where a value may be changed in place between two calls: the norm's copy would not be."""
        nodes = list(site.graph.nodes)
        for node in nodes[nodes.index(site) + 1 : nodes.index(until)]:
            module = self.model.get_submodule(self.trace.paths[node]) if node in self.trace.paths else None
            inplace = bool(getattr(module, "inplace", False)) and type(module) not in _SAME
            if inplace or mutates(_called(node)) or node.kwargs.get("inplace") or "out" in node.kwargs:
                raise RefusalError(f"{self.name(node)} changes values in place before {self.name(until)} reads them")

    def name(self, node: fx.Node) -> str:
        """A call in words."""
        if node.op == "output":
            return "the model's output"
        if node in self.trace.paths:
            path = self.trace.paths[node]
            return f"{path} ({type(self.model.get_submodule(path)).__name__})"
        return f"the function {_called(node)}" if node.op != "get_attr" else f"the tensor {node.target}"

    def _read_once(self, node: fx.Node, reader: fx.Node) -> None:
        others = [user for user in node.users if user is not reader and not _asks_shape(user)]
        if others:
            raise RefusalError(f"{self.name(node)}, before it, also goes to {self.name(others[0])}")
        if occurrences(reader, node) != 1:
            raise RefusalError(f"{self.name(node)}, before it, is given to it twice")

    def _way(self, node: fx.Node) -> str | None:
        """How a value passes a call unchanged: "same", "swap", "flat"; or None."""
        if node in self.trace.paths:
            path = self.trace.paths[node]
            module: Any = self.model.get_submodule(path)
            if type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
                return "flat"
            passes = type(module) in _SAME and not (module._forward_hooks or module._forward_pre_hooks)
            return "same" if passes or path in self.gone else None
        called, rest = _called(node), node.args[1:]
        if called in ("contiguous", "clone") or (called in _DROPOUTS and _idle(node)):
            return "same"
        if called in ("transpose", "swapaxes") and sorted(map(str, rest)) in (["1", "2"], ["-1", "-2"]):
            return "swap"
        if called == "permute" and rest in ((0, 2, 1), ((0, 2, 1),), ([0, 2, 1],)):
            return "swap"
        return "flat" if _flattens(called, node) else None


def fed(node: fx.Node) -> fx.Node | None:
    """What a call is given first."""
    first = node.args[0] if node.args else next(iter(node.kwargs.values()), None)
    return first if isinstance(first, fx.Node) else None


def occurrences(user: fx.Node, node: fx.Node) -> int:
    """How often a call is given a value."""
    return sum(1 for given in pytree.tree_leaves((user.args, dict(user.kwargs))) if given is node)


def _called(node: fx.Node) -> str:
    return str(node.target) if isinstance(node.target, str) else str(getattr(node.target, "__name__", node.target))


def _asks_shape(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in _SHAPES
    return node.op == "call_function" and _called(node) == "getattr" and node.args[1] in _SHAPES


def _idle(node: fx.Node) -> bool:
    """Whether a dropout function does nothing."""
    return (node.kwargs["training"] if "training" in node.kwargs else (*node.args, True, True)[2]) is False


def _flattens(called: str, node: fx.Node) -> bool:
    """Whether a function makes (n, …) into (n, rest)."""
    rest: Any = node.args[1:]
    if called == "flatten":
        start = node.kwargs.get("start_dim", rest[0] if rest else 0)
        end = node.kwargs.get("end_dim", rest[1] if len(rest) > 1 else -1)
        return bool((start, end) == (1, -1))
    if called not in ("view", "reshape"):
        return False
    sizes = rest[0] if len(rest) == 1 and isinstance(rest[0], tuple | list) else rest
    source = fed(node)
    return len(sizes) == 2 and sizes[1] == -1 and source is not None and _is_batch(sizes[0], source)


def _is_batch(size: Any, source: fx.Node) -> bool:
    """Whether a number is the length of a value's first axis: as read from it, or as it was in a run."""
    if not isinstance(size, fx.Node):
        return "shape" in source.meta and size == source.meta["shape"][0]
    if size.op == "call_method" and size.target == "size":
        return size.args == (source, 0)
    shape: Any = size.args[0] if _called(size) == "getitem" and size.args[1] == 0 else None
    return isinstance(shape, fx.Node) and shape.args == (source, "shape")
