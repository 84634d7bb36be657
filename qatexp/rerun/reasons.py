"""What differs between two runs beside their figures: the likely causes of other figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qatexp.records import CONFIG_FINGERPRINT, Record
from qatexp.rerun.changes import Change

_ENVIRONMENT = {
    "threads": "training threads",
    "device": "device",
    "gpu": "GPU",
    "cpu": "CPU",
    "cpu_flags": "CPU features",
    "cpu_count": "CPU count",
    "python": "Python",
    "platform": "platform",
}
"""Entries of `record.environment`, with the names that users know."""
SHOWN = 16
"""Characters of a hash that are shown."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One difference: what, in both runs, and a sentence for the user."""

    what: str
    original: Any
    rerun: Any
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def find_reasons(
    original: Record, rerun: Record, *, changes: Sequence[Change], added: Sequence[Change]
) -> tuple[Reason, ...]:
    """List what differs, what was changed on purpose first.

    Args:
        original: of the finished run.
        rerun: of the run that computed it again.
        changes: keys that were set on purpose.
        added: keys that the original's version did not have.
    """
    found = [
        *_settings(changes, added),
        *_data(original, rerun, changes),
        *_checkpoint(original, rerun),
        *_machine(original, rerun),
    ]
    return (*(found or _code(original, rerun)), *_git(original, rerun))


def _settings(changes: Sequence[Change], added: Sequence[Change]) -> Iterator[Reason]:
    for item in changes:
        text = f"{item.key} was set on purpose: {shown(item.original)} -> {shown(item.rerun)}"
        yield Reason(item.key, item.original, item.rerun, text)
    for item in added:
        text = f"{item.key} is a key that the original did not have; today's default is"
        yield Reason(item.key, None, item.rerun, f"{text} {shown(item.rerun)}")


def _data(original: Record, rerun: Record, changes: Sequence[Change]) -> Iterator[Reason]:
    before, after = (record.data.get("fingerprint") for record in (original, rerun))
    if before == after:
        return
    if any(item.key.startswith("dataset.") for item in changes):
        text = "the data set, or what is made of it, differs"
    elif rerun.data.get("placement") == "stream":
        text = "the data set's content differs, as far as size and time of streamed files tell"
    else:
        text = "the data set's content differs: images or labels were changed since"
    yield Reason("data", before, after, f"{text}; fingerprint {shown(before)} -> {shown(after)}")


def _checkpoint(original: Record, rerun: Record) -> Iterator[Reason]:
    before, after = (record.fingerprints.get("checkpoint") for record in (original, rerun))
    if before != after:
        text = f"the content of model.checkpoint differs: {shown(before)} -> {shown(after)}"
        yield Reason("checkpoint", before, after, text)


def _machine(original: Record, rerun: Record) -> Iterator[Reason]:
    for key, name in _ENVIRONMENT.items():
        before, after = (record.environment.get(key) for record in (original, rerun))
        if before != after:
            yield Reason(key, before, after, f"{name}: {shown(before)} -> {shown(after)}")
    olds, news = (record.environment.get("versions", {}) for record in (original, rerun))
    for package in sorted({*olds, *news}):
        before, after = olds.get(package), news.get(package)
        if before != after:
            yield Reason(package, before, after, f"{package}: {shown(before)} -> {shown(after)}")


def _git(original: Record, rerun: Record) -> Iterator[Reason]:
    """What the folder holds that each run was started in."""
    before, after = (record.environment.get("git_commit") for record in (original, rerun))
    if before != after:
        yield Reason("git_commit", before, after, f"git commit: {shown(before)} -> {shown(after)}")
    before, after = (record.environment.get("git_dirty") for record in (original, rerun))
    if before or after:
        runs = {(True, True): "both runs", (True, False): "the original"}
        where = runs.get((bool(before), bool(after)), "the rerun")
        yield Reason("git_dirty", before, after, f"uncommitted changes in the folder of {where}")


def _code(original: Record, rerun: Record) -> Iterator[Reason]:
    """With all else the same, another fingerprint of a stage means other code."""
    for stage, before in original.fingerprints.items():
        if stage == CONFIG_FINGERPRINT:  # of a trial as its sweep knows it; a rerun has none
            continue
        after = rerun.fingerprints.get(stage)
        if before != after:
            text = f"the code of qatexp, or of the model, differs: it shows first in {stage}"
            yield Reason("code", before, after, text)
            return


def shown(value: Any) -> str:
    """Write a value in one short word: hashes are cut, lists joined."""
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, str) and len(value) >= 40 and " " not in value:
        return f"{value[:SHOWN]}..."
    return "none" if value is None else str(value)
