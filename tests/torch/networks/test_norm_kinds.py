"""Norms that others wrote: with an activation inside, frozen by their authors, or torch's with other defaults."""

import copy

import pytest

from gammabeta.errors import DataError, FileError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from gammabeta.torch import BatchNorm, convert, diagnose, fold, freeze, left_alone, recalibrate, revert  # noqa: E402
from gammabeta.torch.networks import load  # noqa: E402
from gammabeta.torch.norm.norm_act import NormAct  # noqa: E402


class BatchNormAct2d(nn.BatchNorm2d):
    """As timm's: norm, drop, activation."""

    __module__ = "timm.layers.norm_act"

    def __init__(self, features, act=nn.ReLU, drop=nn.Identity):
        super().__init__(features, eps=1e-3)
        self.drop, self.act = drop(), act(inplace=True)

    def forward(self, x):
        return self.act(self.drop(super().forward(x)))


class Evo(BatchNormAct2d):
    """A subclass of timm's that computes something else."""

    def forward(self, x):
        return x * 2


class FrozenBatchNorm2d(nn.Module):
    """As torchvision's and detectron2's; transformers' have no eps."""

    __module__ = "torchvision.ops.misc"

    def __init__(self, features, eps=1e-5):
        super().__init__()
        if eps is not None:
            self.eps = eps
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(features) + 0.5)

    def forward(self, x):
        eps = getattr(self, "eps", 1e-5)
        weight, bias, mean, var = (v.reshape(1, -1, 1, 1) for v in self.buffers())
        scale = weight * (var + eps).rsqrt()
        return x * scale + (bias - mean * scale)


class DetrFrozenBatchNorm2d(FrozenBatchNorm2d):
    """As transformers'."""

    __module__ = "transformers.models.detr.modeling_detr"

    def __init__(self, features):
        super().__init__(features, None)


class Slow(nn.BatchNorm2d):
    """torch's layer with other defaults, as many model zoos have it."""

    def __init__(self, features, eps=1e-3, momentum=0.01):
        super().__init__(features, eps, momentum)


class Own(nn.BatchNorm2d):
    """A forward pass of its own."""

    def forward(self, x):
        return super().forward(x) * 2


def network(*norms):
    torch.manual_seed(0)
    layers = [part for norm in norms for part in (nn.Conv2d(8, 8, 3), norm)]
    model = nn.Sequential(*layers).double()
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if value.is_floating_point() and value.ndim == 1:
            value.data.copy_(torch.rand(8) + (0.5 if "var" in name or "weight" in name else -0.5))
    return model


def images(n=6):
    return torch.randn(n, 8, 9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def close(a, b):
    """float64: a few convolutions of 72 terms below 10."""
    assert (a - b).abs().max() < 1e-11


@pytest.mark.parametrize("act", [nn.ReLU, nn.SiLU, nn.Hardswish])
def test_norms_with_an_activation_are_converted_whole(act):
    model = network(BatchNormAct2d(8, act), BatchNormAct2d(8, act))
    ours = convert(copy.deepcopy(model))
    assert [type(layer) for layer in ours[1::2]] == [NormAct, NormAct] and left_alone(model) == {}
    assert list(ours.state_dict()) == list(model.state_dict())
    for training in (True, False):
        results = []
        for net in (model.train(training), ours.train(training)):
            net.zero_grad()
            y = net(images())
            y.square().mean().backward()
            results.append([y.detach(), *(p.grad for p in net.parameters()), *(b.double() for b in net.buffers())])
        for a, b in zip(*results, strict=True):
            close(a, b)
    with pytest.raises(DataError, match="x must have 4 axes"):
        ours[1](images()[0])
    close(copy.deepcopy(ours)(images()), ours(images()))
    back = revert(copy.deepcopy(ours))
    assert [type(layer) for layer in back[1::2]] == [BatchNormAct2d] * 2
    close(back(images()), model(images()))


def test_what_convert_leaves_alone_it_names():
    model = nn.Sequential(
        Own(8), Evo(8), nn.LazyBatchNorm2d(), freeze(nn.BatchNorm2d(8)), FrozenBatchNorm2d(8), Slow(8)
    )
    with pytest.warns(UserWarning, match=r"left alone: 0 \(Own has a forward pass of its own\), 1 \(Evo has"):
        convert(model)
    assert left_alone(model) == {
        "0": "Own has a forward pass of its own",
        "1": "Evo has a forward pass of its own",
        "2": "it is lazy: run the model on one batch first",
        "3": "it is frozen: unfreeze it first",
        "4": "it was written to be frozen",
    }
    assert type(model[5]) is BatchNorm
    with_act = nn.Sequential(BatchNormAct2d(8))
    with pytest.warns(UserWarning, match="BatchNormAct2d has an activation inside, and SyncBatchNorm has none"):
        assert type(convert(with_act, to=nn.SyncBatchNorm)[0]) is BatchNormAct2d
    with pytest.warns(UserWarning, match="GroupNorm"):
        convert(with_act, to=nn.GroupNorm, groups=2)
    assert type(with_act[0]) is BatchNormAct2d


def test_subclasses_that_only_change_defaults_are_the_class():
    model = network(Slow(8), Slow(8))
    ours = convert(copy.deepcopy(model))
    assert type(ours[1]) is BatchNorm and ours[1].eps == 1e-3 and ours[1].momentum == 0.01
    for training in (True, False):
        close(ours.train(training)(images()), model.train(training)(images()))
    assert type(revert(ours)[1]) is Slow
    assert len(fold(model)[1].folded) == 2


@pytest.mark.parametrize("converted", [False, True])
@pytest.mark.parametrize("act", [nn.ReLU, nn.SiLU])
def test_norms_with_an_activation_are_folded(act, converted):
    model = network(BatchNormAct2d(8, act), BatchNormAct2d(8, act)).eval()
    want = model(images())
    folded, report = fold(convert(model) if converted else model, example=images())
    assert [f.into for f in report.folded] == [("0",), ("2",)]
    close(folded(images()), want)


@pytest.mark.parametrize("kind", [FrozenBatchNorm2d, DetrFrozenBatchNorm2d])
def test_norms_frozen_by_their_authors_are_folded(kind):
    model = network(kind(8), kind(8)).eval()
    folded, report = fold(model, example=images())
    assert len(report.folded) == 2 and not report.skipped
    close(folded(images()), model(images()))
    assert freeze(model) is model  # it is frozen already
    with pytest.raises(DataError, match="recalibrate needs a layer"):
        recalibrate(model, [images()])


def test_frozen_layers_of_unknown_packages_are_not_folded():
    class FrozenBatchNorm2d(nn.Module):
        """Whoever's: its eps may be anywhere."""

        def __init__(self):
            super().__init__()
            for name in ("weight", "bias", "running_mean", "running_var"):
                self.register_buffer(name, torch.ones(8))

        def forward(self, x):
            return x * 3

    _, report = fold(nn.Sequential(nn.Conv2d(8, 8, 3), FrozenBatchNorm2d()))
    assert report.skipped[0].why == "FrozenBatchNorm2d has a forward pass of its own"


def test_never_active_channels_are_seen_within_a_norm():
    model = nn.Sequential(BatchNormAct2d(8), nn.Conv2d(8, 8, 1))
    with torch.no_grad():
        model[0].bias[3] = -100
    apart = nn.Sequential(nn.BatchNorm2d(8, eps=1e-3), nn.ReLU(), nn.Conv2d(8, 8, 1))
    apart[0].load_state_dict(model[0].state_dict())
    x = images(8).float()
    for net in (model, convert(copy.deepcopy(model))):
        texts = [[f.text for f in diagnose(m, [x[:4], x[4:]]).findings] for m in (net, apart)]
        assert any("never got past the relu" in text for text in texts[1]) and texts[0] == texts[1]


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model."])
@pytest.mark.parametrize("nested", [False, True])
def test_weights_of_checkpoints_and_wrappers(tmp_path, nested, prefix):
    model, other = network(Slow(8)), network(Slow(8))
    with torch.no_grad():
        other[0].weight.zero_()
    state = {prefix + name: value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3} if nested else state, tmp_path / "weights.pt")
    load.weigh(other, tmp_path / "weights.pt", "here:model")
    assert torch.equal(other[0].weight, model[0].weight)
    with pytest.raises(FileError, match="does not hold the weights of here:model"):
        load.weigh(nn.Linear(2, 2), tmp_path / "weights.pt", "here:model")


class LinearNorm(nn.Module):
    """As LeViT's: a linear layer of (n, l, c), normalized as (n · l, c)."""

    def __init__(self, how):
        super().__init__()
        self.linear, self.norm, self.how = nn.Linear(8, 8), nn.BatchNorm1d(8), how

    def forward(self, x):
        x = self.linear(x)
        if self.how == "like":
            return self.norm(x.flatten(0, 1)).reshape_as(x)
        if self.how == "shape":
            return self.norm(torch.flatten(x, 0, end_dim=1)).reshape(x.shape)
        if self.how == "swapped":
            return self.norm(x.transpose(1, 2).flatten(0, 1)).reshape_as(x)
        return self.norm(x.flatten(0, 1)).reshape_as(x) + x


@pytest.mark.parametrize("how", ["like", "shape"])
def test_rows_that_are_flattened_before_a_norm(how):
    model = network(LinearNorm(how), LinearNorm(how))[1::2].eval()
    x = images()[:, 0, :8, :8]
    folded, report = fold(model, example=x)
    assert len(report.folded) == 2 and not report.skipped
    close(folded(x), model(x))


@pytest.mark.parametrize("how", ["swapped", "read twice"])
def test_rows_that_are_something_else(how):
    model, x = network(LinearNorm(how))[1::2].eval(), images()[:, 0, :8, :8]
    folded, report = fold(model, example=x)
    assert len(report.skipped) == 1
    close(folded(x), model(x))
