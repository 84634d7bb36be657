"""The verbs for the stage cache, on what a sweep has left."""

from __future__ import annotations

import json

import pytest
from command import qatexp

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("small sweep")]


def test_a_sweeps_stages_are_listed_with_its_trials_and_kept(small_sweep):
    listed = qatexp(small_sweep.home, "cache", "list", "--json")
    assert listed.code == 0, listed.err
    items = json.loads(listed.out)["items"]
    assert {item["kind"] for item in items} == {"finished"}
    assert {item["holder"] for item in items} == {None}
    (sweep,) = small_sweep.runs("sweep")
    (baseline,) = (item for item in items if item["stage"] == "fp32")
    assert baseline["runs"] == [f"sweep/{sweep.name}/{number}" for number in range(2)]
    assert sum(item["stage"] == "ptq" for item in items) == 2
    assert qatexp(small_sweep.home, "cache", "verify").code == 0
    unused = qatexp(small_sweep.home, "cache", "prune", "--unused", "--yes")
    assert (unused.code, "Deleted 0 of 0" in unused.out) == (0, True)
