"""Diagnosis: each thing to watch is planted in a network and found, and a healthy network has nothing to watch."""

import copy
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import gammabeta as gb
from gammabeta import report
from gammabeta.cli import main
from gammabeta.errors import DataError, FileError, KindError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from calibration import digits, everything, norms, residual, seeded, trained, unchanged  # noqa: E402
from gammabeta.torch import BatchNorm, convert, diagnose, freeze, recalibrate  # noqa: E402


def normal(rows=400, features=4, seed=0):
    return torch.randn(rows, features, generator=torch.Generator().manual_seed(seed))


def settled(layer, x):
    """The layer with the statistics of x, one batch counted."""
    recalibrate(layer, [x])
    return layer


def kinds(found, layer=None):
    return {f.kind for f in found.findings if layer in (None, f.layer)}


def said(found, kind):
    (text,) = [f.text for f in found.findings if f.kind == kind]
    return text


@pytest.fixture(name="stale", scope="module")
def _stale():
    return trained(seeded(residual))


@pytest.fixture(name="network", scope="module")
def _network(stale):
    model = copy.deepcopy(stale)
    recalibrate(model, digits()[0][:1200].split(100), sequential=True)
    for layer in norms(model).values():
        layer.num_batches_tracked.fill_(100)
    return model


def test_a_healthy_network_has_nothing_to_watch(network):
    found = diagnose(network, digits()[0][:1200].split(100))
    assert found.findings == ()
    assert str(found).endswith("Nothing to watch.")
    assert [layer.name for layer in found.layers] == list(norms(network))
    assert all(layer.typical_gap < 0.02 for layer in found.layers)  # n − 1 for n, and the rounding of convolutions
    assert [layer.activation for layer in found.layers] == ["relu", "relu", "", "relu", ""]  # the others: after a sum


def test_the_gap_is_what_training_and_evaluation_differ_by():
    """float64: predicted from statistics, and measured on outputs."""
    layer, x = nn.BatchNorm1d(4, dtype=torch.float64), normal().double() * 3 + 5
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
        layer.running_mean.copy_(torch.tensor([5.0, 4.0, 5.0, 9.0]))
        layer.running_var.copy_(torch.tensor([9.0, 9.0, 36.0, 1.0]))
    found = diagnose(layer, [x])[""]
    frozen = copy.deepcopy(layer)
    apart = layer.train()(x) - frozen.eval()(x)
    want = apart.square().mean(0).sqrt() / layer(x).std(0, unbiased=False)
    np.testing.assert_allclose(found.gap, want.detach().numpy(), rtol=1e-10)
    assert found.typical_gap == pytest.approx(np.sqrt((found.gap**2).mean()))


def test_stale_statistics_are_found_and_recalibration_cures_them(stale):
    x, _ = digits()
    model = copy.deepcopy(stale)
    found = diagnose(model, x[:600].split(100))
    assert "gap" in kinds(found)
    assert "Recalibrate: gammabeta.torch.recalibrate(model, batches)." in str(found)
    recalibrate(model, x[:600].split(100), sequential=True)
    assert "gap" not in kinds(diagnose(model, x[:600].split(100)))


def test_chance_is_no_gap():
    """Twelve values leave a mean some 0.3 deviations off: no reason to recalibrate."""
    layer = settled(nn.BatchNorm1d(4), normal(4000))
    assert "gap" not in kinds(diagnose(layer, normal(12, seed=3).split(6)))


def test_effective_values():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 4, 1, 1, generator=generator).expand(400, 4, 5, 5).contiguous()  # 25 copies of each
    found = diagnose(settled(nn.BatchNorm2d(4), x), x.split(10))
    # 40 means: the design effect 25 is known to √(2/39), the median of four channels better; three times that
    assert found[""].effective == pytest.approx(np.full(4, 10.0), rel=0.7)
    assert "A batch's 250 values are worth" in said(found, "few")
    assert np.isnan(diagnose(settled(nn.BatchNorm2d(4), x), [x])[""].effective).all()
    mixed = diagnose(settled(nn.BatchNorm1d(4), normal()), normal().split(50))
    assert (mixed[""].effective <= 50).all()
    assert "few" not in kinds(mixed)


def test_network_slimming_46_a_dead_channel_and_what_its_beta_gives():
    model = nn.Sequential(settled(nn.BatchNorm1d(4), normal()), nn.ReLU())
    with torch.no_grad():
        model[0].weight[1] = model[0].weight[2] = 1e-6
        model[0].bias[1] = 0.5
        model[0].bias[2] = -0.5
    found = diagnose(model, normal().split(100))
    assert said(found, "dead") == "2 of 4 channels (1, 2) give β alone; in 1 of them the relu lets it through, 0.5."
    assert found["0"].dead.tolist() == [False, True, True, False]
    assert "never_active" not in kinds(found)  # the dead ones have been told of
    model[0].bias.data[1] = -1
    assert "of which the relu makes 0: they can be removed." in said(diagnose(model, [normal()]), "dead")
    assert said(diagnose(model[0], [normal()]), "dead").endswith("which is not 0 in 2 of them.")


@pytest.mark.parametrize("relu", [nn.ReLU(), nn.ReLU(inplace=True), nn.functional.relu, torch.relu_, "fused"])
def test_never_active_channels(relu):
    layer = settled(BatchNorm(4, activation="relu") if relu == "fused" else nn.BatchNorm1d(4), normal())
    layer.bias.data[3] = -9

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = layer

        def forward(self, x):
            return self.norm(x) if relu == "fused" else relu(self.norm(x))

    found = diagnose(Model(), normal().split(100))
    assert found["norm"].activation == "relu"
    assert said(found, "never_active") == "1 of 4 channels (3) never got past the relu: every output was 0 or less."
    assert found["norm"].below[0] == (found["norm"].below[0] * 400).round() / 400


@pytest.mark.parametrize("bend", [nn.Sigmoid(), nn.Tanh(), nn.Hardtanh(), nn.ReLU6()])
def test_saturated_channels(bend):
    model = nn.Sequential(settled(nn.BatchNorm1d(4), normal()), bend)
    model[0].bias.data[0] = 50
    assert "1 of 4 channels (0) lie where" in said(diagnose(model, [normal()]), "saturated")


def test_a_mean_that_costs_digits():
    x = normal() + torch.tensor([0.0, 1e4, 0.0, 0.0])
    found = diagnose(settled(nn.BatchNorm1d(4), x), x.split(100))
    assert found[""].digits_lost[1] == pytest.approx(4, abs=0.1)
    assert "of float32's 7.2 digits 3.2 are left, of a variance in one pass 0.0." in said(found, "digits")


def test_an_eps_that_exceeds_the_variance():
    x = normal() * torch.tensor([1.0, 1.0, 1e-4, 1.0])
    found = diagnose(settled(nn.BatchNorm1d(4), x), [x])
    left = 1 / (1 + 1e-5 / found[""].running_var[2]) ** 0.5
    assert said(found, "eps").startswith("eps is 1e−05, more than the running variance of 1 of 4 channels (2): of γ, ")
    assert said(found, "eps").endswith(f" {left:.3g} is left.")


def test_a_constant_input():
    x = normal()
    x[:, 0] = 0.1
    assert (
        said(diagnose(settled(nn.BatchNorm1d(4), x), [x]), "constant")
        == "The input of 1 of 4 channels (0) never varies."
    )


class Log(nn.Module):
    """A NaN from an operation that is no module."""

    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleDict({"first": nn.Linear(4, 4), "norm": nn.BatchNorm1d(4)})

    def forward(self, x):
        return self.inner["norm"](self.inner["first"](x) + torch.log(x))


@pytest.mark.parametrize("kind", ["NaN", "infinity"])
def test_where_it_first_arose(kind):
    x = normal().abs() + 1
    x[250, 2] = -1 if kind == "NaN" else 0
    found = diagnose(Log(), x.split(100))
    assert str(found.origins[0]) == f"The first {kind} arose in batch 3, in the model (Log), by torch.log."
    assert found.findings[0].kind == "not_finite"
    assert found["inner.norm"].not_finite == 1


def test_where_it_first_arose_within_a_module():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4)))
    model[1][1].weight.data.fill_(3e38)
    found = diagnose(model, [normal()])
    assert (found.origins[0].module, found.origins[0].operation) == ("1.1 (Linear)", "torch.nn.functional.linear")
    model[0].weight.data[0, 0] = float("nan")
    assert str(diagnose(model, [normal()]).origins[0]) == "NaN in the model's own 0.weight."
    x = normal()
    x[3, 3] = float("inf")
    assert str(diagnose(Log(), [x.abs()]).origins[0]) == "infinity in the inputs of batch 1."


def test_torch_96136_statistics_that_checkpointing_moves_twice():
    class Checkpointed(nn.Module):
        def __init__(self, norm):
            super().__init__()
            self.part = nn.Sequential(nn.Linear(4, 4), norm)

        def forward(self, x):
            return checkpoint(self.part, x, use_reentrant=False)

    found = diagnose(Checkpointed(nn.BatchNorm1d(4)), normal().split(100))
    assert said(found, "twice") == (
        "One training step moves its running statistics 2 times, 1 of them by activation checkpointing, which computes "
        "a batch again."
    )
    assert "twice" not in kinds(diagnose(convert(Checkpointed(nn.BatchNorm1d(4))), normal().split(100)))


def test_a_layer_that_is_used_twice():
    norm = nn.BatchNorm1d(4)
    found = diagnose(nn.Sequential(norm, nn.Linear(4, 4), norm), normal().split(100))
    assert said(found, "twice") == "One training step moves its running statistics 2 times."


def test_layers_that_were_updated_less_often():
    model = nn.Sequential(*(settled(nn.BatchNorm1d(4), normal()) for _ in range(3)), freeze(nn.BatchNorm1d(4)))
    for layer, batches in zip(model, (900, 900, 0, 0), strict=True):
        layer.num_batches_tracked.fill_(batches)
    model[1].num_batches_tracked.fill_(300)
    model[3].running_mean.fill_(3.0)
    found = diagnose(model, [normal()])
    assert kinds(found, "1") >= {"behind"}
    assert said(found, "behind") == "300 batches moved its running statistics, where others count 900."
    assert kinds(found, "2") >= {"never"}
    assert kinds(found, "3") == {"frozen"}


def test_a_layer_that_no_batch_reaches():
    model = nn.ModuleDict({"used": nn.BatchNorm1d(4), "spare": nn.BatchNorm1d(4)})
    found = diagnose(model, [normal()], call=lambda model, batch: model["used"](batch))
    assert "unreached" in kinds(found, "spare")
    json.loads(found.to_json())


def test_masks():
    x, mask = normal(40).reshape(8, 5, 4).transpose(1, 2).contiguous(), torch.arange(5) < 3
    x[:, :, 3:] = float("nan")
    found = diagnose(BatchNorm(4), [x], mask=lambda batch: mask.expand(8, 5))
    assert found[""].count.tolist() == [24] * 4
    assert found[""].not_finite == 0
    assert found[""].mean.tolist() == gb.Moments.of(x[:, :, :3].numpy(), (0, 2)).mean.tolist()


def test_the_model_is_as_it_was(network):
    x, y = digits()
    model = nn.Sequential(copy.deepcopy(network), nn.Dropout(0.5)).train()
    model[0][1].eval()
    nn.functional.cross_entropy(model(x[:32]), y[:32]).backward()
    before, state = everything(model), torch.random.get_rng_state()
    diagnose(model, x[:200].split(64))
    assert unchanged(before, everything(model))
    assert torch.equal(state, torch.random.get_rng_state())
    with pytest.raises(RuntimeError):
        diagnose(model, [x[:50], x[:50, :, 0]])
    assert unchanged(before, everything(model))


def test_a_training_step_that_cannot_be_done_is_a_note():
    found = diagnose(nn.Sequential(nn.BatchNorm1d(4)), [normal(1), normal(40)])
    assert found.notes[0].startswith("a training step could not be tried: ValueError: Expected more than 1 value")
    assert "Note: a training step" in str(found)
    assert diagnose(nn.BatchNorm1d(4), [normal(1), normal(40)], training_step=False).notes == ()


def test_what_is_refused():
    with pytest.raises(DataError, match="diagnose needs a layer with running statistics"):
        diagnose(nn.Linear(4, 4), [normal()])
    with pytest.raises(DataError, match="batches must give at least one batch, got none"):
        diagnose(nn.BatchNorm1d(4), [])
    with pytest.raises(KindError, match="batches must be a list of batches"):
        diagnose(nn.BatchNorm1d(4), normal())
    with pytest.raises(DataError, match="a layer must be named as the model names it, got 'a': there are 0"):
        diagnose(nn.Sequential(nn.BatchNorm1d(4)), [normal()])["a"]


# What is shown.


HOSTILE = (
    "</script><script>alert(1)</script>",
    '<img src=x onerror="alert(2)">',
    "\"'><svg onload=alert(3)>",
    "{{ 7 * 7 }}",
)


def hostile():
    model = nn.Module()
    for name in HOSTILE:
        model.add_module(name, nn.BatchNorm1d(4))
    return model


def run(model, batch):
    for layer in model.children():
        layer(batch)


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes = set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes


def test_the_page_has_a_picture_of_each_layer_and_no_script(tmp_path):
    found = diagnose(hostile(), normal().split(100), call=run)
    report.network(found, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    page = Tags()
    page.feed(text)
    assert text.count("<svg") == len(HOSTILE)
    assert not page.tags & {"script", "img", "iframe", "link", "object"}
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "href")]
    assert "{{ 7 * 7 }}" in text
    assert "400 values in 4 calls" in text
    assert not re.search(r"https?://", text)
    with pytest.raises(FileError, match=r"a page's name must end in \.html"):
        report.network(found, tmp_path / "page.txt")


def test_a_wide_layer_shows_its_worst_channels(tmp_path):
    layer = nn.BatchNorm1d(1000)
    layer.running_mean[777] = 9
    report.network(diagnose(layer, [normal(40, 1000)]), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert text.count("<title>channel") == 240
    assert "<title>channel 777:" in text


def test_text_notebook_and_json(network):
    found = diagnose(network, digits()[0][:200].split(100))
    assert repr(found) == f"Diagnosis(Sequential, 5 layers, {len(found.findings)} findings)"
    heads = "layer  channels  gap  effective  dead  inactive  digits lost  batches"
    assert str(found).splitlines()[1].split() == heads.split()
    assert "<table>" in found._repr_html_()
    document = json.loads(found.to_json())
    assert [layer["name"] for layer in document["layers"]] == list(norms(network))
    assert len(document["layers"][0]["channels"]["gap"]) == 8


# The command line.

SOURCE = """
import torch
from torch import nn

def make():
    return nn.Sequential(nn.BatchNorm1d(4), nn.ReLU())

def loader():
    return [torch.randn(32, 4) for _ in range(3)]

class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, values, scale):
        return self.norm(values * scale)

def broken():
    raise ValueError("no")

number = 3
"""


@pytest.fixture(name="folder")
def _folder(tmp_path, monkeypatch):
    name = f"networks_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_the_command_line(folder, tmp_path, capsys):
    np.save("x.npy", normal().numpy())
    np.savez("x.npz", values=normal().numpy(), scale=np.ones((400, 1)))
    torch.save((normal(), torch.zeros(400)), "x.pt")
    torch.save({"0.weight": torch.ones(4) * 2, "0.bias": torch.zeros(4), "0.running_mean": torch.ones(4) * 9,
                "0.running_var": torch.ones(4), "0.num_batches_tracked": torch.tensor(5)}, "state.pt")  # fmt: skip
    for data in ("x.npy", "x.pt", f"{folder}:loader"):
        assert main(["diagnose", f"{folder}:make", "--data", data]) == 0
        out = capsys.readouterr().out
        assert "Sequential: 1 batch-norm layers" in out
        assert "Never updated, 0: No batch has moved its running statistics." in out
    assert main(["diagnose", f"{folder}:Named", "--data", "x.npz", "--json", "--batch-size", "100"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["batches"], document["layers"][0]["values"]) == (4, 400)
    assert main(["diagnose", f"{folder}:make", "--data", "x.npy", "--weights", "state.pt", "-o", "page.html"]) == 0
    assert "Training and evaluation differ, 0:" in capsys.readouterr().out
    assert "Training and evaluation differ" in (tmp_path / "page.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ("make", "x.npy", "the model must be given as module:name, such as my.networks:make, got 'make'"),
        ("nowhere_at_all:make", "x.npy", "the model 'nowhere_at_all:make' could not be made: ModuleNotFoundError"),
        ("{0}:nothing", "x.npy", "could not be made: AttributeError"),
        ("{0}:broken", "x.npy", "could not be made: ValueError: no"),
        ("{0}:number", "x.npy", "must give a torch.nn.Module, a Keras model or a flax.nnx.Module, got int"),
        (
            "{0}:make",
            "x.csv",
            "the data must be a .npy or .npz file, a .pt file for torch, or module:name that gives batches",
        ),
        ("{0}:make", "none.npy", "'none.npy' could not be read as arrays"),
        ("{0}:make", "none.pt", "'none.pt' could not be read as tensors"),
        ("{0}:make", "empty.npy", "'empty.npy' must hold arrays with the same number of rows, at least one, got [0]"),
        ("{0}:make", "wrong.npy", "failed on wrong.npy"),
        ("{0}:make", "objects.npy", "could not be read as arrays"),
    ],
)
def test_the_command_line_says_what_is_wrong(folder, capsys, model, data, message):
    np.save("x.npy", normal().numpy())
    np.save("empty.npy", np.zeros((0, 4), np.float32))
    np.save("wrong.npy", np.zeros((9, 5), np.float32))
    np.save("objects.npy", np.array([{}]), allow_pickle=True)
    assert main(["diagnose", model.format(folder), "--data", data]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
