"""A norm's map of each channel commutes with means over all positions, and with average pooling."""

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402

from folded_networks import Own, paths, unchanged, why  # noqa: E402
from gammabeta import Affine, StandardScaler  # noqa: E402
from gammabeta.errors import DataError  # noqa: E402
from gammabeta.torch import BatchNorm, convert, fold  # noqa: E402
from trained_networks import one_thread, settled  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


PICTURES = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))

AVERAGES = {
    "a layer": lambda m, x: nn.Flatten()(nn.AdaptiveAvgPool2d(1)(m.norm(x))),
    "a function": lambda m, x: F.adaptive_avg_pool2d(m.norm(x), (1, 1)).flatten(1),
    "pooling of all": lambda m, x: F.avg_pool2d(m.norm(x), (6, 5)).flatten(1),
    "pooling that counts no zeros": lambda m, x: F.adaptive_avg_pool2d(
        nn.AvgPool2d(3, 2, 1, count_include_pad=False)(m.norm(x)), 1
    ).flatten(1),
    "mean": lambda m, x: m.norm(x).mean((2, 3)),
    "negative axes, kept": lambda m, x: m.norm(x).mean(dim=[-1, -2], keepdim=True).flatten(1),
    "a function of torch": lambda m, x: torch.mean(m.norm(x), (2, -1)),
    "twice": lambda m, x: F.adaptive_avg_pool2d(m.norm(x), 2).mean((2, 3)),
    "dropout after": lambda m, x: F.dropout(m.norm(x).mean((2, 3)), 0.5, False),
}


def averaged(way, norm, inputs=3):
    return settled(Own(lambda m, x: m.linear(way(m, x)), norm=norm, linear=nn.Linear(inputs, 4)))


@pytest.mark.parametrize("way", AVERAGES.values(), ids=AVERAGES)
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, BatchNorm])
def test_a_norm_averaged_into_a_dense_layer(way, norm):
    expected = [("norm", ("linear",), "after")]
    model = averaged(way, norm(3))
    assert paths(unchanged(model, PICTURES)) == expected
    # Both ways of tracing come to the same.
    shapely = averaged(lambda m, x: way(m, x) if x.shape[0] else x, norm(3))
    assert paths(fold(shapely, example=PICTURES)[1]) == expected


KEPT = {
    "an activation between": (lambda m, x: m.norm(x).relu().mean((2, 3)), "its output goes to the function relu"),
    "zeros that count": (
        lambda m, x: F.avg_pool2d(m.norm(x), 3, 2, 1).mean((2, 3)),
        "its output goes to the function avg_pool2d",
    ),
    "another divisor": (
        lambda m, x: nn.AvgPool2d((6, 5), divisor_override=7)(m.norm(x)).flatten(1),
        "its output goes to the function avg_pool2d",
    ),
    "one axis of two": (lambda m, x: m.norm(x[..., :3]).mean(2), "its features lie on another axis of x"),
    "channels": (lambda m, x: m.norm(x[..., :3]).mean((1, 2)), "its output goes to the function mean"),
    "all": (lambda m, x: m.norm(x).mean() + x[:, :, 0, 0], "its output goes to the function mean"),
    "another type": (
        lambda m, x: m.norm(x).mean((2, 3), dtype=torch.float32),
        "its output goes to the function mean",
    ),
    "the largest": (lambda m, x: F.adaptive_max_pool2d(m.norm(x), 1).flatten(1), "adaptive_max_pool2d"),
    "pooling of samples": (
        lambda m, x: F.adaptive_avg_pool1d(m.norm(x).flatten(2), 1).flatten(1),
        "its output goes to the function flatten",
    ),
    "no average, and another axis": (lambda m, x: m.norm(x[..., :3]), "its features lie on another axis of x"),
}


@pytest.mark.parametrize("example", [False, True], ids=["symbolically", "on an example"])
@pytest.mark.parametrize(("way", "reason"), KEPT.values(), ids=KEPT)
def test_what_does_not_commute_stays(way, reason, example):
    chosen = (lambda m, x: way(m, x) if x.shape[0] else x) if example else way
    _, report = fold(averaged(chosen, nn.BatchNorm2d(3)), example=PICTURES if example else None)
    assert not report.folded and reason in why(report)


def test_data_of_other_ranks_are_refused_where_they_would_be_averaged_otherwise():
    model = settled(nn.Sequential(nn.BatchNorm1d(3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(3, 2)))
    assert paths(unchanged(model, torch.randn(4, 3, 5))) == [("0", ("3",), "after")]
    folded, _ = fold(model)
    with pytest.raises(AssertionError, match="must have 3 axes"):
        folded(torch.randn(4, 3))
    model[1] = nn.AdaptiveAvgPool2d((3, 1))  # of (n, c, l) it averages over l and c
    assert "another axis of x" in why(fold(model)[1])


def test_norms_with_the_ranks_of_what_they_replaced():
    model = convert(averaged(lambda m, x: m.norm(x).mean(2), nn.BatchNorm2d(3)))
    assert "another axis of x" in why(fold(model)[1])


def test_averages_before_a_convolution_and_two_readers():
    def way(m, x):
        y = m.norm(x)
        return m.valid(y).mean((2, 3)) + m.one(F.adaptive_avg_pool2d(y, 1)).flatten(1)

    layers = {"norm": nn.BatchNorm2d(3), "valid": nn.Conv2d(3, 2, 3), "one": nn.Conv2d(3, 2, 1)}
    (found,) = unchanged(settled(Own(way, **layers)), PICTURES).folded
    assert set(found.into) == {"valid", "one"} and found.order == "after"


def test_a_hook_may_do_more():
    pool = nn.AdaptiveAvgPool2d(1)
    pool.register_forward_hook(lambda layer, given, y: y.relu())
    model = settled(nn.Sequential(nn.BatchNorm2d(3), pool, nn.Flatten(), nn.Linear(3, 2)))
    assert "its output goes to 1" in why(fold(model)[1])


def test_a_scaler_of_channels_goes_through_an_average():
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)).double().eval()
    raw = 5 + 3 * PICTURES.double()
    _, report = fold(model, scaler=StandardScaler(axis=(0, 2, 3)).fit(raw.numpy()), example=raw)
    assert paths(report) == [("scaler", ("2",), "after")] and report.difference.absolute < 1e-13
    with pytest.raises(DataError, match="its features are not on axis 1"):
        fold(model, scaler=Affine([1.0, 2.0, 3.0], [2.0, 3.0, 4.0], [0.5, 0.5, 0.5]))  # of the last axis
