"""Diagnosis on this process' backend: `tests/keras/test_diagnose.py` runs it on each."""

import json

import keras
import numpy as np
import pytest
from keras import layers, ops

import gammabeta as gb
from gammabeta import report
from gammabeta.errors import DataError, KindError
from gammabeta.keras import BatchNormalization, diagnose, freeze, recalibrate
from keras_backend import BACKEND, compile_quickly, float64, long_but_on, some, to_numpy

compile_quickly()

Theirs = layers.BatchNormalization


def normal(rows=400, features=4, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, features)).astype(np.float32)


def split(x, size=100):
    return [x[i : i + size] for i in range(0, len(x), size)]


def settled(kind=Theirs, x=None, **given):
    """A layer with the statistics of x."""
    x = normal() if x is None else x
    layer = kind(**given)
    layer.build(x.shape)
    recalibrate(layer, [x])
    return layer


def chain(*parts, features=4):
    return keras.Sequential([keras.Input((features,)), *parts])


def put(variable, at, value):
    values = to_numpy(variable).copy()
    values[at] = value
    variable.assign(values)


def kinds(found, layer=None):
    return {f.kind for f in found.findings if layer in (None, f.layer)}


def said(found, kind):
    (text,) = [f.text for f in found.findings if f.kind == kind]
    return text


def network():
    """Two settled norms of both kinds, dropout between them."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3),
            Theirs(name="first"),
            layers.ReLU(),
            layers.Dropout(0.5, seed=3),
            layers.Conv2D(3, 3, use_bias=False),
            BatchNormalization(name="second"),
            layers.Activation("tanh"),
        ]
    )
    recalibrate(model, split(images(), 16), sequential=True)
    return model


def images(n=96, seed=0):
    return np.random.default_rng(seed).normal(2, 3, (n, 6, 6, 2)).astype(np.float32)


# The numbers.


def test_a_healthy_network_has_nothing_to_watch(tmp_path):
    found = diagnose(network(), split(images(), 16))
    assert found.findings == () and found.notes == (), str(found)
    assert [layer.name for layer in found.layers] == ["first", "second"]
    assert [layer.kind for layer in found.layers] == ["BatchNormalization"] * 2
    assert [layer.activation for layer in found.layers] == ["relu", "tanh"]
    assert [layer.updates for layer in found.layers] == [1, 1]
    assert [layer.calls for layer in found.layers] == [6, 6]
    assert found.framework == json.loads(found.to_json())["framework"] == "keras"
    report.network(found, tmp_path / "page.html")
    assert "<p>Nothing.</p>" in (tmp_path / "page.html").read_text("utf-8")


def test_the_gap_is_what_training_and_evaluation_differ_by():
    """float64, to which Keras' own layer does not compute: predicted from statistics, and measured on outputs."""
    with float64():
        x = normal().astype(np.float64) * 3 + 5
        layer = BatchNormalization(dtype="float64")
        layer.build(x.shape)
        state = [[1.0, -2.0, 0.5, 3.0], [0.0] * 4, [5.0, 4.0, 5.0, 9.0], [9.0, 9.0, 36.0, 1.0]]
        layer.set_weights([np.array(value) for value in state])
        found = diagnose(layer, [x])[""]
        evaluated = to_numpy(layer(x, training=False))
        trained = to_numpy(layer(x, training=True))
    want = np.sqrt(np.square(trained - evaluated).mean(0)) / trained.std(0)
    # A few roundings of 2^-53 of outputs up to 10, whose difference is 0.02 or more: under 1e-12 of it.
    np.testing.assert_allclose(found.gap, want, rtol=1e-12)
    assert found.mean.tolist() == gb.Moments.of(x, 0).mean.tolist()


def test_stale_statistics_are_found_and_recalibration_cures_them():
    model = network()
    first = model.get_layer("first")
    first.moving_mean.assign(to_numpy(first.moving_mean) + 30)
    found = diagnose(model, split(images(), 16))
    assert "gap" in kinds(found, "first")
    assert "Recalibrate: gammabeta.keras.recalibrate(model, batches)." in str(found)
    recalibrate(model, split(images(), 16), sequential=True)
    assert not kinds(diagnose(model, split(images(), 16)))


@long_but_on("torch")
def test_effective_values():
    x = np.repeat(normal(), 25, axis=0).reshape(400, 25, 4)  # 25 copies of each
    found = diagnose(settled(x=x), split(x, 10))
    # 40 means: the design effect 25 is known to √(2/39), the median of four channels better; three times that
    assert found[""].effective == pytest.approx(np.full(4, 10.0), rel=0.7)
    assert "A batch's 250 values are worth" in said(found, "few")
    assert np.isnan(diagnose(settled(x=x), [x])[""].effective).all()


@long_but_on("torch")
def test_a_mean_that_costs_digits_an_epsilon_and_a_constant():
    x = normal() * np.float32([1, 1, 1e-3, 0]) + np.float32([0, 1e4, 0, 0.1])
    found = diagnose(settled(BatchNormalization, x), split(x))
    assert found[""].digits_lost[1] == pytest.approx(4, abs=0.1)
    assert "of float32's 7.2 digits 3.2 are left" in said(found, "digits")
    assert said(found, "eps").startswith("eps is 0.001, more than the running variance of 2 of 4 channels (2, 3)")
    assert said(found, "constant") == "The input of 1 of 4 channels (3) never varies."


# What follows a layer.


@long_but_on("torch")
def test_a_dead_channel_and_what_its_beta_gives():
    layer = settled()
    put(layer.gamma, [1, 2], 1e-6)
    put(layer.beta, [1, 2], [0.5, -0.5])
    found = diagnose(chain(layer, layers.ReLU()), split(normal()))
    assert said(found, "dead") == "2 of 4 channels (1, 2) give β alone; in 1 of them the relu lets it through, 0.5."
    assert "never_active" not in kinds(found)


class Own(keras.Model):
    """The function is no layer here, and no graph knows of it."""

    def __init__(self, norm, function):
        super().__init__()
        self.norm, self.function = norm, function

    def call(self, x):
        return self.function(self.norm(x))


@pytest.mark.parametrize("way", ["layer", "Activation", "graph", "activations", "ops"])
def test_never_active_channels(way):
    layer = settled()
    put(layer.beta, 3, -9)
    functions = {
        "layer": layers.ReLU(),
        "Activation": layers.Activation("relu"),
        "activations": keras.activations.relu,
        "ops": ops.relu,
    }
    if way == "graph":
        inputs = keras.Input((4,))
        model = keras.Model(inputs, ops.relu(layer(inputs)))
    else:
        model = Own(layer, functions[way])
    found = diagnose(model, split(normal()))
    assert said(found, "never_active") == "1 of 4 channels (3) never got past the relu: every output was 0 or less."
    below = found.layers[0].below[0]
    assert 0.4 < below < 0.6 and below == round(below * 400) / 400


@pytest.mark.parametrize("function", some(["sigmoid", "tanh", "hard_tanh", "relu6", "hard_sigmoid"], jax=(0, 3)))
def test_saturated_channels(function):
    layer = settled()
    put(layer.beta, 0, 50)
    found = diagnose(Own(layer, getattr(keras.activations, function)), [normal()])
    assert f"1 of 4 channels (0) lie where {function.replace('_', '')} is flat" in said(found, "saturated")


@long_but_on("torch")
@pytest.mark.parametrize("bend", [layers.PReLU(), layers.ReLU(negative_slope=0.1), layers.ReLU(6, negative_slope=0.1)])
def test_a_leaky_one_is_no_relu(bend):
    layer = settled()
    put(layer.beta, 3, -9)
    found = diagnose(chain(layer, bend), [normal()])
    assert found.layers[0].activation in ("prelu", "leaky_relu")
    assert "never_active" not in kinds(found)


def test_behind_a_sum_no_activation_is_told():
    inputs, layer = keras.Input((4,)), settled()
    assert diagnose(keras.Model(inputs, ops.relu(layer(inputs) + inputs)), [normal()]).layers[0].activation == ""


# Where a NaN arises.


class Log(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.inner = layers.Dense(4, name="first"), keras.Sequential([BatchNormalization(name="norm")])

    def call(self, x):
        return self.inner(self.first(x) + ops.log(x))


@pytest.mark.parametrize("kind", some(["NaN", "infinity"], jax=(0,)))
def test_where_it_first_arose(kind):
    x, model = np.abs(normal()) + 1, Log()
    model(x)
    x[250, 2] = -1 if kind == "NaN" else 0
    found = diagnose(model, split(x))
    assert str(found.origins[0]) == f"The first {kind} arose in batch 3, in the model (Log), by keras.ops.log."
    assert found.findings[0].kind == "not_finite"
    assert [layer.not_finite for layer in found.layers] == [1]
    assert [layer.calls for layer in found.layers] == [4]
    assert np.isfinite(found.layers[0].mean).all()


def test_where_it_first_arose_in_a_layer_in_the_weights_or_in_the_inputs():
    model = chain(settled(), layers.Dense(4, name="far"), layers.ReLU())
    model.get_layer("far").kernel.assign(np.full((4, 4), 3e38, np.float32))
    origin = diagnose(model, [np.abs(normal()) + 1]).origins[0]
    assert (origin.what, origin.module) == ("infinity", "far (Dense)")
    put(model.get_layer("far").bias, 1, np.nan)
    path = model.get_layer("far").bias.path
    assert str(diagnose(model, [normal()]).origins[0]) == f"NaN in the model's own {path}."
    x = normal()
    x[3, 3] = np.inf
    assert str(diagnose(chain(settled()), [x]).origins[0]) == "infinity in the inputs of batch 1."


def test_a_layer_of_the_backends_own_operations():
    class Root(layers.Layer):
        def call(self, x):
            return x**0.5

    found = diagnose(chain(settled(), Root(name="root"), layers.Dense(2)), split(normal()))
    assert (found.origins[0].batch, found.origins[0].module) == (1, "root (Root)")


# What moves the statistics.


@pytest.mark.parametrize("kind", some([Theirs, BatchNormalization], jax=(1,)))
def test_a_layer_that_is_used_twice(kind):
    norm = settled(kind)
    found = diagnose(chain(norm, layers.Dense(4), norm), split(normal()))
    assert said(found, "twice") == "One training step moves its running statistics 2 times."
    assert "Use a layer once: give each place a norm of its own." in str(found)
    assert found.layers[0].calls == 8


def test_rematerialized_layers_move_twice():
    with keras.RematScope(mode="full"):
        norm, dense = Theirs(), layers.Dense(4)
    model = chain(dense, norm)
    before = model.get_weights()
    if BACKEND == "jax":  # which traces what it will compute again
        with pytest.raises(DataError, match="must be called with values"):
            diagnose(model, [normal()])
        return
    found = diagnose(model, [normal()])
    assert "2 times, 1 of them by activation checkpointing" in said(found, "twice")
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


def test_never_updated_frozen_and_not_reached():
    fresh, held, told = chain(Theirs(name="fresh")), settled(name="held"), settled(name="told")
    held.trainable = False
    freeze(told)
    model = chain(fresh, held, told)
    found = diagnose(model, split(normal()))
    assert said(found, "never") == "No batch has moved its running statistics."
    assert [layer.tracked for layer in found.layers] == [0, None, None]
    assert [layer.updates for layer in found.layers] == [1, 0, 0]
    assert [layer.frozen for layer in found.layers] == [False, True, True]
    assert not kinds(found, "held") | kinds(found, "told")
    for layer in (held, told):
        layer.moving_mean.assign(np.full(4, 3.0))
    found = diagnose(model, split(normal()))
    assert kinds(found, "held") == kinds(found, "told") == {"frozen"}

    class Spare(keras.Model):
        def __init__(self):
            super().__init__()
            self.used, self.spare = settled(name="used"), settled(name="spare")

        def call(self, x):
            return self.used(x)

    assert kinds(diagnose(Spare(), [normal()]), "spare") == {"unreached"}


@long_but_on("torch")
def test_all_frozen_is_no_reason_for_a_note():
    model = freeze(chain(settled()))
    assert diagnose(model, [normal()]).notes == ()


# Batches.


@long_but_on("torch", "tensorflow")
def test_masks_of_keras_and_of_the_caller():
    x = normal(60).reshape(4, 15, 4)
    kept = np.arange(15) < np.array([15, 3, 1, 0])[:, None]
    want = gb.Moments.of(x[kept], 0)
    x[~kept] = 0
    inputs = keras.Input((15, 4))
    model = keras.Model(inputs, layers.ReLU()(Theirs(name="norm")(layers.Masking()(inputs))))
    masked = diagnose(model, [x])["norm"]
    x[~kept] = np.nan
    given = diagnose(
        keras.Sequential([settled(x=normal().reshape(100, 4, 4))]),
        [(x, kept)],
        mask=lambda batch: batch[1],
        call=lambda m, b: m.layers[0](b[0]),
    )
    for layer in (masked, given.layers[0]):
        assert layer.count.tolist() == [19] * 4
        assert layer.not_finite == 0
        assert layer.mean.tolist() == want.mean.tolist()
    assert (masked.below == np.round(masked.below * 19) / 19).all()


@long_but_on("torch", "tensorflow")
def test_other_axes_and_types():
    x = normal(400, 20).reshape(400, 4, 5)
    layer = settled(BatchNormalization, x, axis=(1, 2))
    found = diagnose(layer, split(x))
    assert found[""].mean.shape == (20,) and not kinds(found)
    half = settled(dtype="mixed_bfloat16")
    assert not kinds(diagnose(Own(half, keras.activations.tanh), split(normal()))) - {"gap"}


@long_but_on("torch")
def test_batches_by_name_and_progress():
    inputs, heard = keras.Input((4,), name="values"), []
    model = keras.Model(inputs, settled()(inputs))
    batches = [{"values": part, "label": 1} for part in split(normal())]
    assert diagnose(model, batches, progress=lambda *done: heard.append(done)).batches == 4
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]


# What comes back.


class Noisy(keras.Model):
    """Random in evaluation too: from a seed of its own, and from Keras' own."""

    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(5)
        self.norm, self.drop, self.total = settled(), layers.Dropout(0.5, seed=1), self.add_weight(name="total")

    def call(self, x, training=None):
        self.total.assign(self.total + 1)
        x = x + keras.random.normal(ops.shape(x), seed=self.seed) + keras.random.normal(ops.shape(x))
        if training and self.fails:
            raise RuntimeError("no")
        return self.drop(self.norm(x), training=training)

    fails = False


def everything(model):
    drawn = keras.src.random.seed_generator.global_seed_generator().state
    own = [sorted(set(vars(layer)) & {"call", "assign"}) for layer in [model, *model.layers, *model.variables]]
    return [to_numpy(v).tolist() for v in [*model.variables, drawn]], own, [layer.trainable for layer in model.layers]


def exchanged():
    """What is exchanged while a model is looked at."""
    backend = keras.src.backend
    return [keras.layers.Layer.__call__, *(dict(vars(m)) for m in (backend.nn, backend.numpy, backend.math))]


def test_the_model_is_as_it_was():
    model, x = Noisy(), normal()
    model(x)
    model.norm.trainable = False
    model.norm.trainable = True
    before, functions = everything(model), exchanged()
    assert len(diagnose(model, split(x)).layers) == 1
    assert everything(model) == before and exchanged() == functions
    x[250] = np.inf
    assert diagnose(model, split(x)).origins
    assert everything(model) == before and exchanged() == functions
    model.fails = True
    found = diagnose(model, split(x))
    assert found.notes == ("a training step could not be tried: RuntimeError: no",) and found.layers[0].updates is None
    assert everything(model) == before and exchanged() == functions

    def broken():
        yield x[:100]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        diagnose(model, broken())
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 4") as error:
        diagnose(model.norm, [x[:100], x[:100, :3]])
    assert "in batch 2; the model is as it was before" in error.value.__notes__
    assert everything(model) == before and exchanged() == functions


def test_a_step_is_one_in_training_whatever_call_says():
    model = network()
    assert diagnose(model, [images()], call=lambda model, x: model(x)).layers[0].updates == 1
    found = diagnose(Quiet(settled()), [normal()])
    assert found.layers[0].updates == 0
    assert found.notes == ("a training step moved no running statistics: does call= run the model in evaluation?",)
    assert diagnose(model, [images()], training_step=False).layers[0].updates is None


class Quiet(keras.Model):
    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def call(self, x):
        return self.norm(x, training=False)


def test_what_is_refused():
    with pytest.raises(DataError, match=r"diagnose needs a layer with running statistics .*, Dense has none"):
        diagnose(layers.Dense(4), [normal()])
    with pytest.raises(DataError, match="and it is not built: call the model on one batch"):
        diagnose(Theirs(), [normal()])
    with pytest.raises(DataError, match="batches must give at least one batch, got none"):
        diagnose(settled(), [])
    with pytest.raises(KindError, match="batches must be a list of batches"):
        diagnose(settled(), normal())
    with pytest.raises(KindError, match="model must be a Keras model or layer, got int"):
        diagnose(3, [normal()])
    with pytest.raises(DataError, match=r"mask must name layers of the model, got \['a'\]"):
        diagnose(settled(), [normal()], mask=lambda batch: {"a": batch})
    if BACKEND != "torch":  # where predict compiles nothing
        with pytest.raises(DataError, match=r"must be called with values, got .*: in call= call the model itself"):
            diagnose(chain(settled()), [normal()], call=lambda model, batch: model.predict_on_batch(batch))
