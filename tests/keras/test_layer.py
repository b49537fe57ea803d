"""The layer in Keras' place on each backend, each in a process of its own; and from framework to framework."""

import numpy as np
import pytest

import gammabeta as gb
from keras_processes import check, inside, run


@pytest.mark.slow
@inside("keras_layer.py", "keras_devices.py", "keras_peer.py")
def test_keras(framework, request, subtests, backend, file, name, options):
    framework(backend), framework("keras")
    check(request, subtests)


@pytest.mark.slow
@pytest.mark.long
@inside("keras_layer.py", "keras_devices.py", "keras_peer.py", whole=True)
def test_keras_whole(framework, request, subtests, backend, file, name, options):
    framework(backend), framework("keras")
    check(request, subtests)


def test_a_failure_shows(tmp_path):
    file = tmp_path / "test_wrong.py"
    file.write_text(
        "import os, pytest\n\n@pytest.mark.parametrize('name', ['numpy', 'torch'])\ndef test(name):\n"
        "    assert os.environ['KERAS_BACKEND'] == name\n\ndef test_other():\n    pytest.skip('left out')\n"
    )
    outcomes, _ = run("torch", str(file))
    assert outcomes["test"]["test[torch]"] == ""
    assert "AssertionError: assert 'torch' == 'numpy'" in outcomes["test"]["test[numpy]"]
    assert outcomes["test_other"]["test_other"].startswith("skipped")
    outcomes, said = run("torch", f"{file}::test_not_there")
    assert "test_not_there" not in outcomes and "not found" in said


def test_from_torch_to_keras_to_numpy_and_back(framework):
    """The same output in evaluation, in float32: some 8 roundings of values below 8; float64 for NumPy's."""
    torch, keras = framework("torch"), framework("keras")
    x = np.random.default_rng(0).normal(3, 2, (64, 5)).astype(np.float32)
    first = gb.torch.BatchNorm(5)
    optimizer = torch.optim.SGD(first.parameters(), 0.1)
    for _ in range(10):
        optimizer.zero_grad()
        first(torch.from_numpy(x)).relu().square().mean().backward()
        optimizer.step()
    second = gb.keras.BatchNormalization.from_state(first.state())
    third = gb.numpy.BatchNorm.from_state(second.state())
    last = gb.torch.BatchNorm.from_state(third.state())
    want = first.eval()(torch.from_numpy(x)).detach().numpy()
    for got in (
        keras.ops.convert_to_numpy(second(x)),
        third.forward(x, training=False),
        last.eval()(torch.from_numpy(x)).detach().numpy(),
    ):
        assert np.abs(got - want).max() <= 8 * 8 * 2.0**-24
    assert (second.axis, second.unbiased, second.epsilon) == (1, True, 1e-5)
    states = [layer.state() for layer in (first, second, third, last)]
    for state in states[1:]:
        for name in ("gamma", "beta", "mean", "var"):
            assert (getattr(state, name) == getattr(states[0], name)).all()  # float32 all the way
