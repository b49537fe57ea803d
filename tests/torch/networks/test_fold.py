"""Batch norms are folded where that is proven, change no output, and stay with a reason where it is not."""

import copy
import warnings

import pytest

from gammabeta.errors import DataError, KindError

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402, N812
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval  # noqa: E402

from folded_networks import Own, paths, unchanged, why  # noqa: E402
from gammabeta.torch import BatchNorm, convert, fold, freeze  # noqa: E402
from trained_networks import Residual, accuracy, digits, one_thread, perceptron, settled, trained  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of torch's, about its own torch.jit
    from torch.fx.experimental.optimization import fuse


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


def test_the_comparison_can_fail(monkeypatch):
    """A weight that is wrong in its ninth digit is found."""

    right = fold

    def wrong(model, **given):
        folded, report = right(model, **given)
        folded[0].weight.data *= 1 + 1e-8
        return folded, report

    monkeypatch.setitem(unchanged.__globals__, "fold", wrong)
    with pytest.raises(AssertionError):
        unchanged(settled(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))), torch.randn(5, 3))


CONVOLUTIONS = [
    (nn.Conv1d, nn.BatchNorm1d),
    (nn.Conv2d, nn.BatchNorm2d),
    (nn.Conv3d, nn.BatchNorm3d),
    (nn.ConvTranspose1d, nn.BatchNorm1d),
    (nn.ConvTranspose2d, nn.SyncBatchNorm),
    (nn.ConvTranspose3d, BatchNorm),
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 4], ids=["whole", "grouped", "depthwise"])
@pytest.mark.parametrize(("convolution", "norm"), CONVOLUTIONS, ids=lambda kind: kind.__name__)
def test_convolution_then_norm(convolution, norm, groups, bias):
    model = settled(nn.Sequential(convolution(4, 8, 3, 2, 1, groups=groups, bias=bias), norm(8)))
    dimensions = int(convolution.__name__[-2])
    assert paths(unchanged(model, torch.randn(2, 4, *[5] * dimensions))) == [("1", ("0",), "before")]


@pytest.mark.parametrize("groups", [1, 2, 4], ids=["whole", "grouped", "depthwise"])
@pytest.mark.parametrize(("convolution", "norm"), CONVOLUTIONS[:3], ids=lambda kind: kind.__name__)
def test_norm_then_convolution(convolution, norm, groups):
    model = settled(nn.Sequential(norm(4), convolution(4, 8, 3, 2, groups=groups)))
    dimensions = int(convolution.__name__[-2])
    assert paths(unchanged(model, torch.randn(2, 4, *[5] * dimensions))) == [("0", ("1",), "after")]


def test_norm_then_transposed_convolution_of_one_tap():
    model = settled(nn.Sequential(nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 6, 1, groups=2)))
    assert paths(unchanged(model, torch.randn(2, 4, 3, 3))) == [("0", ("1",), "after")]


@pytest.mark.parametrize("affine", [True, False])
def test_dense_layers_both_ways(affine):
    model = settled(nn.Sequential(nn.BatchNorm1d(3, affine=affine), nn.Linear(3, 5), nn.BatchNorm1d(5, affine=affine)))
    assert paths(unchanged(model, torch.randn(4, 3))) == [("0", ("1",), "after"), ("2", ("1",), "before")]


def test_embedding():
    model = settled(nn.Sequential(nn.Embedding(7, 4, padding_idx=0), nn.BatchNorm1d(4)))
    assert paths(unchanged(model, torch.arange(7))) == [("1", ("0",), "before")]


def test_an_added_bias_and_the_flags_of_parameters():
    model = settled(nn.Sequential(nn.Linear(3, 5, bias=False), nn.BatchNorm1d(5)))
    model[0].weight.requires_grad_(False)
    folded, _ = fold(model)
    assert folded[0].bias.shape == (5,) and not folded[0].bias.requires_grad and not folded[0].weight.requires_grad
    assert not any(module.training for module in folded.modules())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_are_rounded_once(dtype):
    model = settled(nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8)).to(dtype))
    folded, _ = fold(model)
    wide = fold(copy.deepcopy(model).double())[0]
    for got, want in zip(folded.parameters(), wide.parameters(), strict=True):
        assert got.dtype == dtype and torch.equal(got, want.to(dtype))


def test_the_model_stays_as_it_is():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    model[2].eval()
    state, text, modes = copy.deepcopy(model.state_dict()), str(model), [m.training for m in model.modules()]
    fold(model, example=torch.randn(2, 3, 5, 5))
    assert str(model) == text and [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def conv(inputs=3, outputs=3, **options):
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)


def norm(**options):
    return nn.BatchNorm2d(3, **options)


PICTURES = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))

FOLDED = {
    "a layer and its norm, both used twice": (
        lambda m, x: m.norm(m.conv(m.norm(m.conv(x)))),
        [("norm", ("conv",), "before")],
    ),
    "a norm after two layers": (
        lambda m, x: m.norm(m.conv(x)) + m.norm(m.other(x)),
        [("norm", ("conv", "other"), "before")],
    ),
    "dropout and others between": (
        lambda m, x: m.norm(F.dropout(nn.Identity()(m.conv(x)).contiguous(), 0.5, m.training)),
        [("norm", ("conv",), "before")],
    ),
    "a shape that is read": (
        lambda m, x: (lambda y: m.norm(y).reshape(y.shape[0], y.size(1), -1))(m.conv(x)),
        [("norm", ("conv",), "before")],
    ),
    "the norm's output is changed in place": (
        lambda m, x: m.norm(m.conv(x)).relu_(),
        [("norm", ("conv",), "before")],
    ),
}


@pytest.mark.parametrize(("way", "expected"), FOLDED.values(), ids=FOLDED)
def test_what_is_proven_is_folded(way, expected):
    model = settled(Own(way, conv=conv(), other=conv(), norm=norm()))
    assert paths(unchanged(model, PICTURES)) == expected
    # Both ways of tracing come to the same.
    model.way = lambda m, x: way(m, x) if x.shape[0] == 2 else x
    assert paths(fold(model, example=PICTURES)[1]) == expected


class Pair:
    """A structure that torch knows nothing of."""

    def __init__(self, *tensors):
        self.tensors = tensors


def stash(m, x):
    m.seen = m.conv(x)
    return m.norm(m.seen)


def pair(m, x):
    y = m.conv(x)
    return Pair(m.norm(y), y)


def changed_in_place(m, x):
    y = m.norm(x)
    x.relu_()
    return m.valid(y)


KEPT = {
    "a branch": (lambda m, x: m.norm(y := m.conv(x)) + y, "conv (Conv2d), before it, also goes to the function add"),
    "a second norm": (lambda m, x: m.norm(m.conv(x)) + m.conv(x), "comes from conv, which is also called elsewhere"),
    "the layer's output": (lambda m, x: (m.norm(y := m.conv(x)), y), "also goes to the model's output"),
    "an attribute": (stash, "conv (Conv2d), before it, also goes to the model's output"),
    "something else between": (lambda m, x: m.norm(m.conv(x).relu()), "the function relu, which is not linear"),
    "changed before": (lambda m, x: m.norm(m.conv(x).mul_(2)), "the function mul_, which is not linear"),
    "a weight that is read": (
        lambda m, x: m.norm(m.conv(x)) + m.conv.weight.sum(),
        "comes from conv, whose parameters are also read on their own",
    ),
    "a norm that is read": (
        lambda m, x: m.norm(m.conv(x)) * m.norm.weight.mean(),
        "its parameters or buffers are also read on their own",
    ),
    "the input": (lambda m, x: m.norm(x) + x, "it normalizes the model's input; its output goes to the function add"),
    "padding": (
        lambda m, x: m.conv(m.norm(x)),
        "it pads with zeros (padding=(1, 1)), which the norm would have shifted",
    ),
    "changed in place": (changed_in_place, "relu_ changes values in place before valid (Conv2d) reads them"),
    "one of two readers": (lambda m, x: m.valid(y := m.norm(x)) + y.mean(), "its output goes to the function mean"),
    "a reader used elsewhere": (lambda m, x: m.valid(m.norm(x)) + m.valid(x), "valid, which is also called elsewhere"),
    "not called": (lambda m, x: m.conv(x), "it is not called"),
    "given twice": (
        lambda m, x: m.fused(y := m.conv(x), residual=y),
        "conv (Conv2d), before it, is given to it twice",
    ),
    "a mask": (lambda m, x: m.fused(m.conv(x), mask=x[:, :1] > 0), "it is called with a mask, where its output is 0"),
    "two axes exchanged": (
        lambda m, x: m.valid(m.norm(x.transpose(2, 3)).transpose(2, 3)),
        "its output goes to the function transpose",
    ),
}


@pytest.mark.parametrize("example", [False, True], ids=["symbolically", "on an example"])
@pytest.mark.parametrize(("way", "reason"), KEPT.values(), ids=KEPT)
def test_what_is_not_proven_is_skipped(way, reason, example):
    layers = {"conv": conv(), "valid": nn.Conv2d(3, 3, 3)}
    fused = {"fused": BatchNorm(3)} if "fused" in way.__code__.co_names else {"norm": norm()}
    chosen = way if not example else lambda m, x: way(m, x) if x.shape[0] == 2 else x  # the condition defeats torch.fx
    model = settled(Own(chosen, **layers, **fused))
    folded, report = fold(model, example=PICTURES.clone() if example else None)
    assert report.traced == ("on the example" if example else "symbolically")
    assert not report.folded and reason in why(report), report
    assert type(folded.get_submodule(report.skipped[0].norm)) is type(model.get_submodule(report.skipped[0].norm))


def test_values_kept_in_an_unknown_structure_are_seen_in_a_run():
    model = settled(Own(pair, conv=conv(), norm=norm()))
    _, report = fold(model, example=PICTURES)
    assert report.traced == "on the example" and "also goes to the model's output" in why(report)
    assert report.difference is None and report.notes == ("the output has no tensors to be compared",)


LAYERS = {
    "no statistics": (lambda: [conv(), norm(track_running_stats=False)], "track_running_stats=False"),
    "a subclass": (
        lambda: [conv(), type("Mine", (nn.BatchNorm2d,), {"forward": lambda self, x: 2 * x})(3)],
        "Mine has a forward pass of its own",
    ),
    "a subclass before": (
        lambda: [type("Mine", (nn.Conv2d,), {"forward": lambda self, x: x.relu()})(3, 3, 1), norm()],
        "not linear or not known to be",
    ),
    "a parametrized layer": (
        lambda: [nn.utils.parametrizations.weight_norm(conv()), norm()],
        "which is parametrized: torch.nn.utils.parametrize.remove_parametrizations",
    ),
    "max_norm": (lambda: [nn.Embedding(5, 3, max_norm=1.0), nn.BatchNorm1d(3)], "which has max_norm="),
    "positions": (lambda: [conv(), BatchNorm((3, 5, 5), axis=0)], "it has features of shape (3, 5, 5)"),
    "another axis": (
        lambda: [conv(), BatchNorm(5, axis=(0, 1, 2))],
        "its features lie on another axis than those of 0",
    ),
    "transposed": (
        lambda: [norm(), nn.ConvTranspose2d(3, 3, 2)],
        "a transposed convolution adds up fewer taps at some places",
    ),
    "indices": (lambda: [nn.BatchNorm1d(3), nn.Embedding(3, 3)], "which takes no values but indices"),
    "flat from 0": (
        lambda: [nn.BatchNorm1d(3), nn.Flatten(0), nn.Linear(12, 2)],
        "its output goes to 1 (Flatten), which is not linear",
    ),
}


@pytest.mark.parametrize(("layers", "reason"), LAYERS.values(), ids=LAYERS)
def test_layers_that_are_not_folded(layers, reason):
    _, report = fold(settled(nn.Sequential(*layers())))
    assert not report.folded and reason in why(report), report


@pytest.mark.parametrize("place", [0, 1])
def test_hooks_are_refused(place):
    model = settled(nn.Sequential(conv(), norm()))
    model[place].register_forward_hook(lambda *_: None)
    assert "has hooks" in why(fold(model)[1])
    old = settled(nn.Sequential(conv(), norm()))
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(old[0])
    with pytest.raises(DataError, match=r"can copy, and it is not: .* torch.nn.utils.remove_weight_norm"):
        fold(old)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_statistics_that_are_not_finite(value):
    model = settled(nn.Sequential(conv(), norm()))
    model[1].running_mean[1] = value
    assert "not finite" in why(fold(model)[1])


def test_weights_beyond_their_type():
    model = settled(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))).half()
    model[1].running_var.fill_(0)
    model[1].weight.data.fill_(6e4)  # · 1 / √1e-5
    assert "the folded weights are beyond torch.float16" in why(fold(model)[1])
    model[1].running_var.fill_(6e4)
    model[1].weight.data.fill_(6e-8)
    assert "beyond torch.float16" in why(fold(model)[1])


def test_padding_with_the_data_themselves_and_norms_without_shift():
    for mode in ("reflect", "replicate", "circular"):
        model = settled(nn.Sequential(norm(), conv(padding_mode=mode)))
        assert paths(unchanged(model, PICTURES)) == [("0", ("1",), "after")]
    model = settled(nn.Sequential(norm(), conv()))
    model[0].running_mean.zero_()
    model[0].bias.data.zero_()
    assert paths(unchanged(model, PICTURES)) == [("0", ("1",), "after")]
    for padding, folds in (("valid", True), ("same", False)):
        _, report = fold(settled(nn.Sequential(norm(), nn.Conv2d(3, 3, 3, padding=padding))))
        assert bool(report.folded) is folds


def test_one_norm_for_several_readers():
    def way(m, x):
        y = m.norm(x)
        return (m.query(y) @ m.key(y).T) @ m.value(y)

    layers = {name: nn.Linear(4, 4) for name in ("query", "key", "value")}
    model = settled(Own(way, norm=nn.BatchNorm1d(4), **layers))
    report = unchanged(model, torch.randn(3, 4))
    assert [(f.norm, set(f.into)) for f in report.folded] == [("norm", {"query", "key", "value"})]


FLAT = {
    "a layer": lambda m, x: m.linear(nn.Flatten()(m.norm(x))),
    "a function": lambda m, x: m.linear(torch.flatten(m.norm(x), 1)),
    "a method": lambda m, x: m.linear(m.norm(x).flatten(start_dim=1)),
    "a view": lambda m, x: m.linear((y := m.norm(x)).view(y.size(0), -1)),
    "a reshape": lambda m, x: m.linear((y := m.norm(x)).reshape(y.shape[0], -1)),
}


@pytest.mark.parametrize("way", FLAT.values(), ids=FLAT)
def test_a_norm_flattened_into_a_dense_layer(way):
    model = settled(Own(way, norm=norm(), linear=nn.Linear(75, 4)))
    assert paths(unchanged(model, PICTURES)) == [("norm", ("linear",), "after")]
    shapely = settled(Own(lambda m, x: way(m, x) if x.shape[0] else x, norm=norm(), linear=nn.Linear(75, 4)))
    assert paths(fold(shapely, example=PICTURES)[1]) == [("norm", ("linear",), "after")]


def test_a_flattening_that_is_none():
    model = settled(Own(lambda m, x: m.linear(m.norm(x).view(-1, 75)), norm=norm(), linear=nn.Linear(75, 4)))
    assert "its output goes to the function view" in why(fold(model)[1])


SWAPPED = {
    "transpose": lambda x: x.transpose(1, 2),
    "negative": lambda x: x.transpose(-2, -1),
    "permute": lambda x: x.permute(0, 2, 1),
    "function": lambda x: torch.permute(x, (0, 2, 1)),
}


@pytest.mark.parametrize("swap", SWAPPED.values(), ids=SWAPPED)
def test_sequences_with_their_axes_swapped(swap):
    layers = {"first": nn.Linear(3, 5), "norm": nn.BatchNorm1d(5), "last": nn.Linear(5, 2)}
    model = settled(Own(lambda m, x: m.last(swap(m.norm(swap(m.first(x))))), **layers))
    assert paths(unchanged(model, torch.randn(4, 6, 3))) == [("norm", ("first",), "before")]
    del layers["first"]
    model = settled(Own(lambda m, x: m.last(swap(m.norm(swap(x)))), **layers))
    assert paths(unchanged(model, torch.randn(4, 6, 5))) == [("norm", ("last",), "after")]


def test_features_on_the_last_axis():
    model = settled(nn.Sequential(nn.Linear(3, 5), BatchNorm(5, axis=(0, 1)), nn.ReLU()))
    assert paths(unchanged(model, torch.randn(4, 6, 3))) == [("1", ("0",), "before")]


def test_a_norm_of_the_sequence_is_never_taken_for_one_of_the_features():
    """Of (n, l, c) a BatchNorm1d normalizes l, and where l = c torch's fusion mistakes it for c."""
    model, x = settled(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))), torch.randn(3, 4, 4)
    theirs = fuse(model)
    assert not torch.allclose(theirs(x), model(x), atol=0.1)
    _, report = fold(model, example=x)
    assert "its features lie on another axis of x, which has 3 axes" in why(report)
    folded, _ = fold(model)  # as for (n, c), and it says so where other data come
    with pytest.raises(AssertionError, match="x must have 2 axes"):
        folded(x)
    assert "rank=2" in str(folded)


@pytest.mark.parametrize("activation", [None, "relu", "silu"])
@pytest.mark.parametrize("residual", [False, True])
def test_what_was_fused_into_a_norm_stays(activation, residual):
    def way(m, x):
        return m.norm(m.conv(x), residual=x) if residual else m.norm(m.conv(x))

    model = settled(Own(way, conv=conv(), norm=BatchNorm(3, activation=activation)))
    assert paths(unchanged(model, PICTURES)) == [("norm", ("conv",), "before")]
    assert (fold(model)[0](PICTURES).min() >= 0) == (activation == "relu")
    after = settled(Own(lambda m, x: m.conv(m.norm(x)), conv=nn.Conv2d(3, 3, 3), norm=BatchNorm(3, activation="relu")))
    assert "a ReLU or a residual follows within it" in why(fold(after)[1])


def test_frozen_norms_fold():
    model = settled(nn.Sequential(conv(), norm(), nn.ReLU()))
    frozen = freeze(copy.deepcopy(model)).train()
    folded, report = fold(frozen)
    assert paths(report) == [("1", ("0",), "before")]
    assert torch.equal(folded(PICTURES), fold(model)[0](PICTURES))
    assert "frozen=True" in repr(frozen[1]) and not frozen[1].weight.requires_grad


def test_norms_after_norms():
    model = settled(nn.Sequential(conv(), norm(), nn.Dropout2d(), norm(), nn.Conv2d(3, 2, 1)))
    assert paths(unchanged(model, PICTURES)) == [("1", ("0",), "before"), ("3", ("0",), "before")]


def test_the_function_is_listed():
    def way(m, x):
        return F.batch_norm(m.norm(m.conv(x)), m.norm2.running_mean, m.norm2.running_var)

    _, report = fold(settled(Own(way, conv=conv(), norm=norm(), norm2=norm())))
    assert [f.norm for f in report.folded] == ["norm"]
    assert {k.norm: k.why.split(":")[0] for k in report.skipped} == {
        "norm2": "it is not called",
        "the function batch_norm": "a call in a forward pass is no module to replace",
    }


def test_a_weight_that_two_layers_share_changes_in_one():
    model = settled(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4)))
    model[3].weight = model[0].weight
    assert paths(unchanged(model, torch.randn(3, 4))) == [("1", ("0",), "before")]
    assert torch.equal(fold(model)[0][3].weight, model[3].weight)


def test_a_container_that_occurs_twice():
    block = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())
    model = settled(nn.Sequential(block, nn.Sequential(block, nn.Linear(4, 2))))
    folded, report = fold(model)
    assert paths(report) == [("0.1", ("0.0",), "before")] and folded[0] is folded[1][0]


class Depends(nn.Module):
    """Its way depends on values; its parts' do not."""

    def __init__(self):
        super().__init__()
        self.stem, self.rest = nn.Sequential(conv(), norm()), nn.ModuleList([nn.Sequential(conv(), norm()), nn.ReLU()])

    def forward(self, x):
        y = self.stem(x)
        if y.mean() > 0:  # here
            y = self.rest[0](y)
        return self.rest[1](y)


@pytest.mark.parametrize("example", [None, PICTURES], ids=["symbolically", "on an example"])
def test_a_model_that_cannot_be_traced_says_where_and_what_it_can_do(example):
    model = settled(Depends())
    with pytest.raises(DataError, match=r"test_fold.py:\d+: `if y.mean\(\) > 0:  # here`") as caught:
        fold(model, example=example)
    assert "within=['stem', 'rest.0']" in str(caught.value)
    folded, report = fold(model, example=PICTURES, within=["stem", "rest.0"])
    assert len(report.folded) == 2 and report.traced == "each part symbolically"
    # 45 products and a norm, twice: some ULPs of the largest, as many as the reports of the other tests.
    assert report.difference.ulps < 64
    assert type(folded) is Depends


def test_the_values_of_a_tensor_in_a_run():
    for way in (lambda x: x.sum().item(), lambda x: int(x[0, 0, 0, 0]), lambda x: len(x.tolist())):
        model = settled(
            Own(lambda m, x, way=way: m.norm(m.conv(x)) * (way(x) if x.shape[0] else 1), conv=conv(), norm=norm())
        )
        with pytest.raises(DataError, match="makes Python values of a tensor"):
            fold(model, example=PICTURES)


def test_arguments_take_their_defaults_or_the_examples():
    class Optional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = conv(), norm()

        def forward(self, x, scale=None, inner=False):
            y = self.conv(x)
            z = self.norm(y) if scale is None else self.norm(y) * scale
            return (z, y) if inner else z

    model = settled(Optional())
    assert len(fold(model)[1].folded) == 1
    assert len(fold(model, example=(PICTURES, torch.ones(1)))[1].folded) == 1
    assert len(fold(model, example={"scale": torch.ones(1), "x": PICTURES})[1].folded) == 1
    assert "also goes to the model's output" in why(fold(model, example={"x": PICTURES, "inner": True})[1])


def test_bad_input():
    with pytest.raises(KindError, match=r"model must be a torch.nn.Module, got list"):
        fold([nn.BatchNorm1d(3)])
    for model in (nn.Sequential(nn.Linear(3, 3)), nn.Linear(3, 3), nn.Sequential(nn.InstanceNorm2d(3))):
        with pytest.raises(DataError, match=r"model must have batch norms .* or scaler= be given"):
            fold(model)
    assert why(fold(nn.BatchNorm1d(3))[1]).startswith("it normalizes the model's input; its output is the model's")

    with pytest.raises(DataError, match=r"within must name submodules of the model, got \['none'\]"):
        fold(nn.Sequential(conv(), norm()), within=["none"])
    with pytest.raises(DataError, match=r"lazy layers must have seen a batch, and these have not: 0.weight, 0.bias"):
        fold(nn.Sequential(nn.LazyLinear(3), nn.BatchNorm1d(3)))
    for wrapped in (nn.DataParallel(norm()), torch.compile(norm())):
        with pytest.raises(KindError, match=r"model must be the module itself, got \w+: give what it was made of"):
            fold(wrapped)

    class Asks(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = conv(), norm()

        def forward(self, x):
            y = self.norm(self.conv(x))
            return y if isinstance(self.norm, nn.BatchNorm2d) else y + 1

    with pytest.raises(DataError, match="must not ask what its batch norms are"):
        fold(settled(Asks()))


def test_a_folded_model_is_traced_and_exported(tmp_path):
    x = torch.randn(5, 3)
    model = settled(nn.Sequential(nn.Linear(3, 5), BatchNorm(5, activation="relu"), nn.Linear(5, 2)))
    folded, _ = fold(model)
    for other in (torch.fx.symbolic_trace(folded), torch.export.export(folded, (x,)).module()):
        assert torch.equal(other(x), folded(x))
    operations = {str(node.target) for node in torch.export.export(folded, (x,)).graph.nodes}
    assert not any("norm" in name or "rsqrt" in name for name in operations)


# Where the peers fail: each name is that of the issue, or of the error.


def test_144403_norm_before_linear():
    model, x = settled(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))), torch.randn(4, 3)
    assert any(isinstance(layer, nn.BatchNorm1d) for layer in fuse(model).modules())
    assert paths(unchanged(model, x)) == [("0", ("1",), "after")]


def test_linear_then_norm_without_gamma_is_a_type_error():
    model, x = settled(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, affine=False))), torch.randn(4, 3)
    with pytest.raises(TypeError):
        fuse_linear_bn_eval(*model)
    assert paths(unchanged(model, x)) == [("1", ("0",), "before")]


def test_grouped_transposed_convolution_is_a_runtime_error():
    model = settled(nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)))
    with pytest.raises(RuntimeError):
        fuse_conv_bn_eval(*model, transpose=True)
    assert paths(unchanged(model, torch.randn(2, 4, 3, 3))) == [("1", ("0",), "before")]


def test_transposed_convolution_without_the_flag_is_silently_wrong():
    model, x = settled(nn.Sequential(nn.ConvTranspose2d(4, 4, 3), nn.BatchNorm2d(4))), torch.randn(2, 4, 3, 3)
    assert not torch.allclose(fuse_conv_bn_eval(*model)(x), model(x), atol=0.01)
    assert paths(unchanged(model, x)) == [("1", ("0",), "before")]


# The law: folding keeps outputs, whatever the network.

BENDS = st.sampled_from([nn.ReLU, nn.Tanh, nn.Identity, nn.Dropout])


@st.composite
def convolutional(draw):
    """Norms, convolutions and bends in any order, and a dense layer at the end: (n, 2, 4, 4) to (n, 2)."""
    layers, channels = [], 2
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["conv", "transposed", "norm", "bend"]))
        groups = draw(st.sampled_from([1, 2]))
        bias = draw(st.booleans())
        if kind == "conv":
            mode = draw(st.sampled_from(["zeros", "circular"]))
            padding = draw(st.sampled_from([0, 1]))
            layers.append(nn.Conv2d(channels, 4, 1 + 2 * padding, padding=padding, groups=groups, padding_mode=mode))
            channels = 4
        elif kind == "transposed":
            layers.append(nn.ConvTranspose2d(channels, 4, 3, padding=1, groups=groups, bias=bias))
            channels = 4
        elif kind == "norm":
            layers.append(nn.BatchNorm2d(channels, affine=bias) if groups == 1 else BatchNorm(channels, affine=bias))
        else:
            layers.append(draw(BENDS)())
    return settled(nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.Flatten(), nn.Linear(channels * 16, 2)))


@settings(max_examples=25)
@given(convolutional(), st.integers(0, 2**31))
def test_folding_keeps_outputs(model, seed):
    x = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(seed))
    report = unchanged(model, x)
    assert len(report.folded) + len(report.skipped) == sum("BatchNorm" in type(layer).__name__ for layer in model)
    assert report.folded


# Trained networks.


@pytest.fixture(scope="module", params=["residual", "perceptron"])
def network(request):
    (x, y), (held, labels) = digits()
    torch.manual_seed(0)
    if request.param == "perceptron":
        return trained(perceptron(), x, y), held, labels
    return trained(Residual(), x.view(-1, 1, 8, 8), y), held.view(-1, 1, 8, 8), labels


def error(model, x, wide):
    """How far a model of float32 is from one of float64."""
    with torch.no_grad():
        return (model(x).double() - wide(x.double())).abs().max().item()


@pytest.mark.parametrize("ours", [False, True], ids=["torch's norms", "ours"])
def test_trained_networks_stay_as_good(network, ours):
    model, x, labels = network
    model = convert(copy.deepcopy(model)) if ours else model
    folded, report = fold(model, example=x)
    assert not report.skipped and len(report.folded) == sum("BatchNorm" in type(m).__name__ for m in model.modules())
    wide = copy.deepcopy(model).double()
    # Both are float32's roundings of one function: neither is further from it than a few times the other.
    assert error(folded, x, wide) <= 4 * error(model, x, wide)
    assert accuracy(folded, x, labels) == accuracy(model, x, labels) > 0.9
    assert report.difference.ulps < 2**10 and "largest difference on the example" in str(report)


class Counting(nn.Module):
    """Counts its calls in a buffer, in a parameter and in a list, and keeps the largest value."""

    def __init__(self, branching):
        super().__init__()
        self.branching = branching
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.register_buffer("calls", torch.zeros(()))
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)
        self.largest, self.seen = torch.zeros(()), [0]

    def forward(self, x):
        self.calls.add_(1)
        self.scale.data.add_(1)
        self.largest.add_(1)
        self.seen[0] += 1
        if self.branching and len(x) == 0:
            return x
        return torch.relu(self.norm(self.conv(x)))


@pytest.mark.parametrize("branching", [False, True])
def test_trial_runs_move_nothing_of_the_users(branching):
    model, x = Counting(branching), torch.randn(4, 3, 8, 8)
    held = [*model.parameters(), *model.buffers(), model.largest]
    before = [t.detach().clone() for t in held]
    folded, report = fold(model, example=x)
    assert report.traced == ("on the example" if branching else "symbolically") and len(report.folded) == 1
    assert folded.calls == 0 and folded.seen == [0]
    assert all(torch.equal(a, b) for a, b in zip(before, held, strict=True)) and model.seen == [0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_trial_runs_do_not_move_observers():
    """Observers of quantization-aware training watch in evaluation too."""
    from torch.ao.quantization import MovingAverageMinMaxObserver

    model = nn.Sequential(MovingAverageMinMaxObserver(), nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))).eval()
    x = torch.randn(8, 3)
    model(x)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(DataError, match="must not depend on its input"):  # the observer's way does
        fold(model, example=100 * x)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert len(fold(model, example=100 * x, within=["1"])[1].folded) == 1
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
