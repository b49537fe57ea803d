"""flax' `DiagnosisSession`: exchanged calls of classes, and activations read from the model's jaxpr."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from gammabeta.flax.networks import stat_layers
from gammabeta.flax.networks.diagnose import next_activation, nonfinite, training_step
from gammabeta.networks import recalibrate
from gammabeta.networks.diagnose import Origin, numpy_measures
from gammabeta.networks.diagnose.accumulator import LayerParameters, Moves
from gammabeta.networks.diagnose.session import DiagnosisSession, Run, reason


class Watch(DiagnosisSession):
    """A diagnosis of a Flax model."""

    framework = "flax"

    def __init__(self, model: Any, layers: dict[str, Any]) -> None:
        super().__init__(model, layers)
        self._names = {id(layer): name for name, layer in layers.items()}
        self._following: dict[str, list[str]] | None = None
        self._calls: Counter[str] = Counter()

    @contextmanager
    def watching(self) -> Iterator[None]:
        with training_step.restored(self.model), stat_layers.evaluating(self.model):
            yield

    def running(self, run: Run) -> Any:
        if self._following is None:
            self._following = self._traced(run)
        self._calls.clear()
        with ExitStack() as stack:
            for kind in {type(layer) for layer in self.layers.values()}:
                stack.enter_context(stat_layers.exchanged(kind, self._watched(kind)))
            return run(self.model)

    def has(self, value: Any) -> set[str]:
        return nonfinite.has(value)

    def checked(self, masks: Any) -> Any:
        return recalibrate.masked(masks, self.layers)

    def parameters(self, layer: Any) -> LayerParameters:
        gamma, beta = (None if v is None else np.asarray(v[...]) for v in (layer.scale, layer.bias))
        mean, var = np.asarray(layer.mean[...]), np.asarray(layer.var[...])
        counter = getattr(layer, "batches", None)
        count = 0 if not mean.any() and (var == 1).all() else None
        frozen = bool(getattr(layer, "is_frozen", False))
        batches = count if counter is None else int(counter[...])
        return LayerParameters(type(layer).__name__, layer.epsilon, gamma, beta, mean, var, frozen, batches)

    def weights(self) -> Iterable[tuple[str, Any]]:
        return ((name, variable.get_value()) for name, variable in training_step.variables(self.model))

    def arising(self, run: Run, batch: int) -> tuple[Origin, ...]:
        return nonfinite.found(self.model, run, batch)

    def step(self, run: Run) -> dict[str, Moves]:
        return training_step.tried(self.model, self.layers, run)

    def _traced(self, run: Run) -> dict[str, list[str]]:
        try:
            return next_activation.found(self.model, run)
        except Exception as error:
            self.notes.append(f"what follows the layers is not known, as the model cannot be traced: {reason(error)}")
            return {}

    def _watched(self, kind: Any) -> Any:
        def intercept(call: Any, layer: Any, x: Any, use_running_average: Any = None, **given: Any) -> Any:
            stat_layers.visible(x)
            if id(layer) not in self._names or type(layer) is not kind:
                return call(layer, x, use_running_average, **given)
            y = call(layer, x, True, **given)
            self._called(self._names[id(layer)], layer, x, y, given.get("mask"))
            return y

        return intercept

    def _called(self, name: str, layer: Any, x: Any, y: Any, mask: Any) -> None:
        values_, reduced_axes, mask = stat_layers.counting(name, layer, x, self.mask(name, mask))
        self.given(name, *numpy_measures.moments(values_, reduced_axes, mask))
        kinds = (self._following or {}).get(name, [])
        at = self._calls[name]
        self._calls[name] += 1
        if at < len(kinds) and kinds[at]:
            self.followed(name, kinds[at], numpy_measures.measured(np.asarray(y), reduced_axes, mask))
