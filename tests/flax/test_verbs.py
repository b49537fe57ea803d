"""What is done to trained nnx models: recalibrated, frozen, adapted and folded; and refused with the reason else."""

import copy
import pickle
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

import gammabeta as gb
from gammabeta.errors import DataError, KindError

jax = pytest.importorskip("jax")
pytest.importorskip("flax")
from flax import nnx  # noqa: E402
from jax import numpy as jnp  # noqa: E402

from gammabeta.flax import BatchNorm, adapt, fold, freeze, recalibrate, unfreeze  # noqa: E402


def table(rows=203, features=3, seed=0):
    return np.random.default_rng(seed).normal(1e3, 2, (rows, features)).astype(np.float32)


def split(x, size):
    return [x[i : i + size] for i in range(0, len(x), size)]


def rngs(seed=0):
    return nnx.Rngs(seed)


def exact(layer, x, axis=0, ddof=0):
    """Whether a layer's statistics are the correctly rounded ones of x."""
    moments = gb.Moments.of(np.asarray(x), axis=axis)
    mean, var = np.asarray(layer.mean[...]), np.asarray(layer.var[...])
    return (mean == moments.mean.astype(mean.dtype)).all() and (
        var == moments.with_ddof(ddof).var.astype(var.dtype)
    ).all()


def values(model):
    def plain(value):
        return np.asarray(
            jax.random.key_data(value) if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key) else value
        )

    return jax.tree.map(plain, nnx.to_pure_dict(nnx.state(model)))


def leaves(model):
    """The paths of what may be learned."""
    return [path for path, _ in nnx.to_flat_state(nnx.state(model, nnx.Param))]


def same(a, b):
    return all((one == other).all() for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


class Network(nnx.Module):
    """Two norms, of both kinds, and a dropout."""

    def __init__(self):
        self.first = nnx.Linear(3, 4, rngs=rngs())
        self.norm = nnx.BatchNorm(4, rngs=rngs())
        self.dropout = nnx.Dropout(0.5, rngs=rngs())
        self.second = nnx.Linear(4, 2, use_bias=False, rngs=rngs(1))
        self.last = BatchNorm(2, unbiased=True, rngs=rngs())

    def __call__(self, values, *, scale=1.0):
        x = nnx.relu(self.norm(self.first(values * scale)))
        return self.last(self.second(self.dropout(x)))


# recalibrate: the same data, cut and ordered in any way.


@pytest.mark.parametrize("kind", [nnx.BatchNorm, BatchNorm])
@pytest.mark.parametrize("sequential", [False, True])
def test_any_batch_size_gives_the_same_bits(kind, sequential):
    x = table()
    for size in (1, 7, 64, 203):
        report = recalibrate(layer := kind(3, rngs=rngs()), split(x, size), sequential=sequential)
        assert exact(layer, x)
        assert report[""].calls == -(-203 // size)
        assert report[""].count == (203, 203)
        assert report.settled


def test_each_layer_has_the_exact_statistics_of_what_it_is_given():
    x, model = table(60), Network()
    before = values(model)
    report = recalibrate(model, split(x, 20), sequential=True)
    assert (report.passes, report.settled) == (2, True)
    assert [layer.name for layer in report.layers] == ["last", "norm"]
    assert exact(model.norm, np.concatenate([model.first(jnp.asarray(part)) for part in split(x, 20)]))
    model.eval()
    hidden = [model.second(nnx.relu(model.norm(model.first(jnp.asarray(part))))) for part in split(x, 20)]
    assert exact(model.last, np.concatenate(hidden), ddof=1)
    recalibrate(again := Network(), split(x, 20)[::-1], sequential=True)
    assert same(values(model), values(again))
    after = values(model)
    for name in ("first", "second", "dropout"):
        assert same(before[name], after[name])


def test_modes_come_back():
    model = Network()
    model.norm.use_running_average, model.dropout.deterministic = None, False
    recalibrate(model, [table()])
    assert (model.norm.use_running_average, model.last.use_running_average) == (None, False)
    assert model.dropout.deterministic is False


@dataclass
class Sample:
    values: object
    label: int = 0


@pytest.mark.parametrize(
    "kind",
    [
        lambda x: x,
        lambda x: (x, np.zeros(len(x))),
        lambda x: {"values": x, "label": 0},
        lambda x: Sample(x),
        lambda x: namedtuple("Pair", "x y")(x, 0),
        jnp.asarray,
    ],
    ids=["array", "tuple", "mapping", "dataclass", "named tuple", "jax"],
)
def test_batches_of_every_kind(kind):
    class Picky(nnx.Module):
        def __init__(self):
            self.norm = nnx.BatchNorm(3, rngs=rngs())

        def __call__(self, values, *, scale=1.0):
            return self.norm(values * scale, use_running_average=False)

    x = table()
    recalibrate(model := Picky(), [kind(part) for part in split(x, 50)])
    assert exact(model.norm, x)
    recalibrate(model, split(x, 50), call=lambda model, batch: model(values=batch, scale=2.0))
    assert exact(model.norm, 2 * x)


def test_a_layer_used_twice_and_one_that_is_not_reached():
    class Twice(nnx.Module):
        def __init__(self):
            self.norm = nnx.BatchNorm(3, rngs=rngs())
            self.shared = self.norm
            self.spares = nnx.List([nnx.BatchNorm(3, rngs=rngs())])

        def __call__(self, a, b):
            return self.norm(a), self.shared(b)

    a, b = table(50), table(30, seed=1) - 1e3
    report = recalibrate(model := Twice(), [(a, b)], call=lambda model, batch: model(*batch))
    assert exact(model.norm, np.concatenate([a, b]))
    assert report["norm"].calls == 2
    assert report.left_alone == {"spares.0": "not reached"}
    with pytest.raises(DataError, match=r"a batch must reach a layer .*, 1 reached none of norm, spares.0: call the"):
        recalibrate(model, [a], call=lambda model, batch: batch)


def test_masks_axes_types_and_counts():
    x = table(60).reshape(4, 15, 3)
    kept = np.arange(15) < np.array([15, 3, 1, 0])[:, None]
    given = x[kept]
    x[~kept] = np.nan
    batches = list(zip(split(x, 3), split(kept, 3), strict=True))
    for kind in (nnx.BatchNorm, BatchNorm):
        recalibrate(layer := kind(3, rngs=rngs()), batches, mask=lambda batch: batch[1])
        assert exact(layer, given)
        recalibrate(layer, batches, call=lambda layer, batch: layer(batch[0], mask=jnp.asarray(batch[1])[..., None]))
        assert exact(layer, given)
    x = np.random.default_rng(0).normal(3, 1, (24, 4, 5)).astype(np.float32)
    recalibrate(layer := BatchNorm((4, 5), axis=(1, 2), momentum=None, rngs=rngs()), split(x, 7))
    assert exact(layer, x)
    assert int(layer.batches[...]) == 4
    recalibrate(layer := nnx.BatchNorm(4, axis=1, rngs=rngs()), split(jnp.asarray(x, jnp.bfloat16), 7))
    assert exact(layer, jnp.asarray(x, jnp.bfloat16), (0, 2))


# recalibrate: what comes back, and what stays.


class BrokenError(Exception):
    """What a loader may raise."""


@pytest.mark.parametrize("sequential", [False, True])
def test_after_an_error_halfway_the_model_is_as_it_was(sequential):
    x, model = table(), Network()
    model.train()
    before, call = values(model), (nnx.BatchNorm.__call__, BatchNorm.__call__)

    class Loader:
        def __iter__(self):
            yield x[:20]
            raise BrokenError

    with pytest.raises(BrokenError):
        recalibrate(model, Loader(), sequential=sequential)
    poisoned = x.copy()
    poisoned[150, 0] = np.nan
    with pytest.raises(DataError, match="norm: there must be no NaN") as error:
        recalibrate(model, split(poisoned, 50), sequential=sequential)
    assert "in batch 4; the model is as it was before" in error.value.__notes__
    poisoned[150, 0] = np.inf
    with pytest.raises(DataError, match="norm must be given finite values, got infinities in features"):
        recalibrate(model, split(poisoned, 50), sequential=sequential)
    assert same(before, values(model))
    assert (nnx.BatchNorm.__call__, BatchNorm.__call__) == call
    assert not model.norm.use_running_average


def test_what_is_refused():
    layer = nnx.BatchNorm(3, rngs=rngs())
    with pytest.raises(KindError, match=r"model must be a flax.nnx.Module, got int"):
        recalibrate(3, [table()])
    with pytest.raises(DataError, match=r"recalibrate needs a layer with running statistics .*, Linear has none"):
        recalibrate(nnx.Linear(3, 3, rngs=rngs()), [table()])
    with pytest.raises(KindError, match=r"batches must be a list .* got ndarray: one batch alone is \[batch\]"):
        recalibrate(layer, table())
    with pytest.raises(DataError, match="sequential=True goes through the batches more than once, and list_iterator"):
        recalibrate(layer, iter([table()]), sequential=True)
    with pytest.raises(DataError, match="batches must give at least one batch, got none"):
        recalibrate(layer, [])
    with pytest.raises(KindError, match=r"a batch must be an array, .* got str: say how the model takes it with call="):
        recalibrate(layer, ["a"])
    with pytest.raises(DataError, match="a batch must have an entry that the model names, which are"):
        recalibrate(layer, [{"a": 1}])
    with pytest.raises(
        DataError, match=r"statistics must be within float32, .* got up to .*: scale the layer's inputs"
    ):
        recalibrate(layer, [table(5) * np.float32(1e30)])
    with pytest.raises(DataError, match="x must have features"):
        recalibrate(layer, [table(5, 4)])
    for call in (lambda model, batch: nnx.jit(model)(batch), lambda model, batch: jax.jit(model)(batch)):
        with pytest.raises(DataError, match=r"must be called with values, and x is traced: call the model outside"):
            recalibrate(layer, [table()], call=call)
    assert layer.var[...].tolist() == [1, 1, 1]


# freeze and unfreeze.


@pytest.mark.parametrize("affine", [True, False])
def test_frozen_statistics_survive_training(affine):
    x = jnp.asarray(table())
    model = freeze(Network(), affine=affine)
    model.norm.mean[...] = model.norm.mean[...] + 3
    before = values(model)
    model.train()
    assert type(model.norm).__name__ == "FrozenBatchNorm"
    assert "FrozenBatchNorm" in repr(model.norm)
    assert isinstance(model.norm, nnx.BatchNorm)
    assert isinstance(model.last, BatchNorm)

    @nnx.jit
    def step(model, optimizer, x):
        slopes = nnx.grad(lambda model: (model(x) ** 2).mean())(model)
        optimizer.update(model, slopes)

    optax = pytest.importorskip("optax")
    step(model, nnx.Optimizer(model, optax.adamw(0.1), wrt=nnx.Param), x)
    model.norm(model.first(x), use_running_average=False)
    after = values(model)
    for layer in ("norm", "last"):
        for name in ("mean", "var"):
            assert same(before[layer][name], after[layer][name])
        for name in ("scale", "bias"):
            assert same(before[layer][name], after[layer][name]) is affine
    assert not same(before["first"], after["first"])


def test_unfreezing_gives_back_what_was_there():
    model = Network()
    before, params = values(model), leaves(model)
    freeze(model)
    freeze(model, affine=False)
    assert leaves(model) == params
    freeze(model)
    assert len(leaves(model)) == 3
    model.eval()
    assert unfreeze(model) is model
    assert (type(model.norm), type(model.last)) == (nnx.BatchNorm, BatchNorm)
    assert model.norm.use_running_average
    assert same(before, values(model))
    assert leaves(model) == params
    assert unfreeze(model) is model


def test_frozen_copies_and_states():
    model = freeze(Network())
    for other in (copy.deepcopy(model), nnx.clone(model), pickle.loads(pickle.dumps(model.norm))):
        norm = getattr(other, "norm", other)
        assert norm.is_frozen
        assert type(unfreeze(norm)) is nnx.BatchNorm
    plain = nnx.to_pure_dict(nnx.state(Network(), nnx.BatchStat))
    state = nnx.state(model, nnx.BatchStat)
    nnx.replace_by_pure_dict(state, plain)
    nnx.update(model, state)
    assert recalibrate(nnx.List([model, Network()]), [table()], call=lambda m, b: (m[0](b), m[1](b))).left_alone == {
        "0.norm": "frozen",
        "0.last": "frozen",
    }
    with pytest.raises(DataError, match=r"recalibrate needs a layer with running statistics .*; last: frozen; norm:"):
        recalibrate(model, [table()])
    with pytest.raises(DataError, match=r"freeze needs a layer with running statistics .*, Linear has none"):
        freeze(model.first)


# adapt.


@pytest.mark.parametrize("kind", [nnx.BatchNorm, BatchNorm])
@pytest.mark.parametrize("jit", [False, True])
def test_the_mixture_is_by_count(kind, jit):
    """float32: ten roundings of values below 4, which are divided by a deviation of about 1."""
    layer = kind(2, use_running_average=True, rngs=rngs())
    x = np.random.default_rng(0).normal(1, 0.5, (24, 3, 2)).astype(np.float32)
    call = nnx.jit(lambda layer, x: layer(x)) if jit else lambda layer, x: layer(x)
    plain, before = call(layer, x), values(layer)
    for prior in (0, 16):
        share = 24 / (24 + prior)
        mean = share * x.mean((0, 1), np.float64)
        var = (1 - share) + share * x.var((0, 1), np.float64)
        with adapt(layer, prior=prior) as adaptation:
            assert repr(adaptation) == f"Adaptation(1 layers, prior={prior})"
            y = np.asarray(call(layer, x))
            assert same(before, values(layer))
        assert np.abs(y - (x - mean) / np.sqrt(var + 1e-5)).max() <= 10 * 4 * 2.0**-23
        assert repr(adaptation) == "Adaptation(undone)"
        assert type(layer) is kind
        assert same(call(layer, x), plain)


def test_adaptation_by_masks_and_in_training():
    layer = BatchNorm(2, use_running_average=True, zero_masked=True, rngs=rngs())
    x = np.random.default_rng(0).normal(1, 0.5, (6, 3, 2)).astype(np.float32)
    mask = np.zeros((6, 3), bool)
    with adapt(layer, prior=0):
        assert same(layer(x, mask=mask), np.zeros_like(x))
        assert layer(x[:0]).shape == (0, 3, 2)
        mask[:2] = True
        y = layer(x, mask=mask)
        x[2:] = np.nan
        assert same(layer(x, mask=mask), y)
        assert same(y[:2], layer(x[:2]))
        assert layer.mean[...].tolist() == [0, 0]
        layer(x[:2], use_running_average=False)
        assert layer.mean[...].tolist() != [0, 0]
        with pytest.raises(DataError, match="the model is adapted already: undo that first"):
            adapt(layer)
        with pytest.raises(DataError, match="the model is adapted: undo that before freezing it"):
            freeze(layer)
    with pytest.raises(DataError, match="prior, the number of samples that the trained statistics are worth"):
        adapt(layer, prior=-1)
    with pytest.raises(
        DataError, match=r"adapt needs a layer with running statistics .*, FrozenBatchNorm has none; the"
    ):
        adapt(freeze(layer))


# fold.


def trained(model):
    """Statistics, γ and β that are not what they began with."""
    draw = np.random.default_rng(0)
    for _, layer in nnx.iter_modules(model):
        if isinstance(layer, nnx.BatchNorm):
            n = layer.mean[...].shape
            layer.mean[...], layer.var[...] = draw.normal(0, 0.3, n), draw.uniform(0.5, 2, n)
            if layer.scale is not None:
                layer.scale[...] = draw.uniform(0.5, 2, n)
    return model


def conv(*sizes, kind=nnx.Conv, padding="VALID", **options):
    return kind(*sizes, (3, 3), padding=padding, rngs=rngs(), **options)


def norm(n, kind=nnx.BatchNorm, **options):
    return kind(n, rngs=rngs(), **options)


def test_layers_of_every_kind_in_both_orders():
    """Outputs of some hundred products each, rounded in another order: √(layers · products) half ULPs, and a margin."""
    model = trained(
        nnx.Sequential(
            norm(4),
            conv(4, 6, padding="CIRCULAR"),
            norm(6, BatchNorm),
            nnx.relu,
            nnx.Sequential(conv(6, 8, feature_group_count=2, use_bias=False), nnx.Dropout(0.5, rngs=rngs()), norm(8)),
            conv(8, 5, kind=nnx.ConvTranspose, transpose_kernel=True),
            norm(5, use_scale=False),
            conv(5, 4, kind=nnx.ConvTranspose),
            norm(4, use_bias=False),
            nnx.relu,
            norm(4),
            nnx.Linear(4, 3, use_bias=False, rngs=rngs()),
        )
    )
    x = np.random.default_rng(1).normal(1, 2, (3, 9, 9, 4)).astype(np.float32)
    before = values(model)
    folded, report = fold(model, example=x)
    assert [(f.norm, f.into, f.order) for f in report.folded] == [
        ("layers.0", ("layers.1",), "after"),
        ("layers.2", ("layers.1",), "before"),
        ("layers.4.layers.2", ("layers.4.layers.0",), "before"),
        ("layers.6", ("layers.5",), "before"),
        ("layers.8", ("layers.7",), "before"),
        ("layers.10", ("layers.11",), "after"),
    ]
    assert (report.skipped, report.difference.dtype) == ((), "float32")
    assert report.difference.ulps <= 4 * np.sqrt(6 * 72)
    assert same(before, values(model))
    assert not any(isinstance(layer, nnx.BatchNorm) for _, layer in nnx.iter_modules(folded))
    model.eval()
    assert np.abs(folded(x) - model(x)).max() == report.difference.absolute


def test_embeddings_and_frozen_norms():
    model = freeze(trained(nnx.Sequential(nnx.Embed(7, 3, rngs=rngs()), norm(3, BatchNorm))))
    _, report = fold(model, example=np.arange(7))
    assert report.folded[0].into == ("layers.0",)
    assert report.difference.ulps <= 4


def test_what_is_not_proven_stays_with_its_reason():
    relu, shared = nnx.relu, nnx.Linear(3, 3, rngs=rngs())

    class Mine(nnx.BatchNorm):
        pass

    half = nnx.Linear(3, 3, param_dtype=jnp.float16, rngs=rngs())
    small = norm(3, scale_init=nnx.initializers.constant(1e9), bias_init=nnx.initializers.constant(1e9))
    masked = conv(3, 3, mask=jnp.ones((3, 3, 3, 3)))
    for layers, why in (
        ([norm(3)], "it normalizes the model's input; its output is the model's"),
        ([conv(3, 3), relu, norm(3), conv(3, 3, padding="SAME")], "comes from the function relu, which is not linear"),
        (
            [norm(3), conv(3, 3, padding="SAME")],
            "pads with zeros \\(padding='SAME'\\), which the norm would have shifted",
        ),
        ([norm(3), conv(3, 3, kind=nnx.ConvTranspose)], "a transposed convolution adds up fewer taps"),
        ([shared, norm(3), relu, shared], "layers.0, which is also called elsewhere"),
        ([shared, Mine(3, rngs=rngs())], "Mine has a forward pass of its own"),
        ([conv(3, 3), norm(3, axis=3)], "it has axis=3, and only -1 is the last axis whatever x's shape"),
        ([half, small], "the folded weights are beyond float16: up to"),
        ([masked, norm(3)], "layers.0 \\(Conv\\), which has a mask on its weights"),
    ):
        _, report = fold(trained(nnx.Sequential(*layers)))
        assert not report.folded
        with pytest.raises(DataError, match=why):
            raise DataError(report.skipped[0].why)


def test_code_of_ones_own_is_folded_only_where_the_caller_says():
    class Model(nnx.Module):
        def __init__(self, shared=False):
            self.encoder = trained(nnx.Sequential(nnx.Linear(3, 4, rngs=rngs()), norm(4), nnx.relu))
            self.head = nnx.Linear(4, 2, rngs=rngs())
            self.others = nnx.List([self.encoder.layers[0]] if shared else [])

        def __call__(self, x):
            return self.head(self.encoder(x))

    with pytest.raises(DataError, match=r"the way through Model is code of its own, .*; give within=\['encoder'\]"):
        fold(Model())
    _, report = fold(Model(), within=["encoder"], example=table(5))
    assert report.folded[0].into == ("encoder.layers.0",)
    _, report = fold(Model(shared=True), within=["encoder"])
    assert "encoder.layers.0, which is also held elsewhere in the model" in report.skipped[0].why
    with pytest.raises(DataError, match=r"within must name nnx.Sequential modules of the model, got \['head'\]"):
        fold(Model(), within=["head"])
    with pytest.raises(DataError, match="there is nothing to fold"):
        fold(Model().head)
    with pytest.raises(KindError, match=r"model must be a flax.nnx.Module, got int"):
        fold(3)


def test_a_scaler_folds_into_the_first_layer():
    """Raw data of mean 1000 and deviation 2: the note says that float32 sees them to 500 · 2⁻²³ = 6e-5 of one."""
    x = table()
    scaler = gb.StandardScaler().fit(x)
    model = nnx.Sequential(nnx.Linear(3, 4, rngs=rngs()), nnx.relu)
    model.eval()
    folded, report = fold(model, scaler=scaler, example=x)
    want = model(scaler.transform(x))
    assert np.abs(folded(x) - want).max() <= 3 * 500 * 2.0**-23 * float(np.abs(model.layers[0].kernel[...]).max() * 3)
    assert "raw data lie up to" in report.notes[0]
    assert report.folded[-1].norm == "scaler"
    with pytest.raises(DataError, match="the input must go into linear layers of the scaler's features and nowhere"):
        fold(nnx.Sequential(nnx.relu, model.layers[0]), scaler=scaler)
    with pytest.raises(DataError, match="takes 4 features, and the map has"):
        fold(nnx.Sequential(nnx.Linear(4, 4, rngs=rngs())), scaler=scaler)
    with pytest.raises(DataError, match=r"lie on another axis than those of layers.0, the last"):
        fold(nnx.Sequential(conv(3, 4)), scaler=scaler)
