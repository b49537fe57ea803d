"""The layer in Keras' place on each backend, each in a process of its own; and from framework to framework."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gammabeta as gb

SUPPORT = Path(__file__).parents[1] / "support"
FILES = ("keras_layer.py", "keras_devices.py")


def run(backend: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest in a new process, where nothing has imported Keras yet."""
    environment = {**os.environ, "KERAS_BACKEND": backend}
    # Two devices, for a batch that is spread over them. The run around this one has asked for the frameworks already.
    environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment.pop("CI", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    return subprocess.run(
        command, cwd=SUPPORT.parents[1], env=environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_on_every_backend(framework, backend):
    framework(backend), framework("keras")
    result = run(backend, *(str(SUPPORT / name) for name in FILES))
    summary = result.stdout.strip().splitlines()[-1:]
    assert result.returncode == 0, f"on {backend}:\n{result.stdout[-20_000:]}\n{result.stderr[-5_000:]}"
    assert re.fullmatch(r"\d+ passed in .*", summary[0]), f"nothing may be left out: {summary}"


def test_a_failure_shows(tmp_path):
    wrong = "import os\n\ndef test():\n    assert os.environ['KERAS_BACKEND'] == 'numpy'\n"
    (tmp_path / "test_wrong.py").write_text(wrong)
    result = run("torch", str(tmp_path / "test_wrong.py"))
    assert result.returncode == 1 and "AssertionError: assert 'torch' == 'numpy'" in result.stdout


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
