"""How many files are worked on."""

from dataclasses import dataclass

from gammabeta.data.first_pass import Progress
from gammabeta.data.ledger import Finished


@dataclass(frozen=True)
class Manner:
    """So many at once, as many as there are processors if it is None; without those that cannot be read, or not at all.

    `progress` and `finished` are called as in `update`.
    """

    workers: int | None
    skip_bad: bool
    progress: Progress
    finished: Finished
