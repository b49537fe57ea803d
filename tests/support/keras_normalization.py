"""`gammabeta.keras.Normalization`, run in a process for each backend: Keras' layer, exactly."""

import keras
import numpy as np
import pytest
from keras import ops

import gammabeta as gb
from gammabeta.keras import Normalization
from keras_backend import BACKEND

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(60, 3)) * [1, 5, 0] + [1e6, 3, 7]).astype(np.float32)
ULP = 2.0**-23
SCALER = gb.StandardScaler().fit(X)
WANT = SCALER.transform(X)


def near(y, want=WANT):
    """The same, or the other neighbour where XLA contracts a product and a sum."""
    np.testing.assert_allclose(ops.convert_to_numpy(y), want, rtol=ULP, atol=0)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, i):
        return X[20 * i : 20 * i + 20], i


STREAMS = {
    "array": lambda: X,
    "tensor": lambda: ops.convert_to_tensor(X),
    "list": lambda: [X[:7], X[7:]],
    "generator": lambda: (X[i : i + 9] for i in range(0, 60, 9)),
    "pairs": lambda: [(X[:7], 0), (X[7:], 1)],
    "PyDataset": lambda: Batches(),
}


@pytest.mark.parametrize("stream", STREAMS)
def test_adapt_is_exact_whatever_the_batches(stream):
    layer = Normalization()
    layer.adapt(STREAMS[stream]())
    near(layer(X))
    near(layer(X[:1]), WANT[:1])
    assert (ops.convert_to_numpy(layer(X))[:, 2] == 0).all()


def test_a_data_set_of_tensorflow_s():
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices(X)
    for given in data, data.batch(7), data.batch(7).map(lambda x: (x, 0)):
        layer = Normalization()
        layer.adapt(given)
        near(layer(X))
    near(next(iter(data.batch(60).map(layer))).numpy())


def test_saving_keeps_every_digit(tmp_path):
    model = keras.Sequential([keras.Input((3,)), Normalization(), keras.layers.Dense(2)])
    model.layers[0].adapt(X)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again.layers[0]) is Normalization
    near(again.layers[0](X))
    np.testing.assert_array_equal(*(ops.convert_to_numpy(each(X)) for each in (again, model)))
    model.save_weights(tmp_path / "model.weights.h5")
    other = keras.Sequential([keras.Input((3,)), Normalization(), keras.layers.Dense(2)])
    other.load_weights(tmp_path / "model.weights.h5")
    near(other.layers[0](X))
    other.layers[0].set_weights([np.zeros(3), np.full(3, 4.0), np.zeros((), int)])
    other.layers[0].finalize_state()
    near(other.layers[0](X), X / 2)


def test_keras_files_are_read(tmp_path):
    theirs = keras.Sequential([keras.Input((3,)), keras.layers.Normalization()])
    data = (X[:, :3] % 8).astype(np.float32) + RNG.normal(size=(60, 3)).astype(np.float32)
    theirs.layers[0].adapt(data)
    theirs.save_weights(tmp_path / "their.weights.h5")
    ours = keras.Sequential([keras.Input((3,)), Normalization()])
    ours.load_weights(tmp_path / "their.weights.h5")
    # both of the same float32 statistics; Keras rounds the difference, the root and the quotient, of values below 16
    np.testing.assert_allclose(ops.convert_to_numpy(ours(data)), ops.convert_to_numpy(theirs(data)), atol=16 * 4 * ULP)


@pytest.mark.parametrize("axis", [-1, 1, (1, 2), None, (-1, 1)])
def test_axes_are_keras(axis):
    x = RNG.normal(3, 2, size=(8, 4, 5)).astype(np.float32)
    ours, theirs = Normalization(axis=axis), keras.layers.Normalization(axis=axis)
    for layer in ours, theirs:
        layer.adapt(x)
    np.testing.assert_allclose(ops.convert_to_numpy(ours(x)), ops.convert_to_numpy(theirs(x)), atol=64 * ULP)
    back = Normalization(axis=axis, invert=True)
    back.adapt(x)
    np.testing.assert_allclose(ops.convert_to_numpy(back(ours(x))), x, atol=64 * ULP)


def test_mean_and_variance_that_are_given():
    layer = Normalization(mean=[1000000.03, 3.0, 7.0], variance=[1.0, 4.0, 0.0])
    want = ((X.astype(np.float64) - [1000000.03, 3, 7]) / [1, 2, 1]).astype(np.float32)
    near(layer(X), want)
    near(Normalization.from_config(layer.get_config())(X), want)
    near(Normalization(mean=3.0, variance=4.0)(X), ((X.astype(float) - 3) / 2).astype(np.float32))
    with pytest.raises(gb.DataError, match="was given them"):
        layer.adapt(X)


def test_from_a_scaler():
    # the variance is 1 / slope², and the slope again 1 / √ of it: some roundings of 2⁻⁵³
    near(Normalization.from_scaler(SCALER)(X))
    near(Normalization.from_scaler(SCALER, invert=True)(WANT), SCALER.inverse_transform(WANT))
    images = RNG.normal(5, 2, size=(4, 3, 2, 2)).astype(np.float32)
    scaler = gb.StandardScaler(axis=(0, 2, 3)).fit(images)
    near(Normalization.from_scaler(scaler)(images), scaler.transform(images))
    for wrong in gb.MinMaxScaler((1, 2)).fit(X), gb.MinMaxScaler(clip=True).fit(X), gb.Affine([0.0], [-1.0]):
        with pytest.raises(gb.DataError, match="only center and divide"):
            Normalization.from_scaler(wrong)


def test_types_and_graphs():
    layer = Normalization(dtype="mixed_float16")
    layer.adapt(X)
    assert keras.backend.standardize_dtype(layer(X).dtype) == "float16"
    integers = Normalization(mean=2.0, variance=1.0)
    near(integers(np.array([[1, 2, 5]])), [[-1, 0, 3]])
    model = keras.Sequential([keras.Input((3,)), Normalization()])
    model.layers[0].adapt(X)
    near(model.predict(X, verbose=0))


def test_what_adapt_refuses():
    for data, match in (
        ([], "a batch at least"),
        (np.array([[np.inf]]), "no infinities"),
        (np.array([[np.nan]]), "finite values of each feature"),
        ([X, X[:, :2]], "batches must be like"),
        (3, "data must be an array"),
    ):
        with pytest.raises(gb.DataError, match=match):
            Normalization().adapt(data)
    assert BACKEND in ("tensorflow", "jax", "torch")
