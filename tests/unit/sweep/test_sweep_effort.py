"""Where the time of a sweep went, in one line that adds up."""

import pytest

from qatexp.compare import Sweep
from qatexp.compare.collect import Trial
from qatexp.records import Record
from qatexp.sweep.effort import effort


@pytest.fixture
def sweep(tmp_path):
    """Two trials, of which the second takes its baseline from the cache."""
    seconds = {"fp32": 6.0, "qat": 20.0, "measure": 4.0}
    caches = ({}, {"fp32": True})
    records = [Record("x", "finished", {}, seconds=seconds, cached=cached) for cached in caches]
    trials = (Trial(str(i), tmp_path / str(i), r, r.status) for i, r in enumerate(records))
    return Sweep(tmp_path, tuple(trials), is_single=False)


COMPUTED = "fp32 1x 6 s, qat 2x 40 s, other stages 8 s"


def test_stages_and_what_is_around_them_add_up(sweep):
    assert effort(sweep, {"0", "1"}, seconds=64.0, before=3.2) == (
        f"2 trials in 64 s: {COMPUTED}; 10 s around them (starting, logging, waiting); 3 s before"
    )


def test_of_stages_that_overlap_their_number_is_told(sweep):
    line = effort(sweep, {"0", "1"}, seconds=27.0, before=3.2)
    assert line == f"2 trials in 27 s: {COMPUTED}; 2.0 stages at a time; 3 s before"


def test_only_what_ran_now_counts(sweep):
    line = effort(sweep, {"1"}, seconds=30.0, before=3.2)
    assert line.startswith("1 trial in 30 s: qat 1x 20 s, other stages 4 s; 6 s around them")
    assert effort(sweep, set(), seconds=30.0, before=3.2) == ""


def test_a_sweep_that_computes_nothing_says_so(tmp_path):
    record = Record("x", "finished", {}, seconds={"fp32": 9.0}, cached={"fp32": True})
    sweep = Sweep(tmp_path, (Trial("0", tmp_path, record, "finished"),), is_single=False)
    assert effort(sweep, {"0"}, seconds=5.0, before=3.2) == (
        "1 trial in 5 s: all stages from the cache; "
        "5 s around them (starting, logging, waiting); 3 s before"
    )
