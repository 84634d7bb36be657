"""What the scripts of the page draw from: plain JSON types, every figure in the record's units."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from qatexp.compare.collect import Sweep, Trial
from qatexp.compare.reproduce import Command
from qatexp.compare.seeds import seed_groups
from qatexp.compare.seeds_table import against, reference_group
from qatexp.compare.where import trial_values, vocabulary
from qatexp.figures.panel import latency_axis, panels
from qatexp.records import Record
from qatexp.results.files import with_shared_figures
from qatexp.results.trials import Knob, deployable, deployed_name, knobs, label
from qatexp.results.units import size_unit

_FIELDS = ("top1", "deployed_top1", "size_bytes", "latency_ms_p50")
_VARIANTS = ("fp32", "control", "ptq", "qat")


def page_data(sweep: Sweep, commands: Mapping[str, Command | None]) -> dict[str, Any]:
    """Everything that is embedded in the page; numbers that JSON does not know become null."""
    records = _shared(sweep)
    differing = knobs(sweep.records)
    rows = trial_values(sweep)
    common = _common(rows)
    unit = size_unit(v.size_bytes for r in records.values() for v in r.variants.values())
    names = vocabulary(sweep)
    found = {
        "trials": [
            {
                **_trial(trial, records.get(trial.name), differing, commands.get(trial.name)),
                "values": {key: value for key, value in row.items() if key not in common},
            }
            for trial, row in zip(sweep.trials, rows, strict=True)
        ],
        "common": common,
        "knobs": [{"name": knob.name, "key": knob.key} for knob in differing],
        "vocabulary": {
            "keys": names.keys,
            "short": names.short,
            "ambiguous": names.ambiguous,
            "shown": names.shown,
        },
        "unit": {"name": unit.name, "bytes": unit.size_bytes},
        "latencyAxis": latency_axis(list(records.values())),
        "fronts": _fronts(list(records.values())),
        "groups": _groups(sweep),
    }
    cleaned: dict[str, Any] = _finite(found)
    return cleaned


def _shared(sweep: Sweep) -> dict[str, Record]:
    """Finished trials by name, with latencies that compare."""
    names = [trial.name for trial, _ in sweep.finished]
    return dict(zip(names, with_shared_figures([r for _, r in sweep.finished]), strict=True))


def _trial(
    trial: Trial, record: Record | None, differing: Sequence[Knob], line: Command | None
) -> dict[str, Any]:
    known = trial.record
    return {
        "name": trial.name,
        "label": "" if known is None else label(known, differing),
        "sweep": trial.sweep,
        "phrases": ["" if known is None else knob.phrase(known) for knob in differing],
        "numbers": [None if known is None else _number(knob, known) for knob in differing],
        "deployable": None if record is None else deployed_name(record),
        "variants": {} if record is None else _variants(record),
        "parity": None if record is None or not record.parity else record.parity.top1_agreement,
        "command": None if line is None else line.line,
        "folder": None if line is None else line.folder,
    }


def _variants(record: Record) -> dict[str, dict[str, float]]:
    return {
        name: {field: getattr(record.variants[name], field) for field in _FIELDS}
        for name in _VARIANTS
        if name in record.variants
    }


def _number(knob: Knob, record: Record) -> float | None:
    """The setting as a place on an axis; None where it is no number."""
    value = record.params.get(knob.key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and value is not None else None


def _fronts(records: Sequence[Record]) -> dict[str, list[list[tuple[float, float]]]]:
    """Cost and accuracy of the files on each panel's fronts, as in the picture."""
    trials = [record for record in records if deployable(record) is not None]
    if not trials:
        return {"size": [], "latency": []}
    by_size, by_latency = (
        [[file.variant for file in own] for own in panel.fronts()] for panel in panels(trials)
    )
    return {
        "size": [[(v.size_bytes, v.deployed_top1) for v in own] for own in by_size],
        "latency": [[(v.latency_ms_p50, v.deployed_top1) for v in own] for own in by_latency],
    }


def _groups(sweep: Sweep) -> list[dict[str, Any]]:
    groups = seed_groups(sweep)
    if not groups:
        return []
    reference = reference_group(groups, sweep.baseline)
    apart = against(groups, reference)
    index = {trial.name: place for place, trial in enumerate(sweep.trials)}
    return [
        {
            "label": group.label,
            "trials": [index[name] for name in group.trials],
            "seeds": group.seeds,
            "top1": group.top1,
            "mean": group.mean,
            "std": group.std,
            "isReference": place == reference,
            "isLarger": place in apart and apart[place].is_larger_than_noise,
            "figure": f"{group.mean:.2f} ± {group.std:.2f}" if group.std is not None else "1 seed",
        }
        for place, group in enumerate(groups)
    ]


def _common(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Values that all trials have alike, which are embedded once."""
    if not rows:
        return {}
    first = {key: json.dumps(value, default=str) for key, value in rows[0].items()}
    return {
        key: rows[0][key]
        for key, text in first.items()
        if all(key in row and json.dumps(row[key], default=str) == text for row in rows)
    }


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
