"""flax' `LayerGraph`: the calls within `nnx.Sequential`s, one after the other; other code cannot be read."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from flax import nnx

from gammabeta.affine import Affine
from gammabeta.errors import DataError
from gammabeta.flax.networks import linear, stat_layers
from gammabeta.flax.norm.layer import BatchNorm
from gammabeta.networks.fold import planner
from gammabeta.networks.fold.planner import LayerLink
from gammabeta.networks.fold.report import RefusalError
from gammabeta.norm.linear_map import Features, Linear

NORMS = (nnx.BatchNorm, BatchNorm)


class LayerGraph(planner.LayerGraph):
    """The calls in a model's `nnx.Sequential`s; a site is (chain, place), its layer's name `chains[chain][place]`."""

    def __init__(self, model: Any, within: tuple[str, ...]) -> None:
        self.modules = stat_layers.modules(model)
        self.norms = list(stat_layers.normalizing(model))
        self.names = {id(module): name for name, module in self.modules.items()}
        self.held = _held(model)
        self.chains = [list(self._steps(root)) for root in self._roots(model, within)]
        self.sites: dict[str, list[Any]] = {}
        self.gone: set[str] = set()
        for chain, names in enumerate(self.chains):
            for place, name in enumerate(names):
                self.sites.setdefault(name, []).append((chain, place))

    def _roots(self, model: Any, within: tuple[str, ...]) -> list[Any]:
        if type(model) is nnx.Sequential and not within:
            return [model]
        whole = [name for name, module in self.modules.items() if type(module) is nnx.Sequential]
        if wrong := [name for name in within if name not in whole]:
            raise DataError(f"within must name nnx.Sequential modules of the model, got {wrong}: there are {whole}")
        if not within:
            rest = f"give within={whole}, those of its parts that are" if whole else "make nnx.Sequential parts of it"
            raise DataError(
                f"the way through {type(model).__name__} is code of its own, which could do anything: nothing is "
                f"folded. Only nnx.Sequential is known; {rest}, if each is only ever called as a whole"
            )
        return [self.modules[name] for name in within]

    def _steps(self, chain: Any) -> Iterator[str]:
        """What is called, in order: names of modules, and words for functions."""
        for step in chain.layers:
            if type(step) is nnx.Sequential and self.held[id(step)] == 1:
                yield from self._steps(step)
            elif isinstance(step, nnx.Module):
                yield self.names[id(step)]
            else:
                yield f"the function {getattr(step, '__name__', type(step).__name__)}"

    def features(self, norm: str) -> Features:
        layer = self.modules[norm]
        if getattr(type(layer), "thawed", type(layer)) not in NORMS:
            raise RefusalError(f"{type(layer).__name__} has a forward pass of its own")
        if norm not in self.sites:
            raise RefusalError("it is not called in a known nnx.Sequential")
        self._own(norm, "it")
        if layer.axis not in (-1, (-1,), [-1]):
            raise RefusalError(f"it has axis={layer.axis}, and only -1 is the last axis whatever x's shape")
        return Features(_affine(layer), lambda rank: (rank - 1,))

    def source(self, site: Any) -> LayerLink:
        chain, place = site
        for before in range(place - 1, -1, -1):
            if not self._passes(self.chains[chain][before]):
                return LayerLink((chain, before), self.chains[chain][before])
        raise RefusalError("it normalizes the model's input")

    def sinks(self, site: Any) -> Sequence[LayerLink]:
        chain, place = site
        for behind in range(place + 1, len(self.chains[chain])):
            if not self._passes(self.chains[chain][behind]):
                return [LayerLink((chain, behind), self.chains[chain][behind])]
        raise RefusalError("its output is the model's")

    def check_linear(self, layer: str, words: str, after: bool) -> None:
        if layer not in self.modules:
            raise RefusalError(f"{words} {layer}, which is not linear or not known to be")
        if why := linear.unusable(self.modules[layer], after):
            raise RefusalError(f"{words} {layer} ({type(self.modules[layer]).__name__}), which {why}")
        self._own(layer, f"{words} {layer}, which")

    def uneven(self, layer: str) -> str | None:
        return linear.uneven(self.modules[layer])

    def lies(self, features: Features, link: LayerLink, after: bool) -> Affine:
        weights = self.read(link.layer)
        size = weights.inputs if after else weights.outputs
        rank = linear.rank(self.modules[link.layer])
        if features.axes(rank) != (rank - 1,):
            raise RefusalError(f"its features lie on another axis than those of {link.layer}, the last")
        if features.affine.shape != (size,):
            raise RefusalError(f"{link.layer} takes {size} features, and the map has {features.affine.shape}")
        return features.affine

    def read(self, layer: str) -> Linear:
        return linear.read(self.modules[layer])

    def check_written(self, layer: str, linear_: Linear) -> None:
        linear.written(self.modules[layer], linear_)

    def _own(self, name: str, words: str) -> None:
        """Refuse a module that somebody else may call, or whose variables somebody else may read."""
        module = self.modules[name]
        if name and self.held[id(module)] > len(self.sites[name]):
            raise RefusalError(f"{words} is also held elsewhere in the model")
        if any(self.held[id(value)] > 1 for value in vars(module).values() if isinstance(value, nnx.Variable)):
            raise RefusalError(f"{words} shares its variables with another module")

    def _passes(self, name: str) -> bool:
        return name in self.gone or type(self.modules.get(name)) is nnx.Dropout


def _held(model: Any) -> Counter[int]:
    """How often each module and variable is held by a module, a list or a dict of the model."""
    held: Counter[int] = Counter()
    for _, node in nnx.iter_graph(model):
        held.update(id(part) for part in _parts(node) if isinstance(part, nnx.Module | nnx.Variable))
    return held


def _parts(node: Any) -> Iterable[Any]:
    if isinstance(node, list | tuple | nnx.List):
        return list(node)
    if isinstance(node, dict):
        return list(node.values())
    return list(vars(node).values()) if isinstance(node, nnx.Pytree) else []


def _affine(layer: Any) -> Affine:
    mean, var = linear.floats(layer.mean), linear.floats(layer.var)
    gamma, beta = (None if value is None else linear.floats(value) for value in (layer.scale, layer.bias))
    return planner.norm_affine(mean, var, gamma, beta, layer.epsilon)
