"""A layer's input goes into its exact sums, and its mean and variance come out, in one call of compiled code.

Between a network's own operations little of Python is in the processor's caches, and each step of it takes several
times as long as it would alone. So what the calls of a layer have in common lies in memory, as a plan, and a call says
only where its values are. Whatever threads run the function take the features in parts, one part after another.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import float32, float64

from gammabeta.kernels import exact, finish, folds, layout, moments, singly
from gammabeta.kernels.intrinsics import callback, kernel, lying, take_ticket

Run = Callable[[int, int], None]
"""Calls the function at an address with an int64, on one thread or on several at the same time."""

# A plan: what a call says and is told, then what its form is, then where the arrays are that it works on.
_SAID = ("values", "mean", "var", "strange", "unsure")
_FORM = ("size", "features", "many", "step", "ddof", "parts")
_PLACES = ("starts", "lengths", "sums", "squares", "counts", "specials", "found", "sure", "rooms")
_PLAN = np.dtype([(name, np.int64) for name in (*_SAID, *_FORM, *_PLACES, "ticket")])
_STRANGE, _UNSURE = 3, 4
_TICKET = np.int64(_PLAN.itemsize - 8)

# What a part has for itself: its arrays' addresses, and in other cache lines the rows of limbs that it has touched.
_ROOM, _TOUCHED = np.int64(64), np.int64(32)
_DIGITS = np.int64(2 * (singly.SUM_HEIGHT + singly.SQUARES_HEIGHT))
_WORTH = 8  # features of a part: a cache line of a row of limbs


class Place:
    """What the parts of one layer at a time work in."""

    def __init__(self, threads: int) -> None:
        self._held = [_workplace() for _ in range(2 * threads)]
        self.addresses = np.array([[array.ctypes.data for array in arrays] for arrays in self._held])


def _workplace() -> list[np.ndarray]:
    own, (_, _, *state), to, gathered = moments.workplace(np.dtype(np.float32))
    return [*own, *state, to, gathered, np.empty(_DIGITS, np.uint64)]


class Layerwise:
    """Adds arrays of one form, whose features lie in runs of float32, to sums."""

    def __init__(self, sums: moments.Running, given: layout.Runs, ddof: int, place: Place) -> None:
        features = len(given.lengths)
        parts = max(1, min(len(place.addresses), features // _WORTH))
        rooms = np.zeros((parts, _ROOM), np.int64)
        rooms[:, : len(_SHAPES)] = place.addresses[:parts]
        sums.follow(rooms[:, _TOUCHED : _TOUCHED + 4].reshape(parts, 2, 2))
        arrays: list[np.ndarray] = [given.starts, given.lengths, *sums.limbs, sums.counts, sums.specials]
        arrays += [np.empty((3, features)), np.empty(features, np.bool_), rooms]
        numbers = [len(given.memory), features, given.many, given.step, ddof, parts]
        self._held = place, arrays
        self._plan = np.array([0] * len(_SAID) + numbers + [array.ctypes.data for array in arrays] + [0])
        self._address = self._plan.ctypes.data

    def add(self, values: int, mean: int, var: int, run: Run) -> bool:
        """Add what lies at an address; write mean and variance, float32, at two others, unless these are 0.

        Returns: whether mean and variance are there: not where a value was not finite, or where Python's integers must
        round.
        """
        plan = self._plan
        plan[: len(_SAID)] = values, mean, var, 0, 0
        plan[-1] = 0
        run(_function().address, self._address)
        return not (plan[_STRANGE] or plan[_UNSURE])


_SHAPES = tuple(array.shape for array in _workplace())


@cache
def _function() -> Any:
    return callback(_take)


def _take(plan):
    """Take parts of the plan at an address, as long as there are some."""
    p = lying(plan, (1,), _PLAN)[0]
    part = take_ticket(plan + _TICKET)
    while part < p.parts:
        _share(p, part)
        part = take_ticket(plan + _TICKET)


@kernel
def _share(p, part):
    """Add the features of a part, and finish them."""
    features = p.features
    first, last = features * part // p.parts, features * (part + 1) // p.parts
    room = lying(p.rooms + 8 * _ROOM * part, (_ROOM,), np.int64)
    touched = lying(p.rooms + 8 * (_ROOM * part + _TOUCHED), (2, 2), np.int64)
    sums = lying(p.sums, (singly.SUM_HEIGHT, features), np.int64)
    squares = lying(p.squares, (singly.SQUARES_HEIGHT, features), np.int64)
    counts, specials = lying(p.counts, (features,), np.int64), lying(p.specials, (3, features), np.int64)
    lengths = lying(p.lengths, (features,), np.int64)
    _add(p, first, last, lengths, room, sums, squares, specials, touched)
    strange = np.int64(0)
    for feature in range(first, last):
        counts[feature] += lengths[feature] * p.many
        for kind in range(3):
            strange |= specials[kind, feature]
    if strange:
        p.strange = 1
    elif p.mean and not _finished(p, first, last, lying(room[8], _SHAPES[8], np.uint64), counts, touched):
        p.unsure = 1


@kernel
def _add(p, first, last, lengths, room, sums, squares, specials, touched):
    """Add features to the limbs, and carry these."""
    x = lying(p.values, (p.size,), np.float32)
    starts = lying(p.starts, (p.features,), np.int64)
    own = (
        lying(room[0], _SHAPES[0], np.float64),
        lying(room[1], _SHAPES[1], np.uint32),
        lying(room[2], _SHAPES[2], np.int64),
    )
    known, scratch = lying(room[3], _SHAPES[3], np.uint64), lying(room[4], _SHAPES[4], np.float32)
    state = folds.SINGLE[0], folds.SINGLE[1], known, scratch, lying(room[5], _SHAPES[5], np.uint32)
    to, gathered = lying(room[6], _SHAPES[6], np.int64), lying(room[7], _SHAPES[7], np.float32)
    out = sums, squares, specials, touched
    exact.accumulate_runs(x, starts, lengths, p.many, p.step, first, last, own, state, to, gathered, *out)
    exact.carry(sums, touched[0], first, last)
    exact.carry(squares, touched[1], first, last)


@kernel
def _finished(p, first, last, digits, counts, touched):
    """Write the mean and the variance of features, if they can be rounded with certainty; whether so."""
    features = p.features
    found, sure = lying(p.found, (3, features), np.float64), lying(p.sure, (features,), np.bool_)
    mean, var = lying(p.mean, (features,), np.float32), lying(p.var, (features,), np.float32)
    low, high = min(touched[0, 0], touched[0, 1]), max(touched[0, 1], 1)
    sums = lying(p.sums + 8 * low * features, (high - low, features), np.int64)
    lowest, highest = min(touched[1, 0], touched[1, 1]), max(touched[1, 1], 1)
    squares = lying(p.squares + 8 * lowest * features, (highest - lowest, features), np.int64)
    bases = singly.SUM_BASE + low, singly.SQUARES_BASE + lowest
    for feature in range(first, last):
        sure[feature] = False
    all_sure = finish.finish(
        counts, bases[0], sums, bases[1], squares, float64(p.ddof), first, last, found, sure, digits
    )
    for feature in range(first, last):
        mean[feature], var[feature] = float32(found[0, feature]), float32(found[1, feature])
    return all_sure
