"""Batch norms of torch, ours, synchronized ones and GroupNorm take each other's place in a model."""

import copy
import itertools

import pytest

from gammabeta.errors import DataError, KindError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import gammabeta.torch  # noqa: E402
from gammabeta.torch import BatchNorm, convert  # noqa: E402

KINDS = (nn.BatchNorm2d, nn.SyncBatchNorm, BatchNorm)


def settled(kind, **options):
    torch.manual_seed(0)
    layer = kind(4, **options)
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2)
    if layer.weight is not None:
        nn.init.normal_(layer.weight)
    return nn.Sequential(nn.Conv2d(3, 4, 1), layer, nn.ReLU()).eval()


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(KINDS, 2)), ids=lambda kind: kind.__name__)
def test_every_kind_becomes_every_other(source, target, affine):
    model, x = settled(source, affine=affine, eps=1e-3, momentum=None), torch.randn(2, 3, 5, 5)
    want, state, held = model(x), copy.deepcopy(model.state_dict()), [id(p) for p in model.parameters()]
    hooks = []
    model[1].register_forward_hook(lambda *_: hooks.append(1))
    changed = convert(model, to=target)
    assert changed is model and type(model[1]) is target
    assert [id(p) for p in model.parameters()] == held
    assert model.state_dict().keys() == state.keys()
    # Four roundings of values below 8 on each side.
    assert (model(x) - want).abs().max() <= 2 * 4 * 8 * 2.0**-24 and hooks == [1]
    assert (model[1].eps, model[1].momentum) == (1e-3, None)
    assert target is BatchNorm or hasattr(model[1], "process_group") == (target is nn.SyncBatchNorm)
    back = convert(copy.deepcopy(model), to=source)
    assert type(back[1]) is source and torch.equal(back(x), want)


def test_a_synchronized_layer_becomes_ours_that_synchronizes():
    assert convert(nn.SyncBatchNorm(3)).sync is True
    with pytest.raises(DataError, match=r"the model must do what torch's layers do, and it has \{'sync': True\}"):
        convert(convert(nn.SyncBatchNorm(3)), to=nn.BatchNorm2d)


def test_what_is_for_data_of_other_axes_stays():
    model = nn.Sequential(nn.BatchNorm1d(3), convert(nn.BatchNorm3d(3)), nn.SyncBatchNorm(3), BatchNorm(3))
    convert(model, to=nn.BatchNorm2d)
    assert [type(layer) for layer in model] == [nn.BatchNorm1d, BatchNorm, nn.BatchNorm2d, nn.BatchNorm2d]


@pytest.mark.parametrize("source", KINDS, ids=lambda kind: kind.__name__)
def test_group_norm_takes_the_place_approximately(source):
    model = settled(source, eps=1e-3)
    layer, x = model[1], torch.randn(2, 3, 5, 5)
    with pytest.warns(UserWarning, match="GroupNorm takes the place of batch norm approximately"):
        convert(model, to=nn.GroupNorm, groups=2)
    new = model[1]
    assert type(new) is nn.GroupNorm and (new.num_groups, new.eps, new.training) == (2, 1e-3, False)
    assert new.weight is layer.weight and new.bias is layer.bias
    want = nn.functional.group_norm(model[0](x), 2, layer.weight, layer.bias, 1e-3).relu()
    assert torch.equal(model(x), want)
    with pytest.warns(UserWarning, match="running statistics are those of a new layer"):
        convert(model, to=source, of=nn.GroupNorm)
    assert type(model[1]) is source and model[1].weight is layer.weight and model[1].running_var.eq(1).all()


def test_group_norms_stay_unless_they_are_asked_for():
    model = nn.Sequential(nn.GroupNorm(1, 3), nn.BatchNorm2d(3))
    assert type(convert(model)[0]) is nn.GroupNorm


def test_nothing_is_changed_where_something_cannot_be():
    model = nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(6))
    before = list(model)
    for arguments, error, words in (
        ({"to": nn.GroupNorm, "groups": 4}, DataError, "groups must divide the 6 features of 1, got 4"),
        ({"to": nn.GroupNorm, "groups": 0}, DataError, "groups must divide the 4 features of 0, got 0"),
        ({"to": nn.GroupNorm}, DataError, "groups must be given for GroupNorm, and for nothing else"),
        ({"groups": 2}, DataError, "groups must be given for GroupNorm, and for nothing else, got 2"),
        ({"to": nn.Linear}, KindError, "to and of must be among BatchNorm1d, "),
        ({"to": nn.LayerNorm, "of": nn.BatchNorm2d}, KindError, "or to alone one of LayerNorm, RMSNorm, "),
        ({"of": nn.InstanceNorm2d}, KindError, "to and of must be among BatchNorm1d, "),
    ):
        with pytest.raises(error, match=words):
            convert(model, **arguments)
        assert list(model) == before
    fused = nn.Sequential(nn.SyncBatchNorm(4), BatchNorm(4, activation="relu"))
    with pytest.raises(DataError, match=r"1 must do what GroupNorm does, and it has .*'activation': 'relu'"):
        convert(fused, to=nn.GroupNorm, groups=2)
    with pytest.raises(DataError, match=r"1 must do what torch's layers do"):
        convert(fused, to=nn.BatchNorm2d)
    assert type(fused[0]) is nn.SyncBatchNorm


def test_groups_by_the_features_of_each_layer():
    model = nn.Sequential(nn.BatchNorm2d(16), nn.BatchNorm2d(48), BatchNorm(32))
    with pytest.warns(UserWarning, match="GroupNorm takes the place"):
        convert(model, to=nn.GroupNorm, groups=lambda features: features // 8)
    assert [layer.num_groups for layer in model] == [2, 6, 4]
    with pytest.raises(DataError, match="groups must divide the 12 features of 0, got 0"):
        convert(nn.Sequential(nn.BatchNorm2d(12)), to=nn.GroupNorm, groups=lambda features: features // 16)


OTHERS = {
    "LayerNorm": ((5,), (2, 3, 5)),
    "RMSNorm": ((5,), (2, 3, 5)),
    "InstanceNorm1d": ((3, 1e-3, 0.1, True), (2, 3, 5)),
    "InstanceNorm2d": ((3, 1e-3, 0.1, True), (2, 3, 5, 4)),
    "InstanceNorm3d": ((3, 1e-3, 0.1, True), (2, 3, 5, 4, 2)),
    "GroupNorm": ((3, 6), (2, 6, 5)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_norms_become_their_namesakes_and_back(name):
    theirs, ours = getattr(nn, name), getattr(gammabeta.torch, name)
    arguments, shape = OTHERS[name]
    model = nn.Sequential(theirs(*arguments), nn.BatchNorm1d(3), nn.Identity())
    held, state, x = list(model.parameters()), copy.deepcopy(model.state_dict()), torch.randn(shape)
    hooks = []
    model[0].register_forward_hook(lambda *_: hooks.append(1))
    of = {"of": theirs} if name == "GroupNorm" else {}
    want = model[0](x)
    convert(model, to=ours, **of)
    assert type(model[0]) is ours and type(model[1]) is nn.BatchNorm1d
    assert (
        all(a is b for a, b in zip(model.parameters(), held, strict=True)) and model.state_dict().keys() == state.keys()
    )
    # In float32 torch rounds some five times, of values below 8.
    assert (model[0](x) - want).abs().max() <= 5 * 8 * 2.0**-24 and hooks == [1, 1]
    convert(model, to=theirs, **({"of": ours} if name == "GroupNorm" else {}))
    assert type(model[0]) is theirs and torch.equal(model[0](x), want)


def test_our_group_norm_takes_the_place_of_batch_norm():
    model = settled(nn.BatchNorm2d, eps=1e-3)
    layer, x = model[1], torch.randn(2, 3, 5, 5)
    with pytest.warns(UserWarning, match="GroupNorm takes the place of batch norm approximately"):
        convert(model, to=gammabeta.torch.GroupNorm, groups=2)
    assert type(model[1]) is gammabeta.torch.GroupNorm and model[1].weight is layer.weight
    want = nn.functional.group_norm(model[0](x), 2, layer.weight, layer.bias, 1e-3).relu()
    assert (model(x) - want).abs().max() <= 5 * 8 * 2.0**-24
    with pytest.warns(UserWarning, match="running statistics are those of a new layer"):
        convert(model, to=nn.BatchNorm2d, of=gammabeta.torch.GroupNorm)
    assert type(model[1]) is nn.BatchNorm2d and model[1].weight is layer.weight


@pytest.mark.parametrize("extra", [{"activation": "relu"}, {"ghost": 2}, {"unbiased": False}], ids=str)
def test_torchs_own_conversion_is_refused_what_it_would_drop(extra):
    (name,) = extra
    model = settled(BatchNorm, **extra)
    with pytest.raises(DataError, match=f"one has .*{name}"):
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    with pytest.raises(DataError, match=f"it has .*{name}"):
        convert(model, to=nn.SyncBatchNorm)
    assert type(model[1]) is BatchNorm and list(model[1].children()) == []


@pytest.mark.parametrize("extra", [{}, {"sync": True}], ids=str)
def test_torchs_own_conversion_of_layers_that_do_no_more(extra):
    model = settled(BatchNorm, **extra)
    weight, x = model[1].weight, torch.randn(2, 3, 5, 5)
    want = model(x)
    new = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert type(new[1]) is nn.SyncBatchNorm and new[1].weight is weight
    # In float32 torch rounds some five times, of values below 16.
    assert (new(x) - want).abs().max() <= 5 * 16 * 2.0**-24
