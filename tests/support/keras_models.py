"""Networks of `keras.applications`, weights random, on this process' backend: `tests/keras/test_models.py` runs this.

Each is recalibrated, so that its norms have statistics worth folding, then folded, frozen, adapted and read. What
folding changes is told by the same network in float64.
"""

import keras
import numpy as np
import pytest

from gammabeta.errors import StateError
from gammabeta.keras import adapt, fold, freeze, load_snapshot, recalibrate, snapshot, unfreeze
from keras_backend import BACKEND, compile_quickly, float64, to_numpy

compile_quickly()

SIZES = {"Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75}
"""The side of the smallest picture, where it is not 32."""

QUICK = {
    "ResNet50V2": (32, 17),  # norms before a ReLU, behind an addition: there is no layer to take them
    "EfficientNetB0": (49, 0),
    "DenseNet121": (59, 62),  # so are those behind a concatenation
    "MobileNetV3Small": (34, 0),
}
LONG = {
    "Xception": (40, 0),
    "ResNet50": (53, 0),
    "EfficientNetV2B0": (59, 0),
    "MobileNet": (27, 0),
    "MobileNetV2": (52, 0),
    "InceptionV3": (94, 0),
    "InceptionResNetV2": (204, 0),
}
if BACKEND != "torch":  # where Keras 3.15 refuses to make it
    LONG["NASNetMobile"] = (188, 4)

NAMES = [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)]
UNKNOWN = {"Xception": "SeparableConv2D", "NASNetMobile": "SeparableConv2D"}
UNKNOWN |= dict.fromkeys(("EfficientNetB0",), "Normalization")
"""Kinds of layers with weights that `snapshot` does not know."""


def made(name):
    """A network of ten outputs without a softmax, which would hide what differs."""
    side = SIZES.get(name, 32)
    keras.utils.set_random_seed(0)
    return getattr(keras.applications, name)(
        weights=None, input_shape=(side, side, 3), classes=10, classifier_activation=None
    )


def trained(model):
    """γ, β and biases that are not what they began with."""
    draw = np.random.default_rng(0)
    for weight in model.weights:
        if "gamma" in weight.path:
            weight.assign(draw.uniform(0.5, 1.5, weight.shape))
        elif "beta" in weight.path or "bias" in weight.path:
            weight.assign(draw.normal(0, 0.1, weight.shape))
    return model


def images(name, n=6):
    side, wide = SIZES.get(name, 32), name.startswith(("Efficient", "MobileNetV3"))
    x = np.random.default_rng(0).normal(0, 1, (n, side, side, 3)).astype(np.float32)
    return x * 60 + 127 if wide else x


def beside(x):
    """Eight times x, each value 2⁻²³ of it further up or down."""
    draw = np.random.default_rng(1)
    return [x * (1 + draw.choice(np.array([-1, 1], x.dtype), x.shape) * x.dtype.type(2**-23)) for _ in range(8)]


def output(model, x, **options):
    return to_numpy(model(x, **{"training": False, **options}))


def in_float64(name, model, x):
    """What the network gives in float64."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        with float64():
            wide = made(name)
            wide.set_weights([to_numpy(w).astype(np.float64) for w in model.weights])
            return output(wide, x.astype(np.float64))
    finally:
        keras.config.set_dtype_policy(before)


def values(model):
    return [to_numpy(weight).copy() for weight in model.weights]


def same(a, b):
    return all((one == other).all() for one, other in zip(a, b, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_network_that_others_wrote(name):
    model, x = trained(made(name)), images(name)
    report = recalibrate(model, [x[:4], x[4:]])
    assert report.left_alone == {}
    before, want = values(model), output(model, x)

    folded, report = fold(model, example=x)
    assert (len(report.folded), len(report.skipped)) == (QUICK | LONG)[name]
    assert same(before, values(model))
    wide = in_float64(name, model, x)
    got = output(folded, x)
    assert np.abs(got - want).max() == report.difference.absolute
    # Folded or not, each is float32's rounding of one function, layer after layer: of the same size; or of the size of
    # what roundings of the input move, which is 60 times that in EfficientNetV2B0 with weights drawn like so.
    apart = max(np.abs(want - wide).max(), *(np.abs(output(model, near) - want).max() for near in beside(x)))
    assert np.abs(got - wide).max() <= 4 * apart

    freeze(model)
    output(model, x[:2], training=True)
    assert (output(model, x) == want).all()
    assert not {v.path.rsplit("/")[-1] for v in model.trainable_variables} & {"gamma", "beta"}
    _, again = fold(model)
    assert len(again.folded) == len(report.folded)
    unfreeze(model)
    assert same(before, values(model))

    with adapt(model, prior=0):
        assert (output(model, x[:3]) != want[:3]).any()
    assert same(before, values(model)) and (output(model, x) == want).all()

    network, other = snapshot(model, x[:1]), made(name)
    if name in UNKNOWN:
        with pytest.raises(StateError, match=rf"in the keras model these are not: .*{UNKNOWN[name]}"):
            load_snapshot(other, network)
    else:
        assert load_snapshot(other, network).same
        assert (output(other, x) == want).all()
