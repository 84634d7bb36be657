"""One run: a row per variant, and what there is to know about their figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qatexp.compare.grid import Column, Grid
from qatexp.records import Certificate, Latency, Parity, Record, Target, Variant
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
        notes.append(_parity_note(record.parity, variants))
        certificate = record.parity.certificate
        notes += [] if certificate is None else [_certificate_note(certificate)]
    further = _further_latencies(variants)
    return [*notes, *_operator_notes(variants), *further, *machine_note([record])]


def machine_note(records: Sequence[Record]) -> list[str]:
    """Where the runs took place, if all records say so and say the same."""
    keys = ("cpu", "cpu_count", "threads")
    machines = {tuple(record.environment.get(key) for key in keys) for record in records}
    if len(machines) != 1:
        return []
    cpu, cores, threads = machines.pop()
    if not cpu or cores is None or threads is None:
        return [f"measured on {cpu}"] if cpu else []
    return [
        f"measured on {cpu}, {counted(cores, 'core')}; trained with {counted(threads, 'thread')}"
    ]


def conditions(latency: Latency) -> str:
    """``1 thread``, or ``2 threads, batch 32``: what a latency was measured with."""
    threads = counted(latency.threads, "thread")
    return threads if latency.batch_size == 1 else f"{threads}, batch {latency.batch_size}"


def _latency_heading(variants: Mapping[str, Variant]) -> str:
    headlines = [variant.latencies[0] for variant in variants.values() if variant.latencies]
    return f"latency p50\n({conditions(headlines[0])})" if headlines else "latency p50"


def _parity_note(parity: Parity, variants: Mapping[str, Variant]) -> str:
    name = "qat" if "qat" in variants else "ptq"
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
            setting = f"{counted(point.threads, 'thread')}, batch {point.batch_size}"
            found.setdefault(setting, []).append(text)
    return [f"latency p50, {setting}: {', '.join(texts)}" for setting, texts in found.items()]
