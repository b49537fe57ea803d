"""torch's `LayerGraph`: the calls of a model traced by torch.fx, from a norm to the layers around it."""

from collections.abc import Sequence
from typing import Any

from torch import fx, nn
from torch.utils import _pytree as pytree

from gammabeta.affine import Affine
from gammabeta.networks.fold import planner
from gammabeta.networks.fold.planner import LayerLink
from gammabeta.norm.linear_map import Features, Linear
from gammabeta.torch.networks import average, linear, modules, norm_affine
from gammabeta.torch.networks.average import Average
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


class LayerGraph(planner.LayerGraph):
    """The graph of a traced model's calls; a site is a node of torch.fx.

    Attributes:
        places: what stands in the place of each norm that was folded away.
    """

    def __init__(self, model: nn.Module, trace: Trace, example: Any) -> None:
        self.model, self.trace = model, trace
        self.norms = [path for path, layer in model.named_modules() if modules.is_norm(layer)]
        self.gone: set[str] = set()
        self.places: dict[str, nn.Module] = {}
        self.sites: dict[str, list[Any]] = {}
        for node, path in trace.paths.items():
            self.sites.setdefault(path, []).append(node)
        self._seen_ranks = {} if example is None else norm_affine.ranks(model, self.norms, example)
        self._ranks: set[int] | None = None  # for which the folding that is being planned is right; None: for any

    def features(self, norm: str) -> Features:
        self._ranks = None
        return norm_affine.features(self.model, norm, self.sites.get(norm, []), self.trace)

    def source(self, site: fx.Node) -> LayerLink:
        reader, swapped, rows = site, False, 0
        while True:
            node = fed(reader)
            if node is None or node.op == "placeholder":
                raise RefusalError("it normalizes the model's input" if node is not None else "its input is no tensor")
            self._read_once(node, reader)
            way = self._way(node)
            if way not in ("same", "swap", "rows") or (rows and way == "swap") or (swapped and way == "rows"):
                return LayerLink(node, self._layer(node), swapped=swapped, rows=rows)
            swapped ^= way == "swap"
            rows += way == "rows"
            reader = node

    def sinks(self, site: fx.Node) -> Sequence[LayerLink]:
        """site: a call of a norm, or one of the model's inputs."""
        norm = self.trace.paths.get(site)
        if norm is not None and norm_affine.does_more(self.model.get_submodule(norm), self.sites[norm]):
            raise RefusalError("a ReLU or a residual follows within it")
        found: list[LayerLink] = []
        waiting = [LayerLink(site, "", start=site)]
        while waiting:
            link = waiting.pop()
            readers = [user for user in link.site.users if not _asks_shape(user, link.site)]
            if not readers:
                raise RefusalError("nothing reads its output")
            for user in readers:
                if user.op == "output":
                    raise RefusalError("its output is the model's, or outlives the call")
                if occurrences(user, link.site) != 1 or fed(user) is not link.site:
                    raise RefusalError(f"its output goes to {self.name(user)}")
                way, mean = self._way(user), self._average(user)
                if mean is not None and not link.flat and not link.swapped and link.averaged in (0, mean.rank):
                    waiting.append(LayerLink(user, "", int(mean.flat), start=site, averaged=mean.rank))
                elif way in (None, "rows"):
                    found.append(link._replace(site=user, layer=self._layer(user)))
                elif way != "same" and (link.flat or (way == "flat" and link.swapped)):
                    raise RefusalError(f"its output is rearranged by {self.name(user)}")
                else:
                    flat, swapped = link.flat or int(way == "flat"), link.swapped ^ (way == "swap")
                    waiting.append(LayerLink(user, "", flat, swapped, site, averaged=link.averaged))
        return found

    def check_linear(self, layer: str, words: str, after: bool) -> None:
        if layer not in self.sites:
            raise RefusalError(f"{words} {layer}, which is not linear or not known to be")
        module: Any = self.model.get_submodule(layer)
        if why := linear.unusable(module):
            raise RefusalError(f"{words} {self.words(layer)}, which {why}")
        if {id(p) for p in module.parameters(recurse=False)} & self.trace.read:
            raise RefusalError(f"{words} {layer}, whose parameters are also read on their own")
        if after and type(module) is nn.Embedding:
            raise RefusalError(f"{words} {self.words(layer)}, which takes no values but indices")

    def uneven(self, layer: str) -> str | None:
        return linear.uneven(self.model.get_submodule(layer))

    def lies(self, features: Features, link: LayerLink, after: bool) -> Affine:
        layer = self.model.get_submodule(link.layer)
        if after:
            self.unchanged(link.start, link.site)
        if link.averaged:
            if features.axes(link.averaged) != (1,):
                raise RefusalError(f"its output is averaged before {link.layer}, and its features are not on axis 1")
            self._ranks = {link.averaged} if self._ranks is None else self._ranks & {link.averaged}
        if not link.flat:
            along = {rank: linear.channel_axis(layer, rank + link.rows, link.swapped) for rank in range(2, 6)}
            lies = {rank: axis - link.rows for rank, axis in along.items() if axis is not None and axis > link.rows}
            found = {rank for rank, axis in lies.items() if features.axes(rank) == (axis,)}
            if not found:
                raise RefusalError(f"its features lie on another axis than those of {link.layer}")
            self._ranks = found if self._ranks is None else self._ranks & found
        if not after:
            return features.affine
        inputs = linear.read(layer).inputs
        affine = features.flat(inputs) if link.flat else features.affine
        if affine is None or affine.shape != (inputs,):
            raise RefusalError(
                f"{self.words(link.layer)} takes {inputs} features, and the map has {features.affine.shape}"
            )
        return affine

    def read(self, layer: str) -> Linear:
        return linear.read(self.model.get_submodule(layer))

    def check_written(self, layer: str, linear_: Linear) -> None:
        linear.written(self.model.get_submodule(layer), linear_)

    def words(self, layer: str) -> str:
        return f"{layer} ({type(self.model.get_submodule(layer)).__name__})"

    def check_plan(self, norm: str | None, plan: dict[str, Linear]) -> None:
        """Refuse data of other ranks than those for which the folding is right."""
        if norm is not None and self._ranks is not None:
            possible = norm_affine.possible_ranks(self.model.get_submodule(norm))
            self._ranks = self._ranks if possible is None else self._ranks & possible
            seen = self._seen_ranks.get(norm, set())
            if len(self._ranks) != 1 or seen - self._ranks:
                given = f", which has {', '.join(map(str, sorted(seen)))} axes" if seen else ""
                raise RefusalError(f"its features lie on another axis of x{given}, than those of {', '.join(plan)}")
        super().check_plan(norm, plan)

    def remove(self, norm: str) -> None:
        module = self.model.get_submodule(norm)
        self.places[norm], passes = norm_affine.left(module, self.sites[norm], self._ranks)
        if passes:
            self.gone.add(norm)

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
            return self.words(self.trace.paths[node])
        return f"the function {_called(node)}" if node.op != "get_attr" else f"the tensor {node.target}"

    def _layer(self, node: fx.Node) -> str:
        """The path of the module that is called; of anything else the call in words."""
        return self.trace.paths.get(node) or self.name(node)

    def _read_once(self, node: fx.Node, reader: fx.Node) -> None:
        others = [user for user in node.users if user is not reader and not _asks_shape(user, node)]
        if others:
            raise RefusalError(f"{self.name(node)}, before it, also goes to {self.name(others[0])}")
        if occurrences(reader, node) != 1:
            raise RefusalError(f"{self.name(node)}, before it, is given to it twice")

    def _average(self, node: fx.Node) -> Average | None:
        """The mean over positions that a call is, or None."""
        if node in self.trace.paths:
            return average.of_module(self.model.get_submodule(self.trace.paths[node]))
        return average.of_function(_called(node), node) if node.op in ("call_function", "call_method") else None

    def _way(self, node: fx.Node) -> str | None:
        """How a value passes a call unchanged: "same", "swap", "flat", "rows"; or None."""
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
        if _flattened(called, node) == (0, 1):
            return "rows"
        return "flat" if _flattens(called, node) else None


def fed(node: fx.Node) -> fx.Node | None:
    """The node that a call takes as its first argument; None if that is no node."""
    first = node.args[0] if node.args else next(iter(node.kwargs.values()), None)
    return first if isinstance(first, fx.Node) else None


def occurrences(user: fx.Node, node: fx.Node) -> int:
    """How often a call is given a value."""
    return sum(1 for given in pytree.tree_leaves((user.args, dict(user.kwargs))) if given is node)


def _called(node: fx.Node) -> str:
    return str(node.target) if isinstance(node.target, str) else str(getattr(node.target, "__name__", node.target))


_LIKE = ("reshape_as", "view_as", "expand_as")


def _asks_shape(node: fx.Node, of: fx.Node) -> bool:
    """Whether a call asks no more of a value than its shape, type or device."""
    if _called(node) in _LIKE:
        return fed(node) is not of and occurrences(node, of) == 1
    if node.op == "call_method":
        return node.target in _SHAPES
    return node.op == "call_function" and _called(node) == "getattr" and node.args[1] in _SHAPES


def _idle(node: fx.Node) -> bool:
    """Whether a dropout function does nothing."""
    return (node.kwargs["training"] if "training" in node.kwargs else (*node.args, True, True)[2]) is False


def _flattened(called: str, node: fx.Node) -> Any:
    """The first and the last axis that `flatten` makes one of; None for another function."""
    if called != "flatten":
        return None
    rest: Any = node.args[1:]
    start = node.kwargs.get("start_dim", rest[0] if rest else 0)
    return start, node.kwargs.get("end_dim", rest[1] if len(rest) > 1 else -1)


def _flattens(called: str, node: fx.Node) -> bool:
    """Whether a function makes (n, …) into (n, rest)."""
    rest: Any = node.args[1:]
    if called == "flatten":
        return bool(_flattened(called, node) == (1, -1))
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
