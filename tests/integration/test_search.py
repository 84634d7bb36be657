"""A search that is killed goes on with the same command, and prints what it has found."""

from __future__ import annotations

import pytest
from command import SMALL_SWEEP, killed, qatexp

from qatexp.records.plan import load_plan

pytestmark = pytest.mark.slow

SEARCH = (
    *(item for item in SMALL_SWEEP if not item.startswith("qconfig")),
    "hydra/sweeper=optuna",
    "hydra.sweeper.objectives=[max:deployed_top1,min:size_bytes]",
    "hydra.sweeper.constraints=['deployed_top1 >= 0']",
    "hydra.sweeper.n_trials=2",
    "sweep.prune_margin=50",
    "schedule.qat.lr_scale=choice(0.1,1e30)",
)
"""Two points, of which one cannot train."""


def test_a_search_that_is_killed_computes_nothing_twice(tmp_path):
    killed(tmp_path, "ptq ...", *SEARCH)
    outcome = qatexp(tmp_path, *SEARCH, timeout=900)
    (folder,) = outcome.runs("sweep")
    points = load_plan(folder).points
    assert [point.number for point in points] == sorted({point.number for point in points})
    records = outcome.trial_records()
    assert [str(point.number) for point in points] == sorted(
        (path.name for path in folder.iterdir() if path.name.isdigit()), key=int
    )
    assert len({record.fingerprints["config"] for record in records}) == len(records) == 2
    assert {record.status for record in records} == {"finished", "failed"}
    assert all(record.val_top1_by_epoch["qat"] for record in records if record.status == "finished")
    assert outcome.code == 1
    assert "non_finite_loss" in outcome.out
    found = outcome.out.partition("Pareto front by max:deployed_top1, min:size_bytes")[2]
    assert "qatexp trainer.threads=1" in found
    assert "failed" in found
    assert outcome.err.count("fp32 epoch 1/1") == 0  # it is in the cache since the first attempt
