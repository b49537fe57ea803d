"""A layer's input goes into its exact sums, and its mean and variance come out, in one call of compiled code.

Between a network's own operations little of Python is in the processor's caches, and each step of it takes several
times as long as it would alone. So what the calls of a layer have in common lies in memory, as a plan, and a call says
only where its values are. Whatever threads run the function take the features in parts, one part after another.
"""

from collections.abc import Callable

import numpy as np

from gammabeta.kernels import binding, folds, layout, moments

CallOnThreads = Callable[[int, int], None]
"""Calls the compiled function at the first address with the second, on one thread or on several at the same time."""

# A plan, as core/calibrate.cpp has it: what a call says and is told, then what its form is, then where the arrays are.
_CALL = ("values", "mean", "var", "not_finite", "unsure")
_NOT_FINITE, _UNSURE = 3, 4
_PART_SIZE = 16  # int64 of a part: the address of its workspace, and in another cache line the rows it touched
_TOUCHED = slice(8, 12)
_MIN_FEATURES = 8  # features of a part: a cache line of a row of limbs
_CHECK, _ADDRESS = binding.function("calibrate"), binding.address("calibrate")


class Workspace:
    """Memory in which the parts of a layer are added up: one piece for each part, shared by all plans of a model."""

    def __init__(self, threads: int) -> None:
        self._held = [folds.room(folds.FOLDS["f"].workplace) for _ in range(2 * threads)]
        self.addresses = np.array([memory.ctypes.data for memory in self._held])


class CalibrationPlan:
    """Adds inputs of one shape and layout, float32 whose features lie in runs, to exact sums, one call for each input.

    sums, workspace: kept, and written to by `add`.
    """

    def __init__(self, sums: moments.SumsAccumulator, given: layout.Runs, ddof: int, workspace: Workspace) -> None:
        features = len(given.lengths)
        parts = max(1, min(len(workspace.addresses), features // _MIN_FEATURES))
        rooms = folds.room(8 * _PART_SIZE * parts).view(np.int64).reshape(parts, _PART_SIZE)
        rooms[:, 0] = workspace.addresses[:parts]
        sums.follow(rooms[:, _TOUCHED].reshape(parts, 2, 2))
        arrays = given.starts, given.lengths, *sums.limbs, sums.counts, sums.specials, rooms
        numbers = [len(given.memory), features, given.many, given.step, ddof, parts]
        self._held = workspace, arrays
        self._plan = np.array([0] * len(_CALL) + numbers + [array.ctypes.data for array in arrays] + [0])
        self._address = self._plan.ctypes.data
        _CHECK(self._plan, *arrays)

    def add(self, values: int, mean: int, var: int, run: CallOnThreads) -> bool:
        """Add what lies at an address; write mean and variance, float32, at two others, unless these are 0.

        Returns: whether mean and variance are there: not where a value was not finite, or where Python's integers must
        round.
        """
        plan = self._plan
        plan[: len(_CALL)] = values, mean, var, 0, 0
        plan[-1] = 0
        run(_ADDRESS, self._address)
        return not (plan[_NOT_FINITE] or plan[_UNSURE])
