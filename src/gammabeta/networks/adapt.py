"""Adaptation in any framework: trained statistics mixed with the test batch's by count, until that is undone."""

from collections.abc import Callable
from numbers import Real
from types import TracebackType
from typing import Any, Self

from gammabeta.backends import arrays
from gammabeta.backends.array_ops import ArrayOps, Axes
from gammabeta.errors import DataError, KindError
from gammabeta.networks import recalibrate_report


class Adaptation:
    """A running adaptation of a model's layers; `undo()` or the end of its `with` statement ends it."""

    def __init__(self, prior: float, undoing: list[Callable[[], None]]) -> None:
        self._prior, self._undoing = prior, undoing

    def undo(self) -> None:
        """Let each layer normalize as it did before; a second time it does nothing."""
        while self._undoing:
            self._undoing.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()

    def __repr__(self) -> str:
        layers = len(self._undoing)
        return f"Adaptation({layers} layers, prior={self._prior:g})" if layers else "Adaptation(undone)"


def check_prior(prior: float) -> None:
    """Raise unless `prior` is a finite number of samples, 0 or more."""
    if not isinstance(prior, Real):
        raise KindError(f"prior, a number of samples, must be a number, got {type(prior).__name__}")
    if not 0 <= prior < float("inf"):
        raise DataError(
            f"prior, the number of samples that the trained statistics are worth, must be finite and not below 0, got "
            f"{prior}"
        )


def samples(space: ArrayOps, x: Any, mask: Any, reduced_axes: Axes) -> Any:
    """The number of rows along axis 0 with a value that counts, by a mask of x's shape; 1 if axis 0 is not reduced."""
    if 0 not in reduced_axes:
        return 1 if mask is None else space.cast(space.any(mask), space.xp.int32)
    if mask is None:
        return space.lengths(x)[0]
    rows = space.xp.reshape(space.cast(mask, space.xp.int32), [space.lengths(x)[0], -1])
    return space.sum(space.max(rows, (1,)), (0, 1))


def mixed(space: ArrayOps, prior: float, count: Any, trained: Any, batch: Any, *, differentiable: bool = False) -> Any:
    """`recalibrate_report.mixed` of arrays of one shape, in the wider of their types; a new array of trained's type.

    Where nothing counts it is the trained one. count: an int, or an array of one number. differentiable: whether the
    mixture has a gradient with respect to `batch`.
    """
    dtype = trained.dtype if arrays.dtype_name(trained) == "float64" else batch.dtype
    wide, batch = space.cast(trained, dtype), space.cast(batch, dtype)
    batch = batch if differentiable else space.stop_gradient(batch)
    if isinstance(count, int):
        mixture = recalibrate_report.mixed(prior, count, wide, batch) if count else trained
        return space.cast(mixture, trained.dtype)
    many = space.xp.reshape(space.array(count, wide, dtype), [1] * len(trained.shape))
    some = space.xp.where(many > 0, many, space.constant(1.0, wide))
    mixture = space.xp.where(many > 0, recalibrate_report.mixed(prior, some, wide, batch), wide)
    return space.cast(mixture, trained.dtype)
