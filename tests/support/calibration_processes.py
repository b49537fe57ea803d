"""What each of two processes runs to recalibrate one model together, in a module that a new process can import."""

import copy
import gc

import pytest
import torch
from torch import distributed, nn

from gammabeta.errors import StateError
from gammabeta.torch import recalibrate

SHARES = (slice(0, 3), slice(3, 40))


def work(rank, port):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        _recalibrate(rank)
        gc.collect()  # a parallel model that outlives its group may end the process: its threads go on
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def _recalibrate(rank):
    torch.manual_seed(0)
    x = torch.randn(40, 3) * 2 + 100
    model = nn.Sequential(nn.BatchNorm1d(3), nn.ReLU(), nn.BatchNorm1d(3))
    whole = copy.deepcopy(model)
    recalibrate(whole, [x], sequential=True)
    parallel = nn.parallel.DistributedDataParallel(copy.deepcopy(model))
    report = recalibrate(parallel, x[SHARES[rank]].split(2), sequential=True, sync=True)
    # Two batch norms and a ReLU compute each row alike in any batch.
    for ours, theirs in zip(parallel.module, whole, strict=True):
        for name in ("running_mean", "running_var"):
            assert getattr(ours, name, None) is None or torch.equal(getattr(ours, name), getattr(theirs, name))
    assert report["0"].count == (40, 40)
    assert report["0"].calls == 2 + 19
    # A process may have nothing; if one fails, both raise.
    recalibrate(model, [x] if rank else [], sync=True)
    with pytest.raises((StateError, ValueError)) as error:
        recalibrate(model, [x, x[:, 0]] if rank else [x], sync=True)
    assert rank == 1 or "process 1 did not: " in str(error.value)
