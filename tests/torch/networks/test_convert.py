"""Layers are exchanged in a model, and nothing else about it changes."""

import copy

import pytest

from gammabeta.errors import DataError, KindError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from gammabeta.torch import BatchNorm, convert, revert  # noqa: E402


def model():
    torch.manual_seed(0)
    shared = nn.BatchNorm2d(4)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        shared,
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 4, 1), shared),
        nn.Flatten(2),
        nn.BatchNorm1d(4),
    )


def test_there_and_back():
    original, x = model(), torch.randn(5, 3, 6, 6)
    original(x)
    original[1].weight.requires_grad_(False)
    original[5].eval()
    changed = convert(copy.deepcopy(original))
    layers = [layer for layer in changed.modules() if isinstance(layer, BatchNorm)]
    assert len(layers) == 2 and changed[1] is changed[3][1]
    assert changed[1].training and not changed[5].training and not changed[1].weight.requires_grad
    back = revert(copy.deepcopy(changed))
    assert str(back) == str(original)
    for other in (changed, back):
        assert list(other.state_dict()) == list(original.state_dict())
        original.load_state_dict(other.state_dict())
    original, changed, back = original.eval(), changed.eval(), back.eval()
    # Two layers of float32, each within some roundings of numbers below 8.
    assert (changed(x) - original(x)).abs().max() < 1e-5
    assert torch.equal(back(x), original(x))


def test_parameters_stay_the_same_objects_and_hooks_stay():
    original, calls = model(), []
    optimizer = torch.optim.SGD(original.parameters(), 0.1)
    handle = original[5].register_forward_hook(lambda *_: calls.append(1))
    changed = convert(original)
    assert changed is original
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in changed.parameters()}
    changed(torch.randn(5, 3, 6, 6))
    handle.remove()
    changed(torch.randn(5, 3, 6, 6))
    assert calls == [1]


def test_types_and_the_root():
    layer = convert(nn.BatchNorm1d(3, dtype=torch.bfloat16, momentum=None, affine=False))
    assert type(layer) is BatchNorm and layer.running_mean.dtype == torch.bfloat16
    assert layer.momentum is None and layer.weight is None
    assert layer(torch.randn(4, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert type(revert(layer)) is nn.BatchNorm1d


def test_what_is_not_torchs_own_is_left_alone():
    class Own(nn.BatchNorm2d):
        def forward(self, x):
            return x

    kept = nn.Sequential(Own(3), nn.LazyBatchNorm2d(), nn.InstanceNorm2d(3), nn.GroupNorm(1, 3))
    before = list(kept)
    with pytest.warns(UserWarning, match=r"left alone: 0 \(Own has a forward pass of its own\), 1 \(it is lazy"):
        convert(kept)
    assert all(a is b for a, b in zip(before, kept, strict=True))


def test_synchronized_layers_keep_that():
    layer = convert(nn.SyncBatchNorm(3))
    assert layer.sync is True
    assert type(revert(layer)) is nn.SyncBatchNorm


def test_a_new_layer_is_told_what_to_become():
    with pytest.raises(DataError, match=r"0 was not converted .* give to="):
        revert(nn.Sequential(BatchNorm(3)))
    assert type(revert(nn.Sequential(BatchNorm(3)), to=nn.BatchNorm2d)[0]) is nn.BatchNorm2d


@pytest.mark.parametrize(
    "extra", [{"activation": "relu"}, {"axis": (0, 1)}, {"ghost": 2}, {"unbiased": False}], ids=str
)
def test_what_torch_cannot_do_is_not_reverted(extra):
    plain = nn.Sequential(convert(nn.BatchNorm1d(3)), BatchNorm(3, **extra))
    with pytest.raises(DataError, match=r"1 must do what torch's layers do, and it has"):
        revert(plain, to=nn.BatchNorm1d)
    assert type(plain[0]) is BatchNorm


def test_a_model_is_a_module():
    with pytest.raises(KindError, match=r"model must be a torch.nn.Module, got list"):
        convert([nn.BatchNorm1d(3)])


@pytest.mark.parametrize(
    ("kind", "shapes", "wrong"),
    [
        (nn.BatchNorm1d, [(5, 8), (4, 8, 5)], [(4, 8, 5, 5), (8,)]),
        (nn.BatchNorm2d, [(4, 8, 5, 5)], [(8, 8, 5), (4, 8), (4, 8, 5, 5, 5)]),
        (nn.BatchNorm3d, [(4, 8, 2, 2, 2)], [(8, 8, 5, 5), (4, 8)]),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_the_rank_that_a_class_promises_survives(kind, shapes, wrong, training):
    """An image without its batch axis, whose rows happen to be as many as the channels."""
    layer = convert(kind(8)).train(training)
    for shape in shapes:
        assert layer(torch.randn(shape)).shape == shape
    for shape in wrong:
        with pytest.raises(DataError, match=r"x must (have|be)"):
            layer(torch.randn(shape))
    assert BatchNorm(8)(torch.randn(8, 8, 5)).shape == (8, 8, 5)
