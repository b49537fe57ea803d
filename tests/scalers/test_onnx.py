"""Pipelines with our scalers, converted by skl2onnx and run by onnxruntime, beside `transform`."""

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import skl2onnx
from onnx.reference import ReferenceEvaluator
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

import gammabeta as gb

RANDOM = np.random.default_rng(5)
X = RANDOM.normal(3, 2, (40, 3)) * [1, 1e-3, 1e3]
X[4, 1] = np.nan
SCALERS = {
    "standard": gb.StandardScaler(),
    "standard, sample's": gb.StandardScaler(ddof=1),
    "no mean": gb.StandardScaler(with_mean=False),
    "no std": gb.StandardScaler(with_std=False),
    "neither": gb.StandardScaler(with_mean=False, with_std=False),
    "minmax": gb.MinMaxScaler(),
    "minmax, clipped": gb.MinMaxScaler((-1.3, 0.1), clip=True),
    "axis": gb.StandardScaler(axis=0),
}
BOTH = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def run(onnx, *inputs):
    session = onnxruntime.InferenceSession(onnx.SerializeToString())
    return session.run(None, {given.name: x for given, x in zip(session.get_inputs(), inputs, strict=True)})


@BOTH
@pytest.mark.parametrize("opset", [9, 11, 12, None])
@pytest.mark.parametrize("name", SCALERS)
def test_the_image_is_that_of_transform(name, opset, dtype):
    x = X.astype(dtype)
    scaler = SCALERS[name].fit(x)
    wider = np.concatenate([x, x * 3, [[np.nan] * 3]]).astype(dtype)
    onnx = skl2onnx.to_onnx(scaler, x[:1], target_opset=opset)
    # the same four operations in float64, none fused, and the same rounding
    (image,) = run(onnx, wider)
    np.testing.assert_array_equal(image, scaler.transform(wider))
    assert image.dtype == dtype
    np.testing.assert_array_equal(ReferenceEvaluator(onnx).run(None, {"X": wider})[0], image)


@pytest.mark.parametrize("name", ["standard", "minmax"])
def test_a_mean_beside_which_the_spread_is_small(name):
    """float32 has seven digits: 1e6 ± 1 comes out a sixteenth off where the mean is rounded to it."""
    x = (1e6 + RANDOM.uniform(-1, 1, (200, 2))).astype(np.float32)
    scaler = SCALERS[name].fit(x)
    (image,) = run(skl2onnx.to_onnx(scaler, x[:1]), x)
    np.testing.assert_array_equal(image, scaler.transform(x))
    # x and mean are of size 1e6, known to 2^-53 of it, and are divided by 0.5 or more; then one rounding to float32
    exact = (x.astype(np.float64) - x.mean(0, np.float64)) / x.std(0, dtype=np.float64) if name == "standard" else image
    np.testing.assert_allclose(image, exact, rtol=2.0**-23, atol=4e6 * 2.0**-53)


@BOTH
def test_pipelines(dtype):
    x = np.nan_to_num(X).astype(dtype)
    y = x[:, 0] > 3
    classifier = make_pipeline(gb.MinMaxScaler(), gb.StandardScaler(), LogisticRegression())
    search = GridSearchCV(classifier, {"logisticregression__C": [0.1, 1.0]}, cv=2).fit(x, y)
    for model in (classifier.fit(x, y), search):
        label, _ = run(skl2onnx.to_onnx(model, x[:1], options={id(model): {"zipmap": False}}), x)
        np.testing.assert_array_equal(label, model.predict(x))
    union = FeatureUnion([("a", gb.StandardScaler()), ("b", gb.MinMaxScaler())]).fit(x)
    np.testing.assert_array_equal(run(skl2onnx.to_onnx(union, x[:1]), x)[0], union.transform(x))
    columns = ColumnTransformer([("a", gb.StandardScaler(), [2, 0]), ("b", gb.MinMaxScaler(), [1])])
    regression = Pipeline([("columns", columns), ("fit", LinearRegression())]).fit(x, x[:, 0])
    (found,) = run(skl2onnx.to_onnx(regression, x[:1]), x)
    # a dot product of three numbers of size 10 in the input's type
    np.testing.assert_allclose(found[:, 0], regression.predict(x), rtol=0, atol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("kind", [FloatTensorType, DoubleTensorType, Int64TensorType])
def test_an_input_for_each_column(kind):
    dtype = {FloatTensorType: np.float32, DoubleTensorType: np.float64, Int64TensorType: np.int64}[kind]
    x = np.add(np.nan_to_num(X), [0, 1e9, 0]).astype(dtype)
    frame = pd.DataFrame(x, columns=list("abc"))
    for name in ("standard", "minmax"):
        scaler = SCALERS[name].fit(frame)
        onnx = skl2onnx.to_onnx(scaler, initial_types=[(c, kind([None, 1])) for c in frame])
        (image,) = run(onnx, *(x[:, [i]] for i in range(3)))
        # skl2onnx makes float32 of integers
        expected = scaler.transform(frame)
        np.testing.assert_array_equal(image, expected.astype(np.float64 if kind is DoubleTensorType else np.float32))


def test_edited_attributes_go_along():
    scaler = gb.StandardScaler().fit(X)
    scaler.mean_ = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(run(skl2onnx.to_onnx(scaler, X[:1]), X)[0], scaler.transform(X))


def test_what_is_not_converted():
    images = gb.StandardScaler(axis=(0, 1)).fit(np.ones((2, 3, 4)))
    with pytest.raises(gb.DataError, match=r"axis must be None or 0, got \(0, 1\)"):
        skl2onnx.to_onnx(images, X[:1])
    far = gb.MinMaxScaler().fit([[0.0, -1.7e308], [1.0, 1.7e308]])
    with pytest.raises(gb.DataError, match="stay within float64 in a graph of ONNX, feature 1 is too near its ends"):
        skl2onnx.to_onnx(far, X[:1, :2])
    with pytest.raises(ValueError, match="not fitted"):
        skl2onnx.to_onnx(gb.MinMaxScaler(), X[:1])
