"""The layer in Keras' place, on the backend of this process: `tests/keras/test_layer.py` runs it on each."""

import inspect
from zipfile import ZipFile

import keras
import numpy as np
import pytest
from keras import ops

import gammabeta as gb
from gammabeta.errors import DataError, KindError, StateError
from gammabeta.keras import BatchNormalization, freeze
from gammabeta.numpy import BatchNorm as Reference
from keras_backend import BACKEND, compiled, float64, gradients, long_but_on, some, to_numpy, train

Theirs = keras.layers.BatchNormalization

U = 2.0**-24


def random(*shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).normal(3, 2, shape).astype(dtype)


def layer_for(shape, kind=BatchNormalization, **options):
    """A built layer whose γ and β are not 1 and 0."""
    layer = kind(**options)
    layer.build(shape)
    for weight, low, high in ((layer.gamma, 0.5, 2), (layer.beta, -1, 1)):
        if weight is not None:
            weight.assign(np.linspace(low, high, int(np.prod(weight.shape))).reshape(tuple(weight.shape)))
    return layer


def same(a, b, bound):
    a, b = to_numpy(a), to_numpy(b)
    assert a.shape == b.shape and a.dtype == b.dtype
    assert np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0) <= bound


def test_the_backend_is_the_one_asked_for():
    assert to_numpy(ops.ones(2)).tolist() == [1, 1] and type(ops.ones(2)).__module__.startswith(
        {"tensorflow": "tensorflow.", "jax": "jax", "torch": "torch"}[BACKEND]
    )


# In place of Keras' layer.

OPTIONS = [
    {},
    {"center": False},
    {"scale": False},
    {"center": False, "scale": False},
    {"axis": 1, "momentum": 0.5, "epsilon": 1e-5},
    {"renorm": True, "renorm_clipping": {"rmin": 0.7, "rmax": 1.5, "dmax": 0.5}, "renorm_momentum": 0.8},
    {"renorm": True, "scale": False},
    {"renorm": True, "center": False, "momentum": 0.9},
]


SHAPES = [(7, 3), (7, 3), (7, 3), (7, 3), (5, 4, 3), (7, 3), (4, 2, 3, 2), (7, 3)]


@pytest.mark.parametrize(("options", "shape"), some(list(zip(OPTIONS, SHAPES, strict=True)), jax=(1, 4, 5)), ids=str)
def test_keras_has_the_same_numbers(options, shape):
    """In float64: some tens of roundings of numbers below 1e3.

    Keras' own layer computes in float32 for a float64 policy, unless on TensorFlow: 24 terms of a few units, added one
    after the other, each addition rounding a sum of at most 100.
    """
    bound = 1e-10 if BACKEND == "tensorflow" else 24 * 100 * U
    with float64():
        ours, theirs = (layer_for(shape, kind, dtype="float64", **options) for kind in (BatchNormalization, Theirs))
        for seed in range(2):
            x, dy = random(*shape, seed=seed, dtype="float64"), random(*shape, seed=9, dtype="float64")
            for a, b in zip(gradients(ours, x, dy), gradients(theirs, x, dy), strict=True):
                same(a, b, bound)
        for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            same(a, b, bound)
        same(ours(x), theirs(x), bound)


def test_arguments_are_keras():
    ours, theirs = (list(inspect.signature(kind).parameters.values()) for kind in (BatchNormalization, Theirs))
    assert [(p.name, p.default) for p in ours[: len(theirs) - 1]] == [(p.name, p.default) for p in theirs[:-1]]
    extra = ours[len(theirs) - 1 :]
    assert [(p.name, p.kind.name) for p in extra] == [
        ("ghost", "KEYWORD_ONLY"),
        ("unbiased", "KEYWORD_ONLY"),
        ("zero_masked", "KEYWORD_ONLY"),
        ("kwargs", "VAR_KEYWORD"),
    ]
    call = [list(inspect.signature(kind.call).parameters) for kind in (BatchNormalization, Theirs)]
    assert call[0] == call[1]


@pytest.mark.parametrize("options", some(OPTIONS, tensorflow=(5,), jax=(5,)), ids=str)
def test_weights_and_configurations_are_keras_both_ways(options, tmp_path):
    ours, theirs = (keras.Sequential([keras.Input((4, 3)), kind(**options)]) for kind in (BatchNormalization, Theirs))
    ours.compile("sgd", "mse"), theirs.compile("sgd", "mse")
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
    assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
    assert [w.trainable for w in ours.weights] == [w.trainable for w in theirs.weights]
    x = random(6, 4, 3)
    ours(x, training=True)
    for a, b in ((ours, theirs), (theirs, ours)):
        a.save_weights(tmp_path / "of.weights.h5")
        b.load_weights(tmp_path / "of.weights.h5")
        for v, w in zip(a.get_weights(), b.get_weights(), strict=True):
            same(v, w, 0)
        b(x + 1, training=True)
    configurations = [model.layers[0].get_config() for model in (ours, theirs)]
    configurations = [{k: v for k, v in c.items() if k != "name"} for c in configurations]
    assert configurations[0] == configurations[1]
    assert Theirs.from_config(ours.layers[0].get_config()).momentum == ours.layers[0].momentum
    assert BatchNormalization.from_config(theirs.layers[0].get_config()).renorm == ours.layers[0].renorm


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"axis": (1, -1)},
        {"ghost": 4},
        {"renorm": (3.0, 5.0)},
        {"unbiased": True},
        {"zero_masked": True},
        {"beta_regularizer": "l2"},
    ],
    ids=str,
)
def test_a_configuration_makes_the_same_layer(options):
    layer = BatchNormalization(**options)
    again = BatchNormalization.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    for name in ("axis", "ghost", "renorm", "unbiased", "zero_masked"):
        assert getattr(again, name) == getattr(layer, name)


def test_regularizers_and_constraints_are_keras():
    options = {"gamma_regularizer": "l2", "beta_constraint": "non_neg", "gamma_initializer": "zeros"}
    ours, theirs = (kind(**options) for kind in (BatchNormalization, Theirs))
    for layer in (ours, theirs):
        layer.build((None, 3))
        layer.gamma.assign([1.0, 2.0, 3.0])
    assert to_numpy(ours.losses[0]) == to_numpy(theirs.losses[0]) > 0
    assert type(ours.beta.constraint) is type(theirs.beta.constraint) is keras.constraints.NonNeg
    same(BatchNormalization(gamma_initializer="zeros")(random(4, 3)), np.zeros((4, 3), np.float32), 0)


# Statistics.

COLUMNS = {
    "a year": (2010, 3),
    "an altitude": (8000, 2),
    "1e4, 1": (1e4, 1),
    "1e6, 1": (1e6, 1),
    "a constant": (7.3, 0),
    "0 and 1e30": (0, 0),
}


def column(name):
    x = np.random.default_rng(3).normal(*COLUMNS[name], (1024, 1)).astype(np.float32)
    x[5] = 1e30 if name == "0 and 1e30" else x[5]
    return x


def exact(x, epsilon=1e-3):
    x = x.astype(np.longdouble)
    return (x - x.mean(0)) / np.sqrt(x.var(0) + np.longdouble(epsilon))


def error(y, want):
    """In units of 2⁻²⁴ of the largest value."""
    return float(np.abs(to_numpy(y) - want).max() / np.abs(want).max()) / U


@pytest.mark.parametrize(
    ("name", "path"),
    some([(name, path) for name in COLUMNS for path in ("plain", "mask", "ghost")], jax=(0, 4, 8, 9, 12, 15, 16, 17)),
)
def test_hostile_columns_in_float32(name, path):
    """Within 4 times the best possible: two subtractions 2u, the scale 2.5u, the product 1u, random ones half of that.

    γ and β by themselves add 2 roundings, of 1 and 0.
    """
    x = column(name)
    mask = np.ones(1024, bool) if path == "mask" else None
    y = BatchNormalization(ghost=1024 if path == "ghost" else None)(x, training=True, mask=mask)
    if name == "a constant":
        assert (to_numpy(y) == 0).all()
    else:
        assert error(y, exact(x)) <= 4


@pytest.mark.parametrize("name", ["1e4, 1", "1e6, 1"])
def test_keras_own_layer_fails_there(name):
    x = column(name)
    theirs = Theirs()(x, training=True)
    assert not error(theirs, exact(x)) <= 100  # or NaN


DEFINED = [
    (-1, False, False),
    (-1, True, True),
    (1, True, False),
    ((1, 2), False, True),
    ((2, 1), True, False),
    (0, False, True),
    ((0, -1), True, False),
]


@pytest.mark.parametrize(("axis", "masked", "unbiased"), some(DEFINED, jax=(1, 2, 4)), ids=str)
def test_the_definition_has_the_same_numbers(axis, masked, unbiased):
    """`gammabeta.numpy` in float64: some tens of roundings of numbers below 100."""
    shape = (6, 4, 3)
    kept = sorted(a % 3 for a in (axis if isinstance(axis, tuple) else (axis,)))
    reduced_axes = tuple(i for i in range(3) if i not in kept)
    mask = np.random.default_rng(5).random(shape) < 0.8 if masked else None
    x, dy = random(*shape, dtype="float64"), random(*shape, seed=1, dtype="float64")
    with float64():
        layer = layer_for(shape, axis=axis, dtype="float64", unbiased=unbiased, zero_masked=True)
        reference = Reference(tuple(shape[i] for i in kept), axis=reduced_axes, convention=layer.convention)
        reference.gamma, reference.beta = to_numpy(layer.gamma), to_numpy(layer.beta)
        y, dx, dgamma, dbeta = gradients(layer, x, dy, **({"mask": mask} if masked else {}))
        same(y, reference.forward(x, True, mask), 1e-12)
        for a, b in zip((dx, dgamma, dbeta), reference.backward(dy), strict=True):
            same(a, b, 1e-11)
        same(layer.moving_mean, reference.running_mean, 1e-12)
        same(layer.moving_variance, reference.running_var, 1e-12)
        same(layer(x, **({"mask": mask} if masked else {})), reference.forward(x, False, mask), 1e-12)


def test_a_bad_batch_does_not_poison():
    layer, x = layer_for((5, 3)), random(5, 3)
    x[0, 1] = np.inf
    y = to_numpy(layer(x, training=True))
    assert np.isnan(y[:, 1]).all() and np.isfinite(y[:, ::2]).all()
    mean, var = to_numpy(layer.moving_mean), to_numpy(layer.moving_variance)
    assert mean[1] == 0 and var[1] == 1 and mean[0] != 0 and var[0] != 1


def test_a_bad_batch_does_not_poison_keras_renorm():
    layer, x = layer_for((5, 3), renorm=True), random(5, 3)
    x[0, 1] = np.nan
    before = layer.get_weights()[2:]
    layer(x, training=True)
    after = layer.get_weights()[2:]
    assert all(new[1] == old[1] and new[0] != old[0] for old, new in zip(before, after, strict=True))


HALVES = [
    (dtype, options)
    for dtype in ("mixed_float16", "mixed_bfloat16")
    for options in ({}, {"ghost": 100}, {"renorm": (2.0, 1.0)})
]


@pytest.mark.parametrize(("dtype", "options"), some(HALVES, jax=(0, 5), tensorflow=(1, 5)), ids=str)
def test_half_precision_is_computed_in_float32(dtype, options):
    """One rounding to the type of values below 16, and a hundredth of one: float32 has 2¹³ times its digits.

    The statistics move by a hundredth of the batch's, a variance of 16, whose sums may be in float32: kernels then add
    256 terms, each with three roundings of its own.
    """
    x = ops.cast(np.random.default_rng(1).normal(50, 4, (5000, 2)), dtype[6:])
    half, whole = (BatchNormalization(dtype=policy, **options) for policy in (dtype, "float32"))
    y, z = half(x, training=True), whole(ops.cast(x, "float32"), training=True)
    assert keras.backend.standardize_dtype(y.dtype) == dtype[6:]
    assert {keras.backend.standardize_dtype(w.dtype) for w in half.weights} == {"float32"}
    own = {"mixed_float16": 2.0**-11, "mixed_bfloat16": 2.0**-8}[dtype]
    same(ops.cast(y, "float32"), z, 1.01 * own * 16)
    kept = 0.01 * 16 * 259 * 2.0**-24 + 2.0**-23
    same(half.moving_mean, whole.moving_mean, kept)
    same(half.moving_variance, whole.moving_variance, kept)


# Masks.


@pytest.mark.parametrize(("axis", "channels"), some([(-1, 3), (-1, 1), (1, 3), (1, 1)], jax=(1, 2)))
def test_a_mask_equals_slicing(axis, channels):
    """Of the shape (n, t) for (n, t, c), and for (n, c, t). Sums of up to 24 terms of a few units."""
    mask = np.arange(24).reshape(4, 6) % 4 > 0
    x = random(4, 6, channels)
    rows = x[mask]
    x[~mask] = np.nan
    layer, alone = layer_for((4, 6, channels), zero_masked=True), layer_for(rows.shape)
    if axis == 1:
        layer, x = layer_for((4, channels, 6), axis=1, zero_masked=True), x.transpose(0, 2, 1)
    for training in (True, False):
        y = to_numpy(layer(x, training=training, mask=mask))
        y = y.transpose(0, 2, 1) if axis == 1 else y
        same(y[mask], alone(rows, training=training), 64 * U)
        assert (y[~mask] == 0).all()
    same(layer.moving_mean, alone.moving_mean, 8 * U)
    same(layer.moving_variance, alone.moving_variance, 8 * U)


def test_no_gradient_comes_from_the_padding():
    x, mask = random(6, 3), np.arange(6) < 4
    x[4:] = np.nan
    dy = random(6, 3, seed=1)
    dx = gradients(layer_for((6, 3), zero_masked=True), x, dy, mask=mask)[1]
    alone = gradients(layer_for((4, 3)), x[:4], dy[:4])[1]
    assert (dx[4:] == 0).all()
    same(dx[:4], alone, 64 * 4 * U)


def test_a_mask_along_the_leading_axes():
    """As Keras hands it from layer to layer: (n, t) for (n, t, h, c), and with a statistic for each position."""
    mask = np.arange(20).reshape(4, 5) % 3 > 0
    for shape, options in (((4, 5, 2, 3), {}), ((4, 5, 3), {"axis": (1, 2)})):
        x = random(*shape)
        whole = np.broadcast_to(mask.reshape(4, 5, *[1] * (len(shape) - 2)), shape)
        y, z = (train(layer_for(shape, zero_masked=True, **options), x, mask=m) for m in (mask, whole))
        same(y, z, 0)
        assert (y[~mask] == 0).all()


MASKS = [
    ((4, 5), (4, 5, 1), {}),
    ((4, 1), (4, 1, 1), {}),
    ((1, 5), (1, 5, 1), {}),
    ((4, 5, 1), (4, 5, 1), {}),
    ((4, 1, 3), (4, 1, 3), {}),
    ((4,), (4, 1, 1), {}),
    ((4, 1), (4, 1, 1), {"axis": 1}),
    ((1, 3), (1, 1, 3), {"axis": 1}),
    ((4, 3), (4, 1, 3), {"axis": 1}),
    ((4, 5), (4, 5, 1), {"axis": 1}),
]


@long_but_on("torch")
@pytest.mark.parametrize(("shape", "whole", "options"), MASKS, ids=str)
@pytest.mark.parametrize("dtype", ["bool", "float32", "int64"])
def test_masks_of_numbers_and_with_lengths_of_1(shape, whole, options, dtype):
    mask = (np.arange(np.prod(shape)).reshape(shape) % 4 != 1).astype(dtype)
    x = random(4, 5, 3)
    one, other = (layer_for(x.shape, momentum=0.0, **options) for _ in range(2))
    same(one(x, training=True, mask=mask), other(x, training=True, mask=mask.astype(bool).reshape(whole)), 0)
    kept = np.broadcast_to(mask.astype(bool).reshape(whole), x.shape)
    axes = tuple(i for i in range(3) if i != one.axis % 3)
    counted = np.where(kept, x, np.nan)
    same(one.moving_mean, np.nanmean(counted, axes), 64 * U)
    same(one.moving_variance, np.nanvar(counted, axes), 64 * 8 * U)


def test_masked_values_are_normalized_as_keras_does():
    """The padding counts in no statistic, and is normalized by them."""
    mask, x = np.arange(24).reshape(4, 6) % 4 > 0, random(4, 6, 3)
    ours, theirs = (layer_for(x.shape, kind, momentum=0.5) for kind in (BatchNormalization, Theirs))
    given = ops.convert_to_tensor(mask)
    same(ours(x, training=True, mask=mask), theirs(x, training=True, mask=given), 64 * U)
    same(ours.moving_mean, theirs.moving_mean, 16 * U)
    same(ours.moving_variance, theirs.moving_variance, 64 * U)
    same(ours(x, mask=mask), theirs(x, mask=given), 64 * U)


@long_but_on("torch")
@pytest.mark.parametrize("options", [{}, {"ghost": 2}, {"renorm": (1.5, 0.5)}, {"renorm": True}], ids=str)
def test_masked_values_leave_the_others_alone(options):
    """Where values count, y is the same whatever the padding holds and whatever becomes of it."""
    mask, x = np.arange(24).reshape(4, 6) % 4 > 0, random(4, 6, 3)
    x[~mask] = 1.5
    zero, whole = layer_for(x.shape, zero_masked=True, **options), layer_for(x.shape, **options)
    y, z = train(whole, x, mask=mask), train(zero, x, mask=mask)
    same(y[mask], z[mask], 0)
    assert (y[~mask] != 0).all() and (z[~mask] == 0).all()
    x[~mask] = 1e30
    assert np.isfinite(train(layer_for(x.shape, **options), x, mask=mask)).all()
    x[~mask] = np.nan
    y = train(layer_for(x.shape, **options), x, mask=mask)
    assert np.isnan(y[~mask]).all()
    same(y[mask], z[mask], 0)


def test_a_mask_that_fits_twice_is_refused():
    layer = layer_for((4, 5, 5), axis=1)
    with pytest.raises(DataError, match=r"mask must say which axes of x it is along, got shape \(4, 5\)"):
        layer(random(4, 5, 5), training=True, mask=np.ones((4, 5), bool))
    train(layer, random(4, 5, 5), mask=np.ones((4, 5, 1), bool))


@pytest.mark.parametrize("options", [{}, {"ghost": 2}, {"renorm": (2.0, 1.0)}, {"renorm": True}], ids=str)
def test_a_wholly_masked_batch_moves_nothing(options):
    layer = layer_for((4, 3), zero_masked=True, **options)
    before = layer.get_weights()
    y = train(layer, np.full((4, 3), np.nan, np.float32), mask=np.zeros(4, bool))
    assert (y == 0).all()
    for a, b in zip(before, layer.get_weights(), strict=True):
        same(a, b, 0)


def test_keras_masks_fail_with_one_channel_another_axis_and_nothing_to_count():
    mask = np.arange(6) < np.array([6, 3, 2, 1])[:, None]
    for shape, axis in (((4, 6, 1), -1), ((4, 5, 6), 1)):
        x, options = random(*shape), {"axis": axis, "momentum": 0.0}
        if shape[axis] != 1 or BACKEND != "tensorflow":  # its eager variables take the scalar for one channel
            with pytest.raises(Exception, match=r"(?i)index out of range|incompatible|must match|broadcast"):
                keras.layers.BatchNormalization(**options)(x, training=True, mask=ops.convert_to_tensor(mask))
        layer = layer_for(shape, **options)
        train(layer, x, mask=mask if axis == -1 else mask[:, None])
        same(layer.moving_mean, np.moveaxis(x, axis, -1)[mask].mean(0), 32 * U)
    theirs, nothing = keras.layers.BatchNormalization(momentum=0.5), np.zeros((4, 6), bool)
    theirs(random(4, 6, 3), training=True, mask=ops.convert_to_tensor(nothing))
    assert (to_numpy(theirs.moving_variance) == 0.5).all()  # on its way to 0; above, ours does not move


def test_a_mask_comes_from_the_layer_before_and_goes_on():
    x = random(4, 6, 3)
    x[:, 4:] = 0
    layer = BatchNormalization()
    inputs = keras.Input((6, 3))
    masked = keras.layers.Masking()(inputs)
    normal = layer(masked)
    assert layer.supports_masking and keras.src.backend.get_keras_mask(normal) is not None
    model = keras.Model(inputs, normal)
    alone = BatchNormalization()
    same(to_numpy(model(x, training=True))[:, :4], alone(x[:, :4], training=True), 16 * U)
    same(layer.moving_variance, alone.moving_variance, 8 * U)


# Ghost batches and renorm.


GHOSTS = [
    (2, 3, False, {}),
    (3, 2, True, {}),
    (4, 1, False, {}),
    (9, 1, True, {}),
    (2, 3, False, {"renorm": (1.5, 0.5)}),
    (3, 2, True, {"renorm": (1.5, 0.5)}),
    (2, 3, True, {"renorm": True}),
    (2, 3, True, {"axis": (1, 2)}),
]


@pytest.mark.parametrize(
    ("size", "parts", "masked", "options"), some(GHOSTS, jax=(1, 5), tensorflow=(1, 5, 6)), ids=str
)
def test_ghost_batches_are_batches_of_their_own(size, parts, masked, options):
    """Seven samples, in parts one after the other. In float64, some tens of roundings."""
    x, mask = random(7, 4, 3, dtype="float64"), np.arange(28).reshape(7, 4) % 4 > 0
    with float64():
        ghost, plain = (layer_for(x.shape, dtype="float64", **options, **g) for g in ({"ghost": size}, {}))
        y = train(ghost, x, mask=mask if masked else None)
        pieces = zip(np.array_split(x, parts), np.array_split(mask, parts), strict=True)
        same(y, np.concatenate([train(plain, part, mask=m if masked else None) for part, m in pieces]), 1e-12)
        for a, b in zip(ghost.get_weights(), plain.get_weights(), strict=True):
            same(a, b, 1e-13)


def test_renorm_goes_from_the_batch_to_the_moving_statistics():
    x = random(6, 3, dtype="float64")
    with float64():
        options = {"dtype": "float64", "momentum": 0.9}
        layer = layer_for((6, 3), renorm=(1.0, 0.0), **options)
        same(layer(x, training=True), layer_for((6, 3), **options)(x, training=True), 1e-13)
        # Unbounded, y is that of the moving statistics, here before the batch moves them.
        far = layer_for((6, 3), renorm=(1e9, 1e9), **options)
        same(far(x, training=True), layer_for((6, 3), **options)(x), 1e-12)
        layer = layer_for((6, 3), renorm=(1.5, 0.5), **options)
        y, mean, var = layer(x, training=True), x.mean(0), x.var(0)
        r = np.clip(np.sqrt(var + 1e-3) / np.sqrt(1 + 1e-3), 1 / 1.5, 1.5)
        d = np.clip(mean / np.sqrt(1 + 1e-3), -0.5, 0.5)
        want = ((x - mean) / np.sqrt(var + 1e-3) * r + d) * to_numpy(layer.gamma) + to_numpy(layer.beta)
        same(y, want, 1e-12)


COMPILED = [{}, {"renorm": (1.5, 0.5)}, {"ghost": 3}, {"ghost": 3, "renorm": True}]


# torch.compile looks at an attribute of every value that it meets.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("options", some(COMPILED, jax=(0, 3), torch=(0,)), ids=str)  # torch unrolls loops
def test_compiled_is_the_same(options):
    """XLA fuses and orders sums anew: some ten roundings of values below 20."""
    x = random(7, 4, 3)
    one, other = (layer_for(x.shape, **options) for _ in range(2))
    same(compiled(one, x), other(x, training=True), 16 * 20 * U)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        same(a, b, 8 * 8 * U)


# In models.


MODELS = [
    ("float32", {"ghost": 9, "axis": (1, 2)}),
    ("mixed_float16", {"renorm": (2.0, 1.0)}),
    ("mixed_bfloat16", {}),
]


@pytest.mark.parametrize(("policy", "options"), some(MODELS, jax=(1,), tensorflow=(0, 2)), ids=str)
def test_fit_evaluate_predict_save_and_load(policy, options, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 3))
    x = BatchNormalization(dtype=policy, **options)(inputs)
    outputs = keras.layers.Dense(1, dtype="float32")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, outputs)
    jit = BACKEND == "jax" or (BACKEND, policy) == ("tensorflow", "float32")
    model.compile(keras.optimizers.SGD(0.02), "mse", jit_compile=jit)
    x, t = random(70, 8, 3), random(70, 1, seed=1)
    losses = model.fit(x, t, batch_size=32, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0] and np.isfinite(model.evaluate(x, t, verbose=0))
    assert not (to_numpy(model.layers[1].moving_mean) == 0).any()
    model.save(tmp_path / "of.keras")
    again = keras.models.load_model(tmp_path / "of.keras")
    assert type(again.layers[1]) is BatchNormalization
    assert (again.predict(x, verbose=0) == model.predict(x, verbose=0)).all()
    again.fit(x[:32], t[:32], batch_size=32, verbose=0)


def test_a_model_of_keras_becomes_one_of_ours_and_back():
    model = keras.Sequential([keras.Input((4, 3)), keras.layers.Conv1D(5, 2), Theirs(), keras.layers.ReLU()])
    x = random(6, 4, 3)
    model(x, training=True)

    def change(to):
        return lambda layer: (
            to.from_config(layer.get_config())
            if type(layer) in (BatchNormalization, Theirs)
            else type(layer).from_config(layer.get_config())
        )

    ours = keras.models.clone_model(model, clone_function=change(BatchNormalization))
    ours.set_weights(model.get_weights())
    back = keras.models.clone_model(ours, clone_function=change(Theirs))
    back.set_weights(ours.get_weights())
    assert [type(layer) for layer in (ours.layers[1], back.layers[1])] == [BatchNormalization, Theirs]
    same(ours(x), model(x), 16 * U)
    same(back(x), model(x), 0)


def test_a_recipe_that_freezes_keras_batch_norms_freezes_ours(tmp_path):
    """`isinstance(layer, keras.layers.BatchNormalization)` is what every recipe for fine-tuning asks."""
    layers = [keras.layers.Dense(4), BatchNormalization(name="ours"), BatchNormalization(axis=(1, 2), name="two")]
    model = keras.Sequential([keras.Input((4, 3)), *layers])
    model.trainable = True
    for layer in model.layers:
        if isinstance(layer, Theirs):
            layer.trainable = False
    x, before = random(6, 4, 3), [layer.get_weights() for layer in layers[1:]]
    same(model(x, training=True), model(x), 0)
    assert len(model.trainable_variables) == 2
    model.save(tmp_path / "of.keras")
    again = keras.models.load_model(tmp_path / "of.keras")
    assert [type(layer) for layer in again.layers] == [keras.layers.Dense, BatchNormalization, BatchNormalization]
    assert [layer.trainable for layer in again.layers] == [True, False, False]
    for layer, weights in zip(again.layers[1:], before, strict=True):
        assert all((a == b).all() for a, b in zip(layer.get_weights(), weights, strict=True))
    assert issubclass(BatchNormalization, Theirs) and again.layers[2].axis == (1, 2)


class Block(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense, self.norm = keras.layers.Dense(3), BatchNormalization()

    def call(self, x, training=None):
        return self.norm(self.dense(x), training=training)


def test_in_a_subclassed_model():
    model = Block()
    model.compile("sgd", "mse")
    model.fit(random(32, 4), random(32, 3), batch_size=8, verbose=0)
    assert len(model.trainable_weights) == 4 and len(model.non_trainable_weights) == 2
    assert not (to_numpy(model.norm.moving_mean) == 0).any()


def test_what_is_not_trainable_is_in_evaluation():
    x = random(6, 3)
    for kind in (Theirs, BatchNormalization):
        layer = layer_for((6, 3), kind)
        layer.trainable = False
        before = layer.get_weights()
        same(layer(x, training=True), layer(x, training=False), 0)
        assert layer.trainable_weights == [] and all(
            (a == b).all() for a, b in zip(before, layer.get_weights(), strict=True)
        )
        layer.trainable = True
        layer(x, training=True)
        assert (to_numpy(layer.moving_mean) != 0).all()


def test_training_is_what_the_caller_says_or_else_evaluation():
    x = random(6, 3)
    layer = layer_for((6, 3))
    same(layer(x), layer(x, training=False), 0)
    model = keras.Sequential([layer])
    model(x, training=True)
    assert (to_numpy(layer.moving_mean) != 0).all()


@pytest.mark.parametrize("options", [{}, {"ghost": 2}, {"renorm": True}, {"axis": (0, 2)}], ids=str)
def test_an_empty_batch_is_empty(options):
    shape = (4, 0, 3) if options.get("axis") else (0, 5, 3)
    layer = layer_for((4, 5, 3), **options)
    before, x = layer.get_weights(), np.ones(shape, np.float32)
    assert to_numpy(layer(x)).shape == to_numpy(layer(x, training=True)).shape == shape
    slopes = gradients(layer, x, np.ones(shape, np.float32))
    assert slopes[1].shape == shape and all((slope == 0).all() for slope in slopes[2:])
    for a, b in zip(before, layer.get_weights(), strict=True):
        same(a, b, 0)


@pytest.mark.parametrize("options", some([{}, {"ghost": 2}, {"renorm": (2.0, 1.0)}, {"ghost": 1}], jax=(0, 1)), ids=str)
def test_a_batch_of_one_is_beta_and_moves_nothing(options):
    """As in Keras, where x − mean is 0; by renorm γ · d is added."""
    layer = layer_for((4, 3), **options)
    before, x = layer.get_weights(), random(1, 3)
    y = to_numpy(layer(x, training=True))
    if "renorm" not in options:
        same(y, to_numpy(layer.beta)[None], 0)
        same(y, layer_for((4, 3), Theirs)(x, training=True), 0)
    for a, b in zip(before, layer.get_weights(), strict=True):
        same(a, b, 0)


@pytest.mark.parametrize("rows", [33, 64])
def test_fit_with_a_last_batch_of_one(rows):
    """The last batch of 33 rows has one, which moves nothing, and stops nothing."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), BatchNormalization(momentum=0.0), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = random(rows, 3)
    model.fit(x, np.zeros((rows, 1), np.float32), batch_size=32, shuffle=False, verbose=0)
    last = x[:32] if rows == 33 else x[32:]
    same(model.layers[0].moving_mean, last.mean(0), 32 * 4 * U)
    same(model.layers[0].moving_variance, last.var(0), 64 * 8 * U)


def test_other_lengths_of_the_reduced_axes_will_do():
    layer = layer_for((4, 3))
    assert tuple(layer(random(4, 5, 6, 3), training=True).shape) == (4, 5, 6, 3)


# States.


@pytest.mark.parametrize("convention", [gb.KERAS, gb.TORCH, gb.FLAX], ids=str)
def test_a_state_moves_and_goes_on(convention):
    """The same evaluation at once, and the same future under the source's rule: `gammabeta.numpy`'s."""
    x = random(6, 3, dtype="float64")
    reference = Reference(3, convention=convention)
    reference.gamma, reference.beta = np.array([0.5, 1.0, 2.0]), np.array([-1.0, 0.0, 1.0])
    reference.forward(x, True)
    with float64():
        layer = BatchNormalization.from_state(reference.state(), dtype="float64")
        assert layer.convention == convention
        same(layer(x), reference.forward(x, False), 1e-12)
        layer(x + 1, training=True), reference.forward(x + 1, True)
        same(layer(x), reference.forward(x, False), 1e-12)
        back = Reference.from_state(layer.state())
        same(back.forward(x, False), reference.forward(x, False), 1e-12)


def test_a_state_with_other_axes():
    x = random(6, 4, 3)
    layer = layer_for(x.shape, axis=(1, 2))
    layer(x, training=True)
    for axis in ((1, 2), (-2, -1)):
        again = BatchNormalization.from_state(layer.state(), axis=axis)
        same(again(x), layer(x), 0)
    bare = layer_for((6, 3), center=False, scale=False, renorm=True)
    again = BatchNormalization.from_state(bare.state(), renorm=True)
    assert len(again.weights) == 5 and again.state().gamma is None
    last = BatchNormalization.from_state(layer_for((6, 3)).state(), gb.TORCH, axis=-1)
    assert last(x).shape == x.shape and last.convention.unbiased


def test_a_state_that_cannot_be_is_refused():
    with pytest.raises(StateError, match=r"state\(\) needs the weights"):
        BatchNormalization().state()
    state = layer_for((6, 4, 3), axis=(1, 2)).state()
    with pytest.raises(DataError, match="axis must name the 2 axes that are kept"):
        BatchNormalization.from_state(state)
    with pytest.raises(DataError, match=r"axis must name as many axes as there are features, \(4, 3\), got -1"):
        BatchNormalization.from_state(state, axis=-1)
    with pytest.raises(DataError, match="convention must have a decay"):
        BatchNormalization.from_state(state, gb.TORCH.replace(decay=None), axis=(1, 2))


# Bad input.

BAD_LAYERS = [
    ({"axis": ()}, DataError, "axis must name at least one axis to keep"),
    ({"axis": (1, 1)}, DataError, "axis must name each axis once"),
    ({"axis": "last"}, KindError, "axis must be an integer or a tuple of integers.*, got 'last'"),
    ({"epsilon": 0.0}, DataError, "eps must be greater than 0"),
    ({"epsilon": -1e-3}, DataError, "eps must be greater than 0"),
    ({"momentum": 1.5}, DataError, "momentum, the weight of the old value, must be from 0 to 1, got 1.5"),
    ({"momentum": -0.1}, DataError, "momentum, the weight"),
    ({"renorm_momentum": 2}, DataError, "renorm_momentum, the weight"),
    ({"ghost": 0}, DataError, "ghost must be None or"),
    ({"ghost": 2, "synchronized": True}, DataError, "synchronized=True"),
    ({"renorm": (0.5, 1)}, DataError, "renorm must be"),
    ({"renorm": (float("inf"), 1)}, DataError, "renorm needs finite bounds"),
    ({"renorm": (2, 1), "renorm_clipping": {"rmax": 2}}, DataError, "renorm_clipping goes with renorm=True"),
    ({"renorm": True, "renorm_clipping": {"most": 2}}, DataError, "it must have no other keys"),
    ({"renorm": True, "renorm_clipping": {"rmin": 2, "rmax": 1}}, DataError, "rmax should be at least rmin"),
    ({"renorm": True, "renorm_clipping": {"dmax": -1.0}}, DataError, "dmax should be non-negative"),
    ({"renorm": True, "unbiased": True}, DataError, "renorm=True keeps moving deviations"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD_LAYERS, ids=lambda v: str(v)[:50])
def test_a_bad_layer_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        BatchNormalization(**options)


BAD_SHAPES = [
    ({"axis": 2}, (4, 3), "axis must be within an array of 2"),
    ({"axis": (-1, 1)}, (4, 3), "axis must name each axis once"),
    ({"axis": (0, 1)}, (4, 3), "axis must leave an axis of x"),
    ({"axis": 0}, (None, 3), r"x must have known lengths on its feature axes \(0,\)"),
]


@pytest.mark.parametrize(("options", "shape", "message"), BAD_SHAPES, ids=lambda v: str(v)[:50])
def test_a_bad_axis_is_refused(options, shape, message):
    with pytest.raises(DataError, match=message):
        BatchNormalization(**options).build(shape)


BAD_BATCHES = [
    (
        {},
        np.ones((4, 5), np.float32),
        {},
        DataError,
        r"features \(3,\) on its axes \(1,\), got \(5,\) in shape \(4, 5\)",
    ),
    ({"axis": 1}, np.ones((4, 3, 5, 2), np.float32)[:, :2], {}, DataError, r"got \(2,\)"),
    ({}, np.ones(3, np.float32), {}, DataError, "axis must leave an axis"),
    ({}, np.ones((4, 3), np.int32), {}, KindError, "got int32: convert it"),
    ({"ghost": 1}, np.ones((4, 3), np.float32), {}, DataError, "got 1 in shape .* split into 4 ghost batches"),
    ({"axis": (0, 2), "ghost": 2}, np.ones((3, 5, 3), np.float32), {}, DataError, "ghost= splits axis 0"),
    ({}, np.ones((4, 3), np.float32), {"mask": np.ones(5, bool)}, DataError, r"mask must have .* got \(5,\)"),
    ({}, np.ones((4, 3), np.float32), {"mask": np.ones((3, 1), np.float32)}, DataError, r"got \(3, 1\)"),
]


@pytest.mark.parametrize(("options", "x", "given", "error", "message"), BAD_BATCHES, ids=lambda v: str(v)[:30])
def test_a_bad_batch_is_refused_and_nothing_updated(options, x, given, error, message):
    shape = {1: (4, 3, 5), (0, 2): (3, 5, 3)}.get(options.get("axis"), (4, 3))
    layer = layer_for(shape, **options)
    before = layer.get_weights()
    with pytest.raises(error, match=message):
        layer(x, training=True, **given)
    for a, b in zip(before, layer.get_weights(), strict=True):
        same(a, b, 0)


def test_integers_are_refused_when_a_model_is_made():
    with pytest.raises(KindError, match="got int32"):
        BatchNormalization()(keras.Input((3,), dtype="int32"))


def test_a_model_that_was_saved_under_the_old_module_names_loads(tmp_path):
    """Keras finds a class by the name that it is registered by, wherever the file says that it was."""
    model = keras.Sequential([keras.Input((3,)), BatchNormalization(), freeze(layer_for((None, 3)))])
    model.save(tmp_path / "new.keras")
    with ZipFile(tmp_path / "new.keras") as new, ZipFile(tmp_path / "old.keras", "w") as old:
        for name in new.namelist():
            content = new.read(name)
            for now, before in ((b"keras.norm.layer", b"keras.layer"), (b"keras.networks.freeze", b"keras.freeze")):
                content = content.replace(b"gammabeta." + now, b"gammabeta." + before)
            old.writestr(name, content)
    again = keras.models.load_model(tmp_path / "old.keras")
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in model.layers]
    assert all((to_numpy(a) == to_numpy(b)).all() for a, b in zip(again.weights, model.weights, strict=True))
