"""Ending a training that is dominated: a smaller, faster and more accurate trial is there already.

Never by a comparison across bit-widths alone: a file of 2 bits is less accurate than one of 8 bits
at every epoch, and still worth having.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from qatexp.config.schema import ExperimentConfig
from qatexp.errors import PrunedError, StoreError
from qatexp.records import RECORD_FILE, Record, Variant, load_record
from qatexp.records.plan import load_plan
from qatexp.results.comparable import data_set, latencies_compare
from qatexp.results.files import with_shared_figures
from qatexp.results.front import LATENCY_TOLERANCE, SIZE_TOLERANCE

QAT, PTQ = "qat", "ptq"


@dataclass(frozen=True, slots=True)
class Running:
    """A training between two epochs."""

    epoch: int
    """The last one that is done, from 1."""
    val_top1: float
    """Percent of the validation images after it."""
    ptq: str
    """Fingerprint of the calibrated model that it started from: what its file will look like."""


@dataclass(frozen=True, slots=True)
class Domination:
    """A finished trial that a running one need not be compared with any further."""

    name: str
    lead: float
    """Points of validation top-1 at the same epoch."""


def domination(
    running: Running, finished: Iterable[tuple[str, Record]], *, margin: float
) -> Domination | None:
    """Find the finished trial of no greater size and latency that leads by most, beyond a margin.

    Size and latency of the running trial are those of finished trials that started from the same
    calibrated model, as training changes neither; before there is one, nothing is known, and
    nothing pruned. Trials on another data set, or with latencies not taken alike, are no measure.
    Sizes within 1 % and latencies within 5 % count as equal, as on the front.

    Args:
        running: the training.
        finished: names and records of trials with a qat variant.
        margin: points of validation top-1, at least 0.
    """
    finished = list(finished)
    records = with_shared_figures([record for _, record in finished])
    paced = zip((name for name, _ in finished), records, strict=True)
    others = [(name, r, r.variants[QAT]) for name, r in paced if QAT in r.variants]
    peers = [r for _, r, _ in others if r.fingerprints.get(PTQ) == running.ptq]
    if not peers or not latencies_compare(peers):
        return None
    size = min(record.variants[QAT].size_bytes for record in peers)
    latency = min(record.variants[QAT].latency_ms_p50 for record in peers)
    leads = [
        Domination(name, lead)
        for name, record, variant in others
        if data_set(record) == data_set(peers[0])
        and latencies_compare([record, peers[0]])
        and _no_greater(variant, size, latency)
        and (lead := _lead(record, running)) is not None
        and lead > margin
    ]
    return max(leads, key=lambda found: found.lead, default=None)


def _no_greater(variant: Variant, size: int, latency: float) -> bool:
    return (
        variant.size_bytes * (1.0 - SIZE_TOLERANCE) <= size
        and variant.latency_ms_p50 * (1.0 - LATENCY_TOLERANCE) <= latency
    )


def _lead(record: Record, running: Running) -> float | None:
    """None where the record has no such epoch."""
    curve = record.val_top1_by_epoch.get(QAT, [])
    return None if len(curve) < running.epoch else curve[running.epoch - 1] - running.val_top1


@dataclass
class Pruner:
    """Compares a trial's QAT with the finished trials beside it in the folder of its search."""

    folder: Path
    """Of the trial."""
    margin: float
    epochs: int
    """Of QAT."""
    _finished: dict[str, Record] = field(default_factory=dict)

    def after_epoch(self, epoch: int, val_top1: float | None, *, ptq: str) -> None:
        """Look at the others; the last epoch is never pruned, as there is little left to spare.

        Raises:
            PrunedError: the trial is dominated.
        """
        if val_top1 is None or epoch >= self.epochs:
            return
        running = Running(epoch, val_top1, ptq)
        self._read_records_()
        found = domination(running, self._finished.items(), margin=self.margin)
        if found is not None:
            raise PrunedError(
                f"after epoch {epoch} of {self.epochs}: trial {found.name} is no larger and no "
                f"slower, and was {found.lead:.2f} points better in validation top-1 at that epoch"
            )

    def _read_records_(self) -> None:
        """Read the records of trials that have finished since."""
        for path in self.folder.parent.glob(f"*/{RECORD_FILE}"):
            name = path.parent.name
            if name in self._finished or name == self.folder.name:
                continue
            try:
                record = load_record(path.parent)
            except StoreError:
                continue
            if record.status == "finished":
                self._finished[name] = record


def pruner_of(config: ExperimentConfig, folder: Path) -> Pruner | None:
    """The pruner of a trial; None without `sweep.prune_margin`, and for runs of no search."""
    margin = config.sweep.prune_margin
    if margin is None:
        return None
    try:
        is_search = load_plan(folder.parent).search is not None
    except StoreError:
        return None
    return Pruner(folder, margin, config.schedule.qat.epochs) if is_search else None
