"""Maps in the graphs of torch, JAX and TensorFlow: the kernels' values, gradients, and what follows operations.

Values are computed in float64 and rounded once, as by the kernels: equal to the bit where nobody contracts a product
and a sum into one operation. Compilers may, which moves a float64 by some 2⁻⁵² of the largest term: the result may then
be the other neighbour of a float32, one unit in its last place away.
"""

import numpy as np
import pytest

import gammabeta as gb
from gammabeta.backends import array_ops

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(50, 3)) * [1, 5, 1e-3] + [1e6, 3, 1e4]
X = DATA[:6].astype(np.float32)
SCALERS = {
    "standard": gb.StandardScaler().fit(DATA),
    "minmax": gb.MinMaxScaler().fit(DATA),
    "clipped": gb.MinMaxScaler((-1, 2), clip=True).fit(DATA[6:20]),
    "constant": gb.StandardScaler().fit(DATA * [1, 0, 0]),
}
ULP = 2.0**-23


def slopes(scaler, x):
    """The gradient of Σy², by hand: 2·y·slope, 0 beyond what is clipped to; of float64."""
    y = scaler.affine_(x.astype(np.float64))
    if getattr(scaler, "clip", False):
        low, high = scaler.feature_range
        return np.where((y > low) & (y < high), 2 * y * scaler.affine_.slope, 0)
    return 2 * y * scaler.affine_.slope


def near(got, want):
    """Within an ULP of float32, which rounds y, y² and the product: four roundings of 2⁻²⁴ each."""
    np.testing.assert_allclose(np.asarray(got, np.float64), want, rtol=2 * ULP, atol=1e-30)


@pytest.mark.parametrize("name", SCALERS)
def test_torch(framework, name):
    torch = framework("torch")
    scaler, x = SCALERS[name], torch.tensor(X)
    want = scaler.transform(X)
    back = scaler.inverse_transform(want)
    leaf = x.clone().requires_grad_()
    y = scaler.transform(leaf)
    assert y.requires_grad and y.dtype == torch.float32
    np.testing.assert_array_equal(y.detach(), want)
    near(torch.autograd.grad((y**2).sum(), leaf)[0], slopes(scaler, X))
    near(torch.func.grad(lambda x: (scaler.transform(x) ** 2).sum())(x), slopes(scaler, X))
    np.testing.assert_array_equal(torch.func.vmap(scaler.transform)(x), want)
    compiled = torch.compile(lambda x: scaler.transform(x), fullgraph=True, backend="aot_eager")
    np.testing.assert_array_equal(compiled(x), want)
    undone = torch.compile(lambda x: scaler.inverse_transform(x), fullgraph=True, backend="aot_eager")
    np.testing.assert_array_equal(undone(torch.tensor(want)), back)
    assert isinstance(scaler.transform(x), torch.Tensor) and isinstance(scaler.affine_(x), torch.Tensor)
    assert scaler.transform(x.to("meta")).shape == x.shape
    with torch.no_grad():
        np.testing.assert_array_equal(scaler.transform(leaf), want)

    class Layer(torch.nn.Module):
        def forward(self, x):
            return scaler.affine_(x)

    if name == "standard":
        affine = scaler.affine_
        Layer.forward = lambda self, x: affine(x)
        dynamic = {"x": {0: torch.export.Dim("rows")}}
        exported = torch.export.export(Layer(), (x,), dynamic_shapes=dynamic).module()
        np.testing.assert_array_equal(exported(x[:3]), want[:3])


@pytest.mark.parametrize("name", SCALERS)
def test_jax(framework, name):
    jax = framework("jax")
    scaler, x = SCALERS[name], jax.numpy.asarray(X)
    want = scaler.transform(X)
    for function in scaler.transform, jax.jit(scaler.transform), jax.vmap(scaler.transform):
        y = function(x)
        assert isinstance(y, jax.Array) and y.dtype == "float32"
        np.testing.assert_allclose(y, want, rtol=ULP, atol=0)
    undone = jax.jit(scaler.inverse_transform)(want)
    np.testing.assert_allclose(undone, scaler.inverse_transform(want), rtol=ULP, atol=0)
    for grad in jax.grad, lambda f: jax.jit(jax.grad(f)):
        near(grad(lambda x: (scaler.transform(x) ** 2).sum())(x), slopes(scaler, X))
    exported = jax.export.export(jax.jit(scaler.transform))(
        jax.ShapeDtypeStruct(jax.export.symbolic_shape("rows, 3"), "float32")
    )
    np.testing.assert_allclose(exported.call(x[:3]), want[:3], rtol=ULP, atol=0)
    assert isinstance(scaler.affine_(x), jax.Array)


@pytest.mark.parametrize("name", SCALERS)
def test_tensorflow(framework, name):
    tf = framework("tensorflow")
    scaler, x = SCALERS[name], tf.constant(X)
    want = scaler.transform(X)
    np.testing.assert_array_equal(scaler.transform(x), want)
    rows = tf.TensorSpec([None, None], tf.float32)
    for function in tf.function(scaler.transform), tf.function(scaler.transform, input_signature=[rows]):
        np.testing.assert_array_equal(function(x), want)
    np.testing.assert_allclose(tf.function(scaler.transform, jit_compile=True)(x), want, rtol=ULP, atol=0)
    np.testing.assert_array_equal(
        tf.function(scaler.inverse_transform)(tf.constant(want)), scaler.inverse_transform(want)
    )
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(scaler.transform(x) ** 2)
    near(tape.gradient(total, x), slopes(scaler, X))
    data = tf.data.Dataset.from_tensor_slices(X)
    np.testing.assert_array_equal(next(iter(data.map(scaler.transform).batch(6))), want)
    np.testing.assert_array_equal(next(iter(data.batch(6).map(scaler.transform))), want)
    assert isinstance(scaler.affine_(tf.Variable(X)), tf.Tensor)


def test_keras_lambda(framework):
    tf = framework("tensorflow")
    keras = framework("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("Keras has one backend a process, and this one has another")
    scaler = SCALERS["standard"]
    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(scaler.transform)])
    np.testing.assert_array_equal(model(tf.constant(X)), scaler.transform(X))


FRAMEWORKS = ("torch", "jax", "tensorflow")


def made(framework, name, x):
    """x as a tensor of a framework."""
    module = framework(name)
    make = {"torch": "tensor", "tensorflow": "constant"}.get(name)
    return getattr(module, make)(x) if make else module.numpy.asarray(x)


def traced(framework, name, function):
    """The function in a graph of the framework's, over the first axis."""
    module = framework(name)
    if name == "torch":
        return module.func.vmap(function)
    if name == "jax":
        return module.vmap(function)
    return module.function(lambda x: module.stack([function(part) for part in module.unstack(x)]))


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_any_axes_and_types(framework, name):
    images = RNG.normal(size=(2, 4, 3, 5, 5)).astype(np.float32) * 3
    scaler = gb.StandardScaler(axis=(0, 2, 3)).fit(images[0] + np.arange(3)[:, None, None])
    want = np.stack([scaler.transform(part) for part in images])
    got = traced(framework, name, scaler.transform)(made(framework, name, images))
    np.testing.assert_allclose(got, want, rtol=ULP, atol=0)
    affine = gb.Affine([1.0, 2.0], [0.1, 3.0], 0.5)
    for dtype in np.float16, np.uint8, np.int32, np.bool_:
        x = np.array([[0, 1], [1, 0], [1, 1]], dtype)
        got = traced(framework, name, affine)(made(framework, name, x))
        want = affine(x)
        # JAX has no float64 where `jax_enable_x64` is not set, and rounds to float32
        np.testing.assert_allclose(np.asarray(got), want, rtol=ULP, atol=0)
        assert np.asarray(got).dtype == (want.dtype if name != "jax" or dtype == np.float16 else np.float32)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_what_graphs_refuse(framework, name):
    scaler = SCALERS["standard"]
    with pytest.raises(Exception, match="fitted on"):
        traced(framework, name, scaler.transform)(made(framework, name, X[:, :2]))
    with pytest.raises(Exception, match=r"\(rows, features\)"):
        traced(framework, name, scaler.transform)(made(framework, name, X.reshape(2, 1, 3, 3)))
    with pytest.raises(Exception, match="need values"):
        traced(framework, name, lambda x: gb.Moments.of(x).mean)(made(framework, name, X))
    with pytest.raises(Exception, match="need values"):
        traced(framework, name, lambda x: gb.MinMaxScaler().fit(x).min_)(made(framework, name, X))
    with pytest.raises(gb.KindError, match="real numbers"):
        gb.Affine(0.0, 1.0)(made(framework, name, np.array([1j])))


def test_infinities_are_refused_where_there_are_values(framework):
    tf = framework("tensorflow")
    with pytest.raises(ValueError, match="infinity"):
        SCALERS["standard"].transform(tf.constant([[np.inf, 1, 2]]))
    assert np.isinf(tf.function(SCALERS["standard"].transform)(tf.constant([[np.inf, 1, 2]]))[0, 0])
    torch = framework("torch")
    with pytest.raises(ValueError, match="infinity"):
        SCALERS["standard"].transform(torch.tensor([[np.inf, 1, 2]], requires_grad=True))


def test_statistics_of_tensors_with_gradients_are_those_of_their_values(framework):
    torch = framework("torch")
    x = torch.tensor(X, requires_grad=True)
    assert gb.Moments.of(x) == gb.Moments.of(X) and gb.Extrema.of(x) == gb.Extrema.of(X)
    assert gb.StandardScaler().fit(x).moments_ == gb.Moments.of(X)
    with pytest.raises(gb.KindError, match="out must be None"):
        gb.Affine(0.0, 1.0)(x, out=x)


def test_data_sets_are_not_fitted(framework):
    tf = framework("tensorflow")
    for scaler in gb.StandardScaler(), gb.MinMaxScaler():
        for stream in tf.data.Dataset.from_tensor_slices(X).batch(2), (x for x in X):
            with pytest.raises(gb.KindError, match=r"call partial_fit .* gammabeta\.data\.measure"):
                scaler.fit(stream)
        with pytest.raises(gb.KindError, match="flat_values"):
            scaler.fit(tf.ragged.constant([[1.0, 2.0], [3.0]]))
        with pytest.raises(gb.KindError, match="to_dense"):
            scaler.fit(tf.sparse.from_dense([[1.0, 0.0]]))


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_given_statistics_keep_their_digits(framework, name):
    x = made(framework, name, np.array([[1e6], [1e6 + 1]], np.float32))
    given = {"mean": [1000000.03], "var": [1.0], "eps": 1e-12}
    # x − mean is exact in float64; the result is rounded to float32 thrice: the difference, 1 / √(1 + eps), the product
    want = np.array([[-0.03], [0.97]])

    def normed(x):
        return gb.batch_norm(x, **given)

    for function in normed, traced(framework, name, normed):
        got = function(x if function is normed else x[None])
        np.testing.assert_allclose(np.asarray(got).reshape(2, 1), want, rtol=2 * ULP + 1e-8, atol=0)


def test_given_statistics_are_differentiable(framework):
    torch = framework("torch")
    mean = torch.tensor([1000000.03], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([[1e6], [1e6 + 1]], requires_grad=True)
    y = gb.batch_norm(x, mean=mean, var=[4.0], eps=1e-12)
    slope = torch.autograd.grad((y**2).sum(), (x, mean))
    np.testing.assert_allclose(slope[0], [[-0.015], [0.485]], rtol=4 * ULP)
    np.testing.assert_allclose(slope[1], [-0.47], rtol=4 * ULP)


def test_where_there_is_no_float64_the_center_has_two_parts(framework):
    torch = framework("torch")
    x = np.array([[1e6 - 1, 3], [1e6 + 1, 4]], np.float32)
    a = gb.Affine([1e6 + 0.03, 0.1], [0.7, 3.1], [0.0, 0.5])
    got = array_ops.affine_in_two_parts(array_ops.of(torch.tensor(x)), torch.tensor(x), (a.center, a.slope, a.shift))
    want, unit = a(x.astype(np.float64)), ULP / 2
    bound = unit * (4 * np.abs(want - a.shift) + 2 * (np.abs(want) + np.abs(a.shift)))
    assert (np.abs(got.numpy() - want) <= bound + unit**2 * np.abs(a.center * a.slope)).all()


@pytest.mark.parametrize("of", [gb.Moments.of, gb.Extrema.of], ids=["moments", "extrema"])
def test_axis_none_is_all_axes(array, of):
    assert of(array(DATA), axis=None) == of(DATA.reshape(-1)) and of(array(DATA), axis=None).shape == ()


def test_axis_none_is_all_axes_of_a_norm(array):
    x = (DATA % 7).astype(np.float32)
    y = np.asarray(gb.batch_norm(array(x), axis=None))
    # a float32 formula of five roundings, of values up to 4 deviations off
    np.testing.assert_allclose(y, gb.batch_norm(x.reshape(-1)).reshape(x.shape), rtol=0, atol=4 * 5 * ULP / 2)
