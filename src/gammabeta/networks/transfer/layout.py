"""Where a framework's layers hold their weights and settings, for its `snapshot` and `load_snapshot`."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gammabeta.networks.transfer.snapshot import BATCH, EMBEDDING, GROUP, LAYER

NORMS = (BATCH, LAYER, GROUP)


def unfrozen_class(layer: Any) -> Any:
    """The class of a layer; of one that `freeze` has frozen, the class that it had before."""
    return getattr(type(layer), "thawed", type(layer))


class Layout(NamedTuple):
    """The kinds of a framework's layers by their classes, and the attributes that hold their weights.

    Attributes:
        kinds: from classes to kinds of `LayerSnapshot`.
        embedding, linear, norm: from names of weights in `LayerSnapshot` to attributes, of an embedding, of dense
            layers and convolutions, and of norms.
        class_of: gives the class by which a layer's kind is known.
    """

    kinds: Mapping[Any, str]
    embedding: Mapping[str, str]
    linear: Mapping[str, str]
    norm: Mapping[str, str]
    class_of: Callable[[Any], Any] = unfrozen_class

    def kind(self, layer: Any) -> str:
        """The kind of a layer; "" if it is not known."""
        return self.kinds.get(self.class_of(layer), "")

    def attributes(self, layer: Any) -> Mapping[str, str]:
        """The attributes that hold the weights of a layer of a known kind, by the weights' names."""
        kind = self.kind(layer)
        if kind == EMBEDDING:
            return self.embedding
        return self.norm if kind in NORMS else self.linear

    def variables(self, layer: Any) -> dict[str, Any]:
        """The weights that a layer has, by name, as the framework holds them."""
        held = {name: getattr(layer, attribute, None) for name, attribute in self.attributes(layer).items()}
        return {name: value for name, value in held.items() if value is not None}


def norm_rules(layer: Any, kind: str, *, eps: str, groups: str, decay: Any, unbiased: bool) -> dict[str, Any]:
    """What decides a norm's output beside its weights, as `LayerSnapshot.rules` has it; nothing of another kind.

    Args:
        eps, groups: the attributes that hold these.
        decay: batch norm's weight of the old running value.
        unbiased: which running variance a batch norm keeps that does not say it.
    """
    if kind not in NORMS:
        return {}
    rules = {"eps": getattr(layer, eps)}
    if kind == BATCH:
        rules |= {"decay": decay, "unbiased": getattr(layer, "unbiased", unbiased)}
    if kind == GROUP:
        rules["groups"] = getattr(layer, groups)
    return rules
