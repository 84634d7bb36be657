"""Which figures of several trials may be set against each other.

Accuracies may where they were found on the same test images, at whatever size. Bytes always may.
Times may where the same kind of machine took them in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from qatexp.records import Latency, Record
from qatexp.results.trials import deployable
from qatexp.results.units import MISSING, counted

_HASH_SHOWN = 6


@dataclass(frozen=True, slots=True)
class DataSet:
    """The test images of a trial."""

    name: str
    test: int | None
    """Number of images."""
    test_fingerprint: str | None
    """Hash of their content; None in records that do not hold it."""


@dataclass(frozen=True, slots=True)
class LatencyConditions:
    """What the headline latencies of a trial depend on beside its files; None: not known."""

    cpu: str | None
    cpu_flags: str
    """Those features that decide how integers are computed."""
    cpu_count: int | None
    onnxruntime: str | None
    threads: int | None
    batch_size: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which trials are not alike."""

    what: str
    values: dict[str, list[int]]
    """Indices of the trials, by value as text."""


def data_set(record: Record) -> DataSet:
    """What the accuracies of a trial were found on."""
    data = record.data
    name = data.get("name", record.params.get("dataset", ""))
    return DataSet(str(name), data.get("test"), data.get("test_fingerprint"))


def by_data_set(records: Sequence[Record]) -> dict[str, list[int]]:
    """Group trials whose accuracies compare.

    Returns:
        Indices into `records`, by the name of the data set; where several have the same name,
        with the start of the content's hash.
    """
    found: dict[DataSet, list[int]] = {}
    for index, record in enumerate(records):
        found.setdefault(data_set(record), []).append(index)
    names = [item.name for item in found]
    return {
        item.name if names.count(item.name) == 1 else _full_name(item): indices
        for item, indices in found.items()
    }


def _full_name(item: DataSet) -> str:
    return f"{item.name} ({item.test} images, {(item.test_fingerprint or MISSING)[:_HASH_SHOWN]})"


def latency_conditions(record: Record) -> LatencyConditions:
    """How the headline latencies of a trial were taken."""
    environment, headline = record.environment, _headline(record)
    return LatencyConditions(
        cpu=environment.get("cpu"),
        cpu_flags=", ".join(environment.get("cpu_flags", ())),
        cpu_count=environment.get("cpu_count"),
        onnxruntime=environment.get("versions", {}).get("onnxruntime"),
        threads=None if headline is None else headline.threads,
        batch_size=None if headline is None else headline.batch_size,
    )


def latencies_compare(records: Iterable[Record]) -> bool:
    """Whether the headline latencies of all trials were taken alike."""
    return len({latency_conditions(record) for record in records}) < 2


def latency_differences(records: Sequence[Record]) -> list[Difference]:
    """Why latencies do not compare; nothing where they do."""
    found = [latency_conditions(record) for record in records]
    names = [item.name for item in fields(LatencyConditions)]
    return _differing((name, [getattr(each, name) for each in found]) for name in names)


def version_differences(records: Sequence[Record]) -> list[Difference]:
    """Packages of which trials had several versions."""
    versions = [record.environment.get("versions", {}) for record in records]
    packages = dict.fromkeys(name for own in versions for name in own)
    return _differing((name, [own.get(name) for own in versions]) for name in packages)


def _differing(facts: Iterable[tuple[str, Sequence[object]]]) -> list[Difference]:
    differences = []
    for name, values in facts:
        places: dict[str, list[int]] = {}
        for index, value in enumerate(values):
            places.setdefault(MISSING if value in (None, "") else str(value), []).append(index)
        if len(places) > 1:
            differences.append(Difference(name, places))
    return differences


def conditions(latency: Latency, *, is_brief: bool = False) -> str:
    """``1 thread, batch 1``: what a latency was taken with; a brief text leaves batch 1 out."""
    threads = counted(latency.threads, "thread")
    if is_brief and latency.batch_size == 1:
        return threads
    return f"{threads}, batch {latency.batch_size}"


def headline_conditions(records: Sequence[Record], *, is_brief: bool = False) -> str:
    """The conditions of all headline latencies in brackets, to stand behind their heading."""
    if not latencies_compare(records):
        return " (not comparable)"
    headlines = [found for record in records if (found := _headline(record)) is not None]
    return f" ({conditions(headlines[0], is_brief=is_brief)})" if headlines else ""


def _headline(record: Record) -> Latency | None:
    variant = deployable(record)
    return variant.latencies[0] if variant is not None and variant.latencies else None
