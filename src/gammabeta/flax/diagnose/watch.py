"""What goes into and comes out of each layer, batch after batch."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from gammabeta import settling
from gammabeta.diagnosis import Origin, values
from gammabeta.diagnosis.looking import Looking, Run, reason
from gammabeta.diagnosis.seen import Moves, Own
from gammabeta.flax import tracked
from gammabeta.flax.diagnose import arising, following, step


class Watch(Looking):
    """Layers that are watched while a model runs in evaluation."""

    framework = "flax"

    def __init__(self, model: Any, layers: dict[str, Any]) -> None:
        super().__init__(model, layers)
        self._names = {id(layer): name for name, layer in layers.items()}
        self._following: dict[str, list[str]] | None = None
        self._calls: Counter[str] = Counter()

    @contextmanager
    def watching(self) -> Iterator[None]:
        with step.restored(self.model), tracked.evaluating(self.model):
            yield

    def running(self, run: Run) -> Any:
        if self._following is None:
            self._following = self._traced(run)
        self._calls.clear()
        with ExitStack() as stack:
            for kind in {type(layer) for layer in self.layers.values()}:
                stack.enter_context(tracked.exchanged(kind, self._watched(kind)))
            return run(self.model)

    def has(self, value: Any) -> set[str]:
        return arising.has(value)

    def checked(self, masks: Any) -> Any:
        return settling.masked(masks, self.layers)

    def own(self, layer: Any) -> Own:
        gamma, beta = (None if v is None else np.asarray(v[...]) for v in (layer.scale, layer.bias))
        mean, var = np.asarray(layer.mean[...]), np.asarray(layer.var[...])
        counter = getattr(layer, "batches", None)
        count = 0 if not mean.any() and (var == 1).all() else None
        frozen = bool(getattr(layer, "is_frozen", False))
        batches = count if counter is None else int(counter[...])
        return Own(type(layer).__name__, layer.epsilon, gamma, beta, mean, var, frozen, batches)

    def weights(self) -> Iterable[tuple[str, Any]]:
        return ((name, variable.get_value()) for name, variable in step.variables(self.model))

    def arising(self, run: Run, batch: int) -> tuple[Origin, ...]:
        return arising.found(self.model, run, batch)

    def step(self, run: Run) -> dict[str, Moves]:
        return step.tried(self.model, self.layers, run)

    def _traced(self, run: Run) -> dict[str, list[str]]:
        try:
            return following.found(self.model, run)
        except Exception as error:
            self.notes.append(f"what follows the layers is not known, as the model cannot be traced: {reason(error)}")
            return {}

    def _watched(self, kind: Any) -> Any:
        def told(call: Any, layer: Any, x: Any, use_running_average: Any = None, **given: Any) -> Any:
            tracked.visible(x)
            if id(layer) not in self._names or type(layer) is not kind:
                return call(layer, x, use_running_average, **given)
            y = call(layer, x, True, **given)
            self._called(self._names[id(layer)], layer, x, y, given.get("mask"))
            return y

        return told

    def _called(self, name: str, layer: Any, x: Any, y: Any, mask: Any) -> None:
        values_, away, kept = tracked.counting(name, layer, x, self.mask(name, mask))
        self.given(name, *values.moments(values_, away, kept))
        kinds = (self._following or {}).get(name, [])
        at = self._calls[name]
        self._calls[name] += 1
        if at < len(kinds) and kinds[at]:
            self.followed(name, kinds[at], values.measured(np.asarray(y), away, kept))
