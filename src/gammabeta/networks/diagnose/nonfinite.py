"""Where a NaN or an infinity first arose: where what went in was free of it, and what came out is not."""

from collections.abc import Callable, Iterable
from typing import Any

from gammabeta.networks.diagnose.result import Origin

Has = Callable[[Any], set[str]]
"""Which of "NaN" and "infinity" are in whatever a model takes or gives."""


class NonfiniteTracer:
    """What goes into each module and operation of a run, and what comes out."""

    def __init__(self, has: Has, batch: int) -> None:
        self.has, self.batch = has, batch
        self.origins: dict[str, Origin] = {}
        self.within: list[str] = ["the model"]

    def around(self, name: str, given: Any, run: Callable[[], Any]) -> Any:
        """A module's call, whose operations may be hidden from here."""
        before = self.enter(name, given)
        try:
            result = run()
            self.compare(before, result, "its own code")
        finally:
            self.within.pop()
        return result

    def enter(self, name: str, given: Any) -> set[str]:
        """A module is about to be called; the model's own inputs may have been bad from the start."""
        before = self.has(given)
        self.within.append(name)
        if len(self.within) == 2:
            for what in before:
                self.origins.setdefault(what, Origin(what, 0, f"the inputs of batch {self.batch}", ""))
        return before

    def leave(self, before: set[str], result: Any) -> None:
        """A module has been called that had these among its inputs."""
        self.compare(before, result, "its own code")
        self.within.pop()

    def compare(self, before: set[str], result: Any, operation: str) -> None:
        """An operation gave a result."""
        for what in self.has(result) - before:
            self.origins.setdefault(what, Origin(what, self.batch, self.within[-1], operation))


def in_weights(weights: Iterable[tuple[str, Any]], has: Has) -> tuple[Origin, ...]:
    """The first weight that is not finite."""
    for name, value in weights:
        if found := has(value):
            return (Origin("NaN" if "NaN" in found else "infinity", 0, f"the model's own {name}", ""),)
    return ()
