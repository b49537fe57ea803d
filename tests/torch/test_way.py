"""The way of a batch through the modules: the layer, then kernels or the formula, then the running statistics.

CONTRIBUTING.md draws it; a change of the way changes both.
"""

import sys

import pytest

torch = pytest.importorskip("torch")

from gammabeta.torch import BatchNorm  # noqa: E402

LAYER, FAST, CPU, GPU = (f"torch.norm.{name}" for name in ("layer", "fast_path", "autograd_cpu", "autograd_gpu"))
MOVE = "torch.norm.running_stats.move"
STATIONS = {LAYER, FAST, CPU, GPU, "kernels.batchnorm_contiguous", "kernels.batchnorm", "norm.formula", MOVE}

X = torch.randn(16, 3, 6, generator=torch.Generator().manual_seed(0))
MASK = torch.ones(16, 6, dtype=torch.bool)


def way(layer, *given):
    """The stations that a call of the layer enters, in the order in which it first does."""
    entered = {}

    def note(frame, event, argument):
        module = frame.f_globals.get("__name__", "").removeprefix("gammabeta.")
        station = f"{module}.{frame.f_code.co_name}" if module == "torch.norm.running_stats" else module
        if event == "call" and station in STATIONS:
            entered.setdefault(station)

    sys.setprofile(note)
    try:
        layer(*given)
    finally:
        sys.setprofile(None)
    return list(entered)


@pytest.mark.parametrize(
    ("options", "given", "stations"),
    [
        ({}, (X,), [LAYER, FAST, CPU, "kernels.batchnorm_contiguous"]),  # whose call moves the running statistics too
        ({}, (X[:, :, ::2],), [LAYER, FAST, CPU, "kernels.batchnorm", MOVE]),
        ({"activation": "relu"}, (X,), [LAYER, FAST, CPU, "kernels.batchnorm", MOVE]),
        ({"ghost": 8}, (X,), [LAYER, CPU, "kernels.batchnorm", MOVE]),
        ({}, (X, MASK), [LAYER, GPU, CPU, "norm.formula", MOVE]),
    ],
    ids=["contiguous", "strides", "activation", "ghost", "mask"],
)
def test_in_training_the_running_statistics_move_last(options, given, stations):
    layer = BatchNorm(3, **options)
    assert way(layer, *given) == stations
    assert layer.num_batches_tracked > 0 and layer.running_mean.all()


def test_in_evaluation_nothing_moves():
    layer = BatchNorm(3).eval()
    with torch.no_grad():
        assert way(layer, X) == [LAYER, FAST, CPU, "kernels.batchnorm_contiguous"]
    assert way(layer, X) == [LAYER, CPU, "kernels.batchnorm"]  # with gradients
    assert not layer.num_batches_tracked and not layer.running_mean.any()
