"""Training in several processes, from the command line."""

from __future__ import annotations

import pytest
from command import qatexp


@pytest.mark.slow
def test_every_training_of_a_run_takes_two_devices(tmp_path):
    outcome = qatexp(
        tmp_path, "trainer.devices=2", "trainer.threads=1", "schedule.fp32.epochs=1",
        "schedule.qat.epochs=1", "schedule.control=true", "tracking=none", "measure.rounds=3",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "Traceback" not in outcome.err
    variants = outcome.record().variants
    assert set(variants) == {"fp32", "control", "ptq", "qat"}
    assert variants["qat"].top1 > 80
