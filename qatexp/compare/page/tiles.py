"""The files of a sweep that stand out, for the head of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from qatexp.compare.collect import Sweep
from qatexp.records import Record, Variant
from qatexp.results.comparable import by_data_set, latencies_compare
from qatexp.results.files import with_shared_figures
from qatexp.results.front import LATENCY_TOLERANCE, SIZE_TOLERANCE
from qatexp.results.trials import deployable, knobs, label
from qatexp.results.units import SizeUnit, factor, milliseconds, percent, size_unit


@dataclass(frozen=True, slots=True)
class Tile:
    """One file that stands out."""

    heading: str
    figure: str
    detail: str
    trial: int | None
    """Index of its trial; None for one that they share."""


@dataclass(frozen=True, slots=True)
class _File:
    trial: int
    record: Record
    variant: Variant


def tiles(sweep: Sweep) -> list[Tile]:
    """The most accurate, the smallest and the fastest file, the best of equal ones, and fp32.

    Every data set has its own. None is called the fastest where latencies do not compare.
    """
    found = _files(sweep)
    if sweep.is_single:
        return []
    unit = size_unit(file.variant.size_bytes for file in found)
    groups = by_data_set([file.record for file in found])
    shown = []
    for name, indices in groups.items():
        own = [found[index] for index in indices]
        tiles = [*(_tile(sweep, *choice, unit) for choice in _chosen(own)), *_fp32(own, unit)]
        where = f" ({name})" if len(groups) > 1 else ""
        shown += [replace(tile, heading=f"{tile.heading}{where}") for tile in tiles]
    return shown


def _chosen(found: Sequence[_File]) -> list[tuple[str, int, _File]]:
    """What stands out among files that compare: heading, place of its figure, and the file."""
    slim = min(file.variant.size_bytes for file in found) / (1.0 - SIZE_TOLERANCE)
    small = _best([file for file in found if file.variant.size_bytes <= slim])
    chosen = [("most accurate", 0, _best(found)), ("smallest", 1, small)]
    if not latencies_compare(file.record for file in found):
        return chosen
    lowest = min(file.variant.latency_ms_p50 for file in found)
    quick = lowest / (1.0 - LATENCY_TOLERANCE)
    fast = _best([file for file in found if file.variant.latency_ms_p50 <= quick])
    # A file that another tile, or the table, shows to be faster must not be called the fastest.
    is_first = fast.variant.latency_ms_p50 == lowest
    heading = "fastest" if is_first else f"fastest (within {LATENCY_TOLERANCE:.0%})"
    return [*chosen, (heading, 2, fast)]


def _files(sweep: Sweep) -> list[_File]:
    names = [trial.name for trial, _ in sweep.finished]
    records = with_shared_figures([record for _, record in sweep.finished])
    finished = dict(zip(names, records, strict=True))
    places = ((i, finished[t.name]) for i, t in enumerate(sweep.trials) if t.name in finished)
    return [_File(i, r, v) for i, r in places if (v := deployable(r)) is not None]


def _best(candidates: Sequence[_File]) -> _File:
    return max(candidates, key=lambda file: file.variant.deployed_top1)


def _tile(sweep: Sweep, heading: str, main: int, file: _File, unit: SizeUnit) -> Tile:
    texts = _texts(file.variant, unit)
    figure = texts.pop(main)
    name = f"trial {sweep.trials[file.trial].name}: {label(file.record, knobs(sweep.records))}"
    return Tile(heading, figure, f"{name}; {', '.join(texts)}", file.trial)


def _fp32(found: Sequence[_File], unit: SizeUnit) -> list[Tile]:
    """The baseline; from its lowest to its highest accuracy where trials have several."""
    variants = [v for file in found if (v := file.record.variants.get("fp32")) is not None]
    if not variants:
        return []
    low, high = (function(v.deployed_top1 for v in variants) for function in (min, max))
    accuracy = percent(high) if low == high else f"{percent(low)} .. {percent(high)}"
    _, *rest = _texts(variants[0], unit)
    return [Tile("fp32", f"{accuracy} %", ", ".join(rest), None)]


def _texts(variant: Variant, unit: SizeUnit) -> list[str]:
    return [
        f"{percent(variant.deployed_top1)} %",
        unit.text(variant.size_bytes),
        f"{milliseconds(variant.latency_ms_p50)} ms ({factor(variant.latency_speedup)})",
    ]
