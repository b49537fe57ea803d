"""How many files are worked on."""

from dataclasses import dataclass

from gammabeta.data.dataset.update import Finished
from gammabeta.data.passes.measure import Progress


@dataclass(frozen=True)
class RunOptions:
    """So many at once, as many as there are processors if it is None; without those that cannot be read, or not at all.

    `progress` and `finished` are called as in `update`.
    """

    workers: int | None
    skip_bad: bool
    progress: Progress
    finished: Finished
