"""`target.max_drop`: as little training as the deployed file needs."""

from __future__ import annotations

import pytest
from command import SHORT, qatexp

pytestmark = pytest.mark.slow

CHEAP = (*SHORT[:1], "measure.rounds=2", "tracking=none", "trainer.threads=1")


def test_a_target_is_reached_by_the_cheapest_file(tmp_path):
    """PTQ is enough at 8 bits; at 2 bits it loses tens of points, and one epoch of QAT is."""
    wide = qatexp(tmp_path, *CHEAP, "target.max_drop=5")
    assert wide.code == 0, wide.err
    record = wide.record()
    assert set(record.variants) == {"fp32", "ptq"}
    assert [attempt.variant for attempt in record.target.attempts] == ["ptq"]
    assert record.target.met
    assert record.target.split == "val"

    narrow = qatexp(
        tmp_path, *CHEAP, "target.max_drop=20", "target.epochs=[2,50]", "qconfig.bits=2"
    )
    record = narrow.record()
    assert [(a.variant, a.epochs) for a in record.target.attempts] == [("ptq", 0), ("qat", 2)]
    assert record.target.attempts[0].drop > 20 >= record.target.attempts[1].drop
    assert "the deployed qat file after 2 epochs loses" in narrow.err
    assert record.variants["qat"].deployed_top1 > record.variants["ptq"].deployed_top1


def test_a_target_that_is_missed_is_a_warning_and_the_control_trains_as_long(tmp_path):
    outcome = qatexp(
        tmp_path, *CHEAP, "target.max_drop=0", "target.epochs=[1]", "qconfig.bits=2",
        "schedule.control=true", "dataset.val_fraction=0", "schedule.fp32.select=last",
    )  # fmt: skip
    record = outcome.record()
    assert outcome.code == 0
    decided, missed = (text for text in record.warnings if text.startswith("target."))
    assert decided.startswith("target.max_drop is decided on the test images")
    assert missed.startswith("target.max_drop=0.0 was not reached: ")
    assert "after 1 epoch of QAT; add a larger number to target.epochs" in missed
    assert not record.target.met
    assert "control epoch 1/1" in outcome.err
