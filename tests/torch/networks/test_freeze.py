"""Frozen layers keep to their statistics in every mode and copy; adapted ones mix in the batch's, and forget them."""

import copy
import io
import pickle

import pytest

from gammabeta.errors import DataError, KindError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from calibration import digits, everything, norms, residual, seeded, trained, unchanged  # noqa: E402
from gammabeta.torch import BatchNorm, adapt, freeze, recalibrate, unadapt, unfreeze  # noqa: E402

KINDS = [nn.BatchNorm1d, nn.SyncBatchNorm, BatchNorm]


class Foreign(nn.BatchNorm1d):
    """Another package's layer."""


def batch(shift=5.0, rows=40):
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(0)) * 2 + shift


@pytest.fixture(name="network", scope="module")
def _network():
    return trained(seeded(residual), steps=30)


# Freezing.


@pytest.mark.parametrize("kind", [*KINDS, Foreign])
def test_training_moves_nothing_and_evaluates(kind):
    model = nn.Sequential(nn.Linear(3, 3), kind(3))
    with torch.no_grad():
        want = model.eval()(batch())
    model.train()
    assert freeze(model) is model
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert model.training
    assert not model[1].training
    assert torch.equal(model(batch()), want)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert isinstance(model[1], kind)


def test_keras_9522_and_torchs_eval_are_undone_by_train():
    """What freezing by `.eval()` is worth: the next `.train()` of the whole model moves the statistics again."""
    theirs, ours = nn.Sequential(nn.BatchNorm1d(3)), freeze(nn.Sequential(nn.BatchNorm1d(3)))
    theirs[0].eval()
    for model in (theirs, ours):
        model.train()(batch())
    assert theirs[0].running_mean.abs().max() > 0
    assert ours[0].running_mean.abs().max() == 0


@pytest.mark.parametrize("affine", [True, False])
def test_gamma_and_beta_are_frozen_or_learn(network, affine):
    x, y = digits()
    model = freeze(copy.deepcopy(network), affine=affine).train()
    before = everything(model)[0]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    nn.functional.cross_entropy(model(x[:32]), y[:32]).backward()
    optimizer.step()
    for name, layer in norms(model).items():
        for kind in ("weight", "bias"):
            assert torch.equal(before[f"{name}.{kind}"], getattr(layer, kind)) == affine
        assert torch.equal(before[f"{name}.running_var"], layer.running_var)


@pytest.mark.parametrize("affine", [True, False])
def test_unfreezing_restores_exactly(network, affine):
    model = copy.deepcopy(network).train()
    model[1].bias.requires_grad_(False)
    model[3].eval()
    kinds, before = [type(m) for m in model.modules()], everything(model)
    unfreeze(freeze(freeze(model, affine=affine)))
    assert [type(m) for m in model.modules()] == kinds
    assert unchanged(before, everything(model))
    assert not any("_before_freeze" in m.__dict__ for m in model.modules())
    unfreeze(model)
    assert unchanged(before, everything(model))
    freeze(model.eval())
    assert unfreeze(model.train())[1].training  # the mode that the model is in by then


def test_freezing_again_changes_gamma_and_beta_alone():
    layer = freeze(nn.BatchNorm1d(3))
    assert not layer.weight.requires_grad
    assert freeze(layer, affine=False).weight.requires_grad
    assert not freeze(layer).weight.requires_grad
    assert unfreeze(layer).weight.requires_grad


def test_it_says_so():
    model = nn.Sequential(freeze(nn.BatchNorm1d(3)), freeze(BatchNorm(3, unbiased=False), affine=False))
    assert repr(model[0]) == repr(nn.BatchNorm1d(3))[:-1] + ", frozen=True)"
    assert repr(model[1]) == repr(BatchNorm(3, unbiased=False))[:-1] + ", frozen=True, learning γ and β)"


@pytest.mark.parametrize("kind", [*KINDS, Foreign])
def test_copies_and_files_are_frozen_too(kind, tmp_path):
    model = freeze(nn.Sequential(kind(3)))
    torch.save(model, tmp_path / "model.pt")
    stream = io.BytesIO(pickle.dumps(model))
    for other in (copy.deepcopy(model), pickle.load(stream), torch.load(tmp_path / "model.pt", weights_only=False)):
        other.train()(batch())
        assert other[0].running_mean.abs().max() == 0
        assert type(other[0]) is type(model[0])
        assert type(unfreeze(other)[0]) is kind
        assert other[0].weight.requires_grad
        assert not model[0].weight.requires_grad


def test_the_state_is_the_same_both_ways(network):
    frozen = freeze(copy.deepcopy(network))
    assert list(frozen.state_dict()) == list(network.state_dict())
    frozen.load_state_dict(network.state_dict())
    copy.deepcopy(network).load_state_dict(frozen.state_dict())


def test_compiled_and_exported():
    model = freeze(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))).train()
    want = model(batch())
    assert torch.equal(torch.compile(model, backend="eager")(batch()), want)
    program = torch.export.export(model, (batch(),)).module()
    assert torch.equal(program(batch()), want)
    compiled = torch.compile(model := nn.Sequential(nn.BatchNorm1d(3)), backend="eager")
    compiled(batch())
    moved = model[0].running_mean.clone()
    freeze(compiled).train()(batch())
    assert torch.equal(model[0].running_mean, moved)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_scripted():
    model = freeze(nn.Sequential(nn.BatchNorm1d(3))).train()
    assert torch.equal(torch.jit.script(model)(batch()), model(batch()))


def test_recalibration_and_adaptation_leave_frozen_layers_alone():
    model = nn.Sequential(freeze(nn.BatchNorm1d(3)), nn.BatchNorm1d(3)).eval()
    assert recalibrate(model, [batch()]).left_alone == {"0": "frozen"}
    with adapt(model, prior=0):
        assert model[1].training is False
        got = model[0](batch())
    assert torch.equal(got, model[0](batch()))
    with pytest.raises(DataError, match=r"recalibrate needs a layer with running statistics .*; the model: frozen"):
        recalibrate(model[0], [batch()])


def test_what_is_refused():
    with pytest.raises(KindError, match=r"model must be a torch.nn.Module, got str"):
        freeze("model")
    with pytest.raises(DataError, match="freeze needs a layer with running statistics"):
        freeze(nn.Linear(3, 3))
    with pytest.raises(DataError, match="; the model: keeps no running statistics"):
        freeze(nn.BatchNorm1d(3, track_running_stats=False))
    with pytest.raises(DataError, match="must have its statistics in memory, and it is lazy"):
        freeze(nn.LazyBatchNorm1d())


# Adapting.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prior", [0, 1, 16, 1e6])
def test_the_mixture_is_by_count(kind, prior):
    """float64: a mean and a variance of 40 values below 20, some tens of roundings."""
    layer, x = kind(3, dtype=torch.float64).eval(), batch().double()
    with torch.no_grad():
        layer.running_mean.fill_(1.0)
        layer.running_var.fill_(9.0)
    mean = (prior * 1.0 + 40 * x.mean(0)) / (prior + 40)
    var = (prior * 9.0 + 40 * x.var(0, unbiased=False)) / (prior + 40)
    with adapt(layer, prior=prior):
        got = layer(x)
    assert ((got - (x - mean) / (var + layer.eps).sqrt()).abs() < 1e-12).all()


def test_adaptation_is_undone_exactly(network):
    x, _ = digits()
    model = copy.deepcopy(network).eval()
    before, want = everything(model), model(x[:50])
    tensors = list(model.buffers())
    adaptation = adapt(model)
    assert repr(adaptation) == "Adaptation(5 layers, prior=16)"
    assert not torch.equal(model(x[:50]), want)
    assert all(a is b for a, b in zip(tensors, model.buffers(), strict=True))  # between two calls nothing is other
    adaptation.undo()
    adaptation.undo()
    assert repr(adaptation) == "Adaptation(undone)"
    assert unchanged(before, everything(model))
    assert torch.equal(model(x[:50]), want)
    with pytest.raises(RuntimeError), adapt(model):
        model(x[:50, :, 0])
    with pytest.raises(RuntimeError), adapt(model[1]):
        model[1](x[:50].double().expand(-1, 8, 8, 8))
    assert unchanged(before, everything(model))


def test_it_helps_where_the_data_have_moved(network):
    """Digits in fog: half as bright, on a bright ground."""
    x, y = digits()
    fog = 0.5 + 0.25 * x[1200:]
    model = copy.deepcopy(network).eval()

    @torch.no_grad()
    def right():
        return (model(fog).argmax(1) == y[1200:]).float().mean().item()

    before = right()
    with adapt(model):
        assert right() > before + 0.2
    assert right() == before


def test_gradients_flow_while_adapted():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3), nn.BatchNorm1d(3)).eval()
    with adapt(model):
        y = model(batch())
    y.square().sum().backward()
    assert model[0].weight.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_through_the_batchs_statistics_are_those_of_training(kind):
    """float64: sums of 40 terms below 10, some tens of roundings."""
    layer, theirs = kind(3, dtype=torch.float64).eval(), nn.BatchNorm1d(3, dtype=torch.float64)
    with torch.no_grad():
        for norm in (layer, theirs):
            norm.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
            norm.bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
    found = []
    with adapt(layer, prior=0, differentiable=True):
        for norm in (layer, theirs):
            x = batch().double().requires_grad_()
            y = norm(x)
            y.sigmoid().square().sum().backward()
            found.append((y.detach(), x.grad, norm.weight.grad, norm.bias.grad))
    assert all((got - want).abs().max() < 1e-12 for got, want in zip(*found, strict=True))
    before = kind(3).state_dict()
    assert all(torch.equal(layer.state_dict()[name], before[name]) for name in ("running_mean", "running_var"))


@pytest.mark.parametrize("prior", [0.5, 16])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_through_the_mixture(prior, masked):
    layer = BatchNorm(2, dtype=torch.float64, activation="silu").eval()
    x = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    more = {"mask": torch.rand(5, 1, 3, generator=torch.Generator().manual_seed(2)) < 0.6} if masked else {}
    with torch.no_grad():
        layer.running_mean.fill_(0.3)
        layer.running_var.fill_(2.0)

    def call(x, gamma, beta):
        return torch.func.functional_call(layer, {"weight": gamma, "bias": beta}, x, more)

    with adapt(layer, prior=prior):
        want = layer(x, **more)
    with adapt(layer, prior=prior, differentiable=True):
        assert (layer(x, **more) - want).abs().max() < 1e-14  # two roundings, of values below 4
        with torch.no_grad():
            assert (layer(x=x, **more) - want).abs().max() < 1e-14
        assert torch.autograd.gradcheck(call, (x, layer.weight, layer.bias))


def test_the_gradient_of_a_constant_mixture_is_another():
    layer, x = nn.BatchNorm1d(3).eval(), batch().requires_grad_()
    grads = []
    for differentiable in (False, True):
        with adapt(layer, prior=0, differentiable=differentiable):
            grads.append(torch.autograd.grad(layer(x).square().sum(), x)[0])
    # Σŷ² of a normalized batch is n · var / (var + eps), whatever x is: its gradient is almost 0.
    assert grads[0].abs().max() > 0.1 and grads[1].abs().max() < 1e-3


def test_nan_under_a_mask_has_no_gradient():
    layer, x, mask = BatchNorm(3).eval(), batch(), torch.arange(40) < 30
    x[30:] = torch.nan
    for counts in (mask, mask & False):
        x = x.detach().requires_grad_()
        with adapt(layer, prior=2, differentiable=True):
            layer(x, mask=counts).square().sum().backward()
        assert x.grad.isfinite().all() and layer.weight.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_through_the_statistics(dtype):
    layer, x = nn.BatchNorm1d(3).eval().to(dtype), batch().to(dtype).requires_grad_()
    with adapt(layer, prior=0):
        want = layer(x).float()
    with adapt(layer, prior=0, differentiable=True):
        got = layer(x)
    assert got.dtype == dtype
    # The mixture is rounded to the buffers' type before either, then each rounds its values below 4.
    assert (got.float() - want).abs().max() <= 3 * 4 * torch.finfo(dtype).eps
    got.sum().backward()
    assert x.grad.isfinite().all()


def test_entropy_falls_as_it_is_minimized(network):
    """TENT (Wang et al. 2021) on digits in fog: γ and β of the norms learn by the entropy of the test data alone."""
    x, _ = digits()
    fog = 0.5 + 0.25 * x[1200:1400]
    model = copy.deepcopy(network).eval().requires_grad_(False)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    learned = [p.requires_grad_() for m in norms for p in (m.weight, m.bias)]
    optimizer, seen = torch.optim.SGD(learned, 0.05), []
    with adapt(model, prior=0, differentiable=True):
        for _ in range(5):
            logits = model(fog).log_softmax(1)
            entropy = -(logits.exp() * logits).sum(1).mean()
            optimizer.zero_grad()
            entropy.backward()
            optimizer.step()
            seen.append(entropy.item())
    assert seen[-1] < seen[0]


def test_training_masks_and_empty_batches():
    layer = BatchNorm(3)
    x, mask = batch(), torch.arange(40) < 30
    with adapt(layer, prior=0):
        assert torch.equal(layer(x), BatchNorm(3)(x))  # in training: as ever
        layer.eval()
        got = layer(x, mask=mask)
        assert (got[:30].mean(0).abs() < 1e-5).all()
        assert torch.equal(layer(x, mask=torch.zeros(40, dtype=torch.bool)), torch.zeros(40, 3))
        assert layer(x[:0]).shape == (0, 3)


@pytest.mark.parametrize("kind", [*KINDS, Foreign])
def test_adapting_twice_never_touches_trained_statistics(kind):
    model, x = nn.Sequential(kind(1)).eval(), torch.tensor([[8.0], [12.0]])
    want = model(x)
    first = adapt(model, prior=0)
    once = model(x)
    second = adapt(model)
    assert not torch.equal(model(x), once)
    second.undo()
    assert torch.equal(model(x), once)
    second = adapt(model)
    first.undo()  # in the other order
    with adapt(nn.Sequential(kind(1)).eval()):
        assert not torch.equal(model(x), want)
    second.undo()
    assert torch.equal(model(x), want) and not model[0]._forward_hooks
    assert (model[0].running_mean, model[0].running_var) == (0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_adaptation_is_undone_by_the_model(kind):
    """As in a notebook whose cell ran twice."""
    model, x = nn.Sequential(kind(3), nn.Linear(3, 3)).eval(), batch()
    want = model(x)
    for prior in (0, 16):
        adapt(model, prior=prior)
    assert unadapt(model) is model
    assert torch.equal(model(x), want)


def test_adapted_models_run_in_many_threads():
    from concurrent.futures import ThreadPoolExecutor

    model = nn.Sequential(*(BatchNorm(3) if i % 2 else nn.BatchNorm1d(3) for i in range(6))).eval()
    batches = [batch(shift=i, rows=20 + i) for i in range(24)]
    with adapt(model), torch.no_grad():
        want = [model(x) for x in batches]
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(model, batches * 4))
    for y, right in zip(got, want * 4, strict=True):
        torch.testing.assert_close(y, right, rtol=1e-6, atol=1e-6)
    assert all((layer.running_mean == 0).all() and (layer.running_var == 1).all() for layer in model)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("kind", [*KINDS, Foreign])
def test_copies_of_an_adapted_model_are_adapted_and_can_be_undone(kind, copied):
    model, x = nn.Sequential(kind(3)).eval(), batch()
    want = model(x)
    with adapt(model, prior=4):
        new, adapted = copied(model), model(x)
        assert torch.equal(new(x), adapted)
        unadapt(new)
        assert torch.equal(new(x), want)
        assert torch.equal(model(x), adapted)  # the copy's is undone there alone
    new = copied(model)
    assert torch.equal(new(x), want)


def test_other_hooks_see_the_adapted_output():
    layer, x = nn.BatchNorm1d(3).eval(), batch()
    layer.register_forward_hook(lambda layer, given, y: 2 * y)
    layer.register_forward_pre_hook(lambda layer, given: (given[0] + 1,))
    with adapt(layer, prior=0):
        got = layer(x)
    torch.testing.assert_close(got, 2 * nn.BatchNorm1d(3)(x))  # adding 1 changes nothing


@pytest.mark.parametrize("prior", [-1, float("nan"), float("inf")])
def test_a_prior_that_is_no_count(prior):
    with pytest.raises(DataError, match="prior, the number of samples that the trained statistics are worth, must be"):
        adapt(nn.BatchNorm1d(3), prior=prior)
    with pytest.raises(DataError, match="adapt needs a layer with running statistics"):
        adapt(nn.Linear(3, 3))
