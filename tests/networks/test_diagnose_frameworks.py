"""One network in torch, Keras and flax has one diagnosis; and the command line takes models of each."""

import json

import numpy as np
import pytest

import gammabeta as gb
from gammabeta import report
from gammabeta.cli import main

torch, keras, nnx = pytest.importorskip("torch"), pytest.importorskip("keras"), pytest.importorskip("flax.nnx")
from torch import nn  # noqa: E402

from trained_networks import settled  # noqa: E402

L = keras.layers
EPS = 1e-5


def images(n=60):
    return np.random.default_rng(0).normal(0.3, 1.5, size=(n, 8, 8, 3)).astype(np.float32)


def first(x):
    """Channels first, for torch."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def in_torch():
    """With a dead channel, one that is never active, and statistics that do not fit."""
    torch.manual_seed(0)
    model = settled(
        nn.Sequential(
            nn.BatchNorm2d(3, eps=EPS),
            nn.ReLU(),
            nn.Conv2d(3, 4, 3, padding=1),
            gb.torch.BatchNorm(4, eps=EPS),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(256, 10),
            nn.BatchNorm1d(10, eps=EPS),
        )
    )
    model[0].weight.data[1] = 1e-6
    model[0].bias.data[1] = 0.5
    model[0].bias.data[2] = -30
    model[3].running_mean.data[1] += 3
    return model


def in_keras():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            L.BatchNormalization(epsilon=EPS, name="a"),
            L.ReLU(),
            L.Conv2D(4, 3, padding="same"),
            gb.keras.BatchNormalization(epsilon=EPS, name="b"),
            L.Activation("tanh"),
            L.Flatten(),
            L.Dense(10),
            L.BatchNormalization(epsilon=EPS, name="c"),
        ]
    )


class InFlax(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.a, self.b = nnx.BatchNorm(3, epsilon=EPS, rngs=rngs), gb.flax.BatchNorm(4, epsilon=EPS, rngs=rngs)
        self.c = nnx.BatchNorm(10, epsilon=EPS, rngs=rngs)
        self.conv, self.dense = nnx.Conv(3, 4, (3, 3), rngs=rngs), nnx.Linear(256, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.tanh(self.b(self.conv(nnx.relu(self.a(x)))))
        return self.c(self.dense(x.reshape(len(x), -1)))


@pytest.fixture(name="found", scope="module")
def _found():
    """The diagnosis of one network in each framework."""
    source, x = in_torch(), images()
    network = gb.torch.snapshot(source, first(x[:3]))
    models = {"keras": in_keras(), "flax": InFlax()}
    for name, model in models.items():
        assert getattr(gb, name).load_snapshot(model, network, x[:3]).same
    found = {"torch": gb.torch.diagnose(source, first(x).split(20))}
    for name, model in models.items():
        found[name] = getattr(gb, name).diagnose(model, np.split(x, 3))
    return found


@pytest.mark.parametrize("other", ["keras", "flax"])
def test_the_first_layer_s_numbers_are_the_same_to_the_bit(found, other):
    """It is given the same values; only where the output lies is computed by each framework."""
    want, got = found["torch"].layers[0], found[other].layers[0]
    arrays = ("gamma", "beta", "running_mean", "running_var", "mean", "var", "count", "effective", "gap", "shift")
    for name in (*arrays, "ratio", "digits_lost", "dead", "never_active", "below"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name), err_msg=name)
    plain = ("eps", "calls", "not_finite", "activation", "frozen", "updates", "repeated")
    for name in plain:
        assert getattr(got, name) == getattr(want, name), name


@pytest.mark.parametrize("other", ["keras", "flax"])
def test_the_others_are_as_close_as_their_inputs(found, other):
    """Inputs are sums of up to 256 products, right to √256 half ULPs of the largest, four layers one after another."""
    for want, got in zip(found["torch"].layers[1:], found[other].layers[1:], strict=True):
        largest = np.abs(want.mean).max() + 10 * np.sqrt(want.var.max())
        error = 4 * 16 * 2.0**-24 * largest
        np.testing.assert_allclose(got.mean, want.mean, rtol=0, atol=error)
        np.testing.assert_allclose(got.var, want.var, rtol=0, atol=(2 * np.sqrt(want.var.max()) + error) * error)
        np.testing.assert_array_equal(got.count, want.count)
        # The gap is the difference of means and of deviations, over the data's own deviation or the running one.
        least = np.sqrt(min(want.var.min(), want.running_var.min()))
        np.testing.assert_allclose(got.gap, want.gap, rtol=0, atol=4 * error / least * (1 + want.gap.max()))
        assert (got.activation, got.calls, got.updates) == (want.activation, want.calls, want.updates)


@pytest.mark.parametrize("other", ["keras", "flax"])
def test_the_findings_are_the_same(found, other):
    """torch's layers count their batches, of which none came: that is said of these alone."""
    names = {layer.name: place for diagnosis in found.values() for place, layer in enumerate(diagnosis.layers)}

    def told(diagnosis):
        return [(f.kind, names[f.layer]) for f in diagnosis.findings if f.kind != "never"]

    assert {kind for kind, _ in told(found["torch"])} >= {"gap", "dead", "never_active"}
    assert told(found[other]) == told(found["torch"])
    here, there = (next(f.text for f in d.findings if f.kind == "dead") for d in (found["torch"], found[other]))
    assert here == there
    assert f"gammabeta.{other}.recalibrate(model, batches)" in str(found[other])
    assert "gammabeta.torch" not in str(found[other])


def test_a_page_says_what_to_do_in_the_model_s_framework(found, tmp_path):
    for name, diagnosis in found.items():
        report.network(diagnosis, tmp_path / "page.html")
        assert f"Recalibrate: gammabeta.{name}.recalibrate" in (tmp_path / "page.html").read_text("utf-8")


# The command line.

SOURCE = """
import numpy as np
import keras
from flax import nnx

def in_keras():
    return keras.Sequential([keras.Input((4,), name="values"), keras.layers.BatchNormalization(name="norm")])

class InFlax(nnx.Module):
    def __init__(self):
        self.norm = nnx.BatchNorm(4, rngs=nnx.Rngs(0))

    def __call__(self, values):
        return nnx.relu(self.norm(values))

made = InFlax()

def loader():
    return [np.random.default_rng(0).normal(size=(32, 4)).astype("float32") for _ in range(3)]
"""


@pytest.fixture(name="folder")
def _folder(tmp_path, monkeypatch):
    name = f"networks_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    np.save("x.npy", np.random.default_rng(0).normal(size=(400, 4)))
    np.savez("x.npz", values=np.load("x.npy"), other=np.zeros(400))
    return name


@pytest.mark.parametrize("model", ["in_keras", "InFlax", "made"])
def test_the_command_line_takes_them(folder, capsys, tmp_path, model):
    for data in ("x.npy", "x.npz", f"{folder}:loader"):
        assert main(["diagnose", f"{folder}:{model}", "--data", data, "--batch-size", "100"]) == 0
        out = capsys.readouterr().out
        assert ": 1 batch-norm layers, " in out
        assert "Never updated, norm: No batch has moved its running statistics." in out
    arguments = ["diagnose", f"{folder}:{model}", "--data", "x.npz", "-o", "page.html", "--json"]
    assert main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["batches"], document["layers"][0]["values"]) == (7, 400)
    assert document["framework"] == ("keras" if model == "in_keras" else "flax")
    assert "Never updated" in (tmp_path / "page.html").read_text("utf-8")


def test_the_command_line_reads_kerass_weights(folder, capsys):
    model = keras.Sequential([keras.Input((4,)), L.BatchNormalization(name="norm")])
    model.layers[0].moving_mean.assign([9.0] * 4)
    model.save_weights("made.weights.h5")
    arguments = ["diagnose", f"{folder}:in_keras", "--data", "x.npy", "--weights"]
    assert main([*arguments, "made.weights.h5"]) == 0
    assert "Training and evaluation differ, norm:" in capsys.readouterr().out
    assert main([*arguments, "none.weights.h5"]) == 2
    assert f"'none.weights.h5' does not hold the weights of {folder}:in_keras:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("InFlax", ["--data", "x.npy", "--weights", "w.pt"], "weights are read for torch and Keras, and "),
        ("in_keras", ["--data", "x.pt"], "the data must be a .npy or .npz file, a .pt file for torch, or module:name"),
        ("in_keras", ["--data", "wrong.npy"], "failed on wrong.npy: ValueError"),
        ("loader", ["--data", "x.npy"], "a Keras model or a flax.nnx.Module, got list"),
    ],
)
def test_the_command_line_says_what_is_wrong(folder, capsys, model, arguments, message):
    np.save("wrong.npy", np.zeros((9, 5), np.float32))
    assert main(["diagnose", f"{folder}:{model}", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
