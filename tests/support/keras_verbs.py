"""What is done to trained Keras models, on this process' backend: `tests/keras/test_verbs.py` runs it on each."""

from collections import namedtuple
from dataclasses import dataclass

import keras
import numpy as np
import pytest
from keras import layers, ops

import gammabeta as gb
from gammabeta.errors import DataError, KindError
from gammabeta.keras import BatchNormalization, adapt, fold, freeze, recalibrate, unfreeze
from keras_backend import BACKEND, compile_quickly, long_but_on, some, to_numpy

compile_quickly()

Theirs = layers.BatchNormalization


def table(rows=203, features=3, seed=0):
    return (np.random.default_rng(seed).normal(1e3, 2, (rows, features))).astype(np.float32)


def split(x, size):
    return [x[i : i + size] for i in range(0, len(x), size)]


def built(layer, shape):
    layer.build((None, *shape))
    return layer


def statistics(layer):
    return to_numpy(layer.moving_mean), to_numpy(layer.moving_variance)


def exact(layer, x, axis=0, ddof=0):
    """Whether a layer's statistics are the correctly rounded ones of x."""
    moments = gb.Moments.of(np.asarray(x), axis=axis)
    mean, var = statistics(layer)
    return (mean == moments.mean.astype(mean.dtype)).all() and (
        var == moments.with_ddof(ddof).var.astype(var.dtype)
    ).all()


def values(model):
    return [to_numpy(weight) for weight in model.weights]


def same(a, b):
    return all((one == other).all() for one, other in zip(a, b, strict=True))


def network():
    """Two norms with weights that are not what they began with, of both kinds."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3),
            Theirs(name="first"),
            layers.ReLU(),
            layers.Dropout(0.5),
            layers.Conv2D(3, 3, use_bias=False),
            BatchNormalization(name="second", unbiased=True),
        ]
    )


def images(n=40, seed=0):
    return np.random.default_rng(seed).normal(2, 3, (n, 6, 6, 2)).astype(np.float32)


# recalibrate: the same data, cut and ordered in any way.


@pytest.mark.parametrize(
    ("sequential", "kind"),
    some(
        [(False, Theirs), (False, BatchNormalization), (True, Theirs), (True, BatchNormalization)],
        jax=(0, 3),
        tensorflow=(1, 2),
    ),
)
def test_any_batch_size_gives_the_same_bits(kind, sequential):
    x = table()
    for size in (1, 7, 64, 203):
        report = recalibrate(layer := built(kind(), (3,)), split(x, size), sequential=sequential)
        assert exact(layer, x)
        assert report[""].calls == -(-203 // size)
        assert report[""].count == (203, 203)
        assert report.settled


def test_each_layer_has_the_exact_statistics_of_what_it_is_given():
    x, model = images(), network()
    report = recalibrate(model, split(x, 16), sequential=True)
    assert (report.passes, report.settled) == (2, True)
    assert [layer.name for layer in report.layers] == ["first", "second"]
    given = [model.layers[0](part) for part in split(x, 16)]
    assert exact(model.get_layer("first"), np.concatenate([to_numpy(part) for part in given]), (0, 1, 2))
    seen = []
    for part in given:
        for layer in model.layers[1:-1]:
            part = layer(part, training=False)
        seen.append(to_numpy(part))
    assert exact(model.get_layer("second"), np.concatenate(seen), (0, 1, 2), ddof=1)
    again = network()
    recalibrate(again, split(x, 16)[::-1], sequential=True)
    assert same(values(model), values(again))


@dataclass
class Sample:
    values: object
    label: int = 0


@pytest.mark.parametrize(
    "kind",
    [
        lambda x: x,
        lambda x: (x, np.zeros(len(x))),
        lambda x: {"values": x, "label": 0},
        lambda x: Sample(x),
        lambda x: namedtuple("Pair", "x y")(x, 0),
        lambda x: ops.convert_to_tensor(x),
    ],
    ids=["array", "tuple", "mapping", "dataclass", "named tuple", "tensor"],
)
def test_batches_of_every_kind(kind):
    x = table()
    inputs = keras.Input((3,), name="values")
    model = keras.Model(inputs, Theirs()(inputs))
    recalibrate(model, [kind(part) for part in split(x, 50)])
    assert exact(model.layers[1], x)


def test_models_of_ones_own():
    class Twice(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm, self.spare = built(Theirs(name="norm"), (3,)), built(Theirs(name="spare"), (3,))

        def call(self, a, b=None, training=None):
            return self.norm(a, training=True) if b is None else (self.norm(a), self.norm(b))

    a, b = table(50), table(30, seed=1) - 1e3
    report = recalibrate(model := Twice(), [{"a": a, "b": b, "label": 1}])
    assert exact(model.norm, np.concatenate([a, b]))
    assert report["norm"].calls == 2
    assert report.left_alone == {"spare": "not reached"}
    assert statistics(model.spare)[1].tolist() == [1, 1, 1]
    recalibrate(model, [a], call=lambda model, batch: model(a=batch + 1))
    assert exact(model.norm, a + 1)
    with pytest.raises(
        DataError, match=r"a batch must reach a layer .*, 1 reached none of norm, spare: call the model"
    ):
        recalibrate(model, [a], call=lambda model, batch: batch)


def test_masks_of_keras_and_of_the_caller():
    x = table(60).reshape(4, 15, 3)
    kept = np.arange(15) < np.array([15, 3, 1, 0])[:, None]
    x[~kept] = 0
    inputs = keras.Input((15, 3))
    model = keras.Model(inputs, Theirs(name="norm")(layers.Masking()(inputs)))
    recalibrate(model, split(x, 3))
    assert exact(model.get_layer("norm"), x[kept])
    x[~kept] = np.nan
    for kind in (Theirs, BatchNormalization):
        batches = list(zip(split(x, 3), split(kept, 3), strict=True))
        recalibrate(layer := built(kind(), (15, 3)), batches, mask=lambda batch: batch[1])
        assert exact(layer, x[kept])
        recalibrate(layer, batches, mask=lambda batch: {"": ops.convert_to_tensor(batch[1])})
        assert exact(layer, x[kept])
    with pytest.raises(DataError, match=r"mask must name layers of the model, got \['a'\]: there are norm"):
        recalibrate(model, [x], mask=lambda batch: {"a": kept})
    with pytest.raises(KindError, match="mask must give a boolean array, or a mapping"):
        recalibrate(model, [x], mask=lambda batch: [1])


@long_but_on("torch", "tensorflow")
def test_axes_types_renorm_and_nested_models():
    x = np.random.default_rng(0).normal(3, 1, (24, 4, 5)).astype(np.float32)
    recalibrate(layer := built(BatchNormalization(axis=(1, 2)), (4, 5)), split(x, 7))
    assert exact(layer, x)
    for kind in (Theirs, BatchNormalization):
        recalibrate(layer := built(kind(axis=1, renorm=True), (4, 5)), split(x, 7))
        assert exact(layer, x, (0, 2))
        deviation = np.sqrt(gb.Moments.of(x, axis=(0, 2)).var + 1e-3).astype(np.float32)
        assert (to_numpy(layer.renorm_stddev) == deviation).all()
        assert (to_numpy(layer.renorm_mean) == to_numpy(layer.moving_mean)).all()
    half = keras.Sequential([keras.Input((5,)), Theirs(dtype="mixed_float16", name="norm")], name="inner")
    whole = keras.Sequential([keras.Input((5,)), half, Theirs(name="norm")])
    report = recalibrate(whole, [x[:, 0]])
    assert [layer.name for layer in report.layers] == ["inner/norm", "norm"]
    assert exact(half.layers[0], x[:, 0].astype(np.float16))


def test_what_is_frozen_is_left_alone():
    model = network()
    model.get_layer("first").trainable = False
    assert recalibrate(model, [images()]).left_alone == {"first": "frozen"}
    model.trainable = False
    with pytest.raises(
        DataError, match=r"recalibrate needs a layer with running statistics .* has none; first: frozen"
    ):
        recalibrate(model, [images()])


# recalibrate: what comes back, and what stays.


class BrokenError(Exception):
    """What a loader may raise."""


@pytest.mark.parametrize("sequential", [False, True])
def test_after_an_error_halfway_the_model_is_as_it_was(sequential):
    x, model = images(), network()
    before = values(model)

    class Loader:
        def __iter__(self):
            yield x[:20]
            raise BrokenError

    with pytest.raises(BrokenError):
        recalibrate(model, Loader(), sequential=sequential)
    poisoned = x.copy()
    poisoned[30, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match=r"first: there must be no NaN") as error:
        recalibrate(model, split(poisoned, 20), sequential=sequential)
    assert "in batch 2; the model is as it was before" in error.value.__notes__
    poisoned[30, 0, 0, 0] = np.inf
    with pytest.raises(DataError, match=r"must be given finite values, got infinities in features"):
        recalibrate(model, split(poisoned, 20), sequential=sequential)
    assert same(before, values(model))
    assert all("call" not in vars(layer) for layer in model.layers)


def test_what_is_refused_before_anything_runs():
    layer = built(Theirs(), (3,))
    with pytest.raises(KindError, match="model must be a Keras model or layer, got int"):
        recalibrate(3, [table()])
    with pytest.raises(DataError, match=r"the model must have its statistics in memory, and it is not built"):
        recalibrate(Theirs(), [table()])
    with pytest.raises(DataError, match=r"recalibrate needs a layer with running statistics .*, Dense has none"):
        recalibrate(layers.Dense(3), [table()])
    with pytest.raises(
        KindError, match=r"batches must be a list of batches, .* got ndarray: one batch alone is \[batch\]"
    ):
        recalibrate(layer, table())
    with pytest.raises(DataError, match="sequential=True goes through the batches more than once, and list_iterator"):
        recalibrate(layer, iter([table()]), sequential=True)
    with pytest.raises(DataError, match="batches must give at least one batch, got none"):
        recalibrate(layer, [])
    with pytest.raises(KindError, match=r"a batch must be an array, .* got str: say how the model takes it with call="):
        recalibrate(layer, ["a"])
    with pytest.raises(
        DataError, match=r"statistics must be within float32, .* got up to .*: scale the layer's inputs"
    ):
        recalibrate(layer, [table(5) * np.float32(1e30)])
    inputs = keras.Input((3,), name="values")
    model = keras.Model(inputs, layer(inputs))
    with pytest.raises(DataError, match=r"a batch must have an entry that the model names, which are \['values'\]"):
        recalibrate(model, [{"a": 1}])
    if BACKEND == "torch":  # where predict compiles nothing
        recalibrate(model, [table()], call=lambda model, batch: model.predict_on_batch(batch))
        assert exact(layer, table())
        return
    with pytest.raises(DataError, match=r"must be called with values, got .*: in call= call the model itself"):
        recalibrate(model, [table()], call=lambda model, batch: model.predict_on_batch(batch))
    assert statistics(layer)[1].tolist() == [1, 1, 1]


@long_but_on("torch", "tensorflow")
def test_progress_and_a_single_row():
    heard = []
    recalibrate(network(), split(images(), 20), progress=lambda *done: heard.append(done), sequential=True)
    assert heard == [(1, 2), (2, 2)] * 2
    report = recalibrate(layer := built(Theirs(), (3,)), [table(1)])
    assert report.left_alone == {"": "fewer than two values of each feature"}
    assert statistics(layer)[1].tolist() == [1, 1, 1]


# freeze and unfreeze.


@pytest.mark.parametrize("affine", some([True, False], jax=(0,)))
def test_keras_9522_frozen_statistics_survive_a_trainable_model(affine, tmp_path):
    """`trainable=False` is undone by the model's `trainable = True`; a frozen layer's statistics stay."""
    model = network()
    for layer in model.layers:
        layer.trainable = False
    for now in (False, True):
        model.trainable = now
    assert all(layer.trainable for layer in model.layers)
    freeze(model, affine=affine)
    for now in (False, True):
        model.trainable = now
    before, x = values(model), images()
    assert len(model.trainable_variables) == 3 + (0 if affine else 4)
    model.compile(keras.optimizers.SGD(0.001), "mse")
    model.fit(x, np.ones((40, 2, 2, 3)), batch_size=20, verbose=0)
    model(x, training=True)
    for weight, old in zip(model.weights, before, strict=True):
        norm = any(name in weight.path for name in ("first", "second"))
        stays = norm and (affine or "moving" in weight.path)
        assert (to_numpy(weight) == old).all() == stays, weight.path
    model.save(tmp_path / "frozen.keras")
    again = keras.models.load_model(tmp_path / "frozen.keras")
    assert same(values(again), values(model))
    assert len(again.trainable_variables) == len(model.trainable_variables)
    norm = again.get_layer("first")
    more = "" if affine else ", learning γ and β"
    assert repr(norm) == f"<FrozenBatchNormalization name=first, built=True{more}>"
    assert isinstance(norm, Theirs) and isinstance(again.get_layer("second"), BatchNormalization)
    assert recalibrate(keras.Sequential([again, built(Theirs(), (2, 2, 3))]), [x]).left_alone.keys() == {
        f"{again.name}/first",
        f"{again.name}/second",
    }


def test_unfreezing_gives_back_what_was_there():
    model = network()
    model.get_layer("second").trainable = False
    before = values(model)
    freeze(model)
    freeze(model, affine=False)
    assert len(model.trainable_variables) == 5  # that of "second" is False still
    assert unfreeze(model) is model
    assert (type(model.get_layer("first")), type(model.get_layer("second"))) == (Theirs, BatchNormalization)
    assert (model.get_layer("first").trainable, model.get_layer("second").trainable) == (True, False)
    assert same(before, values(model))
    first = freeze(built(Theirs(), (3,)))
    first.trainable = False
    assert unfreeze(first).trainable is False
    with pytest.raises(DataError, match=r"freeze needs a layer with running statistics .*, Dense has none"):
        freeze(layers.Dense(3))


# adapt.


@pytest.mark.parametrize("kind", some([Theirs, BatchNormalization], jax=(1,), tensorflow=(0,)))
def test_the_mixture_is_by_count(kind):
    """float32: ten roundings of values below 4, which are divided by a deviation of about 1."""
    x = np.random.default_rng(0).normal(1, 0.5, (24, 3, 2)).astype(np.float32)
    model = keras.Sequential([keras.Input((3, 2)), kind(name="norm")])
    plain, before = model.predict(x, verbose=0), values(model)
    for prior in (0, 16):
        share = 24 / (24 + prior)
        mean = share * x.mean((0, 1), np.float64)
        var = (1 - share) + share * x.var((0, 1), np.float64)
        with adapt(model, prior=prior) as adaptation:
            assert repr(adaptation) == f"Adaptation(1 layers, prior={prior})"
            for y in (model(x), model.predict(x, verbose=0)):
                assert np.abs(to_numpy(y) - (x - mean) / np.sqrt(var + 1e-3)).max() <= 10 * 4 * 2.0**-23
            assert same(before, values(model))
            with pytest.raises(DataError, match="norm is adapted already: undo that first"):
                adapt(model)
        assert repr(adaptation) == "Adaptation(undone)"
        assert (model.predict(x, verbose=0) == plain).all()
    with pytest.raises(DataError, match="prior, the number of samples that the trained statistics are worth"):
        adapt(model, prior=-1)


def test_adaptation_by_masks_and_in_training():
    layer = built(BatchNormalization(zero_masked=True), (3, 2))
    x = np.random.default_rng(0).normal(1, 0.5, (6, 3, 2)).astype(np.float32)
    mask = np.zeros((6, 3), bool)
    with adapt(layer, prior=0):
        assert (to_numpy(layer(x, mask=ops.convert_to_tensor(mask))) == 0).all()
        mask[:2] = True
        x[2:] = np.nan
        y = to_numpy(layer(x, mask=ops.convert_to_tensor(mask)))
        assert np.abs(y[:2] - to_numpy(layer(x[:2]))).max() <= 10 * 4 * 2.0**-23  # as above: kernels may sum otherwise
        assert statistics(layer)[0].tolist() == [0, 0]
        layer(x[:2], training=True)
        assert statistics(layer)[0].tolist() != [0, 0]
    with pytest.raises(DataError, match=r"adapt needs a layer with running statistics .* has none; the model: frozen"):
        adapt(freeze(layer))


# fold.


def trained(model):
    """Statistics, γ, β and biases that are not what they began with."""
    draw = np.random.default_rng(0)
    for weight in model.weights:
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(draw.uniform(0.5, 2, weight.shape))
        elif any(name in weight.path for name in ("mean", "beta", "bias")):
            weight.assign(draw.normal(0, 0.3, weight.shape))
    return model


def chain(shape, *steps):
    """A model of inputs and outputs."""
    x = inputs = keras.Input(shape)
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)


@long_but_on("torch", "tensorflow")
def test_layers_of_every_kind_in_both_orders():
    """Outputs of at most 72 products, ten layers deep, rounded in another order: √(10 · 72) half ULPs, and a margin."""
    model = trained(
        chain(
            (9, 9, 4),
            layers.SeparableConv2D(6, 3),
            Theirs(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False),
            layers.Dropout(0.5),
            BatchNormalization(),
            layers.ReLU(),
            layers.Conv2DTranspose(6, 3, strides=2),
            Theirs(scale=False),
            layers.ReLU(),
            layers.Conv2D(8, 3, groups=2 if BACKEND != "tensorflow" else 1),
            Theirs(center=False),
            layers.ReLU(),
            Theirs(name="before"),
            layers.SpatialDropout2D(0.2),
            layers.Conv2D(4, 3, activation="relu", name="taking"),
            BatchNormalization(name="flat"),
            layers.Flatten(),
            layers.Dense(5, name="dense"),
            Theirs(),
        )
    )
    before, x = values(model), np.random.default_rng(1).normal(1, 2, (3, 9, 9, 4)).astype(np.float32)
    folded, report = fold(model, example=x)
    assert not report.skipped
    orders = {f.norm: (f.into, f.order) for f in report.folded}
    assert (orders["before"], orders["flat"]) == ((("taking",), "after"), (("dense",), "after"))
    assert list(orders.values()).count((("dense",), "before")) == 1
    assert report.difference.ulps <= 4 * np.sqrt(10 * 72)
    assert same(before, values(model))
    assert not any(hasattr(layer, "moving_mean") for layer in folded.layers)
    assert np.abs(to_numpy(folded(x)) - to_numpy(model(x))).max() == report.difference.absolute


def test_a_folded_model_shares_no_memory_with_the_model():
    """On JAX `predict` gives its arrays away: one that two models share is gone from the other, "has been deleted"."""
    steps = layers.Dense(4), Theirs(), layers.ReLU(), layers.Conv2D(2, 3), Theirs()
    model, x = trained(chain((6, 6, 2), *steps)), images(4)
    want = to_numpy(model(x))
    folded, _ = fold(model)
    for one in (folded, model, folded, model):
        assert np.abs(one.predict(x, verbose=0) - want).max() <= 4 * np.sqrt(4 * 9 + 2) * 2.0**-23 * np.abs(want).max()


@long_but_on("torch", "tensorflow")
def test_what_a_layer_learned_beside_its_weights_is_copied():
    x = table(60)
    scaled, binned = layers.Normalization(), layers.Discretization(num_bins=4)
    scaled.adapt(x), binned.adapt(x[:, :1])
    for first, shape, values in (([scaled], (3,), x), ([binned, layers.Embedding(5, 2)], (1,), x[:, :1])):
        model = chain(shape, *first, trained(chain(shape if len(first) == 1 else (1, 2), layers.Dense(3), Theirs())))
        _, report = fold(model, example=values)
        assert report.difference.ulps <= 4 * np.sqrt(2 * 3)
    if BACKEND == "tensorflow":
        words = layers.StringLookup()
        words.adapt(np.array(["a", "b", "c"]))
        inputs = keras.Input((1,), dtype="string")
        y = inputs
        for step in (words, layers.Embedding(4, 2), layers.Dense(3), Theirs()):
            y = step(y)
        folded, report = fold(trained(keras.Model(inputs, y)), example=ops.convert_to_tensor([["b"], ["z"]]))
        assert report.difference.ulps <= 4 * np.sqrt(2 * 3)
        assert folded.layers[1].get_vocabulary() == words.get_vocabulary()


@long_but_on("torch")
def test_embeddings_nested_and_sequential_models():
    inner = keras.Sequential([keras.Input((4, 3)), layers.Conv1D(5, 2, name="conv"), Theirs(name="norm")], name="inner")
    model = trained(chain((4,), layers.Embedding(7, 3, name="rows"), Theirs(name="first"), inner, layers.Dense(2)))
    folded, report = fold(model, example=np.arange(28).reshape(7, 4) % 7)
    assert [f.into for f in report.folded] == [("rows",), ("inner/conv",)]
    assert report.difference.ulps <= 4 * np.sqrt(3 * 10)
    assert type(folded.get_layer("inner")) is keras.Sequential
    _, report = fold(inner)
    assert report.folded[0].into == ("conv",)


if BACKEND == "torch":  # the others compile each operation and each shape by itself, which takes a minute

    def test_a_network_that_others_wrote():
        """52 norms, 52 convolutions deep: each rounds some hundreds of products."""
        model = trained(keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10))
        x = np.random.default_rng(0).normal(0, 1, (2, 32, 32, 3)).astype(np.float32)
        _, report = fold(model, example=x)
        assert (len(report.folded), report.skipped) == (52, ())
        assert report.difference.ulps <= 4 * np.sqrt(52 * 336)


@long_but_on("torch")
def test_what_is_not_proven_stays_with_its_reason():
    shared, branch = layers.Dense(3, name="shared"), layers.Dense(3, name="branch")

    class Mine(Theirs):
        pass

    class Block(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.norm = Theirs(name="within")

        def call(self, x):
            return self.norm(x)

    def residual(x):
        x = branch(x)
        return Theirs()(x) + x

    image = (5, 5, 3)
    for shape, steps, why in (
        (image, [Theirs()], r"it normalizes the model's input; its output is the model's"),
        (
            image,
            [layers.Dense(3, activation="relu", name="d"), Theirs()],
            r"d \(Dense\), which has an activation, relu",
        ),
        (image, [Theirs(), layers.Conv2D(2, 3, padding="same", name="c")], r"c cannot take it: it pads with zeros"),
        (image, [Theirs(), layers.ZeroPadding2D(name="z"), layers.Conv2D(2, 3)], r"z \(ZeroPadding2D\), which is not"),
        (image, [Theirs(), layers.Conv2DTranspose(2, 3)], r"adds up fewer taps at some places"),
        ((3,), [shared, Theirs(), layers.ReLU(), shared], r"shared, which is also called elsewhere"),
        ((3,), [residual], r"branch, before it, also goes to the function add"),
        ((3,), [layers.Dense(3), Mine()], r"Mine has a forward pass of its own"),
        (image, [layers.Conv2D(5, 1, name="o"), Theirs(axis=1)], r"its features lie on another axis than those of o"),
        ((3,), [layers.Dense(3), Block()], r"it is within .*, whose calls Keras does not keep"),
        (
            (4, 3),
            [layers.Masking(), layers.Dense(3), BatchNormalization(zero_masked=True)],
            r"called with a mask, where its output is 0",
        ),
        ((3,), [layers.Dense(3), lambda x: Theirs()(x, training=True)], r"it is called with training=True"),
    ):
        _, report = fold(trained(chain(shape, *steps)))
        assert not report.folded
        with pytest.raises(DataError, match=why):
            raise DataError(report.skipped[0].why)


@long_but_on("torch")
def test_a_scaler_folds_into_the_first_layer():
    """Raw data of mean 1000 and deviation 2: the note says that float32 sees them to 500 · 2⁻²³ = 6e-5 of one."""
    x = table()
    scaler = gb.StandardScaler().fit(x)
    model = trained(chain((3,), layers.Dense(4, name="dense"), Theirs(), layers.ReLU()))
    folded, report = fold(model, scaler=scaler, example=x)
    want = to_numpy(model(scaler.transform(x)))
    kernel = np.abs(to_numpy(folded.get_layer("dense").kernel)).max() * 2  # of a deviation
    assert np.abs(to_numpy(folded(x)) - want).max() <= 3 * 3 * 500 * 2.0**-23 * kernel
    assert report.folded[-1] == type(report.folded[-1])("scaler", ("dense",), "after")
    assert "raw data lie up to" in report.notes[0]
    images_ = gb.Affine(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    _, report = fold(network(), scaler=images_, example=images())
    assert report.difference.ulps <= 4 * np.sqrt(2 * 36)
    with pytest.raises(DataError, match="the input must go into linear layers of the scaler's features and nowhere"):
        fold(chain((3,), layers.ReLU()), scaler=scaler)
    with pytest.raises(DataError, match="takes 4 features, and the map has"):
        fold(chain((4,), layers.Dense(3)), scaler=scaler)


@long_but_on("torch")
def test_what_has_no_graph_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(DataError, match="whose graph Keras keeps, got Own: fold such models within it"):
        fold(Own())
    with pytest.raises(KindError, match="model must be a Keras model, got int"):
        fold(3)

    class Uncopied(layers.Dense):
        def __init__(self, size):
            super().__init__(size)

        def get_config(self):
            return {}

    with pytest.raises(
        DataError, match=r"uncopied \(Uncopied\) must be one that its class' from_config can make again"
    ):
        fold(trained(chain((3,), layers.Dense(3), Theirs(), Uncopied(2))))
    with pytest.raises(DataError, match="there is nothing to fold"):
        fold(chain((3,), layers.ReLU()))
