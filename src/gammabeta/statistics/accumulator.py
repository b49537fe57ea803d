"""An accumulator of moments: arrays are added one after another, and each may ask for the statistics so far."""

from typing import Any

import numpy as np

from gammabeta import axes
from gammabeta.backends import arrays
from gammabeta.kernels import layout
from gammabeta.kernels import moments as kernel
from gammabeta.kernels.calibrate import CalibrationPlan, Workspace
from gammabeta.statistics.moments import Estimates, Moments
from gammabeta.statistics.validation import Counts, Floats, checked, refuse_nan


class MomentsAccumulator:
    """The sum of the moments of arrays of the same features.

    Where features lie in runs, as the channels of (n, c, h, w) do, they are added to one set of limbs, and no `Moments`
    is made in between: between the operations of a network little of Python is in the processor's caches, and each step
    of it takes several times as long as it would alone.

    >>> import numpy as np
    >>> running = MomentsAccumulator()
    >>> running.add(np.array([[1.0], [2.0]]), 0)
    >>> running.add(np.array([[6.0]]), 0)
    >>> running.moments() == Moments.of([[1.0], [2.0], [6.0]])
    True
    """

    def __init__(self) -> None:
        self._parts: Moments | None = None
        self._sums: kernel.SumsAccumulator | None = None
        self._shape: tuple[int, ...] = ()

    def add(self, x: Any, axis: axes.Axis) -> None:
        """Add the values of an array as `Moments.of` takes it, over `axis`.

        Raises:
            DataError: one of them is NaN.
        """
        runs = None
        if arrays.elsewhere(x) is None:
            x = checked(x, "raise")
            runs = layout.runs(x, axis)
        if runs is None:
            self.join(Moments.of(x, axis, nan="raise"))
        else:
            self._of(x, axis, runs).add(runs)
            self.refuse_nan()

    def _of(self, x: Any, axis: axes.Axis, runs: layout.Runs) -> kernel.SumsAccumulator:
        if self._sums is None:
            self._sums = kernel.SumsAccumulator(len(runs.lengths))
            self._shape = tuple(x.shape[i] for i in axes.feature_axes(axis, x.ndim))
        return self._sums

    def refuse_nan(self) -> None:
        """Raise `DataError` if a NaN was added."""
        if self._sums is not None and not self._sums.finite:
            refuse_nan(self._sums.specials[0].reshape(self._shape))

    def calibration_plan(self, x: Any, axis: axes.Axis, ddof: int, workspace: Workspace) -> CalibrationPlan | None:
        """A plan that adds inputs of x's shape and layout by their addresses, or None where there is none for them.

        There is one if the features lie in runs of float32, here and in every array added before: it adds to the sums
        of runs alone. workspace: memory to work in, shared by the plans of a model.
        """
        x = checked(x, "raise")
        runs = layout.runs(x, axis) if x.dtype == np.float32 and self.in_runs else None
        if runs is None or not kernel.at_a_time(runs):
            return None
        return CalibrationPlan(self._of(x, axis, runs), runs, ddof, workspace)

    @property
    def in_runs(self) -> bool:
        """Whether the features of every array that was added lay in runs."""
        return self._parts is None

    def join(self, part: Moments) -> None:
        """Add moments."""
        self._parts = part if self._parts is None else self._parts + part

    def moments(self) -> Moments:
        """The moments of all values added so far."""
        parts = [] if self._parts is None else [self._parts]
        if self._sums is not None:
            parts.append(Moments._of_limbs(self._shape, *self._sums.sums()))
        return sum(parts[1:], parts[0])

    @property
    def finite(self) -> bool:
        """Whether none of the values is infinite."""
        parts_are = self._parts is None or not self._parts.infinities.any()
        return parts_are and (self._sums is None or self._sums.finite)

    @property
    def count(self) -> Counts | Floats:
        """How many values each feature has."""
        if self._sums is not None and self._parts is None:
            return self._sums.counts.reshape(self._shape)
        return self.moments().count

    def with_ddof(self, ddof: float) -> Estimates:
        """Mean, variance and deviation by n − ddof, of features of finite values; NaN where that is not positive."""
        if self._sums is not None and self._parts is None:
            return Estimates(*self._sums.population(ddof).reshape(3, *self._shape))
        return self.moments().with_ddof(ddof)
