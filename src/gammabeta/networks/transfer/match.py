"""Pairs the layers of two networks: by given names, else by order of use, else by equal inputs.

Frameworks run the branches of a network in different orders. What tells them apart is the dataflow: once all layers
before it hold the same weights, a layer is given the same values as its counterpart.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice, permutations, product

import numpy as np

from gammabeta.errors import DataError, KindError, StateError
from gammabeta.networks.transfer.snapshot import (
    CLOSER,
    DENSE,
    NEUTRAL,
    OUTPUT,
    ROUNDING,
    Array,
    LayerSnapshot,
    NetworkSnapshot,
    check_snapshot,
    model_output_error,
    relative_error,
    reordering,
)

Pairs = list[tuple[LayerSnapshot, LayerSnapshot]]


def matched(one: NetworkSnapshot, other: NetworkSnapshot, names: Mapping[str, str]) -> Pairs:
    """The layers of two networks in pairs, in the order of the first: those that are named, the others in order.

    Where the order of use does not fit, a layer meets the first that is left and fits. After them come the outputs.

    Raises:
        KindError, DataError: `names` is no mapping from layers of the first to layers of the second.
        StateError: a layer has no counterpart; the message names the first.
    """
    for network in (one, other):
        _check_complete(network)
    pairs = _named(one, other, names)
    taken = [own.name for own in pairs.values()]
    unnamed = [layer for layer in one.layers if layer.name not in pairs]
    left = [layer for layer in other.layers if layer.name not in taken]
    for a, b in zip(unnamed, _in_turn(unnamed, left, (one, other)), strict=True):
        pairs[a.name] = b
    ends = zip(one.ends, other.ends, strict=True) if len(one.ends) == len(other.ends) else ()
    return [*((layer, pairs[layer.name]) for layer in one.layers), *ends]


def nearer(pairs: Pairs, names: Mapping[str, str], distance: Callable[[Pairs, int, LayerSnapshot], float]) -> Pairs:
    """The pairs, each layer with the one that is much closer than the one it has, if such a one is not taken.

    A layer that has met one that agrees keeps it. Where values differ for another reason, the order stays.
    """
    pairs = list(pairs)
    for i, (a, b) in enumerate(pairs):
        now = distance(pairs, i, b)
        if now <= ROUNDING or a.name in names:
            continue
        found = [j for j in range(i + 1, len(pairs)) if pairs[j][0].name not in names and exchangeable(pairs, i, j)]
        near = {j: distance(pairs, i, pairs[j][1]) for j in found}
        best = min(near, key=lambda j: near[j], default=i)
        if best != i and CLOSER * near[best] <= now and near[best] < now:
            pairs[i], pairs[best] = (a, pairs[best][1]), (pairs[best][0], b)
    return pairs


def arrangements(pairs: Pairs, names: Mapping[str, str], place: int, among: bool, many: int) -> Iterator[Pairs]:
    """Other ways to match siblings of equal shapes, which only what follows them tells apart: so many at the most.

    Those that come before a place where two networks part, or among whom it is; the last siblings are exchanged first.
    """
    groups = [g for g in _siblings(pairs, names) if (place in g if among else g[0] < place)]
    ways = (islice(permutations(group), 1 + many) for group in groups)  # of ten there are millions
    for orders in islice(product(*ways), 1, 1 + many):
        other = list(pairs)
        for group, order in zip(groups, orders, strict=True):
            for i, j in zip(group, order, strict=True):
                other[i] = pairs[i][0], pairs[j][1]
        yield other


def exchangeable(pairs: Pairs, i: int, j: int) -> bool:
    """Whether two layers could each have the other's counterpart."""
    return _fits(pairs[i][0], pairs[j][1]) and _fits(pairs[j][0], pairs[i][1])


def input_error(pairs: Pairs, i: int, other: LayerSnapshot) -> float:
    """The relative error between two layers' inputs, with flattened features put in the same order."""
    order, given = flattening(pairs, i, other), pairs[i][0].given
    if other.kind == OUTPUT:
        return model_output_error(given, other.given)
    return relative_error(given if order is None else given[:, order], other.given)


def output_error(one: LayerSnapshot, other: LayerSnapshot) -> float:
    """The relative error between two layers' outputs."""
    return (model_output_error if one.kind == OUTPUT else relative_error)(one.gave, other.gave)


def flattening(pairs: Pairs, i: int, other: LayerSnapshot) -> Array | None:
    """The order in which a dense layer's features come in another, if there were images before."""
    a = pairs[i][0]
    images = any(layer.gave.ndim > 2 for layer, _ in pairs[:i])
    return reordering(a.given, other.given) if a.kind == DENSE and images else None


def _check_complete(network: NetworkSnapshot) -> None:
    check_snapshot(network)
    if network.loose:
        raise StateError(
            f"every layer with weights must be of a known kind and be used in the run, and in the "
            f"{network.framework} model these are not: {', '.join(network.loose)}"
        )
    if not network.layers:
        raise StateError(f"a model must have layers with weights, and the {network.framework} model has none")


def _named(one: NetworkSnapshot, other: NetworkSnapshot, names: Mapping[str, str]) -> dict[str, LayerSnapshot]:
    """The second network's layers for those of the first that are named."""
    if not isinstance(names, Mapping):
        raise KindError(
            f"names must be a mapping from names of the first network's layers to names of the second's, got "
            f"{type(names).__name__}"
        )
    for which, network, given in (("first", one, list(names)), ("second", other, list(names.values()))):
        held = [layer.name for layer in network.layers]
        if unknown := [name for name in given if name not in held]:
            raise DataError(
                f"names must go from layers of the first network to layers of the second, and the {which}, "
                f"{network.framework}'s, has no {unknown[0]!r}. It has {', '.join(held)}"
            )
    if twice := [name for name in names.values() if list(names.values()).count(name) > 1]:
        raise DataError(f"names must give each layer of the second network once at most, and give {twice[0]!r} twice")
    ones, others = ({layer.name: layer for layer in network.layers} for network in (one, other))
    for a, b in ((ones[name], others[own]) for name, own in names.items()):
        if not _fits(a, b):
            raise StateError(
                f"layers that names bring together must be of one kind and have weights of the same shapes, got "
                f"{_told(a, b, one, other)}. Nothing is written"
            )
    return {name: others[own] for name, own in names.items()}


def _in_turn(
    ones: list[LayerSnapshot], others: list[LayerSnapshot], networks: tuple[NetworkSnapshot, NetworkSnapshot]
) -> list[LayerSnapshot]:
    """The counterparts in order if all fit, else of each layer the first that is left and fits."""
    if len(ones) == len(others) and all(map(_fits, ones, others)):
        return others
    left, found = list(others), list[LayerSnapshot]()
    for a in ones:
        place = next((i for i, b in enumerate(left) if _fits(a, b)), None)
        if place is None and left:
            raise StateError(
                f"layers must match in the order in which they are used, or else by their kinds and shapes, and the "
                f"first that do not are {_told(a, left[0], *networks)}; nothing else that is left fits {a.name} "
                f"either. Nothing is written; names={{…}} says which layer meets which"
            )
        if place is not None:
            found.append(left.pop(place))
    if len(ones) != len(others):
        extra, network = (left[0], networks[1]) if left else (ones[len(found)], networks[0])
        raise StateError(
            f"layers must match one by one, and the {network.framework} model has {extra} more, the first of "
            f"{abs(len(ones) - len(others))}. Nothing is written"
        )
    return found


def _siblings(pairs: Pairs, names: Mapping[str, str]) -> list[list[int]]:
    """The places of layers that are given the same values and fit one another's counterparts, two or more."""
    groups = list[list[int]]()
    for i, (layer, _) in enumerate(pairs):
        if layer.name in names:
            continue
        for group in groups:
            same = all(exchangeable(pairs, i, j) for j in group)
            if same and np.array_equal(layer.given, pairs[group[0]][0].given):
                group.append(i)
                break
        else:
            groups.append([i])
    return [group for group in groups if len(group) > 1]


def _fits(layer: LayerSnapshot, other: LayerSnapshot) -> bool:
    if layer.kind == OUTPUT:
        return layer.name == other.name
    return layer.kind == other.kind and _common(layer, other).items() <= _shapes(other).items()


def _told(a: LayerSnapshot, b: LayerSnapshot, one: NetworkSnapshot, other: NetworkSnapshot) -> str:
    return f"{a} of {one.framework} with {_common(a, b)} and {b} of {other.framework} with {_shapes(b)}"


def _shapes(layer: LayerSnapshot) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in layer.weights.items()}


def _common(layer: LayerSnapshot, other: LayerSnapshot) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights that another layer must have too: all but those that make no difference."""
    return {
        name: value.shape
        for name, value in layer.weights.items()
        if name in other.weights or name not in NEUTRAL or (value != NEUTRAL[name]).any()
    }
