"""One run: a row per variant, and what there is to know about their figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qatexp.compare.grid import Column, Grid
from qatexp.records import Certificate, Parity, Record, Target, Variant
from qatexp.results.comparable import conditions
from qatexp.results.trials import deployed_name
from qatexp.results.units import (
    MISSING,
    counted,
    factor,
    milliseconds,
    percent,
    share,
    size_unit,
)

ORDER = ("fp32", "control", "ptq", "qat")


def variants_in_order(record: Record) -> dict[str, Variant]:
    """The variants of a run as tables list them."""
    return {name: record.variants[name] for name in ORDER if name in record.variants}


def variants_grid(record: Record) -> Grid:
    """One row per variant: parameters, size, latency, and accuracy as trained and as deployed."""
    variants = variants_in_order(record)
    unit = size_unit(variant.size_bytes for variant in variants.values())
    headings = (
        "params",
        "size",
        _latency_heading(variants),
        "speedup",
        "top-1\n(PyTorch)",
        "top-1\n(deployed)",
        "MACs\nin int",
    )
    rows = tuple(
        (
            name,
            f"{variant.params:,}",
            unit.text(variant.size_bytes),
            f"{milliseconds(variant.latency_ms_p50)} ms",
            factor(variant.latency_speedup),
            f"{percent(variant.top1)} %",
            f"{percent(variant.deployed_top1)} %",
            f"{share(variant.macs_int_share)} %",
        )
        for name, variant in variants.items()
    )
    return Grid((Column("variant", is_number=False), *map(Column, headings)), rows)


def variants_notes(record: Record) -> list[str]:
    """Lines below the table: parity, operators, further latencies, and the machine."""
    variants = variants_in_order(record)
    notes = [] if record.target is None else [_target_note(record.target)]
    if record.parity is not None:
        notes.append(_parity_note(record.parity, deployed_name(record)))
        certificate = record.parity.certificate
        notes += [] if certificate is None else [_certificate_note(certificate)]
    further = _further_latencies(variants)
    return [*notes, *_operator_notes(variants), *further, *machine_note([record])]


def machine_note(records: Sequence[Record]) -> list[str]:
    """Where the runs took place, as far as the records say so; every kind of machine once."""
    machines = dict.fromkeys(text for record in records if (text := _machine(record)))
    return [f"measured on {' and on '.join(machines)}"] if machines else []


def _machine(record: Record) -> str:
    cpu, cores, threads = (record.environment.get(key) for key in ("cpu", "cpu_count", "threads"))
    if not cpu or cores is None or threads is None:
        return cpu or ""
    return f"{cpu}, {counted(cores, 'core')}; trained with {counted(threads, 'thread')}"


def _latency_heading(variants: Mapping[str, Variant]) -> str:
    headlines = [variant.latencies[0] for variant in variants.values() if variant.latencies]
    if not headlines:
        return "latency p50"
    return f"latency p50\n({conditions(headlines[0], is_brief=True)})"


def _parity_note(parity: Parity, name: str | None) -> str:
    return (
        f"parity: {name} in PyTorch and its deployed file agree on "
        f"{share(parity.top1_agreement)} % of {parity.images:,} images "
        f"({parity.flipped:,} flipped); largest logit difference {parity.max_abs_diff:.3g}"
    )


def _certificate_note(certificate: Certificate) -> str:
    """Every step from the trained model to the file, in one line."""
    steps = {
        "folding": certificate.folding,
        "the file as written": certificate.unoptimized,
        "the file as optimized": certificate.optimized,
    }
    differ = ", ".join(
        f"{_percent(step.codes_differ_share)} ({name})" for name, step in steps.items()
    )
    same = "equals" if certificate.folded_equals_converted else "DIFFERS FROM"
    predicted = _percent(certificate.reference_codes_share)
    unmodelled = ", ".join(certificate.reference_unmodelled)
    beyond = f" (not modelled: {unmodelled})" if unmodelled else ""
    return (
        f"certificate on {certificate.images:,} images: folding moved "
        f"{certificate.weight_codes_moved:,} weight codes; folded {same} converted bit for bit; "
        f"activation codes that differ: {differ}; the integer reference predicts {predicted} of "
        f"the file's output codes{beyond}"
    )


def _percent(part: float | None) -> str:
    return MISSING if part is None else f"{100 * part:.3g} %"


def _target_note(target: Target) -> str:
    """Which file reached the target, or that none did."""
    last = target.attempts[-1]
    trained = f" after {counted(last.epochs, 'epoch')}" if last.epochs > 0 else ""
    verdict = "reached" if target.met else "NOT reached"
    return (
        f"target: {verdict} by {last.variant}{trained}, which loses {last.drop:.2f} points "
        f"({target.split}) of the {target.max_drop:g} allowed; {len(target.attempts)} tried"
    )


def _operator_notes(variants: Mapping[str, Variant]) -> list[str]:
    """What ran in integers and what did not, in one line for variants with the same operators."""
    names: dict[str, list[str]] = {}
    for name in ("ptq", "qat"):
        if name in variants:
            ints, floats = variants[name].ops_int, variants[name].ops_float
            text = f"{_operators(ints)} in integers; float: {_operators(floats)}"
            names.setdefault(text, []).append(name)
    return [f"{' and '.join(same)}: {text}" for text, same in names.items()]


def _operators(counts: Mapping[str, int]) -> str:
    """The most frequent first: ``19 QLinearConv, 9 QLinearAdd``."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {name}" for name, count in ordered) or "none"


def _further_latencies(variants: Mapping[str, Variant]) -> list[str]:
    """One line per batch size and thread count beyond the one in the table."""
    found: dict[str, list[str]] = {}
    for name, variant in variants.items():
        for point in variant.latencies[1:]:
            text = f"{name} {milliseconds(point.ms_p50)} ms ({factor(point.speedup)})"
            found.setdefault(conditions(point), []).append(text)
    return [f"latency p50, {setting}: {', '.join(texts)}" for setting, texts in found.items()]
