"""What to watch in a layer, told in a sentence with its numbers, and what to do."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np

from gammabeta._util import findings
from gammabeta.networks.diagnose.layer_stats import FLOAT32_DIGITS, Flags, Layer

GAP, FAR = 0.25, 1.0  # of the output's deviation: a layer's typical gap, and one channel's
FEW = 16  # effective values of a batch: its mean is off by a quarter of the deviation
DIGITS = 3.0  # that the mean takes away: |mean| is 1,000 deviations
NAMED = 8  # channels in a sentence

_ALONE = "Use a layer once: give each place a norm of its own."
_ONCE = {"torch": "Convert to gammabeta.torch.BatchNorm, or use a layer once."}


# Apart from _util.findings: these say what to do in a framework, and a finding has a layer.
@dataclass(frozen=True)
class Kind:
    """A kind of finding: its name, what to do, and its weight: 3 the network fails, 2 it suffers, 1 a note."""

    key: str
    title: str
    advice: str
    weight: int

    def advising(self, framework: str) -> Self:
        """The kind with the advice for a framework."""
        return replace(self, advice=self.advice.format(framework=framework, once=_ONCE.get(framework, _ALONE)))


@dataclass(frozen=True)
class Finding:
    """Something to watch: in which layer, of what kind, in words."""

    kind: str
    layer: str
    text: str


KINDS = (
    Kind("not_finite", "NaN or infinity", "Look at the operation that is named: a division, a root, an overflow.", 3),
    Kind("gap", "Training and evaluation differ", "Recalibrate: gammabeta.{framework}.recalibrate(model, batches).", 3),
    Kind("never", "Never updated", "Train the layer, or recalibrate: it evaluates with mean 0 and variance 1.", 3),
    Kind("behind", "Updated less often than others", "It was frozen or unused: recalibrate, or freeze it.", 2),
    Kind("twice", "Updated more than once in a step", "{once}", 2),
    Kind("few", "Few effective values in a batch", "Take larger or better mixed batches, or synchronize them.", 2),
    Kind("dead", "Dead channels: γ is about 0", "Prune them, and add what β gives to the next layer's bias.", 2),
    Kind("never_active", "Never active", "The next layer is given 0 for these: raise β, or prune them.", 2),
    Kind("saturated", "Saturated", "No gradient passes the activation there: make γ smaller.", 2),
    Kind("digits", "Large mean beside the spread", "Center the inputs, or take this layer in float64.", 2),
    Kind("eps", "eps exceeds the variance", "The output is narrower than γ: make eps smaller or the inputs larger.", 2),
    Kind("constant", "Constant inputs", "The channel says nothing: its output is that of one value.", 1),
    Kind("unreached", "Not reached", "No batch came to this layer: nothing is known of it.", 1),
    Kind("frozen", "Frozen, and the data have moved", "Unfreeze and recalibrate it, if that is not what you want.", 2),
)


number = partial(findings.number, digits=3)


def channels(flags: Flags) -> str:
    """Which channels, at most some of them by number.

    >>> channels(np.array([True, False, True])), channels(np.ones(20, bool))
    ('2 of 3 channels (0, 2)', 'all 20 channels')
    """
    at, whole = np.flatnonzero(flags), flags.size
    if len(at) == whole and whole > 1:
        return f"all {whole} channels"
    more = f" and {len(at) - NAMED} more" if len(at) > NAMED else ""
    return f"{len(at)} of {whole} channel{'s' if whole > 1 else ''} ({', '.join(map(str, at[:NAMED]))}{more})"


def of_layer(layer: Layer, most_tracked: int) -> Iterator[Finding]:
    """What to watch in a layer. most_tracked: the most batches that any of the model's layers has counted."""
    for key, test in _TESTS.items():
        if text := test(layer):
            yield Finding(key, layer.name, text)
    if layer.tracked and not layer.frozen and layer.tracked < most_tracked:
        text = f"{layer.tracked:,} batches moved its running statistics, where others count {most_tracked:,}."
        yield Finding("behind", layer.name, text)


def ordered(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """The worst first, then in the model's order."""
    return findings.worst_first(found, KINDS)


def _not_finite(a: Layer) -> str:
    return (
        f"{a.not_finite:,} of its inputs are NaN or infinite; its numbers here are of the others."
        if a.not_finite
        else ""
    )


def _far(a: Layer) -> str:
    """How far evaluation is from training, where it is more than chance leaves."""
    if not a.reached or a.typical_gap <= max(GAP, 3 * a.chance):
        far = (a.gap > max(FAR, 6 * a.chance)) & ~a.dead
        if not far.any():
            return ""
        return f"Evaluation's output is off by up to {number(float(a.gap[far].max()))} deviations, in {channels(far)}."
    worst = int(np.nanargmax(np.where(a.dead, np.nan, a.gap)))
    return (
        f"Evaluation's output is off by {number(a.typical_gap)} of its deviation, in channel {worst} by "
        f"{number(float(a.gap[worst]))}: there the data's mean lies {number(float(a.shift[worst]))} running deviations "
        f"from the running one, and their deviation is {number(float(a.ratio[worst]))} times as large."
    )


def _gap(a: Layer) -> str:
    return "" if a.frozen else _far(a)


def _frozen(a: Layer) -> str:
    return _far(a) if a.frozen else ""


def _never(a: Layer) -> str:
    return "No batch has moved its running statistics." if a.tracked == 0 and not a.frozen else ""


def _twice(a: Layer) -> str:
    if not a.updates or a.updates < 2:
        return ""
    why = f", {a.repeated} of them by activation checkpointing, which computes a batch again" if a.repeated else ""
    return f"One training step moves its running statistics {a.updates} times{why}."


def _few(a: Layer) -> str:
    known = a.effective[np.isfinite(a.effective)]
    if not known.size or np.median(known) >= FEW:
        return ""
    values = a.count.max() / max(1, a.calls)
    return (
        f"A batch's {values:,.0f} values are worth {number(float(np.median(known)))} independent ones: its mean is off "
        f"by {number(float(1 / np.sqrt(max(np.median(known), 1e-9))))} deviations each time."
    )


def _dead(a: Layer) -> str:
    if not a.dead.any():
        return ""
    what = f"{channels(a.dead)} give{'s' if a.dead.sum() == 1 else ''} β alone"
    if a.activation in ("relu", "relu6"):
        passed = a.dead & (a.beta > 0)
        if not passed.any():
            return f"{what}, of which the {a.activation} makes 0: they can be removed."
        low, high = a.beta[passed].min(), a.beta[passed].max()
        span = number(float(low)) if low == high else f"{number(float(low))} to {number(float(high))}"
        return f"{what}; in {int(passed.sum())} of them the {a.activation} lets it through, {span}."
    still = int((a.dead & (a.beta != 0)).sum())
    return f"{what}, which is not 0 in {still} of them{f', before {a.activation}' if a.activation else ''}."


def _never_active(a: Layer) -> str:
    flags = a.never_active & ~a.dead
    text = f"{channels(flags)} never got past the {a.activation}: every output was 0 or less."
    return text if flags.any() else ""


def _saturated(a: Layer) -> str:
    flags = a.saturated & ~a.dead
    return f"{channels(flags)} lie where {a.activation} is flat, 99 % of the time." if flags.any() else ""


def _digits(a: Layer) -> str:
    flags = a.digits_lost >= DIGITS
    if not flags.any():
        return ""
    worst = float(np.nanmax(a.digits_lost))
    return (
        f"In {channels(flags)} the mean is up to {number(10**worst)} deviations: of float32's 7.2 digits "
        f"{max(0.0, FLOAT32_DIGITS - worst):.1f} are left, of a variance in one pass "
        f"{max(0.0, FLOAT32_DIGITS - 2 * worst):.1f}."
    )


def _eps(a: Layer) -> str:
    flags = a.under_eps & ~a.dead
    if not flags.any():
        return ""
    share = float(np.sqrt(np.maximum(a.running_var, 0) / (np.maximum(a.running_var, 0) + a.eps)).min())
    return (
        f"eps is {number(a.eps)}, more than the running variance of {channels(flags)}: of γ, {number(share)} is left."
    )


def _constant(a: Layer) -> str:
    flags = a.constant & ~a.dead
    return f"The input of {channels(flags)} never varies." if flags.any() else ""


def _unreached(a: Layer) -> str:
    return "" if a.reached or a.not_finite else "No value came to it."


_TESTS: dict[str, Callable[[Layer], str]] = {
    "not_finite": _not_finite,
    "gap": _gap,
    "frozen": _frozen,
    "never": _never,
    "twice": _twice,
    "few": _few,
    "dead": _dead,
    "never_active": _never_active,
    "saturated": _saturated,
    "digits": _digits,
    "eps": _eps,
    "constant": _constant,
    "unreached": _unreached,
}
