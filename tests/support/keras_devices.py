"""A batch that is spread over two devices of one CPU, on this process' backend: run by `tests/keras/test_layer.py`."""

import keras
import numpy as np
import pytest

from gammabeta.errors import DataError
from gammabeta.keras import BatchNormalization
from keras_backend import BACKEND, to_numpy

RNG = np.random.default_rng(0)
X, DY = RNG.normal(1e3, 2, (7, 4, 3)).astype(np.float32), RNG.normal(0, 1, (7, 4, 3)).astype(np.float32)
MASK = RNG.random((7, 4)) > 0.4
U = 2.0**-24


def same(a, b, bound):
    a, b = to_numpy(a), to_numpy(b)
    assert a.shape == b.shape and np.abs(a - b).max() <= bound


if BACKEND == "tensorflow":
    import tensorflow as tf

    STRATEGY = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

    def spread(value, share):
        """The first samples on one replica, the rest on the other; None on both stays None."""
        if value is None:
            return None
        parts = value[:share], value[share:]
        return STRATEGY.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group])
        )

    def step(layer, x, dy, mask):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True, mask=mask)
        return y, *tape.gradient(y, [x, layer.gamma.value, layer.beta.value], output_gradients=dy)

    OPTIONS = [
        {},
        {"axis": (1, 2)},
        {"renorm": (1.5, 0.5)},
        {"renorm": True, "renorm_clipping": {"rmax": 1.5, "dmax": 0.5}},
    ]

    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    @pytest.mark.parametrize("share", [1, 5])
    @pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
    def test_two_replicas_do_as_one(mask, share, options):
        """Each value counts once, however they are spread.

        In float32 some 16 roundings of values below 8, of sums of 28 terms 28 more; the moving mean is near 1e3.
        What is masked, and does not count, a graph centres to the digits of x.
        """
        whole = BatchNormalization(**options)
        whole.build(X.shape)
        with STRATEGY.scope():
            layer = BatchNormalization(synchronized=True, **options)
            layer.build((None, 4, 3))
        y, dx, dgamma, dbeta = step(whole, tf.constant(X), tf.constant(DY), None if mask is None else tf.constant(mask))
        given = [spread(value, share) for value in (X, DY, mask)]
        together = tf.function(lambda *args: STRATEGY.run(step, (layer, *args)), autograph=False)
        results = together(*given)
        parts = [STRATEGY.experimental_local_results(value) for value in results]
        counts = np.ones(X.shape, bool) if mask is None else np.broadcast_to(mask[..., None], X.shape)
        same(np.concatenate(parts[0])[counts], to_numpy(y)[counts], 16 * 8 * U)
        same(np.concatenate(parts[0]), y, 16 * 1e3 * U)
        same(np.concatenate(parts[1]), dx, 64 * 8 * U)
        same(sum(map(to_numpy, parts[2])), dgamma, 28 * 64 * U)
        same(sum(map(to_numpy, parts[3])), dbeta, 28 * 64 * U)
        for mine, theirs in zip(layer.weights, whole.weights, strict=True):
            bound = 4 * U * np.abs(to_numpy(theirs)).max()
            for value in STRATEGY.experimental_local_results(mine.value):
                same(value, theirs, bound)

    @pytest.mark.parametrize("samples", [7, 5])
    def test_fit_under_a_strategy(samples):
        """The last batch is spread unevenly: two samples and one, or one and none."""
        with STRATEGY.scope():
            model = keras.Sequential([BatchNormalization(momentum=0.0, synchronized=True), keras.layers.Flatten()])
            model.compile("sgd", "mse")
        model.fit(X[:samples], np.zeros((samples, 12), np.float32), batch_size=4, shuffle=False, verbose=0)
        same(model.layers[0].moving_mean, X[4:samples].mean((0, 1)), 4 * U * 1e3)
        same(model.layers[0].moving_variance, X[4:samples].var((0, 1)), 64 * U * 8)

    def test_one_replica_alone_is_the_whole():
        one, other = BatchNormalization(synchronized=True), BatchNormalization()
        same(one(X, training=True), other(X, training=True), 0)

    def test_ghost_batches_are_of_one_replica():
        with pytest.raises(DataError, match="ghost= takes statistics of parts, synchronized=True those of all"):
            BatchNormalization(ghost=2, synchronized=True)

else:

    def test_synchronized_is_refused_where_it_cannot_be():
        with pytest.raises(DataError, match=f"synchronized=True needs the TensorFlow backend, got {BACKEND}"):
            BatchNormalization(synchronized=True)


if BACKEND == "jax":

    def test_a_batch_over_two_devices_is_one_batch():
        devices = keras.distribution.list_devices("cpu")
        assert len(devices) == 2
        x = np.concatenate([X, X[:1] + 5])
        alone = model_of(x)
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
        try:
            together = model_of(x)
        finally:
            keras.distribution.set_distribution(None)
        for mine, theirs in zip(together.get_weights(), alone.get_weights(), strict=True):
            same(mine, theirs, 4 * U * 1e3)
        assert np.abs(to_numpy(alone.layers[0].moving_mean) - x.mean((0, 1))).max() <= 4 * U * 1e3

    def model_of(x):
        model = keras.Sequential([keras.Input((4, 3)), BatchNormalization(momentum=0.0), keras.layers.Flatten()])
        model.compile("sgd", "mse")
        model.fit(x, np.zeros((len(x), 12), np.float32), batch_size=8, shuffle=False, verbose=0)
        return model
