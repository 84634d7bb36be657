"""Which files no other file of a sweep beats in accuracy, size and latency together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qatexp.records import Record
from qatexp.results.comparable import by_data_set, latencies_compare
from qatexp.results.files import File, files_on_front, with_shared_figures
from qatexp.results.front import LATENCY_TOLERANCE, SIZE_TOLERANCE
from qatexp.results.trials import deployed_name

RULE = (
    f"no other file of a trial, be it fp32, ptq or qat, is better without being worse in top-1, "
    f"size or latency (sizes within {SIZE_TOLERANCE:.0%} and latencies, relative to each trial's "
    f"own fp32, within {LATENCY_TOLERANCE:.0%} count as equal)"
)
"""What being on the front means, for readers of a table."""


def front_files(records: Sequence[Record]) -> list[File]:
    """Find the files on the Pareto front: high `deployed_top1`, small `size_bytes`, low latency.

    Every fp32, ptq and qat file of the trials takes part, one that trials share once. Latencies
    (p50) are relative to the fp32 of their trial, which was measured in turns with them; within 5 %
    of each other they count as equal, as that much is noise, and so do sizes within 1 %. Accuracies
    are compared as they are: they are reproducible.

    Every data set has a front of its own. Where its latencies were not taken alike, they do not
    count.

    Returns:
        The files, with indices into `records`; those of trials that have not finished are never
        among them.
    """
    finished = [index for index, record in enumerate(records) if record.status == "finished"]
    own = with_shared_figures([records[index] for index in finished])
    found = [file for group in by_data_set(own).values() for file in _front_of(own, group)]
    return [replace(file, trials=tuple(finished[i] for i in file.trials)) for file in found]


def _front_of(records: Sequence[Record], indices: Sequence[int]) -> list[File]:
    """The front of trials on one data set."""
    has_times = latencies_compare(records[index] for index in indices)
    return files_on_front(
        records,
        indices,
        costs=lambda v: (v.size_bytes, v.latency_ms_p50 if has_times else 0.0),
        tolerances=(SIZE_TOLERANCE, LATENCY_TOLERANCE),
    )


def pareto(records: Sequence[Record]) -> set[int]:
    """Find the trials whose qat file, or ptq file where they have no qat, is on the front.

    Returns:
        Indices into `records`.
    """
    return {
        index
        for file in front_files(records)
        for index in file.trials
        if file.name == deployed_name(records[index])
    }


def better_ptq(records: Sequence[Record]) -> set[int]:
    """Find the trials whose ptq file is on the front, and more accurate than their qat file.

    Returns:
        Indices into `records`.
    """
    on_front = {i for file in front_files(records) if file.name == "ptq" for i in file.trials}
    variants = {i: records[i].variants for i in on_front if deployed_name(records[i]) == "qat"}
    return {i for i, v in variants.items() if v["ptq"].deployed_top1 > v["qat"].deployed_top1}
