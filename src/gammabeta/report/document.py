"""The JSON document of a report: all that its page shows."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gammabeta import __version__
from gammabeta._util.findings import Finding, Kind, finite_or_none
from gammabeta.affine import Affine
from gammabeta.data.core.source import Column, Source
from gammabeta.report import drift, findings
from gammabeta.report.drift import Drift
from gammabeta.report.profile import Profile
from gammabeta.statistics import Extrema

Document = dict[str, Any]
"""A report's numbers, of what JSON knows: dicts, lists, strings, numbers and None."""


def of_file(source: Source, profiles: Sequence[Profile], others: Sequence[Column]) -> Document:
    """The document of a report on one file."""
    return _head("report", [_file(source, profiles)], findings.KINDS, others) | {
        "between": list(findings.between_columns(profiles)),
        "only": {},
        "columns": [_column(profile) for profile in profiles],
    }


def of_two(
    sources: Sequence[Source], drifts: Sequence[Drift], only: Sequence[Sequence[str]], others: Sequence[Column]
) -> Document:
    """The document of a comparison of two files. only: names of columns that one alone has."""
    files = [
        _file(sources[0], [d.first for d in drifts]),
        _file(sources[1], [d.second for d in drifts]),
    ]
    sides = ("the first file", "the second file")
    return _head("drift", files, drift.KINDS, others) | {
        "between": [],
        "only": {side: list(names) for side, names in zip(sides, only, strict=True) if names},
        "columns": [_drift(d) for d in sorted(drifts, key=lambda d: -d.size)],
    }


def _head(
    kind: str, files: list[Document], kinds: Sequence[Kind], others: Sequence[Column]
) -> Document:  # fmt: skip
    other_columns = [
        {"name": readable(column.name), "type": column.type, "reason": column.skip_reason or "not selected"}
        for column in others
    ]
    return {
        "kind": kind,
        "version": __version__,
        "files": files,
        "kinds": [asdict(k) for k in kinds],
        "others": other_columns,
    }


def _file(source: Source, profiles: Sequence[Profile]) -> Document:
    return {
        "name": readable(source.path.name),
        "bytes": source.size,
        "rows": max((p.rows for p in profiles), default=0),
    }


def readable(text: str) -> str:
    """The text without surrogates, which a file's name may have in the place of bytes that are no text."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _statistics(p: Profile) -> Document:
    values = {"mean": p.mean, "std": p.std, "min": p.min, "max": p.max}
    counts = {"count": p.count, "missing": p.missing}
    infinities = {"plus_infinity": p.plus_infinity, "minus_infinity": p.minus_infinity}
    return {name: finite_or_none(value) for name, value in values.items()} | counts | infinities


def _column(p: Profile) -> Document:
    found = findings.findings(p)
    return {
        "name": readable(p.name),
        "type": p.type,
        **_statistics(p),
        "skewness": finite_or_none(p.skewness),
        "kurtosis": finite_or_none(p.kurtosis),
        "quantiles": [finite_or_none(q) for q in p.quantiles],
        "quantile_error": p.error,
        "middle_share": finite_or_none(p.middle_share),
        "float32_digits": finite_or_none(p.float32_digits),
        "common": finite_or_none(p.common),
        "common_count": p.common_count,
        "distinct": finite_or_none(p.distinct),
        "order": p.order,
        "histogram": _histogram(p),
        **_maps(p),
        **_found(found, {kind.key: kind.weight for kind in findings.KINDS}),
    }


def _drift(d: Drift) -> Document:
    return {
        "name": readable(d.first.name),
        "type": d.second.type,
        "types": [d.first.type, d.second.type],
        "first": _statistics(d.first),
        "second": _statistics(d.second),
        "difference": finite_or_none(d.difference),
        "ratio": finite_or_none(d.ratio),
        "outside": finite_or_none(d.outside),
        "size": finite_or_none(min(d.size, 1e300)) if d.size >= 0 else None,
        "histogram": _histogram(d.first)
        | {
            "values": d.first.count,
            "other": d.second.bars(d.first.count)[0],
            "others": {"values": d.second.count, "below": d.second.below, "above": d.second.above},
        },
        **_maps(d.first),
        **_found(d.findings(), {kind.key: kind.weight for kind in drift.KINDS}),
    }


def _histogram(p: Profile) -> Document:
    counts, start, width = p.bars(p.count)
    return {"start": start, "width": width, "counts": counts, "below": p.below, "above": p.above}


def _maps(p: Profile) -> Document:
    """Center, slope and shift of the two maps, (x − center) · slope + shift."""
    if not p.count:
        return {"standard": [0.0, 1.0, 0.0], "minmax": [0.0, 1.0, 0.0]}
    standard = Affine(p.mean, 1 / (1.0 if p.constant else p.std))
    minmax = Affine.minmax(Extrema.of([p.min, p.max]))
    return {
        name: [float(a.center), float(a.slope), float(a.shift)]
        for name, a in (("standard", standard), ("minmax", minmax))
    }


def _found(found: Sequence[Finding], weights: dict[str, int]) -> Document:
    return {
        "findings": [asdict(finding) for finding in found],
        "weight": sum(10 ** weights[finding.kind] for finding in found),
    }
