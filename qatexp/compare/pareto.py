"""Which trials no other trial beats in accuracy, size and latency together."""

from __future__ import annotations

from collections.abc import Sequence

from qatexp.figures.front import LATENCY_TOLERANCE, SIZE_TOLERANCE, Point, front
from qatexp.figures.trials import deployable
from qatexp.records import Record

RULE = (
    f"no other trial is better without being worse in top-1, size or latency "
    f"(sizes within {SIZE_TOLERANCE:.0%} and latencies within {LATENCY_TOLERANCE:.0%} "
    f"count as equal)"
)
"""What being on the front means, for readers of a table."""


def pareto(records: Sequence[Record]) -> set[int]:
    """Find the trials on the Pareto front: high `deployed_top1`, small `size_bytes`, low latency.

    A trial stands for its qat variant, or ptq where it has no qat. Latencies (p50) within 5 % of
    each other count as equal, since that much is noise between two processes, and so do sizes
    within 1 %. Accuracies are compared as they are: they are reproducible.

    Returns:
        Indices into `records`; trials that have not finished are never among them.
    """
    candidates = [
        (index, variant)
        for index, record in enumerate(records)
        if record.status == "finished" and (variant := deployable(record)) is not None
    ]
    points = [Point(v.deployed_top1, (v.size_bytes, v.latency_ms_p50)) for _, v in candidates]
    chosen = front(points, tolerances=(SIZE_TOLERANCE, LATENCY_TOLERANCE))
    return {candidates[index][0] for index in chosen}
