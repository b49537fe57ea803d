"""Keras' `DiagnosisSession`: exchanged calls of layers, and the backend functions that the model calls."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from keras import layers

from gammabeta.keras.networks import stat_layers
from gammabeta.keras.networks.diagnose import backend_hooks, training_step
from gammabeta.networks import recalibrate
from gammabeta.networks.diagnose import Origin, activations, numpy_measures
from gammabeta.networks.diagnose.accumulator import LayerParameters, Moves
from gammabeta.networks.diagnose.nonfinite import NonfiniteTracer
from gammabeta.networks.diagnose.session import DiagnosisSession, Run


class Watch(DiagnosisSession):
    """A diagnosis of a Keras model."""

    framework = "keras"

    @contextmanager
    def watching(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(training_step.restored(self.model))
            stack.enter_context(stat_layers.without_gradients())
            for name, layer in self.layers.items():
                stack.enter_context(stat_layers.exchanged(layer, "call", self._watched(name, layer)))
            for layer in stat_layers.inside(self.model).values():
                if kind := _of_two(layer):
                    stack.enter_context(stat_layers.exchanged(layer, "call", self._bending(kind, layer.call)))
            yield

    def running(self, run: Run) -> Any:
        with backend_hooks.functions(self._function, activations.named):
            return run(self.model)

    def has(self, value: Any) -> set[str]:
        return backend_hooks.has(value)

    def checked(self, masks: Any) -> Any:
        return recalibrate.masked(masks, self.layers)

    def parameters(self, layer: Any) -> LayerParameters:
        gamma, beta = (None if v is None else stat_layers.array("", v) for v in (layer.gamma, layer.beta))
        mean, var = stat_layers.array("", layer.moving_mean), stat_layers.array("", layer.moving_variance)
        frozen = not layer.trainable or bool(getattr(layer, "is_frozen", False))
        untouched = not mean.any() and bool((var == 1).all())
        return LayerParameters(
            type(layer).__name__, layer.epsilon, gamma, beta, mean, var, frozen, 0 if untouched else None
        )

    def weights(self) -> Iterable[tuple[str, Any]]:
        return ((variable.path, variable) for variable in training_step.variables(self.model))

    def arising(self, run: Run, batch: int) -> tuple[Origin, ...]:
        trace = NonfiniteTracer(self.has, batch)

        def operation(function: str, called: Callable[[], Any], given: Any) -> Any:
            before = self.has(given)
            result = called()
            trace.compare(before, result, f"keras.ops.{function}")
            return result

        with (
            training_step.restored(self.model),
            stat_layers.StatLayers(self.model).watching(recalibrate.no_hook),
            ExitStack() as stack,
        ):
            for name, layer in stat_layers.inside(self.model).items():
                stack.enter_context(stat_layers.exchanged(layer, "call", _traced(trace, name, layer)))
            stack.enter_context(backend_hooks.functions(operation))
            run(self.model)
        return tuple(trace.origins.values())

    def step(self, run: Run) -> dict[str, Moves]:
        return training_step.tried(self.model, self.layers, run)

    def _watched(self, name: str, layer: Any) -> Any:
        call = layer.call

        def called(inputs: Any, training: Any = None, mask: Any = None) -> Any:
            y = call(inputs, training=False, mask=mask)
            x, reduced_axes, mask = stat_layers.counting(name, layer, inputs, self.mask(name, mask))
            self.given(name, *numpy_measures.moments(x, reduced_axes, mask))
            self.gave(name, y, numpy_measures.measured(stat_layers.array(name, y), reduced_axes, mask))
            return y

        return called

    def _bending(self, kind: str, call: Any) -> Any:
        def called(inputs: Any, *given: Any, **named: Any) -> Any:
            self.activated(kind, inputs)
            return call(inputs, *given, **named)

        return called

    def _function(self, function: str, called: Callable[[], Any], given: tuple[Any, ...]) -> Any:
        if given:
            self.activated(function, given[0])
        return called()


def _of_two(layer: Any) -> str:
    """The kind of an activation layer that Keras computes by two functions; "" for any other layer."""
    if isinstance(layer, layers.PReLU):
        return "prelu"
    return "leaky_relu" if isinstance(layer, layers.ReLU) and layer.negative_slope else ""


def _traced(trace: NonfiniteTracer, name: str, layer: Any) -> Any:
    call, place = layer.call, f"{name or 'the model'} ({type(layer).__name__})"

    def called(*given: Any, **named: Any) -> Any:
        return trace.around(place, (given, named), lambda: call(*given, **named))

    return called
