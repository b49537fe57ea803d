"""Networks that others wrote, weights random and statistics of some batches: folded, converted, exported."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from gammabeta.torch import convert, fold  # noqa: E402
from trained_networks import one_thread  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


def resnet():
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 32], depths=[2, 2], layer_type="bottleneck", num_labels=5
    )
    return transformers.ResNetForImageClassification(config)


def mobilenet():
    config = transformers.MobileNetV2Config(image_size=32, depth_multiplier=0.35, num_labels=5)
    return transformers.MobileNetV2ForImageClassification(config)


def regnet():
    config = transformers.RegNetConfig(
        embedding_size=8, hidden_sizes=[16, 32], depths=[1, 2], groups_width=8, num_labels=5
    )
    return transformers.RegNetForImageClassification(config)


def mobilenet_v1():
    config = transformers.MobileNetV1Config(image_size=32, depth_multiplier=0.25, num_labels=5)
    return transformers.MobileNetV1ForImageClassification(config)


def efficientnet():
    """Its depthwise convolutions are a subclass of torch's, with the forward pass of that.

    Weights of deviation 0.02, as they begin, leave 1e-40 for the last of so narrow layers, and refuse to be folded.
    """
    config = transformers.EfficientNetConfig(
        image_size=32,
        width_coefficient=0.25,
        depth_coefficient=0.5,
        hidden_dim=320,
        initializer_range=0.3,
        num_labels=5,
    )
    return transformers.EfficientNetForImageClassification(config)


@pytest.fixture(
    scope="module", params=[resnet, mobilenet, regnet, mobilenet_v1, efficientnet], ids=lambda make: make.__name__
)
def network(request):
    """A network in evaluation, and its input."""
    torch.manual_seed(0)
    model, x = request.param(), torch.randn(8, 3, 32, 32)
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(x)
    return model.eval(), x


def logits(model, x):
    with torch.no_grad():
        return model(x).logits


def count(model):
    return sum("BatchNorm" in type(layer).__name__ for layer in model.modules())


@pytest.mark.parametrize("ours", [False, True], ids=["torch's norms", "ours"])
def test_every_norm_is_folded_and_no_output_changes(network, ours):
    model, x = network
    model = convert(copy.deepcopy(model)) if ours else model
    folded, report = fold(model, example=x)
    assert len(report.folded) == count(model) > 10 and not report.skipped and count(folded) == 0
    assert report.difference is not None
    wide = logits(copy.deepcopy(model).double(), x.double())
    # Folded or not, each is float32's rounding of one function, layer after layer: of the same size.
    assert (logits(folded, x) - wide).abs().max() <= 4 * (logits(model, x) - wide).abs().max()
    double, _ = fold(copy.deepcopy(model).double(), example=x.double())
    # As much smaller in float64 as its ULP is: by 2^29, and a factor of 4 for chance.
    assert (logits(double, x.double()) - wide).abs().max() <= 2.0**-27 * (logits(model, x) - wide).abs().max()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's, about its own code
def test_a_folded_network_is_exported(network, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    model, x = network
    folded, _ = fold(model, example=x)
    program = torch.onnx.export(folded, (x,), dynamo=True, verbose=False)
    assert not any("BatchNorm" in node.op_type for node in program.model.graph)
    program.save(tmp_path / "folded.onnx")
    session = runtime.InferenceSession(tmp_path / "folded.onnx")
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    wide = logits(copy.deepcopy(model).double(), x.double())
    bound = 4 * (logits(model, x) - wide).abs().max().item()
    np.testing.assert_allclose(got, wide.numpy(), rtol=0, atol=bound)
