"""One pass of the batches through a model: calls are added by compiled steps, and joined over all processes."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import distributed

from gammabeta.errors import StateError
from gammabeta.kernels import calibrate
from gammabeta.networks.recalibrate import Add, CalibrationPass
from gammabeta.statistics.accumulator import MomentsAccumulator
from gammabeta.torch.networks import calibrate_step, stat_layers

Mask = Callable[[Any], torch.Tensor | Mapping[str, torch.Tensor]]


class CalibratedLayers(stat_layers.StatLayers):
    """`StatLayers` whose calls are added by compiled steps, and whose passes are joined over a process group.

    group: the process group; None for this process alone.
    """

    def __init__(self, model: Any, group: Any) -> None:
        super().__init__(model)
        self.group = group

    def adder(self, adapting: bool) -> Add:
        steps: dict[str, calibrate_step.CalibrationStep | None] = {}
        place = calibrate.Workspace(torch.get_num_threads())

        def add(total: MomentsAccumulator, name: str, layer: Any, x: Any, mask: Any) -> bool:
            step = None
            if mask is None:
                step = steps.get(name)
                if step is None or not step.fits(layer, x):
                    step = steps[name] = calibrate_step.step(total, name, layer, x, adapting, place)
            if step is None:
                self.add(total, name, layer, x, mask)
                return False
            written = step.take(x)
            if not written:
                stat_layers.refuse(total, name)
            return written

        return add

    def over_processes(self, run: Callable[[], CalibrationPass]) -> CalibrationPass:
        """The passes of all processes of the group, joined; if one process fails, all raise and none waits."""
        if self.group is None:
            return run()
        mine: CalibrationPass | None = None
        failed: Exception | None = None
        try:
            mine = run()
        except Exception as error:
            failed = error
        parts: list[Any] = [None] * distributed.get_world_size(self.group)
        said = mine if failed is None else f"{type(failed).__name__}: {failed}"
        distributed.all_gather_object(parts, said, group=self.group)
        if failed is not None:
            raise failed
        total = CalibrationPass({}, {}, 0)
        for rank, part in enumerate(parts):
            if isinstance(part, str):
                raise StateError(f"all processes must get through their batches, process {rank} did not: {part}")
            total = total.joined(part)
        return total
