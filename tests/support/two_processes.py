"""What each of two processes runs, in a module that a new process can import by its name."""

import copy

import torch
from torch import distributed, nn

from gammabeta.torch import BatchNorm, convert

SHARES = (slice(0, 2), slice(2, 7))


def same(a, b, bound=1e-11):
    """float64: sums of some tens of terms of at most 1e4, each within a rounding, divided by a deviation of 2."""
    assert a.shape == b.shape and ((a - b).abs() <= bound).all()


def batch():
    generator = torch.Generator().manual_seed(0)
    x, dy = torch.randn(2, 7, 3, 4, dtype=torch.float64, generator=generator)
    return x * 2 + 1e3, dy, torch.rand(7, 4, generator=generator) > 0.4


def check(rank, mask, share, **options):
    x, dy, _ = batch()
    ours, whole = (BatchNorm(3, dtype=torch.float64, **options, **sync) for sync in ({"sync": True}, {}))
    part, all_ = x[share].clone().requires_grad_(), x.clone().requires_grad_()
    y = ours(part, mask=None if mask is None else mask[share])
    z = whole(all_, mask=mask)
    (y * dy[share]).sum().backward()
    (z * dy).sum().backward()
    same(y, z[share])
    same(part.grad, all_.grad[share])
    for mine, theirs in zip(ours.parameters(), whole.parameters(), strict=True):
        distributed.all_reduce(mine.grad)
        same(mine.grad, theirs.grad)
    same(ours.running_mean, whole.running_mean)
    same(ours.running_var, whole.running_var)
    same(ours.eval()(part), whole.eval()(all_)[share])


def work(rank, port):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        mask = batch()[2]
        for masked in (None, mask):
            check(rank, masked, SHARES[rank])
            check(rank, masked, SHARES[rank], activation="relu", renorm=(1.5, 0.5))
            # One process may have nothing at all.
            check(rank, masked, (slice(0, 0), slice(0, 7))[rank])
        empty, layer = torch.empty(0, 3, requires_grad=True), BatchNorm(3, sync=True)
        y = layer(empty)  # nobody has anything
        y.sum().backward()
        assert y.shape == empty.grad.shape == (0, 3) and layer.num_batches_tracked == 1
        assert (layer.weight.grad == 0).all() and (layer.running_var == 1).all()
        group = distributed.new_group([0, 1])
        layer = copy.deepcopy(BatchNorm(3, sync=group))
        assert layer.sync is group
        layer(torch.ones(1, 3) * rank)  # one value here, two in all
        same(layer.running_mean, torch.full((3,), 0.05), 1e-7)
        model = nn.Sequential(nn.Linear(3, 3), convert(nn.SyncBatchNorm(3)))
        parallel = nn.parallel.DistributedDataParallel(model)
        parallel(torch.randn(4 + rank, 3)).square().sum().backward()
        gradient = model[0].weight.grad.clone()
        distributed.all_reduce(gradient)
        same(gradient, 2 * model[0].weight.grad, 0)
    finally:
        distributed.destroy_process_group()


def peers(rank, port):
    """torch's synchronized layer takes no tensors of a CPU (#78081); ours takes uneven shares there (#22192)."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        x = batch()[0].float()
        try:
            nn.SyncBatchNorm(3)(x[SHARES[rank]])
        except ValueError as error:
            if "GPU" not in str(error):
                raise
        else:
            raise AssertionError("torch's SyncBatchNorm takes a CPU's tensors")
        ours, whole = BatchNorm(3, sync=True), nn.BatchNorm1d(3)
        same(ours(x[SHARES[rank]]), whole(x)[SHARES[rank]], 1e3 * 28 * 2.0**-23)  # float32, sums of 28 values of 1e3
        same(ours.running_mean, whole.running_mean, 1e2 * 28 * 2.0**-23)
    finally:
        distributed.destroy_process_group()
