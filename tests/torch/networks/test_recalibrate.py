"""Recalibration: the population's exact statistics, however they are cut into batches; after an error, nothing."""

import copy
import socket
import sys
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

import gammabeta as gb
from gammabeta.errors import DataError, KindError, StateError
from gammabeta.kernels import thread_pool

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402, N812
from torch import distributed, multiprocessing, nn  # noqa: E402
from torch.optim.swa_utils import update_bn  # noqa: E402

from calibration import digits, everything, norms, residual, seeded, trained, unchanged  # noqa: E402
from gammabeta.torch import (  # noqa: E402
    BatchNorm,
    openmp,
    recalibrate,
)
from gammabeta.torch.networks import calibrate_step  # noqa: E402


def statistics(layer):
    return layer.running_mean.numpy().copy(), layer.running_var.numpy().copy()


def exact(layer, x, axis=0):
    """Whether a layer's statistics are the correctly rounded ones of x."""
    moments = gb.Moments.of(np.asarray(x), axis=axis)
    var = moments.with_ddof(1).var
    mean = torch.as_tensor(moments.mean.copy()).to(layer.running_mean.dtype)
    return torch.equal(layer.running_mean, mean) and torch.equal(
        layer.running_var, torch.as_tensor(var.copy()).to(layer.running_var.dtype)
    )


def table(rows=203, features=3, seed=0):
    return torch.randn(rows, features, generator=torch.Generator().manual_seed(seed)) * 2 + 1e3


@pytest.fixture(name="network", scope="module")
def _network():
    return trained(seeded(residual))


# What torch's update_bn does not do, by its issues and by what PEERS.md measured.


def test_torch_49082_a_batch_that_is_a_mapping():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, values):
            return self.norm(values)

    x = table()
    batches = [{"values": part, "label": 0} for part in x.split(64)]
    with pytest.raises(AttributeError, match="'dict' object has no attribute 'dim'"):
        update_bn(batches, Named())
    recalibrate(model := Named(), batches)
    assert exact(model.norm, x)


def test_update_bn_raises_for_a_last_batch_of_one():
    x = table(129)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        update_bn(x.split(64), nn.BatchNorm1d(3))
    recalibrate(layer := nn.BatchNorm1d(3), x.split(64))
    assert exact(layer, x)


def test_update_bn_averages_variances_of_sorted_data_unweighted():
    """Three batches of sorted values, the last one short: the variance between batches is lost."""
    x = torch.cat([torch.linspace(-3, -1, 64), torch.linspace(0, 1, 64), torch.linspace(2, 5, 20)])[:, None]
    truth = float(gb.Moments.of(x.numpy()).with_ddof(1).var[0])
    update_bn(x.split(64), theirs := nn.BatchNorm1d(1))
    recalibrate(ours := nn.BatchNorm1d(1), x.split(64))
    assert theirs.running_var.item() < truth / 3
    assert ours.running_var.item() == np.float32(truth)


def test_update_bn_leaves_dropout_on():
    x = torch.ones(256, 1)
    make = lambda: nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(1))  # noqa: E731
    update_bn(x.split(64), theirs := make())
    recalibrate(ours := make(), x.split(64))
    assert theirs[1].running_var.item() > 0.5
    assert ours[1].running_var.item() == 0


# The same data, cut and ordered in any way.


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("size", [1, 2, 7, 203])
def test_any_batch_size_gives_the_same_bits(size, sequential):
    x = table()
    for layer in (nn.BatchNorm1d(3), BatchNorm(3), nn.SyncBatchNorm(3)):
        report = recalibrate(layer, x.split(size), sequential=sequential)
        assert exact(layer, x)
        assert layer.num_batches_tracked.item() == report[""].calls == -(-203 // size)
        assert report[""].count == (203, 203)
        assert report.settled


def test_any_order_gives_the_same_bits_layer_after_layer(network):
    x, _ = digits()
    batches = list(x[:600].split(100))
    models = []
    for order in (batches, batches[::-1], [batches[i] for i in (3, 0, 5, 1, 4, 2)]):
        report = recalibrate(model := copy.deepcopy(network), order, sequential=True)
        assert report.settled
        assert report.passes <= len(norms(model))
        models.append(model)
    for other in models[1:]:
        assert all(torch.equal(a, b) for a, b in zip(models[0].buffers(), other.buffers(), strict=True))


def test_each_layer_has_the_exact_statistics_of_what_it_is_given(network):
    x, _ = digits()
    recalibrate(model := copy.deepcopy(network), x[:500].split(64), sequential=True)
    inputs = {}
    for name, layer in norms(model).items():
        layer.register_forward_pre_hook(lambda _, x, name=name: inputs.setdefault(name, []).append(x[0].detach()))
    with torch.no_grad():
        for part in x[:500].split(64):
            model.eval()(part)
    assert len(inputs) == 5
    assert all(exact(layer, torch.cat(inputs[name]), (0, 2, 3)) for name, layer in norms(model).items())


def test_other_batch_sizes_give_the_same_within_the_rounding_of_convolutions(network):
    """A convolution's sums of 72 products round otherwise in another batch, by some √72 · 2⁻²⁴ of its std."""
    x, _ = digits()
    one, other = copy.deepcopy(network), copy.deepcopy(network)
    recalibrate(one, x[:300].split(100), sequential=True)
    recalibrate(other, x[:300].split(13), sequential=True)
    bound = 5 * 8 * 72**0.5 * 2.0**-24  # five layers, each passing on the ones before; a margin of 8 for γ / std > 1
    for a, b in zip(norms(one).values(), norms(other).values(), strict=True):
        std = a.running_var.sqrt()
        assert ((a.running_mean - b.running_mean).abs() <= bound * std).all()
        assert ((a.running_var - b.running_var).abs() <= 2 * bound * a.running_var).all()


def test_one_pass_does_not_care_for_what_the_statistics_were(network):
    x, y = digits()
    fresh = copy.deepcopy(network)
    for layer in norms(fresh).values():
        layer.running_mean.fill_(1e4)
        layer.running_var.fill_(1e-4)
    for model in (fresh, again := copy.deepcopy(network)):
        report = recalibrate(model, x[:1200].split(100))
        assert (report.passes, report.settled) == (1, False)
    assert all(torch.equal(a, b) for a, b in zip(fresh.buffers(), again.buffers(), strict=True))
    right = (again.eval()(x[1200:]).argmax(1) == y[1200:]).float().mean()
    assert right > 0.8


# Batches and calls of every kind.


@dataclass
class Sample:
    values: torch.Tensor
    label: int = 0


class Picky(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, values, *, scale=1.0):
        return self.norm(values * scale)


@pytest.mark.parametrize(
    "kind",
    [
        lambda x: x,
        lambda x: (x, torch.zeros(len(x))),
        lambda x: [x],
        lambda x: {"values": x, "label": 0},
        lambda x: Sample(x),
        lambda x: namedtuple("Pair", "x y")(x, 0),
    ],
    ids=["tensor", "tuple", "list", "mapping", "dataclass", "named tuple"],
)
def test_batches_of_every_kind(kind):
    x = table()
    recalibrate(model := Picky(), [kind(part) for part in x.split(50)])
    assert exact(model.norm, x)


def test_keyword_calls():
    x = table()
    recalibrate(model := Picky(), x.split(50), call=lambda model, batch: model(values=batch, scale=2.0))
    assert exact(model.norm, 2 * x)


def test_a_layer_that_is_called_by_keyword():
    class Keyword(Picky):
        def forward(self, values):
            return self.norm(input=values)

    recalibrate(model := Keyword(), [table()])
    assert exact(model.norm, table())


def test_a_generator_in_one_pass():
    recalibrate(layer := nn.BatchNorm1d(3), iter(table().split(50)))
    assert exact(layer, table())


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, BatchNorm])
def test_masked_sequences(kind):
    x = table(60, 3).reshape(4, 15, 3).transpose(1, 2).contiguous()
    mask = torch.arange(15) < torch.tensor([15, 3, 1, 0])[:, None]
    values = x.transpose(1, 2)[mask]
    x.transpose(1, 2)[~mask] = float("nan")  # what is padding may be anything
    batches = [{"x": x[:2], "mask": mask[:2]}, {"x": x[2:], "mask": mask[2:]}]
    recalibrate(layer := kind(3), batches, call=lambda m, b: m(b["x"]), mask=lambda b: b["mask"])
    assert exact(layer, values)
    if kind is BatchNorm:
        recalibrate(layer := kind(3), batches, call=lambda m, b: m(b["x"], b["mask"]))
        assert exact(layer, values)
        recalibrate(layer := kind(3), batches, call=lambda m, b: m(b["x"], mask=b["mask"]))
        assert exact(layer, values)


def test_masks_by_layer():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.BatchNorm1d(3))
    x, mask = torch.randn(4, 3, 5), torch.rand(4, 5) > 0.5
    with pytest.raises(DataError, match=r"mask must have x's shape \(4, 3\)"):
        recalibrate(model, [x], mask=lambda b: mask)
    recalibrate(model, [x], mask=lambda b: {"0": mask})
    assert exact(model[0], x.transpose(1, 2)[mask])
    with pytest.raises(DataError, match=r"mask must name layers of the model, got \['1'\]: there are 0, 3"):
        recalibrate(model, [x], mask=lambda b: {"1": mask})
    with pytest.raises(KindError, match="mask must give a boolean tensor, or a mapping"):
        recalibrate(model, [x], mask=lambda b: [1])


def test_a_mask_of_single_values():
    x, mask = torch.randn(40, 3), torch.rand(40, 3) > 0.5
    recalibrate(layer := nn.BatchNorm1d(3), x.split(7), mask=None)
    recalibrate(layer, list(zip(x.split(7), mask.split(7), strict=True)), mask=lambda b: b[1])
    assert all(
        layer.running_var[i].item() == np.float32(gb.Moments.of(x[:, i][mask[:, i]].numpy()).with_ddof(1).var)
        for i in range(3)
    )


# Layers of every kind.


@pytest.mark.parametrize(
    ("kind", "shape"), [(nn.BatchNorm1d, (5, 3, 4)), (nn.BatchNorm2d, (5, 3, 4, 2)), (nn.BatchNorm3d, (5, 3, 2, 2, 2))]
)
def test_every_dimension(kind, shape):
    x = torch.randn(shape)
    for layer in (kind(3), BatchNorm(3)):
        recalibrate(layer, [x[:4], x[4:]])
        assert exact(layer, x, (0, *range(2, x.ndim)))


def test_a_lazy_layer_before_and_after_its_first_batch():
    x = torch.randn(20, 3)
    layer = nn.LazyBatchNorm1d()
    with pytest.raises(DataError, match="must have its statistics in memory, and it is lazy"):
        recalibrate(layer, [x])
    layer(x)
    recalibrate(layer, [x])
    assert exact(layer, x)


def test_our_layers_axes_ghosts_renorm_and_estimator():
    x = torch.randn(24, 4, 5)
    recalibrate(layer := BatchNorm((4, 5), axis=0), x.split(7))
    assert exact(layer, x)
    recalibrate(layer := BatchNorm(4, ghost=3, renorm=(2.0, 1.0)), x.split(7))
    assert exact(layer, x, (0, 2))
    recalibrate(layer := BatchNorm(4, unbiased=False), x.split(7))
    assert torch.equal(layer.running_var, torch.as_tensor(gb.Moments.of(x.numpy(), (0, 2)).var.copy()).float())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types(dtype):
    x = torch.randn(64, 3, dtype=torch.float64).to(dtype)
    recalibrate(layer := nn.BatchNorm1d(3, dtype=dtype), x.split(10))
    moments = gb.Moments.of(x.double().numpy())
    assert torch.equal(layer.running_mean, torch.as_tensor(moments.mean.copy()).to(dtype))


class Foreign(nn.Module):
    """A layer of another package that carries the same buffers."""

    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x):
        return (x - self.running_mean) / self.running_var.sqrt() * self.weight


def test_other_packages_layers_by_what_they_carry():
    x = torch.randn(64, 3)
    recalibrate(layer := Foreign(3), x.split(10))
    assert exact(layer, x)
    with pytest.raises(
        DataError, match=r"must be called with \(n, c, …\), c being its \(3,\) features, got Tensor \(5, 7, 3\)"
    ):
        recalibrate(layer, [torch.randn(5, 7, 3)])


def test_a_layer_that_was_written_to_be_frozen_is_left_alone(framework):
    framework("transformers")
    from transformers.models.detr.modeling_detr import DetrFrozenBatchNorm2d

    model = nn.Sequential(
        nn.BatchNorm2d(3),
        DetrFrozenBatchNorm2d(3),
        nn.InstanceNorm2d(3, track_running_stats=True),
        nn.BatchNorm2d(3, track_running_stats=False),
    )
    before = everything(model)[0]
    report = recalibrate(model, [torch.randn(8, 3, 2, 2)])
    assert report.left_alone == {
        "1": "frozen",
        "2": "instance norm: its statistics are means over instances",
        "3": "keeps no running statistics",
    }
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items() if not k.startswith("0."))
    with pytest.raises(
        DataError, match=r"recalibrate needs a layer with running statistics .* has none: .*; the model: frozen"
    ):
        recalibrate(model[1], [torch.randn(8, 3, 2, 2)])


def test_a_residual_network_that_others_wrote(framework):
    transformers = framework("transformers")
    config = transformers.ResNetConfig(
        num_channels=1, embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic"
    )
    model = transformers.ResNetModel(config).eval()
    x, _ = digits()
    report = recalibrate(model, [{"pixel_values": part} for part in x[:64].split(20)], sequential=True)
    assert not report.left_alone
    assert report.settled
    first = model.embedder.embedder
    assert exact(first.normalization, first.convolution(x[:64]).detach(), (0, 2, 3)) or report.passes > 1


def test_a_layer_used_twice_has_the_statistics_of_all_its_calls():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, a, b):
            return torch.cat([self.norm(a), self.norm(b)])

    a, b = table(50), table(30, seed=1) - 1e3
    report = recalibrate(model := Twice(), [(a, b)], call=lambda model, batch: model(*batch))
    assert exact(model.norm, torch.cat([a, b]))
    assert report["norm"].calls == 2
    assert report["norm"].count == (80, 80)


def test_a_layer_that_no_batch_reaches_is_named_and_left_alone():
    model = nn.ModuleDict({"used": nn.BatchNorm1d(3), "spare": nn.BatchNorm1d(3)})
    report = recalibrate(model, [table()], call=lambda model, batch: model["used"](batch))
    assert report.left_alone == {"spare": "not reached"}
    assert statistics(model["spare"])[1].tolist() == [1, 1, 1]
    with pytest.raises(
        DataError, match="a batch must reach a layer with running statistics, 1 reached none of used, spare"
    ):
        recalibrate(model, [table()], call=lambda model, batch: batch)


def test_compiled_and_parallel_models_are_looked_into():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    compiled = torch.compile(model, backend="eager")
    compiled(table())
    recalibrate(compiled, table().split(64))
    assert exact(model[1], model[0](table().split(64)[0]).detach()) is False
    assert exact(model[1], torch.cat([model[0](part).detach() for part in table().split(64)]))
    model[1].compile(backend="eager")
    recalibrate(model, [table(seed=2)])
    assert exact(model[1], model[0](table(seed=2)).detach())


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_scripted_model_is_refused_with_the_reason():
    scripted = torch.jit.trace(nn.Sequential(nn.BatchNorm1d(3)).eval(), table())
    with pytest.raises(DataError, match="within a scripted model no hook runs, recalibrate it before"):
        recalibrate(scripted, [table()])


# What comes back, and what stays.


def test_nothing_else_of_the_model_changes(network):
    x, y = digits()
    model = copy.deepcopy(network).train()
    model[3].eval()
    model[0].weight.requires_grad_(False)
    nn.functional.cross_entropy(model(x[:32]), y[:32]).backward()
    before, state = everything(model), torch.random.get_rng_state()
    recalibrate(model, x[:200].split(64), sequential=True)
    after = everything(model)
    running = ("running_mean", "running_var", "num_batches_tracked")
    assert all(torch.equal(v, before[0][k]) for k, v in after[0].items() if not k.endswith(running))
    assert unchanged((after[0], *before[1:]), after)
    assert torch.equal(state, torch.random.get_rng_state())


class BrokenError(Exception):
    """What a loader may raise."""


@pytest.mark.parametrize("sequential", [False, True])
def test_after_an_error_halfway_the_model_is_as_it_was(network, sequential):
    x, _ = digits()
    before = everything(network)

    class Loader:
        def __iter__(self):
            yield x[:50]
            raise BrokenError

    with pytest.raises(BrokenError):
        recalibrate(network, Loader(), sequential=sequential)
    assert unchanged(before, everything(network))
    with pytest.raises(RuntimeError, match="channels") as error:
        recalibrate(network, [x[:50], x[:50, :, 0]], sequential=sequential)
    assert "in batch 2; the model is as it was before" in error.value.__notes__
    assert unchanged(before, everything(network))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), ": there must be no NaN"),
        (float("inf"), " must be given finite values, got infinities in features"),
    ],
)
def test_a_value_that_is_not_finite_is_refused_with_its_layer(value, said):
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    before = everything(model)
    x = table()
    x[150, 1] = value
    with pytest.raises(DataError, match=rf"^1{said}") as error:
        recalibrate(model, x.split(50))
    assert "in batch 4; the model is as it was before" in error.value.__notes__
    assert unchanged(before, everything(model))


def test_what_is_refused_before_anything_runs():
    with pytest.raises(KindError, match=r"model must be a torch.nn.Module, got int"):
        recalibrate(3, [table()])
    with pytest.raises(DataError, match=r"recalibrate needs a layer with running statistics .*, Linear has none"):
        recalibrate(nn.Linear(3, 3), [table()])
    with pytest.raises(
        KindError, match=r"batches must be a list of batches, .* got Tensor: one batch alone is \[batch\]"
    ):
        recalibrate(nn.BatchNorm1d(3), table())
    with pytest.raises(DataError, match="sequential=True goes through the batches more than once, and list_iterator"):
        recalibrate(nn.BatchNorm1d(3), iter([table()]), sequential=True)
    with pytest.raises(DataError, match="batches must give at least one batch, got none"):
        recalibrate(nn.BatchNorm1d(3), [])
    with pytest.raises(KindError, match=r"a batch must be a tensor, .* got str: say how the model takes it with call="):
        recalibrate(nn.BatchNorm1d(3), ["a"])
    with pytest.raises(
        DataError, match=r"a batch must have an entry that the model names, which are \['values', 'scale'\]"
    ):
        recalibrate(Picky(), [{"a": 1}])
    with pytest.raises(StateError, match="needs a process group"):
        recalibrate(nn.BatchNorm1d(3), [table()], sync=True)


def test_a_single_row_leaves_a_layer_alone():
    report = recalibrate(layer := nn.BatchNorm1d(3), [table(1)])
    assert report.left_alone == {"": "fewer than two values of each feature"}
    assert statistics(layer)[1].tolist() == [1, 1, 1]


def test_progress_and_report():
    heard = []
    model = nn.Sequential(nn.BatchNorm1d(3), nn.ReLU(), nn.BatchNorm1d(3))
    report = recalibrate(model, table().split(100), progress=lambda *done: heard.append(done), sequential=True)
    assert heard == [(1, 3), (2, 3), (3, 3)] * 2
    assert repr(report) == "Recalibration(2 of 2 layers, passes=2, settled=True)"
    lines = str(report).splitlines()
    assert lines[1].split("  ")[0] == "layer"
    assert "0      recalibrated  203" in lines[2]
    assert "<b>Recalibration(2 of 2 layers" in report._repr_html_()
    assert report["0"].shift > 100  # from 0 to 1000, of a std of 2
    with pytest.raises(DataError, match="a layer must be named as the model names it, got 'a': there are 0, 2"):
        report["a"]


@pytest.mark.slow
def test_two_processes_do_as_one():
    if not distributed.is_gloo_available():
        pytest.skip("this torch was built without gloo")
    from calibration_processes import work

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    multiprocessing.spawn(work, (port,), nprocs=2)


class Pictures(nn.Module):
    """Layers in runs of all kinds, one of them called twice, one with its own numbers, one in float64."""

    def __init__(self):
        super().__init__()
        self.conv, self.first = nn.Conv2d(3, 24, 3), nn.BatchNorm2d(24)
        self.again, self.ours = nn.Conv2d(24, 24, 1), BatchNorm(24, momentum=0.3)
        self.last = nn.BatchNorm1d(24).double()

    def forward(self, x):
        x = torch.relu(self.first(self.conv(x)))
        x = self.again(self.first(x))
        x = self.ours(x).to(memory_format=torch.channels_last)
        return self.last(self.ours(x).flatten(2).double())


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("many", [1, 2, 5])
def test_steps_of_compiled_code_change_no_bit(monkeypatch, many, sequential):
    """Batches of several sizes, on one thread of torch's, on several, and without their OpenMP."""
    batches = torch.randn(23, 3, 34, 30, generator=torch.Generator().manual_seed(1)).split(8)
    before, taken, take = torch.get_num_threads(), [], calibrate_step.CalibrationStep.take
    try:
        torch.set_num_threads(many)
        known = seeded(Pictures).eval()
        with monkeypatch.context() as patch:
            patch.setattr(calibrate_step, "step", lambda *_: None)
            report = recalibrate(known, batches, sequential=sequential)
        monkeypatch.setattr(calibrate_step.CalibrationStep, "take", lambda step, x: taken.append(x) or take(step, x))
        for parallel in (openmp._parallel, lambda: None):
            monkeypatch.setattr(openmp, "_parallel", parallel)
            found = seeded(Pictures).eval()
            assert str(recalibrate(found, batches, sequential=sequential)) == str(report)
            for a, b in zip(found.buffers(), known.buffers(), strict=True):
                assert torch.equal(a, b)
    finally:
        torch.set_num_threads(before)
    assert len(taken) >= 14


def test_torch_shares_its_threads():
    """Where torch runs on OpenMP under Linux, its threads are found."""
    if not sys.platform.startswith("linux") or "OpenMP" not in torch.__config__.parallel_info():
        pytest.skip("torch has no OpenMP here")
    assert openmp._parallel() is not None


@pytest.mark.parametrize("limit", [1, 3])
def test_a_limit_of_threads_is_one_of_torchs_too(monkeypatch, limit):
    asked, before = [], torch.get_num_threads()

    def parallel(function, given, many, flags):
        asked.append(many)
        openmp.call_here(function, given)

    monkeypatch.setattr(openmp, "_parallel", lambda: parallel)
    try:
        torch.set_num_threads(5)
        with thread_pool.limit(limit):
            recalibrate(nn.BatchNorm2d(20), list(torch.randn(2, 4, 20, 30, 30)))
    finally:
        torch.set_num_threads(before)
    assert asked == ([] if limit == 1 else [limit] * 2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_later_batch_that_is_not_finite_is_refused_with_its_layer(value):
    model = nn.Sequential(nn.BatchNorm2d(20), nn.ReLU(), nn.BatchNorm2d(20))
    before = everything(model)
    batches = list(torch.randn(4, 2, 20, 30, 30))
    batches[2][1, 7, 3, 4] = value
    with pytest.raises(DataError, match=r"^0\b.*7"):
        recalibrate(model, batches)
    assert unchanged(before, everything(model))


class ConvBn(nn.Module):
    """As quantization-aware training folds: the convolution's weights are scaled by the norm's own deviation."""

    def __init__(self, how):
        super().__init__()
        self.conv, self.bn, self.how = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), how

    def forward(self, x):
        std = torch.sqrt(self.bn.running_var.data + 1e-5) if self.how == "data" else (self.bn.running_var + 1e-5).sqrt()
        scale = (self.bn.weight / std).reshape(-1, 1, 1, 1)
        return self.bn(F.conv2d(x, self.conv.weight * scale, self.conv.bias))


@pytest.mark.parametrize("how", ["itself", "data"])
def test_settled_only_where_the_statistics_are_those_of_the_input(how):
    torch.manual_seed(0)
    batches = [2 + 3 * torch.randn(8, 3, 4, 4) for _ in range(3)]
    model = ConvBn(how)
    assert not recalibrate(model, batches).settled
    assert not recalibrate(model, batches, sequential=True).settled
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert recalibrate(plain, batches).settled
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in (*model.modules(), *plain.modules()))
