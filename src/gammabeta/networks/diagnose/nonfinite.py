"""Finds the first module or operation whose output has a NaN or an infinity that its inputs do not have."""

from collections.abc import Callable, Iterable
from typing import Any

from gammabeta.networks.diagnose.result import Origin

Has = Callable[[Any], set[str]]
"""Which of "NaN" and "infinity" are in whatever a model takes or gives."""


class NonfiniteTracer:
    """Follows one run: compares inputs and outputs of each module and operation, and keeps the first origins."""

    def __init__(self, has: Has, batch: int) -> None:
        self.has, self.batch = has, batch
        self.origins: dict[str, Origin] = {}
        self.within: list[str] = ["the model"]

    def around(self, name: str, given: Any, run: Callable[[], Any]) -> Any:
        """Run a module's call and compare what went in and came out of the module as a whole."""
        before = self.enter(name, given)
        try:
            result = run()
            self.compare(before, result, "its own code")
        finally:
            self.within.pop()
        return result

    def enter(self, name: str, given: Any) -> set[str]:
        """Note that a module is called; return which of NaN and infinity its inputs have."""
        before = self.has(given)
        self.within.append(name)
        if len(self.within) == 2:
            for what in before:
                self.origins.setdefault(what, Origin(what, 0, f"the inputs of batch {self.batch}", ""))
        return before

    def leave(self, before: set[str], result: Any) -> None:
        """Note that a module has returned, whose inputs had those of `before`."""
        self.compare(before, result, "its own code")
        self.within.pop()

    def compare(self, before: set[str], result: Any, operation: str) -> None:
        """Keep an origin for each of NaN and infinity that the result has and the inputs had not."""
        for what in self.has(result) - before:
            self.origins.setdefault(what, Origin(what, self.batch, self.within[-1], operation))


def in_weights(weights: Iterable[tuple[str, Any]], has: Has) -> tuple[Origin, ...]:
    """An `Origin` for the first weight that is not finite; () if all are."""
    for name, value in weights:
        if found := has(value):
            return (Origin("NaN" if "NaN" in found else "infinity", 0, f"the model's own {name}", ""),)
    return ()
