"""What is done to trained Keras models, on this process' backend: `test_keras_verbs.py` runs this once for each."""

from collections import namedtuple
from dataclasses import dataclass

import keras
import numpy as np
import pytest
from keras import layers, ops

import gammabeta as gb
from gammabeta.errors import DataError, KindError
from gammabeta.keras import BatchNormalization, recalibrate
from keras_backend import BACKEND, to_numpy

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
        var == moments.variance(ddof=ddof).astype(var.dtype)
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


@pytest.mark.parametrize("kind", [Theirs, BatchNormalization])
@pytest.mark.parametrize("sequential", [False, True])
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
    with pytest.raises(KindError, match="mask must give a boolean array, or a dict"):
        recalibrate(model, [x], mask=lambda batch: [1])


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
        KindError, match=r"batches must be a list of batches .* got ndarray: one batch alone is \[batch\]"
    ):
        recalibrate(layer, table())
    with pytest.raises(DataError, match="sequential=True goes through the batches more than once, and list_iterator"):
        recalibrate(layer, iter([table()]), sequential=True)
    with pytest.raises(DataError, match="batches must give at least one batch, got none"):
        recalibrate(layer, [])
    with pytest.raises(KindError, match=r"a batch must be an array, .* got str: say how the model takes it with call="):
        recalibrate(layer, ["a"])
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


def test_progress_and_a_single_row():
    heard = []
    recalibrate(network(), split(images(), 20), progress=lambda *done: heard.append(done), sequential=True)
    assert heard == [(1, 2), (2, 2)] * 2
    report = recalibrate(layer := built(Theirs(), (3,)), [table(1)])
    assert report.left_alone == {"": "fewer than two values of each feature"}
    assert statistics(layer)[1].tolist() == [1, 1, 1]
