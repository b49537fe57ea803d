"""What goes into and comes out of each layer, batch after batch."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from keras import layers

from gammabeta import settling
from gammabeta.diagnosis import Origin, activations, values
from gammabeta.diagnosis.arising import Trace
from gammabeta.diagnosis.looking import Looking, Run
from gammabeta.diagnosis.seen import Moves, Own
from gammabeta.keras import tracked
from gammabeta.keras.diagnose import backend, step


class Watch(Looking):
    """Layers that are watched while a model runs in evaluation."""

    framework = "keras"

    @contextmanager
    def watching(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(step.restored(self.model))
            stack.enter_context(tracked.without_gradients())
            for name, layer in self.layers.items():
                stack.enter_context(tracked.exchanged(layer, "call", self._watched(name, layer)))
            for layer in tracked.inside(self.model).values():
                if kind := _of_two(layer):
                    stack.enter_context(tracked.exchanged(layer, "call", self._bending(kind, layer.call)))
            yield

    def running(self, run: Run) -> Any:
        with backend.functions(self._function, activations.named):
            return run(self.model)

    def has(self, value: Any) -> set[str]:
        return backend.has(value)

    def checked(self, masks: Any) -> Any:
        return settling.masked(masks, self.layers)

    def own(self, layer: Any) -> Own:
        gamma, beta = (None if v is None else tracked.array("", v) for v in (layer.gamma, layer.beta))
        mean, var = tracked.array("", layer.moving_mean), tracked.array("", layer.moving_variance)
        frozen = not layer.trainable or bool(getattr(layer, "is_frozen", False))
        untouched = not mean.any() and bool((var == 1).all())
        return Own(type(layer).__name__, layer.epsilon, gamma, beta, mean, var, frozen, 0 if untouched else None)

    def weights(self) -> Iterable[tuple[str, Any]]:
        return ((variable.path, variable) for variable in step.variables(self.model))

    def arising(self, run: Run, batch: int) -> tuple[Origin, ...]:
        trace = Trace(self.has, batch)

        def operation(function: str, called: Callable[[], Any], given: Any) -> Any:
            before = self.has(given)
            result = called()
            trace.compare(before, result, f"keras.ops.{function}")
            return result

        with step.restored(self.model), tracked.Tracked(self.model).watching(settling.unheard), ExitStack() as stack:
            for name, layer in tracked.inside(self.model).items():
                stack.enter_context(tracked.exchanged(layer, "call", _traced(trace, name, layer)))
            stack.enter_context(backend.functions(operation))
            run(self.model)
        return tuple(trace.origins.values())

    def step(self, run: Run) -> dict[str, Moves]:
        return step.tried(self.model, self.layers, run)

    def _watched(self, name: str, layer: Any) -> Any:
        call = layer.call

        def called(inputs: Any, training: Any = None, mask: Any = None) -> Any:
            y = call(inputs, training=False, mask=mask)
            x, away, kept = tracked.counting(name, layer, inputs, self.mask(name, mask))
            self.given(name, *values.moments(x, away, kept))
            self.gave(name, y, values.measured(tracked.array(name, y), away, kept))
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
    """A layer made of two activations, which is neither of them."""
    if isinstance(layer, layers.PReLU):
        return "prelu"
    return "leaky_relu" if isinstance(layer, layers.ReLU) and layer.negative_slope else ""


def _traced(trace: Trace, name: str, layer: Any) -> Any:
    call, place = layer.call, f"{name or 'the model'} ({type(layer).__name__})"

    def called(*given: Any, **named: Any) -> Any:
        return trace.around(place, (given, named), lambda: call(*given, **named))

    return called
