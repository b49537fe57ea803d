"""nnx models diagnosed: each thing to watch is planted in a model and found, and a healthy one has nothing to watch."""

import json
from functools import partial

import numpy as np
import pytest

import gammabeta as gb
from gammabeta import report
from gammabeta.errors import DataError, KindError

jax = pytest.importorskip("jax")
pytest.importorskip("flax")
from flax import nnx  # noqa: E402
from jax import lax  # noqa: E402
from jax import numpy as jnp  # noqa: E402

from gammabeta.flax import BatchNorm, diagnose, freeze, recalibrate  # noqa: E402


def normal(rows=400, features=4, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, features)).astype(np.float32)


def split(x, size=100):
    return [x[i : i + size] for i in range(0, len(x), size)]


def rngs(seed=0):
    return nnx.Rngs(seed)


def settled(x=None, kind=nnx.BatchNorm, **given):
    """A layer with the statistics of x."""
    x = normal() if x is None else x
    layer = kind(x.shape[-1], rngs=rngs(), **given)
    recalibrate(layer, [x])
    return layer


def put(variable, at, value):
    variable[...] = variable[...].at[jnp.array(at)].set(jnp.array(value))


def kinds(found, layer=None):
    return {f.kind for f in found.findings if layer in (None, f.layer)}


def said(found, kind):
    (text,) = [f.text for f in found.findings if f.kind == kind]
    return text


class Net(nnx.Module):
    """Two settled norms of both kinds, dropout between them."""

    def __init__(self):
        self.conv = nnx.Conv(2, 4, (3, 3), rngs=rngs())
        self.first, self.second = nnx.BatchNorm(4, rngs=rngs()), BatchNorm(3, rngs=rngs())
        self.drop, self.dense = nnx.Dropout(0.5, rngs=rngs(1)), nnx.Linear(4, 3, rngs=rngs(2))

    def __call__(self, x):
        return jnp.tanh(self.second(self.dense(self.drop(nnx.relu(self.first(self.conv(x)))))))


def images(n=96):
    return np.random.default_rng(0).normal(2, 3, (n, 6, 6, 2)).astype(np.float32)


def network():
    model = Net()
    recalibrate(model, split(images(), 16), sequential=True)
    return model


# The numbers.


def test_a_healthy_network_has_nothing_to_watch(tmp_path):
    found = diagnose(network(), split(images(), 16))
    assert found.findings == () and found.notes == (), str(found)
    assert [layer.name for layer in found.layers] == ["first", "second"]
    assert [layer.activation for layer in found.layers] == ["relu", "tanh"]
    assert [layer.updates for layer in found.layers] == [1, 1]
    assert [layer.calls for layer in found.layers] == [6, 6]
    assert found.framework == json.loads(found.to_json())["framework"] == "flax"
    report.network(found, tmp_path / "page.html")
    assert "<p>Nothing.</p>" in (tmp_path / "page.html").read_text("utf-8")


@pytest.mark.parametrize("kind", [nnx.BatchNorm, BatchNorm])
def test_the_gap_is_what_training_and_evaluation_differ_by(kind):
    """float64: predicted from statistics, and measured on outputs."""
    with jax.enable_x64(True):
        x = jnp.asarray(normal().astype(np.float64) * 3 + 5)
        layer = kind(4, param_dtype=jnp.float64, dtype=jnp.float64, rngs=rngs())
        layer.scale[...] = jnp.array([1.0, -2.0, 0.5, 3.0])
        layer.mean = nnx.BatchStat(jnp.array([5.0, 4.0, 5.0, 9.0]))
        layer.var = nnx.BatchStat(jnp.array([9.0, 9.0, 36.0, 1.0]))
        found = diagnose(layer, [x])[""]
        evaluated, trained = np.asarray(layer(x, True)), np.asarray(layer(x, False))
    want = np.sqrt(np.square(trained - evaluated).mean(0)) / trained.std(0)
    # flax' variance is E[x²] − E[x]², of which (5/3)² + 1 = 4 times 2^-53 is wrong; a few roundings more, of outputs up
    # to 10 whose difference is 0.02 or more: under 1e-11 of it.
    np.testing.assert_allclose(found.gap, want, rtol=1e-11)
    assert found.mean.tolist() == gb.Moments.of(np.asarray(x), 0).mean.tolist()


def test_stale_statistics_are_found_and_recalibration_cures_them():
    model = network()
    model.first.mean[...] += 30
    found = diagnose(model, split(images(), 16))
    assert "gap" in kinds(found, "first")
    assert "Recalibrate: gammabeta.flax.recalibrate(model, batches)." in str(found)
    recalibrate(model, split(images(), 16), sequential=True)
    assert not kinds(diagnose(model, split(images(), 16)))


def test_effective_values():
    x = np.repeat(normal(), 25, axis=0).reshape(400, 25, 4)  # 25 copies of each
    found = diagnose(settled(x), split(x, 10))
    # 40 means: the design effect 25 is known to √(2/39), the median of four channels better; three times that
    assert found[""].effective == pytest.approx(np.full(4, 10.0), rel=0.7)
    assert "A batch's 250 values are worth" in said(found, "few")


def test_a_mean_that_costs_digits_an_epsilon_and_a_constant():
    x = normal() * np.float32([1, 1, 1e-3, 0]) + np.float32([0, 1e4, 0, 0.1])
    found = diagnose(settled(x, BatchNorm), split(x))
    assert found[""].digits_lost[1] == pytest.approx(4, abs=0.1)
    assert "of float32's 7.2 digits 3.2 are left" in said(found, "digits")
    assert said(found, "eps").startswith("eps is 1e−05, more than the running variance of 2 of 4 channels (2, 3)")
    assert said(found, "constant") == "The input of 1 of 4 channels (3) never varies."


# What follows a layer.


class Own(nnx.Module):
    def __init__(self, norm, function):
        self.norm, self.function = norm, function

    def __call__(self, x):
        return self.function(self.norm(x))


def test_a_dead_channel_and_what_its_beta_gives():
    layer = settled()
    put(layer.scale, [1, 2], 1e-6)
    put(layer.bias, [1, 2], [0.5, -0.5])
    found = diagnose(nnx.Sequential(layer, nnx.relu), split(normal()))
    assert said(found, "dead") == "2 of 4 channels (1, 2) give β alone; in 1 of them the relu lets it through, 0.5."
    assert "never_active" not in kinds(found)


@pytest.mark.parametrize("relu", [nnx.relu, jax.nn.relu, jax.jit(jax.nn.relu), nnx.Sequential(nnx.relu)])
def test_never_active_channels(relu):
    layer = settled()
    put(layer.bias, [3], -9)
    for model in (nnx.Sequential(layer, relu), Own(layer, relu)):
        found = diagnose(model, split(normal()))
        assert said(found, "never_active") == "1 of 4 channels (3) never got past the relu: every output was 0 or less."
        below = found.layers[0].below[0]
        assert 0.4 < below < 0.6 and below == round(below * 400) / 400


@pytest.mark.parametrize("function", [nnx.sigmoid, jnp.tanh, jax.nn.hard_tanh, jax.nn.relu6, jax.nn.hard_sigmoid])
def test_saturated_channels(function):
    layer = settled()
    put(layer.bias, [0], 50)
    found = diagnose(Own(layer, function), [normal()])
    name = function.__name__.replace("_", "")
    assert f"1 of 4 channels (0) lie where {name} is flat" in said(found, "saturated")


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (nnx.leaky_relu, "leaky_relu"),
        (jax.nn.silu, "silu"),
        (jax.nn.gelu, ""),  # a sum of products to JAX
        (lambda y: nnx.relu(y + 1), ""),
        (lambda y: y, ""),
    ],
)
def test_other_functions(function, name):
    found = diagnose(Own(settled(), function), [normal()])
    assert (found.layers[0].activation, found.notes) == (name, ())


def test_calls_of_one_layer_have_what_follows_each():
    class Twice(nnx.Module):
        def __init__(self):
            self.norm = settled()

        def __call__(self, x):
            return nnx.relu(self.norm(x)) + self.norm(x)

    layer = diagnose(Twice(), [normal()])["norm"]
    assert layer.calls == 2 and layer.activation == "relu"
    want = (np.asarray(settled()(normal(), True)) <= 0).sum(0) / 400  # of the first calls' 400 outputs alone
    np.testing.assert_array_equal(layer.below, want)


def test_a_model_that_cannot_be_traced_is_a_note():
    class Asking(nnx.Module):
        def __init__(self):
            self.norm = settled()

        def __call__(self, x):
            return nnx.relu(self.norm(x)) if x.sum() > -1e9 else x

    found = diagnose(Asking(), [normal()])
    (note,) = found.notes
    assert note.startswith("what follows the layers is not known, as the model cannot be traced: TracerBool")
    assert found.layers[0].activation == "" and found.layers[0].calls == 1


def test_a_model_that_writes_down_what_it_sees():
    class Counting(nnx.Module):
        def __init__(self):
            self.norm, self.seen = settled(), nnx.Variable(jnp.zeros(()))

        def __call__(self, x):
            self.seen[...] += len(x)
            return nnx.relu(self.norm(x))

    found = diagnose(model := Counting(), split(normal()))
    assert found.layers[0].activation == "relu" and found.notes == () and float(model.seen[...]) == 0


# Where a NaN arises.


class Log(nnx.Module):
    def __init__(self):
        self.first, self.inner = nnx.Linear(4, 4, rngs=rngs()), nnx.Sequential(BatchNorm(4, rngs=rngs()))

    def __call__(self, x):
        return self.inner(self.first(x) + jnp.log(x))


@pytest.mark.parametrize("kind", ["NaN", "infinity"])
def test_where_it_first_arose(kind, capsys):
    x = np.abs(normal()) + 1
    x[250, 2] = -1 if kind == "NaN" else 0
    found = diagnose(Log(), split(x))
    assert str(found.origins[0]) == f"The first {kind} arose in batch 3, in the model (Log), by jax.lax.log."
    assert found.findings[0].kind == "not_finite"
    assert [layer.not_finite for layer in found.layers] == [1]
    assert [layer.calls for layer in found.layers] == [4]
    assert np.isfinite(found.layers[0].mean).all()
    assert capsys.readouterr().out == ""


def test_where_it_first_arose_in_a_module_in_the_weights_or_in_the_inputs():
    model = nnx.Sequential(settled(), nnx.Linear(4, 4, rngs=rngs()))
    model.layers[1].kernel[...] = jnp.full((4, 4), 3e38)
    origin = diagnose(model, [np.abs(normal()) + 1]).origins[0]
    assert (origin.what, origin.module, origin.operation) == ("infinity", "layers.1 (Linear)", "jax.lax.dot_general")
    put(model.layers[1].bias, [1], np.nan)
    assert str(diagnose(model, [normal()]).origins[0]) == "NaN in the model's own layers.1.bias."
    x = normal()
    x[3, 3] = np.inf
    assert str(diagnose(nnx.Sequential(settled()), [x]).origins[0]) == "infinity in the inputs of batch 1."


def test_a_nan_that_is_only_read():
    """No operation of JAX' makes it: the module is what there is to say."""

    class Reading(nnx.Module):
        def __call__(self, x):
            return np.where(np.asarray(x) > 2, np.float32(np.nan), np.asarray(x))

    model = nnx.Sequential(settled(), Reading(), nnx.Linear(4, 4, rngs=rngs()))
    origin = diagnose(model, [normal()]).origins[0]
    assert (origin.module, origin.operation) == ("layers.1 (Reading)", "its own code")


# What moves the statistics.


@pytest.mark.parametrize("kind", [nnx.BatchNorm, BatchNorm, partial(BatchNorm, ghost=50)])
def test_a_layer_that_is_used_twice(kind):
    class Shared(nnx.Module):
        def __init__(self):
            self.norm, self.dense = settled(kind=kind), nnx.Linear(4, 4, rngs=rngs())

        def __call__(self, x):
            return self.norm(self.dense(self.norm(x)))

    found = diagnose(Shared(), split(normal()))
    assert said(found, "twice") == "One training step moves its running statistics 2 times."
    assert "Use a layer once: give each place a norm of its own." in str(found)
    assert found.layers[0].calls == 8


def test_never_updated_frozen_and_not_reached():
    fresh, held, counting = nnx.BatchNorm(4, rngs=rngs()), freeze(settled()), settled(kind=BatchNorm, momentum=None)
    model = nnx.Sequential(fresh, held, counting)
    found = diagnose(model, split(normal()))
    assert said(found, "never") == "No batch has moved its running statistics."
    assert [layer.tracked for layer in found.layers] == [0, None, 1]
    assert [layer.updates for layer in found.layers] == [1, 0, 1]
    assert [layer.frozen for layer in found.layers] == [False, True, False]
    assert not kinds(found, "layers.1")
    held.mean[...] = jnp.full(4, 3.0)
    assert kinds(diagnose(model, split(normal())), "layers.1") == {"frozen"}
    one = diagnose(model, split(normal()), call=lambda model, batch: model.layers[0](batch))
    assert kinds(one, "layers.2") == {"unreached"}
    assert diagnose(freeze(settled()), [normal()]).notes == ()


# Batches.


def test_masks():
    x, kept = normal(60).reshape(4, 15, 4), np.arange(15) < np.array([15, 3, 1, 0])[:, None]
    want = gb.Moments.of(x[kept], 0)
    x[~kept] = np.nan

    def own(model, batch):
        return model(jnp.asarray(batch[0]), mask=jnp.asarray(batch[1]))

    layer = settled(kind=BatchNorm)
    for found in (
        diagnose(layer, [(x, kept)], mask=lambda batch: batch[1]),
        diagnose(layer, [(x, kept)], mask=lambda batch: {"": batch[1]}),
        diagnose(layer, [(x, kept)], call=own),
    ):
        assert found[""].count.tolist() == [19] * 4
        assert found[""].not_finite == 0
        assert found[""].mean.tolist() == want.mean.tolist()


def test_other_axes_and_types():
    x = normal(400, 20).reshape(400, 4, 5)
    layer = BatchNorm((4, 5), axis=(1, 2), rngs=rngs())
    recalibrate(layer, [x])
    found = diagnose(layer, split(x))
    assert found[""].mean.shape == (20,) and not kinds(found)
    half = settled(normal().astype(jnp.bfloat16), BatchNorm, dtype=jnp.bfloat16)
    found = diagnose(Own(half, nnx.relu), split(jnp.asarray(normal(), jnp.bfloat16)))
    assert not kinds(found) and found.layers[0].activation == "relu"


def test_batches_by_name_and_progress():
    heard = []
    batches = [{"x": part, "label": 1} for part in split(normal())]
    assert diagnose(settled(), batches, progress=lambda *done: heard.append(done)).batches == 4
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]


# What comes back.


class Noisy(nnx.Module):
    """Random in evaluation too, and it counts."""

    def __init__(self):
        self.norm, self.drop, self.own = settled(), nnx.Dropout(0.5, rngs=rngs(1)), rngs(2)
        self.total, self.fails = nnx.Variable(jnp.zeros(())), False
        self.drop.deterministic = True

    def __call__(self, x):
        self.total[...] += 1
        if self.fails and not self.norm.use_running_average:
            raise RuntimeError("no")
        return self.drop(self.norm(x + jax.random.normal(self.own.noise(), x.shape)))


def everything(model):
    def plain(value):
        key = jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(value) if key else value).tolist()

    modes = model.norm.use_running_average, model.drop.deterministic
    calls = [kind.__call__ for kind in (nnx.BatchNorm, nnx.Dropout, Noisy)]
    return jax.tree.map(plain, nnx.to_pure_dict(nnx.state(model))), modes, calls


def test_the_model_is_as_it_was():
    model, x = Noisy(), normal()
    model(x)
    before = everything(model)
    assert len(diagnose(model, split(x)).layers) == 1
    assert everything(model) == before
    x[250] = np.inf
    assert diagnose(model, split(x)).origins
    assert everything(model) == before
    model.fails = True
    found = diagnose(model, split(x))
    assert found.notes == ("a training step could not be tried: RuntimeError: no",) and found.layers[0].updates is None
    assert everything(model) == before

    def broken():
        yield x[:100]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        diagnose(model, broken())
    with pytest.raises(DataError, match="x must have features") as error:
        diagnose(settled(kind=BatchNorm), [x[:100], x[:100, :3]])
    assert "in batch 2; the model is as it was before" in error.value.__notes__
    assert everything(model) == before


def test_a_step_that_moves_nothing_is_a_note():
    def quiet(model, batch):
        return model(jnp.asarray(batch), use_running_average=True)

    found = diagnose(settled(), [normal()], call=quiet)
    assert found.layers[0].updates == 0
    assert found.notes == ("a training step moved no running statistics: does call= run the model in evaluation?",)
    assert diagnose(settled(), [normal()], training_step=False).layers[0].updates is None


def test_what_is_refused():
    with pytest.raises(DataError, match=r"diagnose needs a layer with running statistics .*, Linear has none"):
        diagnose(nnx.Linear(4, 4, rngs=rngs()), [normal()])
    with pytest.raises(DataError, match="batches must give at least one batch, got none"):
        diagnose(settled(), [])
    with pytest.raises(KindError, match="batches must be a list of batches"):
        diagnose(settled(), normal())
    with pytest.raises(KindError, match=r"model must be a flax.nnx.Module, got int"):
        diagnose(3, [normal()])
    with pytest.raises(DataError, match=r"mask must name layers of the model, got \['a'\]"):
        diagnose(settled(), [normal()], mask=lambda batch: {"a": batch})
    with pytest.raises(DataError, match="the layers must be called with values, and x is traced"):
        diagnose(settled(), [normal()], call=lambda model, batch: nnx.jit(lambda m, x: m(x))(model, batch))
    with pytest.raises(DataError, match="the layers must be called with values, and x is traced"):
        diagnose(settled(), [normal()], call=lambda model, batch: lax.map(model, jnp.asarray(batch)[None]))
