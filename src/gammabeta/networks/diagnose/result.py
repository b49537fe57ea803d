"""A diagnosis: the layers, where a NaN arose, what to watch; as text, as a notebook's table, as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gammabeta._util import html
from gammabeta.errors import DataError
from gammabeta.networks.diagnose import findings
from gammabeta.networks.diagnose.findings import KINDS, Finding, Kind
from gammabeta.networks.diagnose.layer_stats import Layer

HEADS = ("layer", "channels", "gap", "effective", "dead", "inactive", "digits lost", "batches")


@dataclass(frozen=True)
class Origin:
    """Where a NaN or an infinity first arose: in which batch, in which module, by which operation."""

    what: str
    batch: int
    module: str
    operation: str

    def __str__(self) -> str:
        if not self.operation:
            return f"{self.what} in {self.module}."
        return f"The first {self.what} arose in batch {self.batch}, in {self.module}, by {self.operation}."


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """What `diagnose` found. `findings` are the worst first; `layers` in the model's order.

    Args:
        model: the name of its class.
        batches: how many there were.
        layers: all with running statistics.
        origins: where NaN and infinities arose, the first first.
        notes: what could not be looked at, and why.
        framework: the folder of this library whose verbs the advice names: torch, keras or flax.
    """

    model: str
    batches: int
    layers: tuple[Layer, ...]
    origins: tuple[Origin, ...] = ()
    notes: tuple[str, ...] = ()
    framework: str = "torch"

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What to watch, the worst first."""
        max_tracked = max((layer.tracked or 0 for layer in self.layers), default=0)
        first = [Finding("not_finite", origin.module, str(origin)) for origin in self.origins]
        return findings.ordered([*first, *(f for layer in self.layers for f in findings.of_layer(layer, max_tracked))])

    def __getitem__(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise DataError(f"a layer must be named as the model names it, got {name!r}: there are {self._names}")

    @property
    def _names(self) -> str:
        return ", ".join(layer.name for layer in self.layers)

    def __repr__(self) -> str:
        return f"Diagnosis({self.model}, {len(self.layers)} layers, {len(self.findings)} findings)"

    def __str__(self) -> str:
        rows = [HEADS, *self.table()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([repr(self), *lines, "", *self.sentences()])

    def _repr_html_(self) -> str:
        return html.table(repr(self), HEADS, self.table(), "; ".join(self.sentences()))

    def table(self) -> Sequence[tuple[str, ...]]:
        """A row of text for each layer, under `HEADS`."""
        return [_row(layer) for layer in self.layers]

    def sentences(self) -> list[str]:
        """Each finding as a line: its kind, its layer, what there is, what to do; then the notes."""
        kinds = self._kinds()
        lines = [
            f"{kinds[f.kind].title}, {f.layer or 'the model'}: {f.text} {kinds[f.kind].advice}" for f in self.findings
        ]
        return [*(lines or ["Nothing to watch."]), *(f"Note: {note}" for note in self.notes)]

    def document(self) -> dict[str, Any]:
        """All of it as a JSON document, numbers that are not finite being null."""
        kinds = self._kinds()
        return {
            "kind": "diagnosis",
            "framework": self.framework,
            "model": self.model,
            "batches": self.batches,
            "findings": [
                asdict(f) | {name: getattr(kinds[f.kind], name) for name in ("title", "advice", "weight")}
                for f in self.findings
            ],
            "origins": [asdict(origin) for origin in self.origins],
            "notes": list(self.notes),
            "layers": [layer.document() for layer in self.layers],
        }

    def _kinds(self) -> dict[str, Kind]:
        return {kind.key: kind.advising(self.framework) for kind in KINDS}

    def to_json(self) -> str:
        """The document as text."""
        return json.dumps(self.document(), ensure_ascii=False, allow_nan=False)


def _row(a: Layer) -> tuple[str, ...]:
    effective = a.effective[np.isfinite(a.effective)]
    digits = a.digits_lost[np.isfinite(a.digits_lost)]
    inactive = int((a.never_active | a.saturated).sum())
    return (
        a.name,
        str(a.gamma.size),
        f"{a.typical_gap:.3f}" if a.reached else "–",
        f"{np.median(effective):,.0f}" if effective.size else "–",
        str(int(a.dead.sum())),
        str(inactive) if a.activation else "–",
        f"{digits.max():.1f}" if digits.size else "–",
        "–" if a.tracked is None else f"{a.tracked:,}",
    )
